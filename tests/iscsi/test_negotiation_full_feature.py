"""Text in full feature phase changes little, and all of it or nothing (RFC 7143 6.4, 7.12, 13)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpxtarget.iscsi.errors import PduRejected
from mpxtarget.iscsi.keys import KEYS, Sender, Use
from mpxtarget.iscsi.negotiation import ANSWERS, Parameters, TextSequence, answer_text
from mpxtarget.pdu import RejectReason


@pytest.mark.conformance("TXT-006")
@pytest.mark.parametrize("value", [512, 8192, 16777215])
def test_a_segment_length_may_be_declared_anew(value: int) -> None:
    parameters = Parameters(target_max_recv_data_segment_length=4096)
    assert answer_text([("MaxRecvDataSegmentLength", str(value))], parameters) == []
    assert parameters.initiator_max_recv_data_segment_length == value
    assert parameters.target_max_recv_data_segment_length == 4096


def test_an_alias_may_be_declared_anew() -> None:
    parameters = Parameters(initiator_alias="old")
    assert answer_text([("InitiatorAlias", "new")], parameters) == []
    assert parameters.initiator_alias == "new"


BELONGS_TO_LOGIN = [
    row.name
    for row in KEYS.values()
    if row.use in (Use.LEADING_ONLY, Use.INITIALIZE_ONLY) and Sender.INITIATOR in row.sender
]


@pytest.mark.conformance("TXT-005")
@pytest.mark.conformance("NEG-019")
@pytest.mark.parametrize("key", BELONGS_TO_LOGIN)
@pytest.mark.parametrize("value", ["Yes", "No", "1", "CRC32C"])
def test_what_belongs_to_login_is_rejected_and_changes_nothing(key: str, value: str) -> None:
    parameters = Parameters()
    assert answer_text([(key, value)], parameters) == [(key, "Reject")]
    assert parameters == Parameters()


@pytest.mark.conformance("TXT-009")
@pytest.mark.conformance("NEG-018")
def test_unknown_keys_are_not_understood() -> None:
    pairs = [("X-com.example.a", "1"), ("MaxRecvDataSegmentLength", "1024"), ("sendTargets", "All")]
    parameters = Parameters()
    answer = answer_text(pairs, parameters)
    assert answer == [("X-com.example.a", "NotUnderstood"), ("sendTargets", "NotUnderstood")]
    assert parameters.initiator_max_recv_data_segment_length == 1024


BROKEN = [
    [("MaxRecvDataSegmentLength", "511")],
    [("MaxRecvDataSegmentLength", "16777216")],
    [("MaxRecvDataSegmentLength", "x")],
    [("InitiatorAlias", "a" * 256)],
    [("TargetAlias", "mine")],
    [("TargetPortalGroupTag", "1")],
    [("TargetAddress", "192.0.2.1")],
    [("SendTargets", "All")],
    [("MaxBurstLength", "512"), ("MaxBurstLength", "512")],
    [("InitiatorAlias", "a"), ("InitiatorAlias", "a")],
    [("X-a", "1"), ("X-a", "2")],
    *(
        [(key, value)]
        for key in ("MaxRecvDataSegmentLength", "MaxBurstLength", "X-a")
        for value in sorted(ANSWERS)
    ),
]


@pytest.mark.conformance("NEG-026")
@pytest.mark.conformance("NEG-031")
@pytest.mark.conformance("NEG-020")
@pytest.mark.conformance("NEG-028")
@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("first", [True, False])
def test_a_broken_rule_voids_the_sequence(broken: list[tuple[str, str]], first: bool) -> None:
    good = (
        []
        if any(key == "MaxRecvDataSegmentLength" for key, _ in broken)
        else [("MaxRecvDataSegmentLength", "1024")]
    )
    parameters = Parameters()
    with pytest.raises(PduRejected) as rejected:
        answer_text(broken + good if first else good + broken, parameters)
    assert rejected.value.reject_reason == RejectReason.PROTOCOL_ERROR
    assert parameters == Parameters()


@pytest.mark.conformance("NEG-026")
@pytest.mark.conformance("NEG-031")
def test_a_sequence_of_several_requests_holds_as_a_whole() -> None:
    parameters = Parameters()
    sequence = TextSequence()
    assert sequence.answer([("MaxRecvDataSegmentLength", "1024")]) == []
    assert sequence.answer([("InitiatorAlias", "a")]) == []
    assert parameters == Parameters()
    sequence.commit(parameters)
    assert parameters == Parameters(initiator_max_recv_data_segment_length=1024, initiator_alias="a")
    with pytest.raises(PduRejected):
        sequence.answer([("MaxRecvDataSegmentLength", "2048")])


@pytest.mark.conformance("TXT-006")
def test_each_sequence_may_declare_the_length() -> None:
    parameters = Parameters()
    for value in ("1024", "2048"):
        answer_text([("MaxRecvDataSegmentLength", value)], parameters)
    assert parameters.initiator_max_recv_data_segment_length == 2048


@pytest.mark.conformance("NEG-034")
@given(st.lists(st.tuples(st.one_of(st.sampled_from(sorted(KEYS)), st.text()), st.text())))
def test_no_pairs_raise_another_exception(pairs: list[tuple[str, str]]) -> None:
    parameters = Parameters()
    try:
        answer_text(pairs, parameters)
    except PduRejected:
        assert parameters == Parameters()
