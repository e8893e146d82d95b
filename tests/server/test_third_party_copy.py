"""Third-party copy moves real data between stores, in threads, and gives way to whoever stops it."""

from __future__ import annotations

import errno

import pytest

from mpxtarget.pdu import TmfFunction
from mpxtarget.testing import CommandDone
from support.cdb import data, read_10, write_10
from support.copies import (
    EXTENDED_COPY_LID1,
    EXTENDED_COPY_LID4,
    POPULATE_TOKEN,
    WRITE_USING_TOKEN,
    ZERO_TOKEN,
    Status,
    copy_abort,
    copy_in_lid4,
    copy_out,
    cscd,
    lid1,
    lid4,
    parse_status,
    populate,
    segment,
    write_using,
)
from support.fixtures import MakeWorld
from support.world import HOST, LUN, NAA, OTHER_HOST, OTHER_LUN, OTHER_NAA, OTHER_TARGET, TARGET, Host, World

BOTH = cscd(NAA) + cscd(OTHER_NAA)
MIB = 1 << 20
STATUS, TOKEN_INFORMATION = 0x05, 0x07
IMMED = 0x01
REGISTER = bytes.fromhex("5F 00 00 0000 00000018 00")
RESERVE = bytes.fromhex("5F 01 05 0000 00000018 00")


def extended_copy(segments: bytes, *, list_identifier: int = 1) -> tuple[bytes, bytes]:
    """EXTENDED COPY(LID1): CDB and parameter list."""
    parameters = lid1(BOTH, segments, list_identifier=list_identifier)
    return copy_out(EXTENDED_COPY_LID1, len(parameters)), parameters


def send(host: Host, lun: int, cdb: bytes, parameters: bytes) -> CommandDone:
    """A command with a parameter list, to its end."""
    return host.scsi(lun, cdb, data_out=parameters)


def begin(host: Host, lun: int, cdb: bytes, parameters: bytes) -> int:
    """A command with a parameter list; its ITT."""
    return host.command(lun, cdb, data_out=parameters)


def ask(host: Host, lun: int, list_identifier: int, action: int = STATUS) -> Status:
    """RECEIVE COPY STATUS(LID4), or RECEIVE ROD TOKEN INFORMATION, while others may be under way."""
    itt = host.command(lun, copy_in_lid4(action, list_identifier), read_length=4096)
    done = host.done(itt)
    assert done.status == 0, done
    return parse_status(bytes(done.data))


def token_of(host: Host, lun: int, *pairs: tuple[int, int]) -> bytes:
    """POPULATE TOKEN, and the token."""
    parameters = populate(*pairs)
    done = send(host, lun, copy_out(POPULATE_TOKEN, len(parameters), 1), parameters)
    assert done.status == 0, done
    (token,) = ask(host, lun, 1, TOKEN_INFORMATION).tokens
    return token


def using(token: bytes, *pairs: tuple[int, int], flags: int = 0) -> tuple[bytes, bytes]:
    """WRITE USING TOKEN: CDB and parameter list."""
    parameters = write_using(token, *pairs, flags=flags)
    return copy_out(WRITE_USING_TOKEN, len(parameters), 2), parameters


def sense(done: CommandDone) -> tuple[int, int]:
    """Sense key and additional sense code."""
    assert done.status == 2, done
    return done.sense[2] & 0x0F, int.from_bytes(done.sense[12:14], "big")


@pytest.mark.conformance("XCP-001", "XCP-005")
@pytest.mark.parametrize("at_once", [False, True])
def test_4_mib_go_from_store_to_store(world: World, at_once: bool) -> None:
    world.store.at_once = world.other_store.at_once = at_once
    content = world.store.pattern()
    host = world.host()
    done = send(host, LUN, *extended_copy(segment(4096, 0, 4096) + segment(4096, 4096, 0)))
    assert done.status == 0
    half = 2 * MIB
    assert bytes(world.other_store.content) == content[half:] + content[:half]
    assert max(length for what, _, length in world.store.log if what == "read") == MIB


@pytest.mark.conformance("XCP-001", "SAM-009")
def test_no_write_comes_between_the_pieces(world: World) -> None:
    content = world.store.pattern()
    host = world.host()
    gate = world.store.close_gate()
    copy = begin(host, LUN, *extended_copy(segment(8192, 0, 0)))
    gate.arrived(1)
    writes = [
        host.command(LUN, write_10(6000, 8), data_out=data(4096)),
        host.command(OTHER_LUN, write_10(7000, 8), data_out=data(4096, 2)),
    ]
    world.store.open_gate()
    world.settle()
    assert all(host.done(itt).status == 0 for itt in (copy, *writes))
    at, end = 7000 * 512, 7008 * 512
    assert bytes(world.other_store.content) == content[:at] + data(4096, 2) + content[end:]
    assert world.store.content[6000 * 512 : 6008 * 512] == data(4096)


@pytest.mark.conformance("XCP-002", "SBC-023")
@pytest.mark.parametrize(("lun", "code"), [(LUN, (3, 0x1100)), (OTHER_LUN, (3, 0x0C00))])
def test_a_store_that_fails_aborts_the_copy(world: World, lun: int, code: tuple[int, int]) -> None:
    host = world.host()
    world.store.read_error = errno.EIO if lun == LUN else 0
    world.other_store.write_error = errno.EIO if lun == OTHER_LUN else 0
    done = send(host, LUN, *extended_copy(segment(8, 0, 0)))
    assert sense(done) == (0xA, 0x0D01)
    forwarded = done.sense[19:]
    assert (forwarded[2], int.from_bytes(forwarded[12:14], "big")) == code
    status = ask(host, LUN, 1)
    assert (status.status, status.sense) == (0x02, bytes(done.sense))


@pytest.mark.conformance("XCP-002", "SNS-008")
def test_a_destination_without_space_is_told_as_such(world: World) -> None:
    host = world.host()
    world.other_store.write_error = errno.ENOSPC
    done = send(host, LUN, *extended_copy(segment(8, 0, 0)))
    assert sense(done) == (0xA, 0x0D01)
    assert (done.sense[19 + 2], done.sense[19 + 12 : 19 + 14]) == (7, b"\x27\x07")


@pytest.mark.conformance("XCP-004", "TMF-002")
@pytest.mark.parametrize("how", ["task", "operation"])
def test_a_copy_can_be_aborted_in_its_middle(world: World, how: str) -> None:
    world.store.pattern()
    host = world.host()
    gate = world.store.close_gate()
    itt = begin(host, LUN, *extended_copy(segment(8192, 0, 0)))
    gate.arrived(1)
    assert ask(host, LUN, 1).status == 0x11
    if how == "task":
        assert host.tmf(TmfFunction.ABORT_TASK, lun=LUN, referenced=itt) == 0
    else:
        abort = host.command(LUN, copy_abort(1))
        assert not host.ended(abort), "something may still be moved"
    world.store.open_gate()
    world.settle()
    if how == "task":
        assert not host.ended(itt)
    else:
        assert sense(host.done(itt)) == (0xA, 0x2F02)
        assert host.done(abort).status == 0
    status = ask(host, LUN, 1)
    assert (status.status, status.count) in ((0x60, 0), (0x60, MIB))
    assert not any(world.other_store.content[MIB:])
    assert host.scsi(OTHER_LUN, write_10(0, 8), data_out=data(4096)).status == 0


@pytest.mark.conformance("XCP-001", "XCP-004")
def test_a_copy_in_the_background_goes_on_without_its_command(world: World) -> None:
    content = world.store.pattern()
    host = world.host()
    gate = world.store.close_gate()
    parameters = lid4(BOTH, segment(8192, 0, 0), list_identifier=77, byte_15=IMMED)
    itt = begin(host, LUN, copy_out(EXTENDED_COPY_LID4, len(parameters)), parameters)
    assert host.done(itt).status == 0
    gate.arrived(1)
    assert ask(host, LUN, 77).status == 0x12
    world.store.open_gate()
    world.settle()
    assert ask(host, LUN, 77).status == 0x01
    assert bytes(world.other_store.content) == content


@pytest.mark.conformance("XCP-004", "TMF-014")
def test_a_reset_ends_a_copy_in_the_background(world: World) -> None:
    world.store.pattern()
    host = world.host()
    gate = world.store.close_gate()
    parameters = lid4(BOTH, segment(8192, 0, 0), byte_15=IMMED)
    begin(host, LUN, copy_out(EXTENDED_COPY_LID4, len(parameters)), parameters)
    gate.arrived(1)
    assert host.tmf(TmfFunction.LOGICAL_UNIT_RESET, lun=LUN) == 0
    world.store.open_gate()
    world.settle()
    assert not any(world.other_store.content[MIB:])


@pytest.mark.conformance("XCP-003")
def test_a_disk_that_goes_away_ends_the_copy(world: World) -> None:
    world.store.pattern()
    host = world.host()
    gate = world.store.close_gate()
    itt = begin(host, LUN, *extended_copy(segment(8192, 0, 0)))
    gate.arrived(1)
    host.session.nexus.unmap(OTHER_LUN)
    world.executor.abandon(world.other_disk)
    world.store.open_gate()
    world.settle()
    assert host.done(itt).status == 2
    assert not any(world.other_store.content[MIB:])


@pytest.mark.conformance("XCP-003", "PRS-027")
def test_a_copy_under_way_ends_when_its_destination_is_reserved(world: World) -> None:
    world.store.pattern()
    host = world.host()
    other = world.host(initiator=OTHER_HOST, target=OTHER_TARGET)
    key = (0xABC).to_bytes(8, "big")
    assert other.scsi(OTHER_LUN, REGISTER, data_out=bytes(8) + key + bytes(8)).status == 0
    gate = world.store.close_gate()
    copy = begin(host, LUN, *extended_copy(segment(8192, 0, 0)))
    gate.arrived(1)
    reserve = other.command(OTHER_LUN, RESERVE, data_out=key + bytes(16))
    world.store.open_gate()
    world.settle()
    assert other.done(reserve).status == 0
    assert host.done(copy).status == 0x18
    assert not any(world.other_store.content[MIB:])
    assert sense(send(host, LUN, *extended_copy(segment(1, 0, 0)))) == (0xA, 0x0D01)


@pytest.mark.conformance("XCP-003", "PRS-027")
@pytest.mark.parametrize("logged_in", [True, False])
def test_a_copy_in_the_background_ends_when_its_destination_is_reserved(
    world: World, logged_in: bool
) -> None:
    world.store.pattern()
    host = world.host()
    other = world.host(initiator=OTHER_HOST, target=OTHER_TARGET)
    key = (0xABC).to_bytes(8, "big")
    assert other.scsi(OTHER_LUN, REGISTER, data_out=bytes(8) + key + bytes(8)).status == 0
    gate = world.store.close_gate()
    parameters = lid4(BOTH, segment(8192, 0, 0), byte_15=IMMED)
    assert host.done(begin(host, LUN, copy_out(EXTENDED_COPY_LID4, len(parameters)), parameters)).status == 0
    gate.arrived(1)
    if not logged_in:
        host.target.hang_up()
    reserve = other.command(OTHER_LUN, RESERVE, data_out=key + bytes(16))
    world.store.open_gate()
    world.settle()
    assert other.done(reserve).status == 0
    assert not any(world.other_store.content[MIB:])


@pytest.mark.conformance("ODX-001")
@pytest.mark.parametrize("fast", [False, True])
def test_a_token_writes_what_was_there(make_world: MakeWorld, fast: bool) -> None:
    world = make_world(fast=fast)
    content = world.store.pattern()
    host = world.host()
    token = token_of(host, LUN, (0, 4096), (5000, 100))
    assert send(host, OTHER_LUN, *using(token, (1000, 4196))).status == 0
    copied = content[: 4096 * 512] + content[5000 * 512 : 5100 * 512]
    assert world.other_store.content[1000 * 512 : 5196 * 512] == copied
    assert send(host, OTHER_LUN, *using(ZERO_TOKEN, (1000, 4196))).status == 0
    assert not any(world.other_store.content)


@pytest.mark.conformance("ODX-001", "ODX-002")
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(("lba", "cancelled"), [(0, True), (99, True), (100, False)])
def test_any_write_to_its_blocks_cancels_a_token(
    make_world: MakeWorld, fast: bool, at_once: bool, lba: int, cancelled: bool
) -> None:
    world = make_world(fast=fast)
    host = world.host()
    other = world.host(initiator=OTHER_HOST, target=OTHER_TARGET)
    token = token_of(host, LUN, (0, 100))
    world.store.at_once = at_once
    assert other.scsi(LUN, write_10(lba, 1), data_out=data(512)).status == 0
    done = send(host, OTHER_LUN, *using(token, (0, 100)))
    if cancelled:
        assert sense(done) == (5, 0x2308)
        assert not any(world.other_store.content)
    else:
        assert done.status == 0


@pytest.mark.conformance("ODX-001")
def test_a_token_waits_for_the_writes_before_it(world: World) -> None:
    host = world.host()
    gate = world.store.close_gate()
    write = host.command(LUN, write_10(0, 8), data_out=data(4096))
    gate.arrived(1)
    parameters = populate((0, 8))
    itt = begin(host, LUN, copy_out(POPULATE_TOKEN, len(parameters), 1), parameters)
    assert not host.ended(itt)
    world.store.open_gate()
    world.settle()
    assert host.done(write).status == host.done(itt).status == 0
    (token,) = ask(host, LUN, 1, TOKEN_INFORMATION).tokens
    assert send(host, OTHER_LUN, *using(token, (0, 8))).status == 0
    assert world.other_store.content[:4096] == data(4096)


@pytest.mark.conformance("ODX-001", "ODX-002")
def test_data_that_arrives_after_the_token_was_made_cancels_it(make_world: MakeWorld) -> None:
    world = make_world()
    host = world.host(keys={"InitialR2T": "Yes", "ImmediateData": "No"})
    other = world.host(
        initiator=OTHER_HOST, target=OTHER_TARGET, keys={"InitialR2T": "Yes", "ImmediateData": "No"}
    )
    late = other.machine.command(LUN, write_10(0, 8), data_out=data(4096))
    other.target.receive(other.machine.to_send(), world.now)
    token = token_of(host, LUN, (0, 8))
    other.run()
    world.settle()
    assert other.done(late).status == 0
    assert sense(send(host, OTHER_LUN, *using(token, (0, 8)))) == (5, 0x2308)


@pytest.mark.conformance("ODX-001")
def test_the_short_cut_opens_again_when_the_token_is_gone(make_world: MakeWorld) -> None:
    world = make_world(fast=True)
    host = world.host()
    assert host.itl.go_write
    token = token_of(host, LUN, (0, 8))
    assert host.itl.go_read and not host.itl.go_write
    world.now += 61
    assert host.scsi(LUN, write_10(100, 8), data_out=data(4096)).status == 0
    assert host.itl.go_write
    assert sense(send(host, OTHER_LUN, *using(token, (0, 8)))) == (5, 0x2307)


@pytest.mark.conformance("ODX-003")
def test_a_token_is_good_on_every_path_and_for_every_host_that_has_it(world: World) -> None:
    content = world.store.pattern()
    host = world.host(initiator=HOST, target=TARGET)
    other = world.host(initiator=OTHER_HOST, target=OTHER_TARGET)
    token = token_of(host, LUN, (0, 8))
    assert send(other, OTHER_LUN, *using(token, (0, 8))).status == 0
    assert world.other_store.content[:4096] == content[:4096]
    assert bytes(other.scsi(OTHER_LUN, read_10(0, 8), read_length=4096).data) == content[:4096]


@pytest.mark.conformance("XCP-005", "SAM-009")
@pytest.mark.parametrize(("lun", "source"), [(LUN, OTHER_LUN), (OTHER_LUN, LUN)])
def test_a_token_never_gives_what_came_after_it(world: World, lun: int, source: int) -> None:
    stores = {LUN: world.store, OTHER_LUN: world.other_store}
    stores[source].content[:512] = old = data(512, 1)
    before = bytes(stores[lun].content[:512])
    host, other = world.host(), world.host(initiator=OTHER_HOST, target=OTHER_TARGET)
    token = token_of(host, source, (0, 1))
    gate = stores[lun].close_gate()
    zeros = other.command(lun, b"\x93\x01" + bytes(8) + (8).to_bytes(4, "big") + bytes(2))  # WRITE SAME
    gate.arrived(1)
    copy = begin(host, lun, *using(token, (0, 1)))  # waits for its disk, and may not have the other one yet
    write = other.command(source, write_10(0, 1), data_out=data(512, 2))
    stores[lun].open_gate()
    world.settle()
    assert [other.done(each).status for each in (zeros, write)] == [0, 0]
    assert bytes(stores[source].content[:512]) == data(512, 2)
    done = host.done(copy)
    if done.status:
        assert sense(done) == (5, 0x2308)
    assert bytes(stores[lun].content[:512]) in {0: (old,), 2: (before, bytes(512))}[done.status]
