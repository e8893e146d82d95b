"""Login goes forward through its stages, at the initiator's pace (RFC 7143 6.3, 11.12.3, 11.13.6)."""

from itertools import pairwise

import pytest
from login_initiator import (
    FULL_FEATURE,
    NAMES,
    ONE_WAY,
    OPERATIONAL,
    SECURITY,
    TSIH,
    Initiator,
    answers,
    status,
)

from mpxtarget.iscsi.login import MAX_EXCHANGES, LoginState


@pytest.mark.conformance("LGN-009")
@pytest.mark.parametrize("way", [(0, 1, 3), (0, 3), (1, 3)])
def test_each_legal_way_leads_to_full_feature_phase(way: tuple[int, ...]) -> None:
    initiator = Initiator()
    pairs: tuple[tuple[str, str], ...] = NAMES
    for csg, nsg in pairwise(way):
        reply = initiator.send(pairs, csg=csg, nsg=nsg)
        assert (reply.response.transit, reply.response.csg, reply.response.nsg) == (1, csg, nsg)
        pairs = ()
    assert reply.state is LoginState.ESTABLISHED
    assert reply.response.tsih == TSIH


@pytest.mark.conformance("LGN-008")
@pytest.mark.parametrize("csg", [2, 3])
def test_no_login_begins_in_a_reserved_stage_or_in_full_feature_phase(csg: int) -> None:
    assert status(Initiator().send(NAMES, csg=csg, nsg=3)) == 0x0200


@pytest.mark.conformance("LGN-008")
@pytest.mark.conformance("LGN-009")
@pytest.mark.parametrize(("csg", "nsg"), [(0, 0), (0, 2), (1, 0), (1, 1), (1, 2)])
def test_no_stage_leads_back_or_nowhere(csg: int, nsg: int) -> None:
    assert status(Initiator().send(NAMES, csg=csg, nsg=nsg)) == 0x0200


@pytest.mark.conformance("LGN-008")
@pytest.mark.parametrize("nsg", range(4))
def test_next_stage_means_nothing_without_transit(nsg: int) -> None:
    reply = Initiator().send(NAMES, csg=OPERATIONAL, nsg=nsg, transit=0)
    assert reply.state is LoginState.CONTINUE
    assert (reply.response.transit, reply.response.nsg) == (0, 0)


@pytest.mark.conformance("LGN-010")
@pytest.mark.parametrize("csg", [0, 2, 3])
def test_the_next_request_is_in_the_stage_that_was_agreed(csg: int) -> None:
    initiator = Initiator()
    initiator.send(NAMES, csg=SECURITY, nsg=OPERATIONAL)
    assert status(initiator.send(csg=csg, nsg=None)) == 0x0200


@pytest.mark.conformance("LGN-010")
def test_the_stage_does_not_move_before_the_target_agreed() -> None:
    initiator = Initiator()
    initiator.send(NAMES, csg=SECURITY)
    assert status(initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE)) == 0x0200


@pytest.mark.conformance("LGN-011")
@pytest.mark.conformance("LGN-012")
@pytest.mark.parametrize("csg", [SECURITY, OPERATIONAL])
def test_the_target_never_moves_on_unasked(csg: int) -> None:
    initiator = Initiator()
    first = initiator.send(NAMES, csg=csg)
    second = initiator.send(csg=csg)
    for reply in (first, second):
        assert (reply.response.transit, reply.response.csg, reply.response.nsg) == (0, csg, 0)
    assert initiator.send(csg=csg, nsg=FULL_FEATURE).state is LoginState.ESTABLISHED


@pytest.mark.conformance("LGN-013")
@pytest.mark.conformance("LGN-014")
def test_holding_back_asks_for_something() -> None:
    reply = Initiator(chap=ONE_WAY).send(NAMES, csg=SECURITY, nsg=OPERATIONAL)
    assert reply.response.transit == 0
    assert answers(reply)["AuthMethod"] == "CHAP"


@pytest.mark.conformance("LGN-015")
def test_text_that_goes_on_cannot_end_a_stage() -> None:
    assert status(Initiator().send(NAMES, csg=OPERATIONAL, nsg=FULL_FEATURE, more=True)) == 0x0200


@pytest.mark.conformance("LGN-007")
@pytest.mark.parametrize(
    ("field", "value"),
    [("isid", 3), ("tsih", 4), ("cid", 5), ("version_max", 6), ("version_min", 1)],
)
def test_what_names_the_login_stays_the_same(field: str, value: int) -> None:
    initiator = Initiator()
    initiator.send(NAMES, csg=SECURITY, nsg=OPERATIONAL)
    initiator.header[field] = value
    assert status(initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE)) == 0x0200
    assert not initiator.outcomes


@pytest.mark.conformance("LGN-005")
def test_each_response_has_the_tag_of_its_request_even_if_that_changed() -> None:
    initiator = Initiator()
    initiator.send(NAMES, csg=SECURITY, nsg=OPERATIONAL)
    initiator.header["itt"] = 2
    reply = initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert (reply.response.itt, reply.state) == (2, LoginState.ESTABLISHED)


@pytest.mark.conformance("LGN-004")
@pytest.mark.parametrize("immediate", [0, 1])
def test_a_login_request_is_immediate_whatever_it_says(immediate: int) -> None:
    initiator = Initiator(immediate=immediate)
    initiator.send(NAMES, csg=SECURITY, nsg=OPERATIONAL)
    reply = initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert reply.state is LoginState.ESTABLISHED
    assert reply.response.exp_cmd_sn == 100


@pytest.mark.conformance("LGN-042")
def test_security_stage_without_a_method_is_left_at_once_if_none_is_needed() -> None:
    reply = Initiator().send(NAMES, csg=SECURITY, nsg=OPERATIONAL)
    assert answers(reply) == {"TargetPortalGroupTag": "1"}
    assert reply.response.transit == 1


@pytest.mark.conformance("LGN-043")
def test_a_login_with_names_only_takes_one_exchange() -> None:
    initiator = Initiator()
    reply = initiator.send(NAMES, csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert reply.state is LoginState.ESTABLISHED
    parameters = initiator.outcomes[0].parameters
    assert (parameters.initial_r2t, parameters.immediate_data) == (True, True)
    assert parameters.first_burst_length == 65536
    assert parameters.initiator_max_recv_data_segment_length == 8192


@pytest.mark.conformance("LGN-038")
def test_a_login_has_room_for_many_exchanges_but_ends() -> None:
    initiator = Initiator()
    initiator.send(NAMES, csg=OPERATIONAL)
    for _ in range(MAX_EXCHANGES - 1):
        assert initiator.send(csg=OPERATIONAL).state is LoginState.CONTINUE
    assert status(initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE)) == 0x0200
    assert not initiator.outcomes


@pytest.mark.conformance("LGN-003")
@pytest.mark.parametrize("csg", [SECURITY, OPERATIONAL])
def test_nothing_comes_after_the_end(csg: int) -> None:
    initiator = Initiator()
    initiator.send(NAMES, csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert status(initiator.send(csg=csg, nsg=FULL_FEATURE)) == 0x0200
    assert len(initiator.outcomes) == 1


@pytest.mark.conformance("LGN-031")
def test_a_refused_login_stays_refused() -> None:
    initiator = Initiator()
    initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert status(initiator.send(NAMES, csg=OPERATIONAL, nsg=FULL_FEATURE)) == 0x0200
    assert not initiator.outcomes
