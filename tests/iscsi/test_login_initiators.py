"""The initiators of the field log in with the texts they really send."""

import pytest
from login_initiator import (
    FULL_FEATURE,
    ONE_WAY,
    OPERATIONAL,
    SECRET,
    SECURITY,
    TARGET,
    TSIH,
    USER,
    Initiator,
    answers,
)

from mpxtarget.iscsi.chap import chap_response
from mpxtarget.iscsi.login import LoginState
from mpxtarget.iscsi.negotiation import Limits
from mpxtarget.pdu import format_hex, parse_binary

WINDOWS = "iqn.1991-05.com.microsoft:win-2008_r2.example.com"
WINDOWS_OFFERS = [
    ("HeaderDigest", "None,CRC32C"),
    ("DataDigest", "None,CRC32C"),
    ("ErrorRecoveryLevel", "2"),
    ("InitialR2T", "No"),
    ("ImmediateData", "Yes"),
    ("MaxRecvDataSegmentLength", "65536"),
    ("MaxBurstLength", "262144"),
    ("FirstBurstLength", "65536"),
    ("MaxConnections", "32"),
    ("DataPDUInOrder", "Yes"),
    ("DataSequenceInOrder", "Yes"),
    ("DefaultTime2Wait", "0"),
    ("DefaultTime2Retain", "60"),
    ("MaxOutstandingR2T", "16"),
]


def names(initiator: str) -> list[tuple[str, str]]:
    return [("InitiatorName", initiator), ("SessionType", "Normal"), ("TargetName", TARGET)]


@pytest.mark.conformance("KEY-106")
@pytest.mark.conformance("NEG-036")
def test_windows_normal_session() -> None:
    initiator = Initiator(isid=0x400001370000, itt=1, cid=1, cmd_sn=1)
    first = initiator.send([*names(WINDOWS), ("AuthMethod", "None")], csg=SECURITY, nsg=OPERATIONAL)
    assert answers(first) == {"TargetPortalGroupTag": "1", "AuthMethod": "None"}
    assert (first.response.transit, first.response.nsg, first.response.tsih) == (1, 1, 0)
    last = initiator.send(WINDOWS_OFFERS, csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert answers(last) == {
        "HeaderDigest": "None",
        "DataDigest": "None",
        "ErrorRecoveryLevel": "0",
        "InitialR2T": "No",
        "ImmediateData": "Yes",
        "MaxBurstLength": "262144",
        "FirstBurstLength": "65536",
        "MaxConnections": "1",
        "DataPDUInOrder": "Yes",
        "DataSequenceInOrder": "Yes",
        "DefaultTime2Wait": "2",
        "DefaultTime2Retain": "0",
        "MaxOutstandingR2T": "16",
        "MaxRecvDataSegmentLength": "262144",
    }
    assert (last.state, last.response.tsih) == (LoginState.ESTABLISHED, TSIH)
    assert last.response.max_cmd_sn > last.response.exp_cmd_sn == 1


@pytest.mark.conformance("KEY-106")
def test_windows_discovery_session() -> None:
    initiator = Initiator(isid=0x400001370000, itt=1, cid=1, cmd_sn=1)
    pairs = [("InitiatorName", WINDOWS), ("SessionType", "Discovery"), ("AuthMethod", "None")]
    assert answers(initiator.send(pairs, csg=SECURITY, nsg=OPERATIONAL)) == {"AuthMethod": "None"}
    keys = (
        "HeaderDigest",
        "DataDigest",
        "MaxRecvDataSegmentLength",
        "DefaultTime2Wait",
        "DefaultTime2Retain",
    )
    offers = [pair for pair in WINDOWS_OFFERS if pair[0] in keys]
    last = initiator.send(offers, csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert set(answers(last)) == set(keys)
    assert last.state is LoginState.ESTABLISHED
    assert initiator.outcomes[0].parameters.initiator_max_recv_data_segment_length == 65536


OPEN_ISCSI_OFFERS = [
    ("HeaderDigest", "None"),
    ("DataDigest", "None"),
    ("DefaultTime2Wait", "2"),
    ("DefaultTime2Retain", "0"),
    ("IFMarker", "No"),
    ("OFMarker", "No"),
    ("ErrorRecoveryLevel", "0"),
    ("InitialR2T", "No"),
    ("ImmediateData", "Yes"),
    ("MaxBurstLength", "16776192"),
    ("FirstBurstLength", "262144"),
    ("MaxOutstandingR2T", "1"),
    ("MaxConnections", "1"),
    ("DataPDUInOrder", "Yes"),
    ("DataSequenceInOrder", "Yes"),
    ("MaxRecvDataSegmentLength", "262144"),
]
OPEN_ISCSI = "iqn.1993-08.org.debian:01:5ab9be1f6e2"


def open_iscsi_names(session_type: str) -> list[tuple[str, str]]:
    target = [("TargetName", TARGET)] if session_type == "Normal" else []
    return [("InitiatorName", OPEN_ISCSI), ("InitiatorAlias", "lab"), *target, ("SessionType", session_type)]


@pytest.mark.parametrize("method", ["None", "CHAP,None"])
def test_open_iscsi_without_authentication(method: str) -> None:
    initiator = Initiator(alias="EVA")
    first = initiator.send(
        [*open_iscsi_names("Normal"), ("AuthMethod", method)], csg=SECURITY, nsg=OPERATIONAL
    )
    assert answers(first)["AuthMethod"] == "None"
    last = initiator.send(OPEN_ISCSI_OFFERS, csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert last.state is LoginState.ESTABLISHED
    said = answers(last)
    assert said["MaxBurstLength"] == said["FirstBurstLength"] == "262144"
    # open-iscsi fails its login on any other answer to these.
    fixed = {
        "ErrorRecoveryLevel": "0",
        "MaxConnections": "1",
        "MaxOutstandingR2T": "1",
        "HeaderDigest": "None",
    }
    assert said.items() >= fixed.items()
    assert initiator.outcomes[0].parameters.initiator_alias == "lab"


def test_open_iscsi_straight_into_the_operational_stage() -> None:
    initiator = Initiator()
    pairs = [*open_iscsi_names("Normal"), *OPEN_ISCSI_OFFERS]
    assert initiator.send(pairs, csg=OPERATIONAL, nsg=FULL_FEATURE).state is LoginState.ESTABLISHED


@pytest.mark.conformance("KEY-021")
def test_open_iscsi_discovery() -> None:
    initiator = Initiator()
    pairs = [*open_iscsi_names("Discovery"), ("AuthMethod", "None")]
    initiator.send(pairs, csg=SECURITY, nsg=OPERATIONAL)
    offers = [*OPEN_ISCSI_OFFERS[:7], ("MaxRecvDataSegmentLength", "32768")]
    last = initiator.send(offers, csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert answers(last)["ErrorRecoveryLevel"] == "0"
    assert last.state is LoginState.ESTABLISHED


LIBISCSI_NAMES = [
    ("InitiatorName", "iqn.2008-11.org.linux-kvm:guest"),
    ("TargetName", TARGET),
    ("SessionType", "Normal"),
]
LIBISCSI_OFFERS = [
    ("HeaderDigest", "None,CRC32C"),
    ("DataDigest", "None"),
    ("InitialR2T", "No"),
    ("ImmediateData", "Yes"),
    ("MaxBurstLength", "262144"),
    ("FirstBurstLength", "262144"),
    ("DefaultTime2Wait", "2"),
    ("DefaultTime2Retain", "0"),
    ("MaxOutstandingR2T", "1"),
    ("ErrorRecoveryLevel", "0"),
    ("IFMarker", "No"),
    ("OFMarker", "No"),
    ("MaxConnections", "1"),
    ("MaxRecvDataSegmentLength", "262144"),
    ("DataPDUInOrder", "Yes"),
    ("DataSequenceInOrder", "Yes"),
]


def test_libiscsi_without_a_user() -> None:
    initiator = Initiator()
    reply = initiator.send([*LIBISCSI_NAMES, *LIBISCSI_OFFERS], csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert reply.state is LoginState.ESTABLISHED
    assert answers(reply)["IFMarker"] == "No"


@pytest.mark.conformance("NEG-025")
def test_libiscsi_with_chap_says_who_it_is_in_each_stage() -> None:
    initiator = Initiator(chap=ONE_WAY)
    offer = [*LIBISCSI_NAMES, ("AuthMethod", "CHAP,None")]
    assert answers(initiator.send(offer, csg=SECURITY, nsg=OPERATIONAL))["AuthMethod"] == "CHAP"
    challenge = answers(initiator.send([("CHAP_A", "5")], csg=SECURITY))
    digest = chap_response(5, int(challenge["CHAP_I"]), SECRET, parse_binary(challenge["CHAP_C"]))
    response = [("CHAP_N", USER), ("CHAP_R", format_hex(digest).upper().replace("X", "x", 1))]
    assert initiator.send(response, csg=SECURITY, nsg=OPERATIONAL).response.transit == 1
    last = initiator.send([*LIBISCSI_NAMES, *LIBISCSI_OFFERS], csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert last.state is LoginState.ESTABLISHED


@pytest.mark.conformance("NEG-036")
def test_nothing_is_said_that_was_not_asked_for() -> None:
    initiator = Initiator(alias="EVA")
    reply = initiator.send(names(WINDOWS), csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert set(answers(reply)) == {"TargetPortalGroupTag", "TargetAlias", "MaxRecvDataSegmentLength"}


@pytest.mark.conformance("NEG-033")
@pytest.mark.parametrize("own", [512, 8192, 262144])
def test_our_segment_length_is_declared_once_in_the_operational_stage(own: int) -> None:
    initiator = Initiator(limits=Limits(max_recv_data_segment_length=own))
    assert "MaxRecvDataSegmentLength" not in answers(initiator.send(names(WINDOWS), nsg=OPERATIONAL))
    said = [answers(initiator.send(csg=OPERATIONAL, nsg=nsg)) for nsg in (None, FULL_FEATURE)]
    assert said == [{"MaxRecvDataSegmentLength": str(own)}, {}]
    assert initiator.outcomes[0].parameters.target_max_recv_data_segment_length == own


@pytest.mark.conformance("LGN-036")
def test_our_segment_length_is_the_default_where_it_was_not_declared() -> None:
    initiator = Initiator()
    initiator.send(names(WINDOWS), csg=SECURITY, nsg=FULL_FEATURE)
    assert initiator.outcomes[0].parameters.target_max_recv_data_segment_length == 8192


@pytest.mark.conformance("NEG-023")
@pytest.mark.parametrize("key", ["TargetPortalGroupTag", "TargetAlias", "MaxRecvDataSegmentLength"])
def test_what_we_declared_may_be_called_irrelevant(key: str) -> None:
    initiator = Initiator(alias="EVA")
    initiator.send(names(WINDOWS), csg=OPERATIONAL)
    reply = initiator.send([(key, "Irrelevant")], csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert answers(reply) == {}
    assert reply.state is LoginState.ESTABLISHED


@pytest.mark.conformance("NEG-020")
def test_what_we_declared_is_answered_once() -> None:
    initiator = Initiator()
    initiator.send(names(WINDOWS), csg=OPERATIONAL)
    answer = [("TargetPortalGroupTag", "Irrelevant")]
    assert initiator.send(answer, csg=OPERATIONAL).response.status_class == 0
    assert initiator.send(answer, csg=OPERATIONAL).response.status_class == 2


@pytest.mark.conformance("NEG-022")
@pytest.mark.parametrize("value", ["NotUnderstood", "Reject"])
def test_what_we_declared_has_to_be_understood(value: str) -> None:
    initiator = Initiator(alias="EVA")
    initiator.send(names(WINDOWS), csg=OPERATIONAL)
    reply = initiator.send([("TargetAlias", value)], csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert reply.response.status_class == 2
