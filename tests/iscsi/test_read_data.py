"""Data-In: segments, sequences, offsets, and the status that comes with the last of it (RFC 7143 11.7)."""

from __future__ import annotations

import errno

import pytest

from mpxtarget.iscsi import transfer
from mpxtarget.iscsi.output import ARENA_SIZE
from mpxtarget.pdu import NO_TAG, DataIn, ScsiResponse
from mpxtarget.testing import CommandDone
from support.cdb import SYNCHRONIZE_CACHE, TEST_UNIT_READY, data, inquiry, read_10, read_16, write_10
from support.fixtures import MakeWorld
from support.world import LUN, Host, Scripted, World, only

WAYS = ["at once", "in a lane", "fast"]


def reading_host(make_world: MakeWorld, way: str, keys: dict[str, str], **how: int) -> Host:
    """A host at a disk with a pattern on it, whose reads are done in one of the ways there are."""
    world = make_world(fast=way == "fast", **how)
    world.store.pattern()
    world.store.at_once = way != "in a lane"
    return world.host(keys=keys)


@pytest.mark.conformance("RDF-001", "RDF-002", "RDF-003", "RDF-006", "RDF-008", "PDU-010", "PDU-001")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("burst", [512, 1500, 4096, 262144])
@pytest.mark.parametrize("segment", [512, 1021, 2048, 262144])
def test_reads_come_in_segments_and_sequences_of_the_agreed_lengths(
    make_world: MakeWorld, segment: int, burst: int, way: str
) -> None:
    keys = {
        "MaxRecvDataSegmentLength": str(segment),
        "MaxBurstLength": str(burst),
        "FirstBurstLength": "512",
    }
    host = reading_host(make_world, way, keys)
    for blocks in (1, 2, 5, 31, 64):
        itt = host.command(LUN, read_10(3, blocks), read_length=blocks * 512)
        host.world.settle()
        done = host.done(itt)
        assert (done.status, done.residual) == (0, 0)
        assert done.data == host.world.store.content[1536 : 1536 + blocks * 512]
        at = sequence = 0
        pdus = host.pdus(DataIn, itt)
        for number, pdu in enumerate(pdus):
            last = number == len(pdus) - 1
            assert pdu.data_segment_length <= min(segment, burst)
            assert last or pdu.data_segment_length % 4 == 0
            assert (pdu.buffer_offset, pdu.data_sn) == (at, number)
            assert (pdu.ttt, pdu.lun, pdu.acknowledge) == (NO_TAG, 0, 0)
            at += pdu.data_segment_length
            sequence += pdu.data_segment_length
            assert sequence <= burst
            if pdu.final:
                sequence = 0
            assert pdu.status_flag == last
            if not last:
                assert (pdu.status, pdu.residual_count, pdu.overflow, pdu.underflow) == (0, 0, 0, 0)
        assert pdus[-1].final


@pytest.mark.conformance("RDF-004", "RDF-005", "RDF-011")
@pytest.mark.parametrize("way", WAYS)
def test_good_status_comes_with_the_last_data_and_nothing_follows(make_world: MakeWorld, way: str) -> None:
    host = reading_host(make_world, way, {})
    done = host.scsi(LUN, read_10(0, 8), read_length=8192)
    assert (done.underflow, done.residual) == (True, 4096)
    (pdu,) = host.pdus(DataIn)
    assert (pdu.status_flag, pdu.final, pdu.underflow, pdu.residual_count) == (1, 1, 1, 4096)
    assert host.pdus(ScsiResponse) == []


@pytest.mark.conformance("RDF-004", "RSP-004", "RSP-005")
@pytest.mark.parametrize("status", [0x02, 0x08, 0x18, 0x28, 0x40])
def test_other_status_never_comes_with_data(make_world: MakeWorld, status: int) -> None:
    commands = Scripted(
        lambda task: transfer.respond(task, status, b"\x70" + bytes(17) if status == 2 else b"")
    )
    host = make_world(commands=commands).host()
    answer = only(
        host.say(host.make.scsi_command(lun=LUN, read=1, expected_data_transfer_length=64)), ScsiResponse
    )
    assert (answer.status, answer.final, answer.response, answer.snack_tag) == (status, 1, 0, 0)


@pytest.mark.conformance("RDF-007", "RES-009", "STS-008")
@pytest.mark.parametrize("in_lane", [False, True])
def test_an_error_after_some_data_is_a_response_of_its_own(world: World, in_lane: bool) -> None:
    host = world.host()
    world.store.pattern()
    chunk = transfer.CHUNK
    if in_lane:
        world.store.close_gate()
        gate = world.store.gate
        assert gate is not None
        itt = host.command(LUN, read_16(0, 1024), read_length=2 * chunk)
        gate.release(gate.arrived(1)[0])
        assert world.drain()
        host.run()
        gate.arrived(1)
        world.store.read_error = errno.EIO
        world.store.open_gate()
    else:
        real = world.store.read_now

        def read_now(buffers: list[memoryview], offset: int, length: int) -> bool:
            if offset >= chunk:
                raise OSError(errno.EIO, "bad block")
            return real(buffers, offset, length)

        world.store.read_now = read_now  # type: ignore[method-assign, assignment]
        itt = host.command(LUN, read_16(0, 1024), read_length=2 * chunk)
    world.settle()
    (sent,) = host.pdus(DataIn, itt)
    assert (sent.data_segment_length, sent.status_flag) == (chunk, 0)
    done = host.done(itt)
    assert (done.status, done.sense[2], *done.sense[12:14]) == (2, 0x3, 0x11, 0x00)
    assert done.data == world.store.content[:chunk], "what was sent stands"
    assert (done.underflow, done.residual) == (True, chunk), "so much has not been transferred"
    assert host.pdus(ScsiResponse, itt)[0].exp_data_sn == 1


@pytest.mark.conformance("RDF-009", "RDF-010", "RES-003")
@pytest.mark.parametrize("way", WAYS)
def test_no_data_beyond_what_is_expected(make_world: MakeWorld, way: str) -> None:
    host = reading_host(make_world, way, {})
    done = host.scsi(LUN, read_10(0, 8), read_length=1024)
    assert (done.status, done.overflow, done.residual) == (0, True, 3072)
    assert done.data == host.world.store.content[:1024]
    answers = host.say(host.make.scsi_command(lun=LUN, read=1, cdb=read_10(0, 8)))
    response = only(answers, ScsiResponse)
    assert (response.status, response.overflow, response.residual_count) == (0, 1, 4096)


@pytest.mark.conformance("RDF-009")
def test_no_data_in_for_a_command_that_is_no_read(world: World) -> None:
    host = world.host()
    host.scsi(LUN, inquiry(), data_out=bytes(36))
    host.scsi(LUN, read_10(0, 1), data_out=bytes(512))
    assert host.pdus(DataIn) == []


@pytest.mark.conformance("RDF-012", "RES-002")
def test_less_data_than_expected_ends_with_f_and_the_difference(world: World) -> None:
    host = world.host()
    done = host.scsi(LUN, inquiry(36), read_length=255)
    (pdu,) = host.pdus(DataIn)
    assert (pdu.data_segment_length, pdu.final, pdu.status_flag) == (36, 1, 1)
    assert (done.underflow, done.residual) == (True, 255 - 36)
    host.scsi(LUN, inquiry(0), read_length=255)
    assert only(host.seen[-1:], ScsiResponse).residual_count == 255


@pytest.mark.conformance("RDF-001", "SEC-004", "TCP-007")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("segment", ["512", "262144"])
def test_a_read_larger_than_an_arena_arrives_whole(make_world: MakeWorld, way: str, segment: str) -> None:
    host = reading_host(make_world, way, {"MaxRecvDataSegmentLength": segment})
    length = 3 << 20
    assert length > 4 * ARENA_SIZE
    done = host.scsi(LUN, read_16(7, length // 512), read_length=length)
    assert done.data == host.world.store.content[7 * 512 : 7 * 512 + length]


@pytest.mark.conformance("SEC-004")
def test_reads_stall_while_the_output_waits_for_its_peer(make_world: MakeWorld) -> None:
    world = make_world()
    world.store.pattern()
    host = world.host()
    for number in range(32):
        host.machine.command(LUN, read_10(number, 2048), read_length=1 << 20)
    host.target.receive(host.machine.to_send(), 0.0)  # and nobody takes what comes back
    assert len(host.target.output) <= 2 * ARENA_SIZE
    assert len(host.target.connection.stalled) >= 31
    host.run()
    assert [done.data[:8] for done in host.of(CommandDone)] == [
        bytes(world.store.content[number * 512 :][:8]) for number in range(32)
    ]


@pytest.mark.conformance("RDF-002")
def test_a_stalled_read_that_is_aborted_sends_no_more(world: World) -> None:
    host = world.host()
    for number in range(3):
        host.machine.command(LUN, read_10(number, 4096), read_length=2 << 20)
    host.target.receive(host.machine.to_send(), 0.0)
    host.machine.task_management(2, lun=LUN)
    host.target.receive(host.machine.to_send(), 0.0)
    host.run()
    assert host.session.tasks == {}
    assert host.scsi(LUN, TEST_UNIT_READY).status == 0


@pytest.mark.conformance("CMD-012", "RSP-002", "RSP-003")
def test_sense_data_has_its_length_in_front(world: World) -> None:
    host = world.host()
    host.command(LUN, b"\xff" + bytes(9))
    response, content = host.seen[-1]
    assert isinstance(response, ScsiResponse)
    assert response.status == 2
    assert int.from_bytes(content[:2], "big") == len(content) - 2 == 18
    assert response.data_segment_length == 20
    assert (content[4], *content[14:16]) == (0x5, 0x20, 0x00)


@pytest.mark.conformance("RSP-001", "RSP-002")
def test_good_status_has_no_data_segment(world: World) -> None:
    host = world.host()
    for cdb in (TEST_UNIT_READY, SYNCHRONIZE_CACHE):
        host.scsi(LUN, cdb)
        response, content = host.seen[-1]
        assert isinstance(response, ScsiResponse)
        assert (response.status, response.response, response.final, content) == (0, 0, 1, b"")


@pytest.mark.conformance("CMD-010")
def test_a_lun_that_is_not_there_is_a_matter_of_scsi(world: World) -> None:
    host = world.host()
    assert host.scsi(9, inquiry(), read_length=36).data[0] == 0x7F
    done = host.scsi(9, write_10(0, 1), data_out=data(512))
    assert (done.sense[2], *done.sense[12:14]) == (0x5, 0x25, 0x00)
    assert host.rejects() == []
