"""A login that fails says why by its status, and leaves nothing behind (RFC 7143 6.3.1, 11.13.5, 8.1.2)."""

import logging

import pytest
from login_initiator import (
    DISCOVERY,
    FULL_FEATURE,
    INITIATOR,
    NAMES,
    ONE_WAY,
    OPERATIONAL,
    SECURITY,
    TARGET,
    Initiator,
    answers,
    status,
)

from mpxtarget.iscsi.errors import LoginRejected
from mpxtarget.iscsi.login import LoginReply, LoginState
from mpxtarget.pdu import LoginRequest, decode_pairs, encode_pairs


def straight(initiator: Initiator, pairs: tuple[tuple[str, str], ...] = NAMES, **header: int) -> LoginReply:
    initiator.header |= header
    return initiator.send(pairs, csg=OPERATIONAL, nsg=FULL_FEATURE)


UNNAMED = (("InitiatorName", INITIATOR),)
MOVED = ("192.0.2.1:3260",)
FAILURES = {
    0x0101: lambda: straight(Initiator(refusal=LoginRejected(0x0101, "moved", MOVED))),
    0x0102: lambda: straight(Initiator(refusal=LoginRejected(0x0102, "moved", ("[2001:db8::1]:3260",)))),
    0x0200: lambda: straight(Initiator(), (*NAMES, ("SendTargets", "All"))),
    0x0201: lambda: straight(Initiator(chap=ONE_WAY)),
    0x0202: lambda: straight(Initiator(refusal=LoginRejected(0x0202, "not for you"))),
    0x0203: lambda: straight(Initiator(), (NAMES[0], ("TargetName", "iqn.2001-04.com.example:other"))),
    0x0204: lambda: straight(Initiator(refusal=LoginRejected(0x0204, "removed"))),
    0x0205: lambda: straight(Initiator(), version_max=2, version_min=1),
    0x0206: lambda: straight(Initiator(join_refusal=LoginRejected(0x0206, "full")), tsih=1),
    0x0207: lambda: straight(Initiator(), UNNAMED),
    0x0208: lambda: straight(Initiator(join_refusal=LoginRejected(0x0208, "other group")), tsih=1),
    0x0209: lambda: straight(Initiator(), (*NAMES, ("SessionType", "Odd"))),
    0x020A: lambda: straight(Initiator(establish_refusal=LoginRejected(0x020A, "no session")), tsih=1),
    0x0300: lambda: straight(Initiator(establish_refusal=RuntimeError("broken"))),
    0x0301: lambda: straight(Initiator(refusal=LoginRejected(0x0301, "not yet"))),
    0x0302: lambda: straight(Initiator(establish_refusal=LoginRejected(0x0302, "full"))),
}


@pytest.mark.conformance("LST-001")
@pytest.mark.conformance("LGN-031")
@pytest.mark.conformance("LGN-032")
@pytest.mark.parametrize("code", FAILURES, ids="{:04x}".format)
def test_each_status_is_reachable_and_says_nothing_else(code: int) -> None:
    reply = FAILURES[code]()
    response = reply.response
    assert (status(reply), reply.state) == (code, LoginState.FAILED)
    assert (response.transit, response.continue_, response.csg, response.nsg) == (0, 0, 0, 0)
    assert response.to_bytes()[36:38] == code.to_bytes(2, "big")
    assert f"{code:04x}h" in reply.reason
    assert response.data_segment_length == len(reply.data)
    if code >> 8 != 1:
        assert reply.data == b""


@pytest.mark.conformance("LGN-002")
@pytest.mark.conformance("LST-001")
def test_the_connection_can_refuse_what_is_no_login_request() -> None:
    initiator = Initiator()
    initiator.send(NAMES, csg=SECURITY)
    reply = initiator.phase.refuse(0x020B, "a NOP-Out during login")
    assert (status(reply), reply.state) == (0x020B, LoginState.FAILED)
    assert (reply.response.itt, reply.response.isid) == (initiator.header["itt"], initiator.header["isid"])
    assert initiator.send(csg=SECURITY).state is LoginState.FAILED


@pytest.mark.conformance("LST-002")
@pytest.mark.conformance("KEY-009")
@pytest.mark.parametrize("code", [0x0101, 0x0102])
def test_a_redirection_names_an_address_without_a_tag(code: int) -> None:
    addresses = ("192.0.2.1:3260", "[2001:db8::1]:3260")
    reply = straight(Initiator(refusal=LoginRejected(code, "moved", addresses)))
    assert decode_pairs(reply.data) == [("TargetAddress", address) for address in addresses]


@pytest.mark.conformance("LST-002")
@pytest.mark.parametrize(("code", "addresses"), [(0x0101, ()), (0x0203, MOVED)])
def test_a_redirection_without_address_cannot_be_made(code: int, addresses: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="TargetAddress"):
        LoginRejected(code, "moved", addresses)


@pytest.mark.conformance("LGN-006")
@pytest.mark.parametrize(
    ("highest", "lowest", "code"), [(0, 0, 0), (9, 0, 0), (9, 1, 0x0205), (255, 255, 0x0205)]
)
def test_version_0_has_to_be_in_the_offered_range(highest: int, lowest: int, code: int) -> None:
    reply = straight(Initiator(), version_max=highest, version_min=lowest)
    assert status(reply) == code
    assert (reply.response.version_max, reply.response.version_active) == (0, 0)


@pytest.mark.conformance("LGN-045")
def test_the_primary_error_is_reported() -> None:
    """Each step takes away the error that came first, until the negotiation's own is left."""
    bad = ("InitialR2T", "Reject")
    wrong = ("TargetName", "iqn.2001-04.com.example:other")
    assert status(straight(Initiator(chap=ONE_WAY), (bad,), version_min=1, version_max=1)) == 0x0205
    assert status(straight(Initiator(chap=ONE_WAY), (bad,))) == 0x0207
    assert status(straight(Initiator(chap=ONE_WAY), (NAMES[0], wrong, bad))) == 0x0203
    refused = Initiator(chap=ONE_WAY, join_refusal=LoginRejected(0x020A, "no session"))
    assert status(straight(refused, (*NAMES, bad), tsih=5)) == 0x0201
    refused = Initiator(join_refusal=LoginRejected(0x020A, "no session"))
    assert status(straight(refused, (*NAMES, bad), tsih=5)) == 0x020A
    assert status(straight(Initiator(), (*NAMES, bad), tsih=5)) == 0x0200


@pytest.mark.conformance("LGN-044")
@pytest.mark.parametrize("code", [code for code in FAILURES if code not in (0x020A, 0x0300, 0x0302)])
def test_a_failed_login_never_asks_for_a_session(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_self: Initiator, _outcome: object) -> int:
        raise AssertionError

    monkeypatch.setattr(Initiator, "_establish", never)
    assert status(FAILURES[code]()) == code


@pytest.mark.conformance("LGN-044")
def test_a_session_is_asked_for_once_and_at_the_end() -> None:
    initiator = Initiator()
    initiator.send(NAMES, csg=SECURITY, nsg=OPERATIONAL)
    initiator.send([("MaxBurstLength", "4096")], csg=OPERATIONAL)
    assert initiator.outcomes == []
    initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE)
    assert [outcome.parameters.max_burst_length for outcome in initiator.outcomes] == [4096]


@pytest.mark.conformance("LST-001")
def test_our_own_mistake_is_logged_and_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        reply = FAILURES[0x0300]()
    assert "RuntimeError" in reply.reason
    assert "broken" in caplog.text
    assert status(straight(Initiator(tsih=0))) == 0x0300  # a TSIH is never 0


@pytest.mark.conformance("LGN-033")
@pytest.mark.parametrize(
    "pair",
    [
        ("MaxConnections", "1"),
        ("InitialR2T", "Yes"),
        ("ErrorRecoveryLevel", "0"),
        ("TaskReporting", "RFC3720"),
    ],
)
def test_a_further_connection_leaves_the_session_as_it_is(pair: tuple[str, str]) -> None:
    assert status(straight(Initiator(), (*NAMES, pair), tsih=0x4711)) == 0x0200


@pytest.mark.conformance("LGN-033")
def test_a_further_connection_negotiates_what_is_its_own() -> None:
    initiator = Initiator(tsih=0x1234)
    pairs = (("HeaderDigest", "CRC32C"), ("MaxRecvDataSegmentLength", "4096"), ("IFMarker", "No"))
    reply = straight(initiator, (*NAMES, *pairs), tsih=0x1234)
    assert reply.response.tsih == 0x1234
    assert answers(reply)["HeaderDigest"] == "CRC32C"
    assert initiator.outcomes[0].tsih == 0x1234
    assert initiator.outcomes[0].parameters.initiator_max_recv_data_segment_length == 4096


@pytest.mark.conformance("SES-002")
def test_a_further_connection_is_authenticated_before_its_session_is_looked_up() -> None:
    initiator = Initiator(chap=ONE_WAY, tsih=9)
    initiator.header["tsih"] = 9
    initiator.send([*NAMES, ("AuthMethod", "CHAP")])
    initiator.send([("CHAP_A", "5")])
    assert status(initiator.send([("CHAP_N", "x"), ("CHAP_R", "0x00")], nsg=OPERATIONAL)) == 0x0201
    assert initiator.joins == []


def test_a_new_session_is_not_looked_up() -> None:
    initiator = Initiator()
    straight(initiator)
    assert initiator.joins == []


@pytest.mark.conformance("LGN-032")
def test_a_refusal_names_no_secret_and_no_value_of_the_peer() -> None:
    reply = straight(Initiator(), (*NAMES, ("X-secret-name", "Reject")))
    assert status(reply) == 0x0200
    assert "secret" not in reply.reason


def test_discovery_can_be_refused_as_well() -> None:
    assert status(straight(Initiator(refusal=LoginRejected(0x0202, "no discovery")), DISCOVERY)) == 0x0202


def test_a_request_alone_can_be_refused() -> None:
    initiator = Initiator()
    reply = initiator.phase.receive(
        LoginRequest(csg=1, nsg=3, transit=1), encode_pairs([("TargetName", TARGET)])
    )
    assert status(reply) == 0x0207
