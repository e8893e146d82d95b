"""The initiator logs in as RFC 7143 6.3 says, and believes no Login Response that breaks a rule."""

import hashlib
from collections.abc import Callable

import pytest
from scripted_target import ScriptedTarget

from mpxtarget.pdu import LoginRequest, LoginResponse, Pdu, decode_pairs, encode_pairs, parse_binary
from mpxtarget.testing import (
    ChapCredentials,
    InitiatorConnection,
    LoggedIn,
    LoginFailed,
    LoginOptions,
    TargetMistake,
)
from mpxtarget.testing.login import LoginExchange, Refusal
from mpxtarget.testing.pair import Pair, byte_by_byte

TARGET = "iqn.2001-04.com.example:disk"


def log_in(target: ScriptedTarget, options: LoginOptions) -> object:
    (event,) = Pair(InitiatorConnection(options), target).login()
    return event


def requests(target: ScriptedTarget) -> list[LoginRequest]:
    return [pdu for pdu, _ in target.received if isinstance(pdu, LoginRequest)]


@pytest.mark.parametrize(
    ("security", "operational", "stages"),
    [
        (True, True, [(0, 1, 1), (1, 1, 3)]),
        (False, True, [(1, 1, 3)]),
        (True, False, [(0, 1, 3)]),
    ],
)
def test_stages_are_as_asked(security: bool, operational: bool, stages: list[tuple[int, int, int]]) -> None:
    target = ScriptedTarget()
    options = LoginOptions(target=TARGET, security_stage=security, operational_stage=operational)
    event = log_in(target, options)
    assert isinstance(event, LoggedIn)
    assert event.tsih == 0x1234
    assert [(pdu.csg, pdu.transit, pdu.nsg) for pdu in requests(target)] == stages


def test_the_first_request_names_both_sides_and_the_session() -> None:
    target = ScriptedTarget()
    log_in(target, LoginOptions(target=TARGET, initiator="iqn.2001-04.com.example:me", alias="me", cid=3))
    pdu, data = target.received[0]
    assert decode_pairs(data) == [
        ("InitiatorName", "iqn.2001-04.com.example:me"),
        ("InitiatorAlias", "me"),
        ("TargetName", TARGET),
        ("SessionType", "Normal"),
        ("AuthMethod", "None"),
    ]
    assert isinstance(pdu, LoginRequest)
    assert (pdu.isid >> 46, pdu.tsih, pdu.cid, pdu.version_max, pdu.immediate) == (2, 0, 3, 0, 1)


def test_a_discovery_login_needs_no_target_and_no_tag() -> None:
    target = ScriptedTarget(TargetPortalGroupTag="")
    assert isinstance(log_in(target, LoginOptions(discovery=True)), LoggedIn)
    assert b"SessionType=Discovery" in target.received[0][1]
    assert b"TargetName" not in target.received[0][1]


@pytest.mark.parametrize("length", [1, 7, 40, 300])
def test_text_is_cut_with_the_c_bit(length: int) -> None:
    target = ScriptedTarget()
    pair = Pair(InitiatorConnection(LoginOptions(target=TARGET, segment_length=length)), target)
    pair.to_target.cutter = pair.to_initiator.cutter = byte_by_byte
    (event,) = pair.login()
    assert isinstance(event, LoggedIn)
    assert all(len(data) <= length for _, data in target.received)
    assert all(not pdu.transit for pdu in requests(target) if pdu.continue_)
    assert [pdu.continue_ for pdu in requests(target)].count(0) == 2


def test_what_was_agreed_holds() -> None:
    answers = {
        "HeaderDigest": "CRC32C",
        "InitialR2T": "Yes",
        "ImmediateData": "No",
        "MaxBurstLength": "0x10000",
        "FirstBurstLength": "Irrelevant",
        "MaxOutstandingR2T": "Reject",
        "DefaultTime2Wait": "5",
        "MaxRecvDataSegmentLength": "4096",
        "X-org.example.key": "NotUnderstood",
        "TargetPortalGroupTag": "7",
    }
    keys = {"HeaderDigest": "None,CRC32C", "MaxOutstandingR2T": "16", "X-org.example.key": "1"}
    keys |= {"MaxRecvDataSegmentLength": "65536"}
    event = log_in(ScriptedTarget(**answers), LoginOptions(target=TARGET, keys=keys))
    assert isinstance(event, LoggedIn)
    agreed = event.parameters
    assert (agreed.header_digest, agreed.data_digest) == (True, False)
    assert (agreed.initial_r2t, agreed.immediate_data) == (True, False)
    assert (agreed.max_burst_length, agreed.first_burst_length) == (65536, 65536)
    assert agreed.max_outstanding_r2t == 1
    assert agreed.default_time2wait == 5
    assert (agreed.send_limit, agreed.receive_limit) == (4096, 65536)
    assert agreed.portal_group_tag == 7


def test_silence_confirms_only_where_the_result_is_fixed() -> None:
    keys = {"InitialR2T": "Yes", "ImmediateData": "No"}
    event = log_in(ScriptedTarget(InitialR2T="", ImmediateData=""), LoginOptions(target=TARGET, keys=keys))
    assert isinstance(event, LoggedIn)
    assert (event.parameters.initial_r2t, event.parameters.immediate_data) == (True, False)
    with pytest.raises(TargetMistake, match="no answer to InitialR2T"):
        log_in(ScriptedTarget(InitialR2T=""), LoginOptions(target=TARGET))


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"MaxBurstLength": "262145"}, "above the offer"),
        ({"MaxBurstLength": "0262144"}, "not a number"),
        ({"MaxBurstLength": "512"}, "FirstBurstLength 65536 above MaxBurstLength"),
        ({"DefaultTime2Wait": "1"}, "below the offer"),
        ({"HeaderDigest": "CRC32C"}, "not in the list"),
        ({"DataPDUInOrder": "No"}, "DataPDUInOrder=Yes was answered No"),
        ({"ImmediateData": "yes"}, "answered yes"),
        ({"MaxConnections": "NotUnderstood"}, "a key of RFC 7143"),
        ({"TargetPortalGroupTag": ""}, "no TargetPortalGroupTag"),
        ({"TargetPortalGroupTag": "65536"}, "TargetPortalGroupTag=65536"),
        ({"MaxRecvDataSegmentLength": "511"}, "MaxRecvDataSegmentLength=511"),
        ({"AuthMethod": "CHAP"}, "AuthMethod=CHAP was not offered"),
        ({"AuthMethod": ""}, "without an answer to AuthMethod"),
    ],
)
def test_an_answer_that_is_no_result_is_told(answers: dict[str, str], told: str) -> None:
    with pytest.raises(TargetMistake, match=told):
        log_in(ScriptedTarget(**answers), LoginOptions(target=TARGET))


def test_a_made_up_key_must_be_answered_not_understood() -> None:
    with pytest.raises(TargetMistake, match="made it up"):
        log_in(ScriptedTarget(Whatever="Yes"), LoginOptions(target=TARGET, keys={"Whatever": "1"}))


def test_a_key_nobody_asked_for_is_told() -> None:
    exchange = LoginExchange(LoginOptions(target=TARGET, security_stage=False))
    request, _ = exchange.start()
    response = LoginResponse(csg=1, itt=request.itt, isid=request.isid, exp_cmd_sn=1, max_cmd_sn=1)
    with pytest.raises(TargetMistake, match="OFMarker=No was not asked for"):
        exchange.receive(response, encode_pairs([("TargetPortalGroupTag", "1"), ("OFMarker", "No")]))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"itt": 77}, "ITT 0x4d"),
        ({"isid": 1}, "ISID"),
        ({"version_active": 1}, "Version-active 1"),
        ({"csg": 1}, "CSG 1 in the answer to CSG 0"),
        ({"nsg": 3}, "NSG 3 in the answer to NSG 1"),
        ({"nsg": 0}, "NSG 0"),
        ({"transit": 0}, "NSG in a response with T=0"),
        ({"tsih": 9}, "TSIH 0x9 before the Final-Response"),
        ({"continue_": 1}, "both C and T"),
        ({"exp_cmd_sn": 2}, "ExpCmdSN 2 in a leading login"),
        ({"max_cmd_sn": 0xFFFFFFFF}, "MaxCmdSN below ExpCmdSN - 1"),
        ({"status_class": 2, "status_detail": 1}, "status 0x0201 with T"),
    ],
)
def test_a_wrong_field_in_a_login_response_is_told(changes: dict[str, int], told: str) -> None:
    target = ScriptedTarget()

    def bend(pdu: Pdu) -> None:
        for name, value in changes.items():
            setattr(pdu, name, value)

    target.bend = bend
    with pytest.raises(TargetMistake, match=told):
        log_in(target, LoginOptions(target=TARGET))


@pytest.mark.parametrize("field", ["tsih", "stat_sn"])
def test_a_wrong_final_response_is_told(field: str) -> None:
    target = ScriptedTarget()

    def bend(pdu: Pdu) -> None:
        if getattr(pdu, "nsg", 0) == 3:
            setattr(pdu, field, 0)

    target.bend = bend
    with pytest.raises(TargetMistake, match="TSIH 0" if field == "tsih" else "StatSN 0, expected 7001"):
        log_in(target, LoginOptions(target=TARGET))


def test_a_refusal_is_an_event_and_the_end() -> None:
    target = ScriptedTarget()

    def refuse(pdu: Pdu) -> None:
        target.silent = True
        assert isinstance(pdu, LoginResponse)
        pdu.status_class, pdu.status_detail = 2, 3
        pdu.transit = pdu.csg = pdu.nsg = 0
        pdu.stat_sn = 0

    target.bend = refuse
    target.login_answer = lambda pdu: {}  # type: ignore[method-assign]
    assert log_in(target, LoginOptions(target=TARGET)) == LoginFailed(0x0203)


# CHAP, with the other side written out step by step

ONE_WAY = ChapCredentials("joe", b"twelve-bytes")
MUTUAL = ChapCredentials("joe", b"twelve-bytes", "array", b"another-secret")
CHALLENGE = "0x" + bytes(range(16)).hex()


class ChapPeer:
    """Answers a LoginExchange with whatever it is told."""

    def __init__(self, credentials: ChapCredentials) -> None:
        self.exchange = LoginExchange(LoginOptions(target=TARGET, chap=credentials))
        self.asked, data = self.exchange.start()
        self.said = dict(decode_pairs(data))
        self.stat_sn = 0

    def answer(self, transit: bool = False, **pairs: str) -> dict[str, str]:
        response = LoginResponse(
            csg=self.asked.csg,
            transit=int(transit),
            nsg=self.asked.nsg if transit else 0,
            itt=self.asked.itt,
            isid=self.asked.isid,
            stat_sn=self.stat_sn,
            exp_cmd_sn=1,
            max_cmd_sn=1,
        )
        self.stat_sn += 1
        following = self.exchange.receive(response, encode_pairs(pairs.items()))
        assert following is not None
        assert not isinstance(following, Refusal)
        self.asked, data = following
        self.said = dict(decode_pairs(data))
        return self.said

    def to_proof(self) -> dict[str, str]:
        assert self.answer(AuthMethod="CHAP", TargetPortalGroupTag="1") == {"CHAP_A": "5"}
        assert not self.asked.transit
        return self.answer(CHAP_A="5", CHAP_I="7", CHAP_C=CHALLENGE)


def md5(identifier: int, secret: bytes, challenge: bytes) -> bytes:
    return hashlib.md5(bytes([identifier]) + secret + challenge).digest()


def test_one_way_chap_proves_the_secret() -> None:
    peer = ChapPeer(ONE_WAY)
    assert peer.said["AuthMethod"] == "CHAP,None"
    said = peer.to_proof()
    assert said["CHAP_N"] == "joe"
    assert parse_binary(said["CHAP_R"]) == md5(7, b"twelve-bytes", bytes(range(16)))
    assert set(said) == {"CHAP_N", "CHAP_R"}
    assert peer.asked.transit
    assert "HeaderDigest" in peer.answer(transit=True)
    assert peer.asked.csg == 1


def test_mutual_chap_wants_the_proof_of_the_target() -> None:
    peer = ChapPeer(MUTUAL)
    said = peer.to_proof()
    assert set(said) == {"CHAP_N", "CHAP_R", "CHAP_I", "CHAP_C"}
    proof = md5(int(said["CHAP_I"]), b"another-secret", parse_binary(said["CHAP_C"]))
    assert "HeaderDigest" in peer.answer(transit=True, CHAP_N="array", CHAP_R="0x" + proof.hex())


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (lambda peer: peer.answer(transit=True), "CHAP_N and CHAP_R are due"),
        (lambda peer: peer.answer(transit=True, CHAP_N="array", CHAP_R="0x00"), "does not know its secret"),
        (lambda peer: peer.answer(transit=True, CHAP_N="x", CHAP_R="0x00"), "not the target's name"),
    ],
)
def test_a_target_that_does_not_prove_itself_is_told(step: Callable[[ChapPeer], object], told: str) -> None:
    peer = ChapPeer(MUTUAL)
    peer.to_proof()
    with pytest.raises(TargetMistake, match=told):
        step(peer)


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ({"CHAP_A": "5", "CHAP_I": "7"}, "CHAP_A, _I, _C are due"),
        ({"CHAP_A": "6", "CHAP_I": "7", "CHAP_C": CHALLENGE}, "CHAP_A=6"),
        ({"CHAP_A": "5", "CHAP_I": "256", "CHAP_C": CHALLENGE}, "CHAP_I=256"),
        ({"CHAP_A": "5", "CHAP_I": "7", "CHAP_C": "123"}, "CHAP_C: not a binary value"),
        ({"CHAP_A": "5", "CHAP_I": "7", "CHAP_C": "0x" + MUTUAL.challenge.hex()}, "our own"),
    ],
)
def test_a_wrong_challenge_is_told(pairs: dict[str, str], told: str) -> None:
    peer = ChapPeer(MUTUAL)
    peer.answer(AuthMethod="CHAP", TargetPortalGroupTag="1")
    with pytest.raises(TargetMistake, match=told):
        peer.answer(False, **pairs)


def test_secrets_are_in_no_repr() -> None:
    shown = repr(LoginOptions(target=TARGET, chap=MUTUAL))
    assert "twelve-bytes" not in shown
    assert "another-secret" not in shown
