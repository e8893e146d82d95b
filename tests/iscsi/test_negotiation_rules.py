"""The rules of text negotiation that hold for all keys (RFC 7143 6.1, 6.2, 6.3)."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from login_initiator import (
    DISCOVERY,
    FULL_FEATURE,
    NAMES,
    OPERATIONAL,
    SECURITY,
    Initiator,
    operational,
    status,
)

from mpxtarget.iscsi.errors import NegotiationError
from mpxtarget.iscsi.keys import KEYS, Result, Sender, Use
from mpxtarget.iscsi.login import LoginReply, LoginState
from mpxtarget.iscsi.negotiation import ANSWERS, Limits, Negotiation, Screen
from mpxtarget.pdu import TextError, decode_pairs


def straight(initiator: Initiator, pairs: Iterable[tuple[str, str]]) -> LoginReply:
    return initiator.send(pairs, csg=OPERATIONAL, nsg=FULL_FEATURE)


@pytest.mark.conformance("NEG-001")
def test_keys_are_case_sensitive() -> None:
    assert operational(Initiator(), [("Initialr2t", "Yes")])["Initialr2t"] == "NotUnderstood"
    negotiation = Negotiation(Limits(), discovery=False, leading=True)
    assert ("initialr2t", "NotUnderstood") in negotiation.answer([("initialr2t", "Yes")])


@pytest.mark.conformance("NEG-003")
def test_a_value_may_have_an_equals_sign() -> None:
    initiator = Initiator()
    operational(initiator, [("InitiatorAlias", "a=b==")])
    assert initiator.outcomes[0].parameters.initiator_alias == "a=b=="


@pytest.mark.conformance("NEG-003")
@pytest.mark.conformance("NEG-004")
@pytest.mark.parametrize(
    "text",
    [b"\0", b"InitialR2T\0", b"=Yes\0", b"1Key=Yes\0", b"K" * 64 + b"=Yes\0", b"K\xff=1\0", b"Key=\xff\0"],
)
def test_what_is_no_pair_fails_the_login(text: bytes) -> None:
    initiator = Initiator()
    initiator.send(NAMES, csg=OPERATIONAL)
    assert status(initiator.send(raw=text, csg=OPERATIONAL)) == 0x0200


@pytest.mark.conformance("NEG-010")
def test_each_offer_has_its_answer_in_the_next_response() -> None:
    initiator = Initiator()
    offers = [("ImmediateData", "Yes"), ("Xyz", "1"), ("MaxBurstLength", "1"), ("HeaderDigest", "None")]
    reply = initiator.send([*NAMES, *offers], csg=OPERATIONAL)
    said = decode_pairs(reply.data)
    assert [key for key, _ in said][1:-1] == [key for key, _ in offers]
    assert len({key for key, _ in said}) == len(said)


ONCE = [
    (key, value)
    for key, value in {
        "MaxBurstLength": "4096",
        "MaxRecvDataSegmentLength": "4096",
        "InitialR2T": "Yes",
        "HeaderDigest": "None",
        "IFMarker": "No",
        "X-com.example.a": "1",
        "X#NodeArchitecture": "a",
    }.items()
]


@pytest.mark.conformance("NEG-025")
@pytest.mark.parametrize("pair", ONCE)
def test_a_key_is_said_once_in_a_login(pair: tuple[str, str]) -> None:
    assert status(straight(Initiator(), [*NAMES, pair, pair])) == 0x0200
    initiator = Initiator()
    initiator.send([*NAMES, pair], csg=OPERATIONAL)
    assert status(initiator.send([pair], csg=OPERATIONAL)) == 0x0200


@pytest.mark.conformance("NEG-025")
@pytest.mark.parametrize("pair", [("X-com.example.a", "1"), ("X#NodeArchitecture", "a")])
def test_a_key_is_said_once_in_all_stages(pair: tuple[str, str]) -> None:
    initiator = Initiator()
    initiator.send([*NAMES, pair], csg=SECURITY, nsg=OPERATIONAL)
    assert status(initiator.send([pair], csg=OPERATIONAL)) == 0x0200


@pytest.mark.conformance("NEG-020")
@pytest.mark.parametrize("value", sorted(ANSWERS))
@pytest.mark.parametrize("key", [*KEYS, "X-com.example.a"])
def test_answers_are_no_offers(key: str, value: str) -> None:
    with pytest.raises(NegotiationError):
        Screen()([(key, value)])


@pytest.mark.conformance("NEG-020")
@pytest.mark.parametrize("value", sorted(ANSWERS))
@pytest.mark.parametrize("csg", [SECURITY, OPERATIONAL])
def test_an_answer_offered_fails_the_login(csg: int, value: str) -> None:
    assert status(Initiator().send([*NAMES, ("InitiatorAlias", value)], csg=csg)) == 0x0200


@pytest.mark.conformance("NEG-028")
@pytest.mark.parametrize("key", [row.name for row in KEYS.values() if row.sender is Sender.TARGET])
@pytest.mark.parametrize("csg", [SECURITY, OPERATIONAL])
def test_an_initiator_does_not_speak_for_the_target(key: str, csg: int) -> None:
    assert status(Initiator().send([*NAMES, (key, "1")], csg=csg)) == 0x0200


@pytest.mark.conformance("NEG-027")
@pytest.mark.conformance("KEY-004")
def test_send_targets_has_no_place_in_login() -> None:
    assert status(straight(Initiator(), [*DISCOVERY, ("SendTargets", "All")])) == 0x0200


@pytest.mark.conformance("NEG-024")
@pytest.mark.conformance("KEY-015")
@pytest.mark.parametrize("order", [1, -1])
def test_without_unsolicited_data_the_first_burst_is_irrelevant(order: int) -> None:
    initiator = Initiator()
    offers = [("FirstBurstLength", "65536"), ("InitialR2T", "Yes"), ("ImmediateData", "No")]
    said = operational(initiator, offers[::order])
    assert said["FirstBurstLength"] == "Irrelevant"
    assert [key for key in said if key in dict(offers)] == [key for key, _ in offers[::order]]


@pytest.mark.conformance("NEG-024")
@pytest.mark.parametrize(("r2t", "immediate"), [("No", "No"), ("No", "Yes"), ("Yes", "Yes")])
def test_with_unsolicited_data_the_first_burst_is_negotiated(r2t: str, immediate: str) -> None:
    offers = [("FirstBurstLength", "4096"), ("InitialR2T", r2t), ("ImmediateData", immediate)]
    assert operational(Initiator(), offers)["FirstBurstLength"] == "4096"


@pytest.mark.conformance("NEG-029")
@pytest.mark.conformance("KEY-014")
@pytest.mark.parametrize("order", [1, -1])
def test_the_first_burst_is_no_longer_than_a_burst(order: int) -> None:
    initiator = Initiator()
    offers = [("FirstBurstLength", "65536"), ("MaxBurstLength", "4096")]
    said = operational(initiator, offers[::order])
    assert (said["FirstBurstLength"], said["MaxBurstLength"]) == ("4096", "4096")
    assert initiator.outcomes[0].parameters.first_burst_length == 4096


@pytest.mark.conformance("NEG-029")
def test_a_burst_made_shorter_than_the_agreed_first_burst_fails_the_login() -> None:
    initiator = Initiator()
    initiator.send([*NAMES, ("FirstBurstLength", "65536")], csg=OPERATIONAL)
    assert status(straight(initiator, [("MaxBurstLength", "4096")])) == 0x0200
    assert not initiator.outcomes


@pytest.mark.conformance("NEG-029")
def test_a_default_first_burst_gives_way_to_a_short_burst() -> None:
    initiator = Initiator()
    operational(initiator, [("MaxBurstLength", "4096")])
    assert initiator.outcomes[0].parameters.first_burst_length == 4096


@pytest.mark.conformance("NEG-029")
@pytest.mark.parametrize("order", [1, -1])
def test_recovery_in_order_has_one_r2t_at_a_time(order: int) -> None:
    limits = replace(Limits(), error_recovery_level=1)
    offers = [("MaxOutstandingR2T", "16"), ("ErrorRecoveryLevel", "1")]
    initiator = Initiator(limits=limits)
    assert operational(initiator, offers[::order])["MaxOutstandingR2T"] == "1"
    initiator = Initiator(limits=limits)
    initiator.send([*NAMES, offers[0]], csg=OPERATIONAL)
    assert status(straight(initiator, offers[1:])) == 0x0200


@pytest.mark.conformance("LGN-034")
def test_a_stage_that_fails_agrees_to_nothing() -> None:
    initiator = Initiator()
    initiator.send([*NAMES, ("HeaderDigest", "CRC32C")], csg=OPERATIONAL)
    assert status(straight(initiator, [("DataDigest", "MD5")])) == 0x0200
    assert not initiator.outcomes


@pytest.mark.conformance("NEG-016")
def test_a_rejected_key_is_settled() -> None:
    initiator = Initiator()
    initiator.send([*NAMES, ("MaxBurstLength", "1")], csg=OPERATIONAL)
    assert status(initiator.send([("MaxBurstLength", "4096")], csg=OPERATIONAL)) == 0x0200


@pytest.mark.conformance("NEG-006")
def test_8192_bytes_of_text_are_taken_at_once() -> None:
    pad = 8192 - len("".join(f"{key}={value}\0" for key, value in NAMES)) - len("X-pad=\0")
    reply = straight(Initiator(), [*NAMES, ("X-pad", "x" * pad)])
    assert reply.state is LoginState.ESTABLISHED


OFFERED = sorted(key for key, row in KEYS.items() if Sender.INITIATOR in row.sender)
ENDS = st.sampled_from([SECURITY, OPERATIONAL])


@pytest.mark.conformance("NEG-034")
@given(st.sampled_from(OFFERED), st.binary(max_size=300), ENDS)
@example("MaxBurstLength", b"0x" + b"f" * 200, OPERATIONAL)
@example("MaxRecvDataSegmentLength", "\u0662".encode(), OPERATIONAL)
@example("CHAP_R", b"0b=", SECURITY)
def test_no_value_of_any_key_raises_an_exception(key: str, value: bytes, csg: int) -> None:
    initiator = Initiator()
    initiator.send(NAMES, csg=csg)
    text = key.encode() + b"=" + value + b"\0"
    reply = initiator.send(raw=text, csg=csg, nsg=FULL_FEATURE)
    assert (reply.state is LoginState.ESTABLISHED) == (status(reply) == 0)
    assert reply.response.status_class in (0, 2)


WORDS = st.one_of(
    st.text(max_size=40),
    st.integers(-(1 << 70), 1 << 70).map(str),
    st.integers(0, 1 << 70).map(hex),
    st.lists(st.sampled_from(["Yes", "No", "None", "CRC32C", "Reject", "RFC3720", ""])).map(",".join),
)


@pytest.mark.conformance("NEG-034")
@given(st.sampled_from(OFFERED), WORDS, st.booleans(), st.booleans())
def test_each_value_is_accepted_or_rejected_or_fails_the_negotiation(
    key: str, value: str, discovery: bool, leading: bool
) -> None:
    negotiation = Negotiation(Limits(), discovery=discovery, leading=leading)
    row = KEYS[key]
    try:
        passed = Screen()([(key, value)])
        said = dict(negotiation.answer(passed))
        agreed = negotiation.agree()
    except NegotiationError:
        return
    assert agreed.first_burst_length <= agreed.max_burst_length
    if row.result is Result.DECLARED:
        assert set(said) == {"MaxRecvDataSegmentLength"}
    else:
        assert set(said) == {"MaxRecvDataSegmentLength", key}
        assert said[key] != "NotUnderstood"
    assert row.use is not Use.LEADING_ONLY or leading


KEY_NAMES = st.from_regex(r"(X#)?[A-Z][A-Za-z0-9.\-+@_]{0,60}", fullmatch=True).filter(
    lambda k: k not in KEYS
)
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=600)


@pytest.mark.conformance("NEG-018")
@given(st.dictionaries(KEY_NAMES, VALUES.filter(lambda value: value not in ANSWERS), max_size=6), ENDS)
def test_unknown_keys_are_always_answered_and_never_fatal(unknown: dict[str, str], csg: int) -> None:
    initiator = Initiator()
    reply = initiator.send([*NAMES, *unknown.items()], csg=csg, nsg=FULL_FEATURE)
    assert reply.state is LoginState.ESTABLISHED
    said = dict(decode_pairs(reply.data))
    assert {key: said[key] for key in unknown} == dict.fromkeys(unknown, "NotUnderstood")


@pytest.mark.conformance("NEG-004")
@given(st.binary(max_size=80))
def test_an_undecodable_text_is_the_initiators_error(text: bytes) -> None:
    try:
        decode_pairs(text)
    except TextError:
        initiator = Initiator()
        initiator.send(NAMES, csg=OPERATIONAL)
        assert status(initiator.send(raw=text, csg=OPERATIONAL)) == 0x0200
