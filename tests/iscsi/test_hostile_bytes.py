"""Whatever bytes come: no exception leaves a connection, and other sessions do not notice (SEC-010)."""

from __future__ import annotations

import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpxtarget.pdu import (
    NO_TAG,
    DataOut,
    LoginRequest,
    LogoutRequest,
    NopOut,
    Pdu,
    ScsiCommand,
    SnackRequest,
    TaskManagementRequest,
    TextRequest,
    assemble,
)
from support.cdb import TEST_UNIT_READY, data, inquiry, mode_select_6, read_10, verify_10, write_10
from support.world import LUN, Host, World

EDGES = st.sampled_from(
    (0, 1, 2, 3, 4, 7, 8, 255, 256, 511, 512, 513, 1024, 8192, 262144, 1 << 31, NO_TAG - 1, NO_TAG)
)
BOUNDED = settings(max_examples=100, suppress_health_check=list(HealthCheck))


class NoErrorsOfOurOwn(logging.Handler):
    """Errors of our own are caught before they leave a connection, and logged: nothing here may be one."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            raise AssertionError(record.getMessage()) from record.exc_info[1]


@pytest.fixture(autouse=True)
def _no_errors_of_our_own() -> object:
    handler = NoErrorsOfOurOwn(logging.ERROR)
    logger = logging.getLogger("mpxtarget")
    logger.addHandler(handler)
    raising, logging.raiseExceptions = logging.raiseExceptions, True
    yield
    logger.removeHandler(handler)
    logging.raiseExceptions = raising


def check(world: World, host: Host, witness: Host, stream: bytes, cut: int) -> None:
    """Feed a stream in two pieces; whatever it did, the witness works and nothing is left over."""
    for piece in (stream[:cut], stream[cut:]):
        host.target.receive(piece, world.now)
        host.target.to_send()
    host.target.tick(world.now + 1)
    while world.executor.busy(world.disk) or world.executor.busy(world.other_disk):
        assert world.drain()
    host.target.to_send()
    done = witness.scsi(LUN, TEST_UNIT_READY)
    assert done.status == 0 or done.sense[2] == 6
    witness.events.clear()
    witness.seen.clear()
    host.target.hang_up()
    assert len(world.sessions) == 1
    host.target.to_send()
    assert host.target.output._arena is None


@pytest.mark.conformance("SEC-010", "SEC-003")
@BOUNDED
@given(stream=st.binary(max_size=600), logged_in=st.booleans(), fast=st.booleans(), cut=st.integers(0, 600))
def test_random_bytes(stream: bytes, logged_in: bool, fast: bool, cut: int) -> None:
    world = World(size=1 << 16, fast=fast)
    witness = world.host(initiator="iqn.2001-04.com.example:witness")
    host = world.host(login=logged_in)
    world.hosts.remove(host)
    check(world, host, witness, stream, cut)
    world.close()


FIELDS = {
    kind: [name for name in kind.FIELDS if name not in ("total_ahs_length", "data_segment_length")]
    for kind in (
        ScsiCommand,
        DataOut,
        TaskManagementRequest,
        TextRequest,
        NopOut,
        LogoutRequest,
        SnackRequest,
        LoginRequest,
    )
}
CDBS = (
    TEST_UNIT_READY,
    inquiry(),
    read_10(0, 4),
    write_10(0, 4),
    verify_10(0, 2, bytchk=1),
    mode_select_6(16),
    read_10(127, 2),
)


@st.composite
def bent_pdus(draw: st.DrawFn) -> tuple[Pdu, bytes, bytes]:
    """A PDU with some fields at their edges, some data and perhaps an additional header."""
    kind = draw(st.sampled_from(list(FIELDS)))
    pdu = kind()
    widths = {"cdb": 0}
    for name in draw(st.lists(st.sampled_from(FIELDS[kind]), max_size=6, unique=True)):
        if name in widths:
            continue
        value = draw(EDGES)
        setattr(pdu, name, value)
        try:
            pdu.to_bytes()
        except Exception:
            setattr(pdu, name, value & 1)
    if isinstance(pdu, ScsiCommand):
        pdu.cdb = draw(st.sampled_from(CDBS)).ljust(16, b"\0")
        pdu.lun = draw(st.sampled_from((0, LUN << 48, 2 << 48, 1 << 63)))
        pdu.expected_data_transfer_length = draw(EDGES)
    if isinstance(pdu, ScsiCommand | DataOut | TextRequest | TaskManagementRequest):
        pdu.itt = draw(st.sampled_from((0x10, 0x11, 0x12, NO_TAG)))
    if isinstance(pdu, DataOut):
        pdu.ttt = draw(st.sampled_from((NO_TAG, 1, 2, 3)))
        pdu.buffer_offset = draw(EDGES)
        pdu.data_sn = draw(st.integers(0, 2))
    content = draw(st.sampled_from((b"", bytes(3), data(512), data(2048), b"SendTargets=All\0", b"A=\0")))
    ahs = draw(st.sampled_from((b"", b"", b"", b"\0\x05\x01\0" + bytes(4), b"\xff\xff\xff\xff")))
    return pdu, content, ahs


@pytest.mark.conformance("SEC-010", "PDU-012", "WRT-012")
@BOUNDED
@given(
    pdus=st.lists(bent_pdus(), min_size=1, max_size=25),
    digests=st.booleans(),
    in_turn=st.lists(st.integers(0, 3), min_size=25, max_size=25),
    fast=st.booleans(),
    at_once=st.booleans(),
    cut=st.integers(0, 4000),
)
def test_bent_pdus_in_full_feature_phase(
    pdus: list[tuple[Pdu, bytes, bytes]],
    digests: bool,
    in_turn: list[int],
    fast: bool,
    at_once: bool,
    cut: int,
) -> None:
    world = World(size=1 << 16, fast=fast)
    world.store.at_once = at_once
    witness = world.host(initiator="iqn.2001-04.com.example:witness")
    kind = "CRC32C" if digests else "None"
    host = world.host(keys={"HeaderDigest": kind, "DataDigest": kind})
    world.hosts.remove(host)
    stream = b""
    cmd_sn = host.machine.cmd_sn
    for (pdu, content, ahs), skipped in zip(pdus, in_turn, strict=False):
        if "cmd_sn" in pdu.FIELDS and skipped:
            pdu.cmd_sn = cmd_sn + skipped - 1  # type: ignore[attr-defined]
            cmd_sn += not getattr(pdu, "immediate", 0)
        stream += assemble(pdu, content, ahs, header_digest=digests, data_digest=digests)
    check(world, host, witness, stream, cut)
    world.close()


def valid_session(host: Host) -> bytes:
    """The bytes of a session with a bit of everything, as its initiator would send them."""
    sent = bytearray()
    machine = host.machine
    machine.start()
    host.world.hosts.remove(host)

    def pump() -> None:
        while there := machine.to_send():
            sent.extend(there)
            host.target.receive(there, 0.0)
            machine.receive(host.target.to_send())

    pump()
    machine.command(LUN, write_10(0, 4), data_out=data(2048))
    pump()
    machine.command(LUN, write_10(0, 4), data_out=data(2048))
    machine.command(LUN, read_10(0, 4), read_length=2048)
    machine.ping(b"ping")
    machine.text([("SendTargets", "")])
    machine.task_management(5, lun=LUN)
    pump()
    machine.logout()
    pump()
    return bytes(sent)


VALID: dict[str, bytes] = {}


@pytest.mark.conformance("SEC-010", "PDU-022")
@BOUNDED
@given(
    changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4),
    end=st.integers(0, 1 << 16),
    cut=st.integers(0, 1 << 13),
    keys=st.sampled_from(("None", "CRC32C")),
    fast=st.booleans(),
)
def test_a_valid_session_with_a_few_bytes_changed(
    changes: list[tuple[int, int]], end: int, cut: int, keys: str, fast: bool
) -> None:
    world = World(size=1 << 16, fast=fast)
    digests = {"HeaderDigest": keys, "DataDigest": keys, "InitialR2T": "Yes", "ImmediateData": "No"}
    if keys not in VALID:
        VALID[keys] = valid_session(world.host(login=False, keys=digests))
    stream = bytearray(VALID[keys])
    for at, value in changes:
        stream[at % len(stream)] ^= value
    witness = world.host(initiator="iqn.2001-04.com.example:witness")
    host = world.host(login=False, keys=digests)
    world.hosts.remove(host)
    check(world, host, witness, bytes(stream[: end % (len(stream) + 1)]), cut)
    world.close()


@pytest.mark.conformance("SEC-010", "PDU-022")
def test_a_session_cut_at_every_byte_of_its_headers(world: World) -> None:
    stream = valid_session(world.host(login=False, isid=0x80_0000_000009))
    witness = world.host(initiator="iqn.2001-04.com.example:witness")
    for end in range(0, min(len(stream), 3000), 7):
        host = world.host(login=False)
        world.hosts.remove(host)
        check(world, host, witness, stream[:end], end // 2)
