"""Who has to authenticate does, before anything else, and by the method it may use (RFC 7143 6.3.1, 12.1)."""

import pytest
from login_initiator import (
    DISCOVERY,
    FULL_FEATURE,
    MUTUAL,
    NAMES,
    ONE_WAY,
    OPERATIONAL,
    SECRET,
    SECURITY,
    TARGET_SECRET,
    TARGET_USER,
    USER,
    Initiator,
    OneTarget,
    answers,
    status,
)

from mpxtarget.iscsi.chap import chap_response
from mpxtarget.iscsi.login import Admission, LoginReply, LoginState
from mpxtarget.pdu import format_hex, parse_binary


def challenged(initiator: Initiator, algorithms: str = "5", method: str = "CHAP") -> dict[str, str]:
    """Bring `initiator` to the point where it has its challenge."""
    chosen = answers(initiator.send([*NAMES, ("AuthMethod", method)], nsg=OPERATIONAL))
    assert chosen["AuthMethod"] == "CHAP"
    challenge = answers(initiator.send([("CHAP_A", algorithms)]))
    assert list(challenge) == ["CHAP_A", "CHAP_I", "CHAP_C"]
    return challenge


def respond(challenge: dict[str, str], secret: bytes = SECRET) -> str:
    algorithm, identifier = int(challenge["CHAP_A"]), int(challenge["CHAP_I"])
    return format_hex(chap_response(algorithm, identifier, secret, parse_binary(challenge["CHAP_C"])))


def login(initiator: Initiator, *extra: tuple[str, str], nsg: int | None = OPERATIONAL) -> LoginReply:
    challenge = challenged(initiator)
    return initiator.send([("CHAP_N", USER), ("CHAP_R", respond(challenge)), *extra], nsg=nsg)


@pytest.mark.conformance("LGN-040")
@pytest.mark.conformance("CHP-018")
@pytest.mark.parametrize("pairs", [NAMES, DISCOVERY])
def test_authentication_cannot_be_skipped(pairs: tuple[tuple[str, str], ...]) -> None:
    initiator = Initiator(chap=ONE_WAY)
    assert status(initiator.send(pairs, csg=OPERATIONAL, nsg=FULL_FEATURE)) == 0x0201


@pytest.mark.conformance("LGN-041")
@pytest.mark.parametrize("nsg", [OPERATIONAL, FULL_FEATURE])
def test_an_initiator_that_says_nothing_of_authentication_is_asked_for_it(nsg: int) -> None:
    initiator = Initiator(chap=ONE_WAY)
    reply = initiator.send(NAMES, csg=SECURITY, nsg=nsg)
    assert reply.response.transit == 0
    assert answers(reply) == {"TargetPortalGroupTag": "1", "AuthMethod": "CHAP"}
    challenge = answers(initiator.send([("AuthMethod", "CHAP"), ("CHAP_A", "5")]))
    assert "AuthMethod" not in challenge
    reply = initiator.send([("CHAP_N", USER), ("CHAP_R", respond(challenge))], nsg=nsg)
    assert reply.response.transit == 1


@pytest.mark.conformance("LGN-041")
def test_an_offer_may_be_answered_by_a_list_or_by_one_value_alone() -> None:
    initiator = Initiator(chap=ONE_WAY)
    initiator.send(NAMES, nsg=OPERATIONAL)
    assert answers(initiator.send([("AuthMethod", "CHAP,None")])) == {"AuthMethod": "CHAP"}
    assert "CHAP_C" in answers(initiator.send([("CHAP_A", "5")]))
    initiator = Initiator(chap=ONE_WAY)
    initiator.send(NAMES, nsg=OPERATIONAL)
    assert answers(initiator.send([("AuthMethod", "CHAP")])) == {}
    assert "CHAP_C" in answers(initiator.send([("CHAP_A", "5")]))


@pytest.mark.conformance("LGN-041")
@pytest.mark.conformance("NEG-022")
@pytest.mark.parametrize("value", ["Reject", "NotUnderstood", "Irrelevant", "None", "SRP"])
def test_an_offer_that_is_refused_ends_the_login(value: str) -> None:
    initiator = Initiator(chap=ONE_WAY)
    initiator.send(NAMES, nsg=OPERATIONAL)
    assert status(initiator.send([("AuthMethod", value)], nsg=OPERATIONAL)) == 0x0201


@pytest.mark.conformance("LGN-041")
def test_an_offer_that_is_ignored_ends_the_login() -> None:
    initiator = Initiator(chap=ONE_WAY)
    initiator.send(NAMES, nsg=OPERATIONAL)
    assert status(initiator.send(nsg=OPERATIONAL)) == 0x0201


def test_an_initiator_that_does_not_hurry_is_not_asked() -> None:
    initiator = Initiator(chap=ONE_WAY)
    assert answers(initiator.send(NAMES)) == {"TargetPortalGroupTag": "1"}
    assert answers(initiator.send([("AuthMethod", "CHAP")]))["AuthMethod"] == "CHAP"


METHODS = [
    # policy, None allowed, offered, chosen
    (None, False, "None", "None"),
    (None, False, "CHAP,None", "None"),  # CHP-019
    (None, False, "None,CHAP", "None"),
    (None, False, "KRB5,Z-odd.example.method,None", "None"),
    (ONE_WAY, False, "CHAP", "CHAP"),
    (ONE_WAY, False, "None,CHAP", "CHAP"),  # CHP-018
    (ONE_WAY, False, "SRP,CHAP,None", "CHAP"),
    (ONE_WAY, True, "CHAP,None", "CHAP"),
    (ONE_WAY, True, "None,CHAP", "None"),
    (ONE_WAY, True, "None", "None"),
]


@pytest.mark.conformance("NEG-011")
@pytest.mark.conformance("NEG-012")
@pytest.mark.conformance("CHP-018")
@pytest.mark.conformance("CHP-019")
@pytest.mark.conformance("KEY-032")
@pytest.mark.parametrize(("chap", "allow_none", "offered", "chosen"), METHODS)
def test_the_first_method_counts_that_the_initiator_may_use(
    chap: object, allow_none: bool, offered: str, chosen: str
) -> None:
    initiator = Initiator(chap=chap, allow_none=allow_none)  # type: ignore[arg-type]
    reply = initiator.send([*NAMES, ("AuthMethod", offered)], nsg=OPERATIONAL)
    assert answers(reply)["AuthMethod"] == chosen
    assert reply.response.transit == (chosen == "None")


@pytest.mark.conformance("NEG-013")
@pytest.mark.conformance("NEG-019")
@pytest.mark.parametrize("offered", ["CHAP", "KRB5,SRP", "none", "", ",", "Z-odd"])
def test_without_a_method_in_common_the_login_ends(offered: str) -> None:
    assert status(Initiator().send([*NAMES, ("AuthMethod", offered)], nsg=OPERATIONAL)) == 0x0201


@pytest.mark.conformance("NEG-013")
def test_none_is_no_method_where_chap_is_demanded() -> None:
    assert status(Initiator(chap=ONE_WAY).send([*NAMES, ("AuthMethod", "None")], nsg=OPERATIONAL)) == 0x0201


@pytest.mark.parametrize("offered", ["None,CHAP", None])
def test_an_initiator_that_may_choose_can_stay_unknown(offered: str | None) -> None:
    initiator = Initiator(chap=ONE_WAY, allow_none=True)
    pairs = [*NAMES, ("AuthMethod", offered)] if offered else NAMES
    assert initiator.send(pairs, nsg=FULL_FEATURE).state is LoginState.ESTABLISHED
    assert initiator.outcomes[0].authenticated_as is None


def test_an_initiator_that_may_choose_can_skip_the_stage() -> None:
    initiator = Initiator(chap=ONE_WAY, allow_none=True)
    assert initiator.send(NAMES, csg=OPERATIONAL, nsg=FULL_FEATURE).state is LoginState.ESTABLISHED


@pytest.mark.conformance("CHP-001")
@pytest.mark.conformance("CHP-004")
@pytest.mark.parametrize("algorithm", ["5", "6", "7", "8"])
def test_chap_one_way(algorithm: str) -> None:
    initiator = Initiator(chap=ONE_WAY)
    challenge = challenged(initiator, algorithm)
    reply = initiator.send([("CHAP_N", USER), ("CHAP_R", respond(challenge))], nsg=OPERATIONAL)
    assert (reply.data, reply.response.transit) == (b"", 1)
    assert initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE).state is LoginState.ESTABLISHED
    assert initiator.outcomes[0].authenticated_as == USER


@pytest.mark.conformance("CHP-001")
@pytest.mark.conformance("CHP-004")
@pytest.mark.conformance("KEY-033")
def test_chap_both_ways() -> None:
    initiator = Initiator(chap=MUTUAL)
    reply = login(initiator, ("CHAP_I", "0x7F"), ("CHAP_C", "0bAAEC"), nsg=FULL_FEATURE)
    ours = format_hex(chap_response(5, 127, TARGET_SECRET, b"\x00\x01\x02"))
    assert answers(reply) == {"CHAP_N": TARGET_USER, "CHAP_R": ours}
    assert (reply.response.transit, reply.state) == (1, LoginState.ESTABLISHED)


@pytest.mark.conformance("CHP-004")
def test_chap_may_end_before_the_stage_does() -> None:
    initiator = Initiator(chap=ONE_WAY)
    assert login(initiator, nsg=None).response.transit == 0
    assert initiator.send(nsg=OPERATIONAL).response.transit == 1


@pytest.mark.conformance("CHP-004")
def test_the_algorithm_may_come_with_the_only_method_offered() -> None:
    reply = Initiator(chap=ONE_WAY).send([*NAMES, ("AuthMethod", "CHAP"), ("CHAP_A", "5")])
    assert list(answers(reply)) == ["TargetPortalGroupTag", "AuthMethod", "CHAP_A", "CHAP_I", "CHAP_C"]
    initiator = Initiator(chap=ONE_WAY)
    assert status(initiator.send([*NAMES, ("AuthMethod", "CHAP,None"), ("CHAP_A", "5")])) == 0x0200


@pytest.mark.conformance("CHP-004")
@pytest.mark.conformance("CHP-009")
@pytest.mark.parametrize(
    "pairs",
    [
        [("CHAP_A", "5")],
        [("CHAP_N", USER), ("CHAP_R", "0x00")],
        [("AuthMethod", "None"), ("CHAP_A", "5")],
        [("KRB_AP_REQ", "0x00")],
        [("SRP_U", "x")],
    ],
)
def test_keys_of_a_method_that_was_not_chosen_are_out_of_step(pairs: list[tuple[str, str]]) -> None:
    assert status(Initiator(chap=ONE_WAY, allow_none=True).send([*NAMES, *pairs])) == 0x0200


@pytest.mark.conformance("CHP-009")
def test_keys_of_another_step_are_out_of_step() -> None:
    initiator = Initiator(chap=ONE_WAY)
    initiator.send([*NAMES, ("AuthMethod", "CHAP")])
    assert status(initiator.send([("CHAP_A", "5"), ("CHAP_N", USER)])) == 0x0200
    initiator = Initiator(chap=ONE_WAY)
    login(initiator, nsg=None)
    assert status(initiator.send([("CHAP_I", "1"), ("CHAP_C", "0x00")])) == 0x0200


@pytest.mark.conformance("NEG-025")
@pytest.mark.parametrize("pair", [("AuthMethod", "CHAP"), ("CHAP_A", "5")])
def test_a_step_is_not_taken_twice(pair: tuple[str, str]) -> None:
    initiator = Initiator(chap=ONE_WAY)
    challenged(initiator)
    assert status(initiator.send([pair])) == 0x0200


@pytest.mark.conformance("CHP-009")
@pytest.mark.parametrize("pairs", [[], [("CHAP_N", USER)], [("CHAP_R", "0x00")]])
def test_name_and_response_have_to_be_there(pairs: list[tuple[str, str]]) -> None:
    initiator = Initiator(chap=ONE_WAY)
    challenged(initiator)
    assert status(initiator.send(pairs, nsg=OPERATIONAL)) == 0x0207


@pytest.mark.conformance("CHP-009")
def test_the_algorithms_have_to_be_there() -> None:
    initiator = Initiator(chap=ONE_WAY)
    initiator.send([*NAMES, ("AuthMethod", "CHAP")])
    assert status(initiator.send(nsg=OPERATIONAL)) == 0x0207


@pytest.mark.conformance("LGN-046")
@pytest.mark.conformance("CHP-015")
@pytest.mark.parametrize(("name", "secret"), [("other", SECRET), (USER, b"another sixteen!"), ("x", b"y")])
def test_a_wrong_name_and_a_wrong_secret_look_the_same(name: str, secret: bytes) -> None:
    initiator = Initiator(chap=ONE_WAY)
    challenge = challenged(initiator)
    reply = initiator.send([("CHAP_N", name), ("CHAP_R", respond(challenge, secret))], nsg=OPERATIONAL)
    assert (status(reply), reply.data) == (0x0201, b"")


@pytest.mark.conformance("CHP-010")
def test_a_target_without_a_secret_cannot_authenticate() -> None:
    assert status(login(Initiator(chap=ONE_WAY), ("CHAP_I", "1"), ("CHAP_C", "0x01"))) == 0x0201


@pytest.mark.conformance("CHP-006")
def test_each_attempt_has_a_challenge_of_its_own() -> None:
    seen = set()
    random = 0
    for _ in range(3):
        initiator = Initiator(chap=ONE_WAY)
        initiator.random = random
        seen.add(tuple(challenged(initiator).values()))
        random = initiator.random
    assert len(seen) == 3


@pytest.mark.conformance("NEG-027")
@pytest.mark.parametrize(
    "key", ["HeaderDigest", "MaxBurstLength", "SendTargets", "IFMarker", "ErrorRecoveryLevel"]
)
def test_operational_keys_have_no_place_in_the_security_stage(key: str) -> None:
    assert status(Initiator().send([*NAMES, (key, "1")], csg=SECURITY)) == 0x0200


@pytest.mark.conformance("NEG-027")
@pytest.mark.parametrize("key", ["AuthMethod", "CHAP_A", "CHAP_N", "SRP_U", "KRB_AP_REQ", "TargetAuth"])
def test_security_keys_have_no_place_in_the_operational_stage(key: str) -> None:
    assert status(Initiator().send([*NAMES, (key, "None")], csg=OPERATIONAL)) == 0x0200


@pytest.mark.conformance("NEG-018")
def test_unknown_keys_are_not_understood_in_the_security_stage_either() -> None:
    reply = Initiator().send([*NAMES, ("X-com.example.a", "1"), ("AuthMethod", "None")], nsg=OPERATIONAL)
    assert answers(reply)["X-com.example.a"] == "NotUnderstood"
    assert answers(reply)["AuthMethod"] == "None"


@pytest.mark.conformance("CHP-020")
def test_discovery_has_terms_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    strict, free = Admission(1, "", ONE_WAY, False), Admission(1, "", None, True)
    monkeypatch.setattr(OneTarget, "admit", lambda _self, _who, target: strict if target else free)
    assert Initiator().send(DISCOVERY, csg=OPERATIONAL, nsg=FULL_FEATURE).state is LoginState.ESTABLISHED
    assert status(Initiator().send(NAMES, csg=OPERATIONAL, nsg=FULL_FEATURE)) == 0x0201


@pytest.mark.conformance("CHP-016")
def test_the_session_learns_who_authenticated() -> None:
    initiator = Initiator(chap=MUTUAL)
    initiator.header["tsih"] = initiator.tsih
    login(initiator)
    assert [outcome.authenticated_as for outcome in initiator.joins] == [USER]
