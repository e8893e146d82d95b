"""Write data in all its forms: immediate, unsolicited, asked for by R2T (RFC 7143 4.2.5.2, 11.7, 11.8)."""

from __future__ import annotations

import itertools

import pytest

from mpxtarget.iscsi import transfer
from mpxtarget.iscsi.negotiation import Limits
from mpxtarget.pdu import NO_TAG, R2T, RejectReason, ScsiResponse
from mpxtarget.testing import R2TReceived
from support.cdb import TEST_UNIT_READY, data, mode_select_6, mode_sense_6, read_10, write_10, write_16
from support.fixtures import MakeWorld
from support.world import LUN, Scripted, World, only, reject_of

NOTHING_UNASKED = {"InitialR2T": "Yes", "ImmediateData": "No"}
FIRST_BURST, MAX_BURST = 2048, 4096


@pytest.mark.conformance("WRT-001", "WRT-004", "WRT-006", "WRT-007", "WRT-009", "CMD-008", "SEC-003")
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "in a lane"])
@pytest.mark.parametrize("segment", [512, 1536, 262144])
@pytest.mark.parametrize(("initial_r2t", "immediate"), list(itertools.product(("Yes", "No"), repeat=2)))
@pytest.mark.parametrize("first_burst", [FIRST_BURST, MAX_BURST])
def test_every_way_to_send_writes_the_right_bytes(
    make_world: MakeWorld, initial_r2t: str, immediate: str, first_burst: int, segment: int, at_once: bool
) -> None:
    world = make_world(limits=Limits(max_recv_data_segment_length=segment))
    host = world.host(
        keys={
            "InitialR2T": initial_r2t,
            "ImmediateData": immediate,
            "FirstBurstLength": str(first_burst),
            "MaxBurstLength": str(MAX_BURST),
        }
    )
    world.store.at_once = at_once
    lba = 1
    for length in (512, 1536, 2048, 2560, 3584, 4096, 4608, 8192, 8704, 20480):
        content = data(length, seed=length)
        before = bytes(world.store.content)
        itt = host.command(LUN, write_10(lba, length // 512), data_out=content)
        world.settle()
        done = host.done(itt)
        assert (done.status, done.residual) == (0, 0)
        at = lba * 512
        assert world.store.content == before[:at] + content + before[at + length :]
        asked = [(r2t.buffer_offset, r2t.desired_data_transfer_length) for r2t in host.pdus(R2T, itt)]
        unsolicited = min(first_burst, length)
        start = unsolicited if initial_r2t == "No" else min(unsolicited, segment) if immediate == "Yes" else 0
        assert [offset for offset, _ in asked] == list(range(start, length, MAX_BURST))
        assert sum(size for _, size in asked) == length - start
        lba += length // 512 + 1


@pytest.mark.conformance("WRT-008", "WRT-010")
@pytest.mark.parametrize("outstanding", [1, 2, 5])
def test_no_more_r2ts_are_outstanding_than_was_agreed(world: World, outstanding: int) -> None:
    keys = {"MaxOutstandingR2T": str(outstanding), "MaxBurstLength": "512", "FirstBurstLength": "512"}
    host = world.host(keys=NOTHING_UNASKED | keys)
    host.machine.hold_r2ts = True
    content = data(5120)
    itt = host.command(LUN, write_10(0, 10), data_out=content)
    for number in range(10):
        waiting = host.of(R2TReceived)
        assert len(waiting) == min(10, number + outstanding)
        host.machine.answer(waiting[number].r2t)
        host.run()
    assert host.done(itt).status == 0
    assert world.store.content[:5120] == content


@pytest.mark.conformance("WRT-008", "WRT-010")
def test_outstanding_r2ts_may_be_answered_in_any_order(world: World) -> None:
    host = world.host(
        keys=NOTHING_UNASKED | {"MaxOutstandingR2T": "4", "MaxBurstLength": "512", "FirstBurstLength": "512"}
    )
    host.machine.hold_r2ts = True
    content = data(2048)
    itt = host.command(LUN, write_10(0, 4), data_out=content)
    asked = [event.r2t for event in host.of(R2TReceived)]
    for number in (2, 0, 3, 1):
        host.machine.answer(asked[number])
        host.run()
    assert host.done(itt).status == 0
    assert world.store.content[:2048] == content


@pytest.mark.conformance("WRT-006")
def test_an_r2t_names_its_command_and_a_tag_of_its_own(world: World) -> None:
    host = world.host(keys=NOTHING_UNASKED)
    host.machine.hold_r2ts = True
    first = host.command(LUN, write_10(0, 8), data_out=data(4096))
    second = host.command(LUN, write_10(8, 8), data_out=data(4096))
    r2ts = host.pdus(R2T)
    assert [r2t.itt for r2t in r2ts] == [first, second]
    assert len({r2t.ttt for r2t in r2ts} | {NO_TAG}) == 3
    for r2t in r2ts:
        assert (r2t.final, r2t.lun, r2t.data_segment_length) == (1, LUN << 48, 0)


@pytest.mark.conformance("WRT-006", "PDU-015")
def test_transfer_tags_wrap_around_the_reserved_one(world: World) -> None:
    host = world.host(keys=NOTHING_UNASKED)
    host.target.connection.next_ttt = NO_TAG - 1
    for lba in range(3):
        assert host.scsi(LUN, write_10(lba, 1), data_out=data(512)).status == 0
    assert [r2t.ttt for r2t in host.pdus(R2T)] == [NO_TAG - 1, 1, 2]


@pytest.mark.conformance("WRT-005")
def test_the_next_command_may_come_before_the_unsolicited_data_of_the_last(world: World) -> None:
    host = world.host()
    content = data(1024)
    first = host.make.scsi_command(
        lun=LUN, final=0, write=1, expected_data_transfer_length=1024, cdb=write_10(0, 2)
    )
    assert host.say(first) == []
    second = host.make.scsi_command(
        lun=LUN, final=0, write=1, expected_data_transfer_length=1024, cdb=write_10(2, 2)
    )
    assert host.say(second) == []
    for command in (first, second):
        only(host.say(host.make.data_out(itt=command.itt, ttt=NO_TAG), content), ScsiResponse)
    assert world.store.content[:2048] == content * 2


@pytest.mark.conformance("WRT-016")
def test_the_lun_of_a_data_out_is_ignored(world: World) -> None:
    host = world.host(keys=NOTHING_UNASKED)
    command = host.make.scsi_command(lun=LUN, write=1, expected_data_transfer_length=512, cdb=write_10(0, 1))
    r2t = only(host.say(command), R2T)
    answer = host.say(host.make.data_out(itt=command.itt, ttt=r2t.ttt, lun=0xFFFF << 48), data(512))
    assert only(answer, ScsiResponse).status == 0


@pytest.mark.conformance("WRT-017")
def test_an_empty_data_out_ends_a_burst(world: World) -> None:
    host = world.host(keys=NOTHING_UNASKED)
    command = host.make.scsi_command(lun=LUN, write=1, expected_data_transfer_length=512, cdb=write_10(0, 1))
    r2t = only(host.say(command), R2T)
    assert host.say(host.make.data_out(itt=command.itt, ttt=r2t.ttt, final=0), b"") == []
    assert host.say(host.make.data_out(itt=command.itt, ttt=r2t.ttt, final=0, data_sn=1), data(512)) == []
    last = host.make.data_out(itt=command.itt, ttt=r2t.ttt, data_sn=2, buffer_offset=512)
    assert only(host.say(last), ScsiResponse).status == 0


@pytest.mark.conformance("WRT-021")
@pytest.mark.parametrize(
    "keys",
    [NOTHING_UNASKED, {"InitialR2T": "Yes"}, {"ImmediateData": "No"}],
    ids=["by R2T", "immediate", "unsolicited"],
)
def test_parameter_lists_come_in_every_form(world: World, keys: dict[str, str]) -> None:
    host = world.host(keys=keys)
    page = bytearray(host.scsi(LUN, mode_sense_6(0x0A), read_length=255).data)
    page[0] = page[2] = 0  # reserved for MODE SELECT
    page[4] &= 0x7F
    page[6] |= 0x04  # D_SENSE
    done = host.scsi(LUN, mode_select_6(len(page)), data_out=bytes(page))
    assert done.status == 0, done
    assert world.disk.descriptor_sense


@pytest.mark.conformance("WRT-022", "RES-005")
@pytest.mark.parametrize("keys", [NOTHING_UNASKED, {"InitialR2T": "Yes"}, {}])
def test_data_that_the_command_does_not_use_is_not_asked_for(world: World, keys: dict[str, str]) -> None:
    host = world.host(keys={"FirstBurstLength": "512", "MaxBurstLength": "512"} | keys)
    content = data(4096)
    before = bytes(world.store.content)
    itt = host.command(LUN, write_10(0, 2), data_out=content)
    done = host.done(itt)
    assert (done.status, done.underflow, done.residual) == (0, True, 3072)
    assert world.store.content == content[:1024] + before[1024:]
    ends = [r2t.buffer_offset + r2t.desired_data_transfer_length for r2t in host.pdus(R2T, itt)]
    assert max(ends, default=0) <= 1024


@pytest.mark.conformance("RES-006", "WRT-022")
@pytest.mark.parametrize("keys", [NOTHING_UNASKED, {"InitialR2T": "Yes"}, {}])
def test_of_a_write_that_expects_too_little_the_blocks_it_expects_are_written(
    world: World, keys: dict[str, str]
) -> None:
    host = world.host(keys=keys)
    before = world.store.pattern()
    content = data(1024)
    itt = host.command(LUN, write_10(0, 8), data_out=content)
    done = host.done(itt)
    assert (done.status, done.overflow, done.residual) == (0, True, 3072)
    assert world.store.content == content + before[1024:], "nothing beyond what was expected"
    assert all(r2t.buffer_offset + r2t.desired_data_transfer_length <= 1024 for r2t in host.pdus(R2T))


@pytest.mark.conformance("RES-006", "WRT-022")
@pytest.mark.parametrize("keys", [NOTHING_UNASKED, {"InitialR2T": "Yes"}, {}])
def test_a_write_that_expects_a_part_of_a_block_writes_nothing(world: World, keys: dict[str, str]) -> None:
    host = world.host(keys=keys)
    itt = host.command(LUN, write_10(0, 8), data_out=data(1000))
    done = host.done(itt)
    assert (done.status, done.overflow, done.residual) == (2, True, 3096)
    assert (done.sense[2], *done.sense[12:14]) == (0x5, 0x0E, 0x03)
    assert not any(world.store.content)
    assert host.pdus(R2T, itt) == []


@pytest.mark.conformance("WRT-001", "WRT-020", "TCP-007")
def test_a_write_of_many_bursts_through_a_small_window_of_bytes(world: World) -> None:
    host = world.host(keys=NOTHING_UNASKED | {"MaxOutstandingR2T": "16"})
    content = data(3 << 20)
    assert host.scsi(LUN, write_16(1, 6144), data_out=content).status == 0
    assert world.store.content[512 : 512 + len(content)] == content


@pytest.mark.conformance("CMD-011", "WRT-021")
def test_an_immediate_write_is_carried_out_like_any_other(world: World) -> None:
    host = world.host(keys=NOTHING_UNASKED)
    content = data(4096)
    assert host.scsi(LUN, write_10(0, 8), data_out=content, immediate=True).status == 0
    assert host.scsi(LUN, read_10(0, 8), read_length=4096, immediate=True).data == content


@pytest.mark.conformance("RES-010", "CMD-002")
@pytest.mark.parametrize("keys", [NOTHING_UNASKED, {"InitialR2T": "Yes"}, {"ImmediateData": "No"}, {}])
def test_data_for_a_command_that_takes_none_is_dropped(world: World, keys: dict[str, str]) -> None:
    host = world.host(keys={"FirstBurstLength": "1024"} | keys)
    itt = host.command(LUN, TEST_UNIT_READY, data_out=data(2048))
    done = host.done(itt)
    assert (done.status, done.underflow, done.residual) == (0, True, 2048)
    assert host.pdus(R2T, itt) == []
    assert host.scsi(LUN, TEST_UNIT_READY).status == 0


@pytest.mark.conformance("WRT-015", "RJT-002")
def test_data_nobody_asked_for_is_rejected(world: World) -> None:
    host = world.host()
    stray = host.make.data_out(itt=0x4242, ttt=7)
    assert reject_of(host.say(stray, data(512))).reason == RejectReason.INVALID_PDU_FIELD
    assert host.scsi(LUN, TEST_UNIT_READY).status == 0


@pytest.mark.conformance("WRT-015")
def test_a_wrong_transfer_tag_is_rejected_and_the_command_goes_on(world: World) -> None:
    host = world.host(keys=NOTHING_UNASKED)
    command = host.make.scsi_command(lun=LUN, write=1, expected_data_transfer_length=512, cdb=write_10(0, 1))
    r2t = only(host.say(command), R2T)
    wrong = host.make.data_out(itt=command.itt, ttt=r2t.ttt + 1)
    assert reject_of(host.say(wrong, data(512))).reason == RejectReason.INVALID_PDU_FIELD
    unasked = host.make.data_out(itt=command.itt, ttt=NO_TAG)
    assert reject_of(host.say(unasked, data(512))).reason == RejectReason.INVALID_PDU_FIELD
    right = host.make.data_out(itt=command.itt, ttt=r2t.ttt)
    assert only(host.say(right, data(512)), ScsiResponse).status == 0


@pytest.mark.conformance("WRT-015", "PDU-013")
def test_the_tag_of_an_r2t_belongs_to_one_command(world: World) -> None:
    host = world.host(keys=NOTHING_UNASKED)
    commands = [
        host.make.scsi_command(
            lun=LUN,
            write=1,
            expected_data_transfer_length=512,
            cdb=write_10(lba, 1),
            cmd_sn=host.machine.cmd_sn + lba,
        )
        for lba in range(2)
    ]
    r2ts = [only(host.say(command), R2T) for command in commands]
    crossed = host.make.data_out(itt=commands[0].itt, ttt=r2ts[1].ttt)
    assert reject_of(host.say(crossed, data(512))).reason == RejectReason.INVALID_PDU_FIELD
    assert not any(world.store.content)


@pytest.mark.conformance("WRT-009", "WRT-014")
def test_bytes_are_handed_on_once_each_and_in_order(make_world: MakeWorld) -> None:
    commands = Scripted(lambda task: transfer.expect(task, task.edtl))
    commands.on_taken = lambda task: transfer.respond(task, 0, b"", task.edtl)
    host = make_world(commands=commands).host(keys={"FirstBurstLength": "1024", "MaxBurstLength": "1024"})
    content = data(10000)  # no multiple of anything
    itt = host.command(LUN, write_10(0, 1), data_out=content)
    assert host.done(itt).status == 0
    assert commands.data[itt] == content
