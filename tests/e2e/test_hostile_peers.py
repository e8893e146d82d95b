"""Who misbehaves is answered as the RFC says or dropped, in bounded memory and time; nobody else notices."""

import contextlib
import random
import resource
import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpxtarget.pdu import (
    BHS_LENGTH,
    LoginResponse,
    LoginStatus,
    NopOut,
    Opcode,
    Reject,
    RejectReason,
    ScsiCommand,
)

from .harness import MIB, TargetUnderTest
from .processes import die_with_parent, end, open_files, resident
from .raw import BLOCK, CHECK_CONDITION, GOOD, RawPeer

SILENT = 1000
GROWTH = 32 * MIB
"""What a thousand silent connections may cost, generously."""
OVERSIZED = 0xFFFFFF
"""The largest DataSegmentLength that a header can claim."""


@pytest.fixture
def bystander(target: TargetUnderTest) -> Iterator[RawPeer]:
    """A session that does I/O before, during and after what others do."""
    with RawPeer(target.portals[1]).ready(target.target_names[0], isid=77) as peer:
        peer.check(0, 1)
        yield peer
        peer.check(1, 2)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for a thousand sockets in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, SILENT + 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(target: TargetUnderTest) -> RawPeer:
    """A connection to the first portal, not logged in."""
    return RawPeer(target.portals[0])


def dropped(peer: RawPeer) -> list[bytes]:
    """Assert that the target closes the connection; returns the headers of what it sent before."""
    answers = []
    while (whole := peer.receive()) is not None:
        answers.append(whole.header)
        assert len(answers) < 10
    return answers


@pytest.mark.usefixtures("many_files")
@pytest.mark.conformance("SEC-001", "SEC-004")
def test_a_thousand_silent_connections_disturb_nobody(target: TargetUnderTest, bystander: RawPeer) -> None:
    before = resident(target.pid)
    with contextlib.ExitStack() as stack:
        for number in range(SILENT):
            stack.enter_context(connect(target))
            if number % 20 == 0:
                bystander.check(number, number)
        with connect(target).ready(target.target_names[0]) as newcomer:
            newcomer.check(7, 7)
        assert resident(target.pid) - before < GROWTH
        assert open_files(target.pid) < SILENT // 2


@pytest.mark.conformance("LGN-039", "SEC-005")
def test_a_login_that_stalls_is_dropped_wherever_it_stands(
    target: TargetUnderTest, bystander: RawPeer
) -> None:
    names = [("InitiatorName", "iqn.2004-09.com.example:slow"), ("SessionType", "Discovery")]
    with connect(target) as silent, connect(target) as half_a_header, connect(target) as half_way:
        half_a_header.send(half_a_header.login_request(*names)[: BHS_LENGTH // 2])
        half_way.send(half_way.login_request(*names, stage=0, next_stage=0, transit=0))
        assert half_way.receive() is not None
        for peer in (silent, half_a_header, half_way):
            peer.socket.settimeout(40)
            dropped(peer)
            bystander.check(3, 3)


GARBAGE = {
    "random bytes": random.Random(1).randbytes(4096),
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "a web browser": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2,
    "TLS": bytes.fromhex("16030100c8010000c40303") + random.Random(2).randbytes(512),
    "a PDU of the target": bytes([Opcode.LOGIN_RESPONSE]) + bytes(BHS_LENGTH - 1),
    "an unknown opcode": b"\x1c" + bytes(BHS_LENGTH - 1),
    "a login of 16 MiB": bytes([0x40 | Opcode.LOGIN_REQUEST, 0x87, 0, 0])
    + struct.pack(">I", OVERSIZED)
    + bytes(40),
    "a login with AHS": bytes([0x40 | Opcode.LOGIN_REQUEST, 0x87, 0, 0, 255, 0, 0, 0]) + b"\xaa" * 1100,
    "an early SCSI command": ScsiCommand(final=1, read=1, cdb=b"\x28" + bytes(15), cmd_sn=1).to_bytes(),
    "an early ping": NopOut(itt=1, cmd_sn=1, immediate=1).to_bytes(),
}


@pytest.mark.parametrize("first_bytes", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.conformance("LGN-001", "SEC-002", "PDU-005")
def test_what_is_no_login_is_dropped(target: TargetUnderTest, bystander: RawPeer, first_bytes: bytes) -> None:
    before = resident(target.pid)
    with connect(target) as peer:
        peer.send(first_bytes)
        for header in dropped(peer):
            answer = LoginResponse.parse(header)
            assert (answer.OPCODE, answer.status_class) == (header[0] & 0x3F, 2), f"accepted: {answer}"
    assert resident(target.pid) - before < MIB
    bystander.check(11, 11)


@pytest.mark.conformance("LGN-002")
def test_another_pdu_in_the_middle_of_a_login_is_answered_and_ends_it(
    target: TargetUnderTest, bystander: RawPeer
) -> None:
    with connect(target) as peer:
        names = [("InitiatorName", "iqn.2004-09.com.example:early"), ("TargetName", target.target_names[0])]
        peer.send(peer.login_request(*names, ("AuthMethod", "None"), stage=0, next_stage=1))
        first, _ = peer.receive_pdu()
        assert isinstance(first, LoginResponse) and first.status_class == 0
        peer.send_pdu(peer.command(bytes(6)))
        (header,) = dropped(peer)
        refusal = LoginResponse.parse(header)
        assert refusal.status_class << 8 | refusal.status_detail == LoginStatus.INVALID_DURING_LOGIN
    bystander.check(12, 12)


@pytest.mark.conformance("PDU-011", "SEC-003")
def test_more_data_than_was_declared_ends_the_session_unread(
    target: TargetUnderTest, bystander: RawPeer
) -> None:
    with connect(target).ready(target.target_names[0]) as peer:
        before = resident(target.pid)
        command = peer.command(struct.pack(">BBIBHB", 0x2A, 0, 0, 0, 32767, 0), length=OVERSIZED, write=1)
        command.data_segment_length = OVERSIZED
        peer.send(command.to_bytes() + b"\x55" * 65536)
        dropped(peer)
        assert resident(target.pid) - before < 2 * MIB
    bystander.check(13, 13)


@pytest.mark.conformance("PDU-006")
@pytest.mark.parametrize("opcode", [0x07, 0x1C])
def test_an_unknown_opcode_in_a_session_is_rejected_and_the_session_goes_on(
    target: TargetUnderTest, opcode: int
) -> None:
    with connect(target).ready(target.target_names[0]) as peer:
        header = bytes([0x40 | opcode, 0x80]) + bytes(14) + bytes([0, 0, 0, 9]) + bytes(28)
        peer.send(header)
        answer, data = peer.receive_pdu()
        assert isinstance(answer, Reject)
        assert answer.reason == RejectReason.COMMAND_NOT_SUPPORTED
        assert data == header
        peer.follow(answer.stat_sn)
        peer.check(14, 14)


@pytest.mark.conformance("PDU-022")
@pytest.mark.parametrize("count", [1, BHS_LENGTH - 1, BHS_LENGTH, BHS_LENGTH + 100])
def test_a_pdu_cut_off_by_the_end_of_the_connection_has_no_effect(
    target: TargetUnderTest, bystander: RawPeer, count: int
) -> None:
    original = bystander.read(20, 1).data
    with connect(target).ready(target.target_names[0]) as peer:
        command = peer.command(struct.pack(">BBIBHB", 0x2A, 0, 20, 0, 1, 0), length=BLOCK, write=1)
        command.data_segment_length = BLOCK
        peer.send((command.to_bytes() + b"\xee" * BLOCK)[:count])
    bystander.check(15, 15)
    assert bystander.read(20, 1).data == original


WRITER = """
    import struct, sys, time
    from mpxtarget.pdu import R2T
    from e2e.harness import Portal
    from e2e.raw import RawPeer

    host, port, target = sys.argv[1:]
    peer = RawPeer(Portal(host, int(port))).ready(target, isid=5)
    cdb = struct.pack(">BBIBHB", 0x2A, 0, 4096, 0, 2048, 0)
    peer.send_pdu(peer.command(cdb, length=2048 * 512, write=1))
    answer, _ = peer.receive_pdu()
    assert isinstance(answer, R2T), answer
    print("half way", flush=True)
    time.sleep(60)
"""
"""A client that has been asked for the data of a write and never sends it."""


@pytest.mark.conformance("SES-009")
def test_a_client_killed_in_the_middle_of_a_write_leaves_nothing_behind(
    target: TargetUnderTest, bystander: RawPeer
) -> None:
    sessions = target.session_count()
    portal = target.portals[0]
    tests = Path(__file__).parent.parent
    client = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(WRITER),
            portal.host,
            str(portal.port),
            target.target_names[0],
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": f"{tests}:{tests.parent}"},
        preexec_fn=die_with_parent,
    )
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == b"half way\n"
        assert target.session_count() == sessions + 1
        client.kill()
        client.wait(10)
    finally:
        end(client)
    bystander.check(16, 16)
    target.eventually(
        lambda: target.session_count() == sessions, "the session of the killed client is still there"
    )
    with connect(target).ready(target.target_names[0], isid=5) as successor:
        successor.check(4096, 17)


def test_a_command_for_a_lun_that_is_not_there_has_the_sense_data_due(target: TargetUnderTest) -> None:
    with connect(target).ready(target.target_names[0]) as peer:
        answer = peer.read(0, 1, lun=9)
        assert (answer.status, answer.sense) == (CHECK_CONDITION, (5, 0x25, 0x00))
        assert peer.read(0, 1).status == GOOD
