"""Each key of RFC 7143 has its default, its range and its result function (13)."""

from dataclasses import replace
from typing import Any

import pytest
from login_initiator import DISCOVERY, FULL_FEATURE, NAMES, OPERATIONAL, Initiator, operational, status

from mpxtarget.iscsi.errors import NegotiationError
from mpxtarget.iscsi.keys import KEYS, Irrelevant, Kind, Result, Scope, Sender, Stages, Use
from mpxtarget.iscsi.login import LoginState
from mpxtarget.iscsi.negotiation import Limits, Negotiation, Parameters

LIMITS = Limits(
    max_recv_data_segment_length=131072,
    max_burst_length=131072,
    first_burst_length=32768,
    max_outstanding_r2t=4,
    default_time2wait=5,
    default_time2retain=30,
    max_connections=2,
)


def negotiate(key: str, value: str, *, limits: Limits = LIMITS) -> tuple[str | None, object]:
    """The answer to one offer, and the value that holds afterwards."""
    negotiation = Negotiation(limits, discovery=False, leading=True)
    answer = dict(negotiation.answer([(key, value)])).get(key)
    attribute = KEYS[key].attribute
    return answer, getattr(negotiation.agree(), attribute) if attribute else None


# key, ours, default, and (offer, result) at the ends of the range, around our value, and as hex
NUMBERS = [
    ("MaxConnections", 2, 1, [(1, 1), (2, 2), (3, 2), (65535, 2)]),
    ("MaxBurstLength", 131072, 262144, [(512, 512), (131072, 131072), (131073, 131072), (16777215, 131072)]),
    ("FirstBurstLength", 32768, 65536, [(512, 512), (32767, 32767), (32768, 32768), (16777215, 32768)]),
    ("DefaultTime2Wait", 5, 2, [(0, 5), (4, 5), (5, 5), (6, 6), (3600, 3600)]),
    ("DefaultTime2Retain", 30, 20, [(0, 0), (29, 29), (30, 30), (31, 30), (3600, 30)]),
    ("MaxOutstandingR2T", 4, 1, [(1, 1), (3, 3), (4, 4), (5, 4), (65535, 4)]),
    ("ErrorRecoveryLevel", 0, 0, [(0, 0), (1, 0), (2, 0)]),
    ("iSCSIProtocolLevel", 1, 1, [(0, 0), (1, 1), (2, 1), (31, 1)]),
]
NUMBER_CASES = [(key, offer, result) for key, _, _, cases in NUMBERS for offer, result in cases]


@pytest.mark.conformance(
    "KEY-101", "KEY-003", "KEY-014", "KEY-015", "KEY-016", "KEY-017", "KEY-018", "KEY-021", "KEY-024"
)
@pytest.mark.conformance("NEG-014", "ERL-001")
@pytest.mark.parametrize(("key", "offer", "result"), NUMBER_CASES)
def test_a_number_is_answered_with_the_result(key: str, offer: int, result: int) -> None:
    assert negotiate(key, str(offer)) == (str(result), result)


@pytest.mark.conformance("KEY-101")
@pytest.mark.conformance("NEG-007")
@pytest.mark.parametrize(("key", "offer", "result"), NUMBER_CASES)
@pytest.mark.parametrize("form", ["0x{:x}", "0X{:X}", "0x000{:x}"])
def test_a_number_may_be_hexadecimal(key: str, offer: int, result: int, form: str) -> None:
    assert negotiate(key, form.format(offer)) == (str(result), result)


@pytest.mark.conformance("KEY-101")
@pytest.mark.conformance("NEG-015")
@pytest.mark.conformance("NEG-016")
@pytest.mark.parametrize(("key", "default"), [(key, default) for key, _, default, _ in NUMBERS])
def test_a_number_out_of_range_is_rejected_and_the_default_holds(key: str, default: int) -> None:
    row = KEYS[key]
    limits = replace(LIMITS, first_burst_length=131072, max_burst_length=131072)
    outside = [str(row.high + 1), hex(row.high + 1), str(1 << 63), "-1", str(row.low - 1)]
    for value in [*outside, "", "x", "1.5", " 1", "1 ", "01", "0x", "1,2", "0b1", "None"]:
        answer, agreed = negotiate(key, value, limits=limits)
        assert (answer, agreed) == ("Reject", default), value


@pytest.mark.conformance("NEG-007")
def test_numbers_have_less_than_64_bits() -> None:
    assert negotiate("MaxBurstLength", str((1 << 64) + 4096))[0] == "Reject"
    assert negotiate("MaxBurstLength", hex((1 << 64) + 4096))[0] == "Reject"
    assert negotiate("MaxBurstLength", "9" * 5000)[0] == "Reject"


# key, ours, offer, result
BOOLEANS = [
    ("InitialR2T", "No", "No", "No"),
    ("InitialR2T", "No", "Yes", "Yes"),
    ("InitialR2T", "Yes", "No", "Yes"),
    ("InitialR2T", "Yes", "Yes", "Yes"),
    ("ImmediateData", "Yes", "Yes", "Yes"),
    ("ImmediateData", "Yes", "No", "No"),
    ("ImmediateData", "No", "Yes", "No"),
    ("ImmediateData", "No", "No", "No"),
    ("DataPDUInOrder", "Yes", "No", "Yes"),
    ("DataPDUInOrder", "Yes", "Yes", "Yes"),
    ("DataSequenceInOrder", "Yes", "No", "Yes"),
    ("DataSequenceInOrder", "Yes", "Yes", "Yes"),
]


@pytest.mark.conformance("KEY-101", "KEY-011", "KEY-012", "KEY-019", "KEY-020", "WRT-018")
@pytest.mark.conformance("KEY-102")
@pytest.mark.conformance("NEG-017")
@pytest.mark.parametrize(("key", "ours", "offer", "result"), BOOLEANS)
def test_a_boolean_is_answered_with_the_result(key: str, ours: str, offer: str, result: str) -> None:
    own: dict[str, Any] = {KEYS[key].attribute: ours == "Yes"} if key[0] == "I" else {}
    limits = replace(LIMITS, **own)
    assert negotiate(key, offer, limits=limits) == (result, result == "Yes")


@pytest.mark.conformance("KEY-101")
@pytest.mark.conformance("NEG-001")
@pytest.mark.conformance("NEG-015")
@pytest.mark.parametrize("key", sorted({key for key, _, _, _ in BOOLEANS}))
@pytest.mark.parametrize("value", ["yes", "YES", "no", "1", "0", "true", "", "Yes,No", "Yes "])
def test_a_boolean_is_yes_or_no(key: str, value: str) -> None:
    assert negotiate(key, value) == ("Reject", True)


# key, ours, offer, answer (None: the login fails), value
LISTS = [
    ("HeaderDigest", ("CRC32C", "None"), "None", "None", False),
    ("HeaderDigest", ("CRC32C", "None"), "CRC32C", "CRC32C", True),
    ("HeaderDigest", ("CRC32C", "None"), "None,CRC32C", "None", False),
    ("HeaderDigest", ("CRC32C", "None"), "CRC32C,None", "CRC32C", True),
    ("HeaderDigest", ("CRC32C", "None"), "Y-odd.example.sum,CRC32C,None", "CRC32C", True),
    ("HeaderDigest", ("CRC32C",), "None,CRC32C", "CRC32C", True),
    ("HeaderDigest", ("None",), "CRC32C,None", "None", False),
    ("HeaderDigest", ("CRC32C",), "None", None, None),
    ("HeaderDigest", ("None",), "CRC32C", None, None),
    ("HeaderDigest", ("CRC32C", "None"), "crc32c", None, None),
    ("HeaderDigest", ("CRC32C", "None"), "", None, None),
    ("DataDigest", ("CRC32C", "None"), "CRC32C", "CRC32C", True),
    ("DataDigest", ("CRC32C", "None"), "None,CRC32C", "None", False),
    ("DataDigest", ("CRC32C",), "None", None, None),
    ("TaskReporting", ("ResponseFence",), "FastAbort,ResponseFence", "ResponseFence", "ResponseFence"),
    ("TaskReporting", ("RFC3720", "ResponseFence"), "RFC3720", "RFC3720", "RFC3720"),
    ("TaskReporting", ("RFC3720",), "ResponseFence,RFC3720", "RFC3720", "RFC3720"),
    ("TaskReporting", ("RFC3720", "ResponseFence"), "FastAbort", None, None),
]  # fmt: skip
LIST_LIMITS = {
    "HeaderDigest": "header_digests",
    "DataDigest": "data_digests",
    "TaskReporting": "task_reporting",
}


@pytest.mark.conformance("KEY-101", "KEY-001", "KEY-002", "KEY-023")
@pytest.mark.conformance("NEG-011")
@pytest.mark.conformance("NEG-012")
@pytest.mark.conformance("NEG-013")
@pytest.mark.parametrize(("key", "ours", "offer", "answer", "value"), LISTS)
def test_of_a_list_the_first_acceptable_value_counts(
    key: str, ours: tuple[str, ...], offer: str, answer: str | None, value: object
) -> None:
    own: dict[str, Any] = {LIST_LIMITS[key]: ours}
    limits = replace(LIMITS, **own)
    if answer is None:
        with pytest.raises(NegotiationError):
            negotiate(key, offer, limits=limits)
        reply = Initiator(limits=limits).send([*NAMES, (key, offer)], csg=OPERATIONAL, nsg=FULL_FEATURE)
        assert status(reply) == 0x0200
    else:
        assert negotiate(key, offer, limits=limits) == (answer, value)


@pytest.mark.conformance("KEY-101")
@pytest.mark.conformance("NEG-030")
def test_what_was_not_offered_keeps_its_default() -> None:
    limits = replace(LIMITS, max_burst_length=262144)
    negotiation = Negotiation(limits, discovery=False, leading=True)
    assert negotiation.answer([]) == [("MaxRecvDataSegmentLength", "131072")]
    agreed = negotiation.agree()
    assert agreed == Parameters(target_max_recv_data_segment_length=131072)
    for row in KEYS.values():
        if row.attribute and row.default:
            shown = getattr(agreed, row.attribute)
            words = (
                {True: "CRC32C", False: "None"} if "digest" in row.attribute else {True: "Yes", False: "No"}
            )
            assert (words[shown] if isinstance(shown, bool) else str(shown)) == row.default, row.name


@pytest.mark.conformance("KEY-103")
def test_of_the_times_the_wait_is_the_longer_and_the_retention_the_shorter() -> None:
    said = operational(Initiator(limits=LIMITS), [("DefaultTime2Wait", "0"), ("DefaultTime2Retain", "3600")])
    assert (said["DefaultTime2Wait"], said["DefaultTime2Retain"]) == ("5", "30")


@pytest.mark.conformance("KEY-104")
@pytest.mark.conformance("KEY-013")
@pytest.mark.parametrize("theirs", [512, 8192, 131072, 262144, 16777215])
def test_segment_lengths_are_declared_for_each_direction(theirs: int) -> None:
    initiator = Initiator(limits=LIMITS)
    said = operational(initiator, [("MaxRecvDataSegmentLength", hex(theirs))])
    assert said["MaxRecvDataSegmentLength"] == "131072"
    parameters = initiator.outcomes[0].parameters
    assert parameters.initiator_max_recv_data_segment_length == theirs
    assert parameters.target_max_recv_data_segment_length == 131072


@pytest.mark.conformance("NEG-035")
@pytest.mark.conformance("KEY-101")
@pytest.mark.parametrize("value", ["511", "16777216", "0", "-1", "", "x", "0x", "010000", "None"])
def test_a_segment_length_that_is_none_fails_the_login(value: str) -> None:
    pairs = [*NAMES, ("MaxRecvDataSegmentLength", value)]
    assert status(Initiator().send(pairs, csg=OPERATIONAL, nsg=FULL_FEATURE)) == 0x0200


@pytest.mark.conformance("PDU-020")
@pytest.mark.conformance("KEY-025")
@pytest.mark.conformance("KEY-026")
@pytest.mark.conformance("KEY-027")
@pytest.mark.conformance("KEY-028")
@pytest.mark.conformance("NEG-019")
@pytest.mark.parametrize("names", [NAMES, DISCOVERY])
@pytest.mark.parametrize("value", ["No", "Yes", "2048", "2048~8192", ""])
def test_markers_are_never_agreed_and_never_unknown(names: tuple[tuple[str, str], ...], value: str) -> None:
    pairs = [(key, value) for key in ("IFMarker", "OFMarker", "IFMarkInt", "OFMarkInt")]
    said = operational(Initiator(), pairs, names)
    assert (said["IFMarker"], said["OFMarker"]) == ("No", "No")
    assert (said["IFMarkInt"], said["OFMarkInt"]) == ("Reject", "Reject")


@pytest.mark.conformance("KEY-029")
@pytest.mark.conformance("NEG-021")
@pytest.mark.parametrize("csg", [0, 1])
def test_node_architecture_is_taken_and_forgotten(csg: int) -> None:
    initiator = Initiator()
    reply = initiator.send([*NAMES, ("X#NodeArchitecture", "x" * 255)], csg=csg, nsg=FULL_FEATURE)
    assert reply.state is LoginState.ESTABLISHED
    assert b"NodeArchitecture" not in reply.data
    assert status(Initiator().send([*NAMES, ("X#NodeArchitecture", "x" * 256)], csg=csg)) == 0x0200


@pytest.mark.conformance("KEY-030")
@pytest.mark.conformance("KEY-031")
@pytest.mark.conformance("NEG-018")
@pytest.mark.parametrize("names", [NAMES, DISCOVERY])
@pytest.mark.parametrize(
    "key",
    [
        "X-com.example.a",
        "RDMAExtensions",
        "InitiatorRecvDataSegmentLength",
        "TargetRecvDataSegmentLength",
        "Zz",
    ],
)
def test_foreign_keys_are_not_understood(key: str, names: tuple[tuple[str, str], ...]) -> None:
    assert operational(Initiator(), [(key, "Yes")], names)[key] == "NotUnderstood"


@pytest.mark.conformance("KEY-105")
@pytest.mark.conformance("NEG-024")
def test_discovery_leaves_what_it_does_not_need() -> None:
    initiator = Initiator(limits=LIMITS)
    offers = {
        "MaxConnections": "8",
        "InitialR2T": "No",
        "ImmediateData": "No",
        "MaxBurstLength": "4096",
        "FirstBurstLength": "4096",
        "MaxOutstandingR2T": "16",
        "DataPDUInOrder": "Yes",
        "DataSequenceInOrder": "Yes",
        "TaskReporting": "FastAbort",
    }
    said = operational(initiator, offers.items(), DISCOVERY)
    assert {said[key] for key in offers} == {"Irrelevant"}
    kept = {"ErrorRecoveryLevel": "2", "DefaultTime2Wait": "0", "HeaderDigest": "CRC32C"}
    said = operational(Initiator(limits=replace(LIMITS, error_recovery_level=2)), kept.items(), DISCOVERY)
    assert (
        said.items() >= {"ErrorRecoveryLevel": "0", "DefaultTime2Wait": "5", "HeaderDigest": "CRC32C"}.items()
    )
    assert initiator.outcomes[0].parameters.max_connections == 1


@pytest.mark.conformance("KEY-024")
def test_the_protocol_level_is_irrelevant_in_discovery() -> None:
    negotiation = Negotiation(LIMITS, discovery=True, leading=True)
    assert ("iSCSIProtocolLevel", "Irrelevant") in negotiation.answer([("iSCSIProtocolLevel", "2")])


def test_the_table_has_every_key_once_and_in_order() -> None:
    chapters = [tuple(int(part) for part in row.section.split(".")) for row in KEYS.values()]
    assert chapters == sorted(chapters)
    assert set(chapters) >= {(13, n) for n in range(1, 27) if n != 22}
    for row in KEYS.values():
        assert row.kind is not Kind.NUMBER or row.result is Result.BY_METHOD or row.low < row.high
        assert row.use is not Use.LEADING_ONLY or row.scope is Scope.SESSION
        assert (row.stages is Stages.NONE) == (row.use is Use.FULL_FEATURE_ONLY)
        assert bool(row.attribute) == (row.default is not None and row.name in _NEGOTIATED_HERE)


_NEGOTIATED_HERE = {key for key, *_ in NUMBERS} | {key for key, *_ in BOOLEANS} | set(LIST_LIMITS)


@pytest.mark.conformance("KEY-101")
def test_the_tables_of_this_test_cover_all_negotiated_keys() -> None:
    assert {row.name for row in KEYS.values() if row.attribute} == _NEGOTIATED_HERE
    irrelevant = {row.name for row in KEYS.values() if row.irrelevant is not Irrelevant.NEVER}
    assert len(irrelevant) == 10
    assert all(Irrelevant.IN_DISCOVERY in KEYS[name].irrelevant for name in irrelevant)
    targets = {row.name for row in KEYS.values() if row.sender is Sender.TARGET}
    assert targets == {"TargetAlias", "TargetAddress", "TargetPortalGroupTag"}


@pytest.mark.parametrize(
    "bad",
    [
        {"max_burst_length": 511},
        {"max_recv_data_segment_length": 1 << 24},
        {"max_outstanding_r2t": 0},
        {"default_time2wait": 3601},
        {"error_recovery_level": 3},
        {"first_burst_length": 262145},
        {"header_digests": ()},
        {"data_digests": ("MD5",)},
        {"task_reporting": ("FastAbort",)},
        {"command_window": 0},
    ],
)
def test_limits_that_could_not_be_kept_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"number|exceed|one or more|window"):
        Limits(**bad)  # type: ignore[arg-type]
