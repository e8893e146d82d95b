"""Who logs in to what is said first and once (RFC 7143 6.3, 13.4 to 13.9, 13.21)."""

import pytest
from login_initiator import (
    DISCOVERY,
    FULL_FEATURE,
    INITIATOR,
    ISID,
    NAMES,
    OPERATIONAL,
    SECURITY,
    TARGET,
    Initiator,
    answers,
    status,
)

from mpxtarget.iscsi.login import LoginState


@pytest.mark.conformance("LGN-019")
@pytest.mark.parametrize("csg", [SECURITY, OPERATIONAL])
def test_the_initiator_names_itself_first(csg: int) -> None:
    initiator = Initiator()
    assert status(initiator.send([("TargetName", TARGET)], csg=csg)) == 0x0207
    assert status(Initiator().send(csg=csg)) == 0x0207
    assert not initiator.directory.asked


@pytest.mark.conformance("LGN-020")
@pytest.mark.parametrize("session_type", [(), (("SessionType", "Normal"),)])
def test_a_normal_session_names_its_target_first(session_type: tuple[tuple[str, str], ...]) -> None:
    assert status(Initiator().send([("InitiatorName", INITIATOR), *session_type])) == 0x0207


@pytest.mark.conformance("LGN-020")
@pytest.mark.conformance("LGN-028")
def test_discovery_needs_no_target() -> None:
    initiator = Initiator()
    reply = initiator.send(DISCOVERY, csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert reply.state is LoginState.ESTABLISHED
    assert "TargetPortalGroupTag" not in answers(reply)
    assert initiator.directory.asked == [(INITIATOR, None)]
    outcome = initiator.outcomes[0]
    assert (outcome.discovery, outcome.target) == (True, None)
    assert outcome.parameters.session_type == "Discovery"


@pytest.mark.conformance("LGN-027")
def test_discovery_at_a_named_target_learns_its_portal_group() -> None:
    initiator = Initiator(alias="a bridge")
    reply = initiator.send([*DISCOVERY, ("TargetName", TARGET)], csg=SECURITY, nsg=FULL_FEATURE)
    assert answers(reply) == {"TargetPortalGroupTag": "1"}
    assert (initiator.outcomes[0].discovery, initiator.outcomes[0].target) == (True, TARGET)


@pytest.mark.conformance("LGN-021")
@pytest.mark.conformance("KEY-022")
def test_a_session_is_normal_unless_it_says_otherwise() -> None:
    initiator = Initiator()
    initiator.send(NAMES, csg=SECURITY, nsg=OPERATIONAL)
    late = initiator.send([("SessionType", "Normal")], csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert late.state is LoginState.ESTABLISHED
    assert initiator.outcomes[0].discovery is False


@pytest.mark.conformance("LGN-021")
@pytest.mark.parametrize(("first", "late"), [(NAMES, "Discovery"), (DISCOVERY, "Normal")])
def test_a_session_does_not_change_its_type(first: tuple[tuple[str, str], ...], late: str) -> None:
    initiator = Initiator()
    initiator.send(first, csg=SECURITY, nsg=OPERATIONAL)
    assert status(initiator.send([("SessionType", late)], csg=OPERATIONAL, nsg=FULL_FEATURE)) == 0x0200


@pytest.mark.conformance("KEY-005")
def test_a_target_name_does_not_come_late() -> None:
    initiator = Initiator()
    initiator.send(DISCOVERY, csg=SECURITY, nsg=OPERATIONAL)
    assert status(initiator.send([("TargetName", TARGET)], csg=OPERATIONAL)) == 0x0200


@pytest.mark.conformance("NEG-025")
@pytest.mark.conformance("KEY-006")
@pytest.mark.parametrize(
    "again", [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("InitiatorAlias", "a")]
)
def test_names_are_said_once_in_a_stage(again: tuple[str, str]) -> None:
    pairs = [*NAMES, ("InitiatorAlias", "a")]
    assert status(Initiator().send([*pairs, again], csg=OPERATIONAL)) == 0x0200
    initiator = Initiator()
    initiator.send(pairs, csg=OPERATIONAL)
    assert status(initiator.send([again], csg=OPERATIONAL)) == 0x0200


@pytest.mark.conformance("NEG-025")
def test_a_second_name_is_an_error_of_the_text_not_another_target() -> None:
    initiator = Initiator()
    assert status(initiator.send([*NAMES, ("TargetName", "iqn.2001-04.com.example:other")])) == 0x0200
    assert initiator.directory.asked == [(INITIATOR, TARGET)]


@pytest.mark.conformance("NEG-025")
@pytest.mark.parametrize("again", [("InitiatorName", INITIATOR + "x"), ("TargetName", TARGET + "x")])
def test_names_do_not_change_in_the_next_stage(again: tuple[str, str]) -> None:
    initiator = Initiator()
    initiator.send(NAMES, csg=SECURITY, nsg=OPERATIONAL)
    assert status(initiator.send([again], csg=OPERATIONAL)) == 0x0200


@pytest.mark.conformance("LGN-027")
@pytest.mark.conformance("LGN-029")
@pytest.mark.conformance("KEY-010")
@pytest.mark.parametrize("tag", [0, 1, 65535])
@pytest.mark.parametrize("csg", [SECURITY, OPERATIONAL])
def test_the_portal_group_tag_comes_first_and_once(tag: int, csg: int) -> None:
    initiator = Initiator(tag=tag)
    assert initiator.send(NAMES[:1], csg=csg, more=True).data == b""
    first = initiator.send(NAMES[1:], csg=csg)
    assert first.data.startswith(b"TargetPortalGroupTag=%d\0" % tag)
    assert "TargetPortalGroupTag" not in answers(initiator.send(csg=csg, nsg=FULL_FEATURE))
    assert initiator.outcomes[0].portal_group_tag == tag


@pytest.mark.conformance("LGN-030")
@pytest.mark.conformance("KEY-007")
def test_a_normal_session_learns_the_alias_of_the_target() -> None:
    assert answers(Initiator(alias="EVA4400 β").send(NAMES))["TargetAlias"] == "EVA4400 β"
    assert "TargetAlias" not in answers(Initiator().send(NAMES))
    assert "TargetAlias" not in answers(Initiator(alias="EVA4400").send(DISCOVERY))


@pytest.mark.conformance("KEY-008")
@pytest.mark.parametrize("csg", [SECURITY, OPERATIONAL])
def test_the_alias_of_the_initiator_is_kept(csg: int) -> None:
    initiator = Initiator()
    initiator.send([*NAMES, ("InitiatorAlias", "büro")], csg=csg, nsg=FULL_FEATURE)
    assert initiator.outcomes[0].parameters.initiator_alias == "büro"


@pytest.mark.conformance("NEG-005")
@pytest.mark.parametrize("csg", [SECURITY, OPERATIONAL])
def test_an_alias_has_255_bytes_at_most(csg: int) -> None:
    assert Initiator().send([*NAMES, ("InitiatorAlias", "a" * 255)], csg=csg).state is LoginState.CONTINUE
    assert status(Initiator().send([*NAMES, ("InitiatorAlias", "ü" * 128)], csg=csg)) == 0x0200


@pytest.mark.conformance("NAM-002")
def test_names_are_normalised_before_anybody_sees_them() -> None:
    initiator = Initiator()
    pairs = [("InitiatorName", INITIATOR.upper()), ("TargetName", TARGET.title())]
    initiator.send(pairs, csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert initiator.directory.asked == [(INITIATOR, TARGET)]
    assert (initiator.outcomes[0].initiator, initiator.outcomes[0].target) == (INITIATOR, TARGET)


@pytest.mark.conformance("NAM-001")
def test_a_name_that_is_none_is_refused() -> None:
    assert status(Initiator().send([("InitiatorName", "host"), ("TargetName", TARGET)])) == 0x0200
    assert status(Initiator().send([("InitiatorName", INITIATOR), ("TargetName", "target")])) == 0x0203
    long = "iqn.2001-04.com.example:" + "x" * 200
    assert status(Initiator().send([("InitiatorName", long), ("TargetName", TARGET)])) == 0x0200


def test_the_outcome_says_what_was_asked_for() -> None:
    initiator = Initiator(tag=3, cmd_sn=0xFFFFFFFF)
    initiator.send(NAMES, csg=OPERATIONAL, nsg=FULL_FEATURE)
    outcome = initiator.outcomes[0]
    assert (outcome.initiator, outcome.target, outcome.isid) == (INITIATOR, TARGET, ISID)
    assert (outcome.tsih, outcome.cid, outcome.cmd_sn) == (0, 7, 0xFFFFFFFF)
    assert (outcome.portal_group_tag, outcome.authenticated_as) == (3, None)
