"""Block commands that take more than one step: atomic for everybody, ended when nobody waits, honest when a
store fails on the way.
"""

from __future__ import annotations

import errno
import struct

import pytest

from mpxtarget.pdu import TmfFunction
from mpxtarget.server.executor import PARAMETER_BYTES
from mpxtarget.testing import CommandDone
from support.cdb import SYNCHRONIZE_CACHE, TEST_UNIT_READY, data, read_10, write_10
from support.fixtures import MakeWorld
from support.world import BLOCK, HOST, LUN, OTHER_HOST, OTHER_TARGET, TARGET, Host, World

GOOD, CHECK_CONDITION = 0x00, 0x02
MISCOMPARE = (0xE, 0x1D, 0x00)
MIB = 1 << 20
OR, ATOMIC, WRITE_SAME = 0x8B, 0x9C, 0x93


def caw(lba: int, count: int = 1, flags: int = 0) -> bytes:
    """COMPARE AND WRITE."""
    return bytes((0x89, flags, *lba.to_bytes(8, "big"), 0, 0, 0, count, 0, 0))


def long(opcode: int, lba: int, count: int, flags: int = 0) -> bytes:
    """A block command of 16 bytes."""
    return bytes((opcode, flags, *lba.to_bytes(8, "big"), *count.to_bytes(4, "big"), 0, 0))


def sense_of(done: CommandDone) -> tuple[int, int, int]:
    """Sense key and additional sense code of a command that ended with CHECK CONDITION."""
    assert done.status == CHECK_CONDITION
    return done.sense[2], done.sense[12], done.sense[13]


def block(number: int) -> bytes:
    """A block with a number in it."""
    return number.to_bytes(8, "big") * (BLOCK // 8)


def both_ports(world: World) -> list[Host]:
    """Two hosts with a session each on both controllers."""
    return [
        world.host(initiator=name, target=target)
        for name in (HOST, OTHER_HOST)
        for target in (TARGET, OTHER_TARGET)
    ]


@pytest.mark.conformance("SAM-009", "SBC-011")
def test_one_of_many_takes_the_lock_whatever_path_it_comes_by(world: World) -> None:
    hosts = both_ports(world)[:3]
    gate = world.store.close_gate()
    for _ in hosts:
        gate.release(("read", 7 * BLOCK, BLOCK))  # whoever compares may; writing is for later
    gate.release(("read", 100 * BLOCK, BLOCK))
    sent = [
        (number, host, host.command(LUN, caw(7), data_out=block(0) + block(number)))
        for number, host in enumerate(hosts, 1)
    ]
    apart = hosts[0].command(LUN, read_10(100, 1), read_length=BLOCK)
    while not hosts[0].ended(apart):  # threads begin in order: this was the last to begin
        assert world.drain()
        world.run()
    assert gate.arrived(1) == [("write", 7 * BLOCK, BLOCK)], "nobody else has compared meanwhile"
    world.store.open_gate()
    world.settle()
    ends = {number: host.done(itt) for number, host, itt in sent}
    assert [number for number, done in ends.items() if done.status == GOOD] == [1]
    assert world.store.content[7 * BLOCK : 8 * BLOCK] == block(1)
    assert {sense_of(ends[number]) for number in (2, 3)} == {MISCOMPARE}


@pytest.mark.conformance("SBC-012", "SAM-009", "SAM-008")
@pytest.mark.parametrize("at_once", [True, False])
def test_no_compare_misses_what_nobody_has_changed(world: World, at_once: bool) -> None:
    # every path has a block of its own, all in one page, and writes to its neighbours' other blocks meanwhile
    world.store.at_once = at_once
    hosts = both_ports(world)
    for round_ in range(25):
        sent = []
        for own, host in enumerate(hosts):
            sent.append((host, host.command(LUN, caw(own), data_out=block(round_) + block(round_ + 1))))
            sent.append((host, host.command(LUN, write_10(4 + own, 1), data_out=block(round_))))
            sent.append((host, host.command(LUN, read_10(0, 8), read_length=8 * BLOCK)))
        world.settle()
        assert [host.done(itt).status for host, itt in sent] == [GOOD] * len(sent)
    for own in range(len(hosts)):
        assert world.store.content[own * BLOCK : (own + 1) * BLOCK] == block(25)


@pytest.mark.conformance("SBC-012", "SAM-009")
def test_every_good_compare_and_write_counts(world: World) -> None:
    hosts = both_ports(world)
    world.store.at_once = False
    taken = 0
    while taken < 40:
        held = int.from_bytes(world.store.content[:8], "big")
        sent = [(host, host.command(LUN, caw(0), data_out=block(held) + block(held + 1))) for host in hosts]
        world.settle()
        taken += sum(host.done(itt).status == GOOD for host, itt in sent)
        assert int.from_bytes(world.store.content[:8], "big") == taken


@pytest.mark.conformance("SBC-013", "SAM-009")
def test_no_bit_of_an_orwrite_is_lost(world: World) -> None:
    hosts = both_ports(world)
    world.store.close_gate()
    sent = [
        (host, host.command(LUN, long(OR, 0, 8), data_out=bytes((1 << bit,)) * 8 * BLOCK))
        for bit, host in enumerate(hosts * 2)
    ]
    world.store.open_gate()
    world.settle()
    assert all(host.done(itt).status == GOOD for host, itt in sent)
    assert world.store.content[: 8 * BLOCK] == b"\xff" * 8 * BLOCK


@pytest.mark.conformance("SBC-011", "SBC-015")
@pytest.mark.parametrize(
    ("cdb", "length", "good"),
    [
        (caw(0, 1), 1024, True),
        (caw(0, 1), 2048, False),
        (caw(0, 2), 1024, False),
        (caw(0, 0), 0, True),
        (caw(0, 0), 512, True),
        (caw(0, 0), 1024, False),
        (long(WRITE_SAME, 0, 8), 512, True),
        (long(WRITE_SAME, 0, 8), 1024, False),
        (long(WRITE_SAME, 0, 8), 256, False),
    ],
)
def test_data_out_has_the_right_size(world: World, cdb: bytes, length: int, good: bool) -> None:
    before = bytes(world.store.content)
    done = world.host().scsi(LUN, cdb, data_out=bytes(length))
    assert (done.status == GOOD) is good
    if not good:
        assert sense_of(done)[0] == 0x5
        assert world.store.content == before


@pytest.mark.conformance("SBC-008", "RES-006")
@pytest.mark.parametrize("opcode", [OR, 0x8E])
def test_no_more_is_written_than_the_initiator_has(world: World, opcode: int) -> None:
    world.store.content[: 4 * BLOCK] = b"\xf0" * 4 * BLOCK
    done = world.host().scsi(LUN, long(opcode, 0, 4), data_out=b"\xff" * 2 * BLOCK)
    assert (done.status, done.overflow, done.residual) == (GOOD, True, 2 * BLOCK)
    assert world.store.content[: 4 * BLOCK] == b"\xff" * 2 * BLOCK + b"\xf0" * 2 * BLOCK


@pytest.mark.conformance("SNS-008", "SBC-023")
def test_no_space_in_the_middle_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write, room = world.store.write, iter((True, True))

    def fills_up(buffer: memoryview, offset: int) -> None:
        if not next(room, False):
            raise OSError(errno.ENOSPC, "full")
        write(buffer, offset)

    monkeypatch.setattr(world.store, "write", fills_up)
    done = world.host().scsi(LUN, long(WRITE_SAME, 0, 8000), data_out=b"x" * BLOCK)
    assert sense_of(done) == (0x7, 0x27, 0x07)
    assert world.store.content[: 2 * MIB] == b"x" * 2 * MIB
    assert world.store.content[2 * MIB :] == bytes(world.store.size - 2 * MIB)


@pytest.mark.conformance("SBC-014", "SBC-023")
def test_atomic_write_that_fails_has_changed_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write = world.store.pattern(), world.store.write
    broken = iter((True,))

    def torn(buffer: memoryview, offset: int) -> None:
        if next(broken, False):
            write(buffer[: len(buffer) // 2], offset)
            raise OSError(errno.ENOSPC, "full")
        write(buffer, offset)

    monkeypatch.setattr(world.store, "write", torn)
    done = world.host().scsi(LUN, long(ATOMIC, 8, 16), data_out=b"x" * 16 * BLOCK)
    assert sense_of(done) == (0x7, 0x27, 0x07)
    assert world.store.content == before


@pytest.mark.conformance("TMF-002", "SBC-015")
@pytest.mark.parametrize("cdb", [long(WRITE_SAME, 0, 0), long(OR, 0, 8192)], ids=["write same", "orwrite"])
def test_aborted_work_stops_soon_and_lets_others_go_on(world: World, cdb: bytes) -> None:
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    gate = world.store.close_gate()
    length = BLOCK if cdb[0] == WRITE_SAME else 8192 * BLOCK
    host.command(LUN, cdb, data_out=b"x" * length)
    gate.arrived(1)
    waiting = other.command(LUN, write_10(8000, 1), data_out=data(BLOCK))
    assert host.tmf(TmfFunction.ABORT_TASK_SET, lun=LUN) == 0
    world.store.open_gate()
    world.settle()
    assert other.done(waiting).status == GOOD
    written = sum(length for what, _, length in world.store.log if what == "write")
    assert written <= MIB + BLOCK
    assert host.scsi(LUN, TEST_UNIT_READY).status == GOOD


@pytest.mark.conformance("LUN-015")
def test_work_on_a_disk_that_is_taken_away_ends(world: World) -> None:
    host = world.host()
    gate = world.store.close_gate()
    itt = host.command(LUN, long(WRITE_SAME, 0, 0), data_out=b"x" * BLOCK)
    gate.arrived(1)
    host.itl.nexus.unmap(LUN)
    world.executor.abandon(world.disk)
    world.store.open_gate()
    world.settle()
    assert sense_of(host.done(itt)) == (0x5, 0x25, 0x00)
    assert not world.executor.busy(world.disk)


@pytest.mark.conformance("SBC-005")
@pytest.mark.parametrize("cdb", [long(WRITE_SAME, 0, 0), long(OR, 0, 8192)])
def test_work_on_a_disk_that_becomes_smaller_writes_nothing_behind_its_end(world: World, cdb: bytes) -> None:
    host = world.host()
    gate = world.store.close_gate()
    length = 8192 * BLOCK if cdb[0] == OR else BLOCK
    itt = host.command(LUN, cdb, data_out=b"x" * length)
    gate.arrived(1)
    world.disk.resize(4096)
    world.store.open_gate()
    world.settle()
    assert sense_of(host.done(itt))[0] == 0x3
    assert not any(world.store.content[4096 * BLOCK :])


@pytest.mark.conformance("SBC-009", "SBC-014")
def test_a_flush_of_work_that_failed_is_told_to_every_host(world: World) -> None:
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    for cdb, length in ((caw(0, 1, 0x08), 2 * BLOCK), (long(ATOMIC, 8, 8), 8 * BLOCK)):
        world.store.flush_error = errno.EIO
        assert sense_of(host.scsi(LUN, cdb, data_out=bytes(length))) == (0x3, 0x0C, 0x00)
        world.store.flush_error = 0
        assert sense_of(other.scsi(LUN, SYNCHRONIZE_CACHE)) == (0x3, 0x0C, 0x00)
        assert other.scsi(LUN, SYNCHRONIZE_CACHE).status == GOOD


@pytest.mark.conformance("SEC-004", "SAM-005")
def test_data_of_work_is_bounded_and_goes_with_its_command(make_world: MakeWorld) -> None:
    world = make_world(size=16 * MIB)
    host = world.host()
    gate = world.store.close_gate()
    length = 8 * MIB
    itts = [host.command(LUN, long(OR, 0, length // BLOCK), data_out=bytes(length)) for _ in range(8)]
    gate.arrived(1)
    assert sum(task.work.parameter_bytes for task in host.session.tasks.values()) <= PARAMETER_BYTES
    refused = [itt for itt in itts if host.ended(itt)]
    assert len(refused) == 8 - PARAMETER_BYTES // length
    assert {host.done(itt).status for itt in refused} == {0x28}
    assert host.tmf(TmfFunction.ABORT_TASK_SET, lun=LUN) == 0
    again = host.command(LUN, long(OR, 0, length // BLOCK), data_out=bytes(length))
    assert not host.ended(again)
    world.store.open_gate()
    world.settle()
    assert host.done(again).status == GOOD


@pytest.mark.conformance("SBC-010")
def test_prefetch_with_immed_is_answered_before_it_reads(world: World) -> None:
    host = world.host()
    gate = world.store.close_gate()
    itt = host.command(LUN, long(0x90, 0, 8, 0x02))
    assert host.done(itt).status == GOOD
    gate.arrived(1)
    world.store.open_gate()
    world.settle()
    assert ("read", 0, 8 * BLOCK) in world.store.log


@pytest.mark.conformance("SBC-016", "SAM-004")
def test_write_after_an_unmap_stays(world: World) -> None:
    world.store.pattern()
    host = world.host()
    gate = world.store.close_gate()
    parameters = struct.pack(">HH4xQI4x", 22, 16, 0, 8)
    unmap = host.command(LUN, bytes((0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0)), data_out=parameters)
    gate.arrived(1)
    write = host.command(LUN, write_10(2, 1), data_out=b"y" * BLOCK)
    read = host.command(LUN, read_10(0, 8), read_length=8 * BLOCK)
    world.store.open_gate()
    world.settle()
    assert host.done(unmap).status == host.done(write).status == GOOD
    assert host.done(read).data == bytes(2 * BLOCK) + b"y" * BLOCK + bytes(5 * BLOCK)
