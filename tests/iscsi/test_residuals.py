"""Residual counts: what was expected against what the SCSI layer presents (RFC 7143 11.4.5)."""

from __future__ import annotations

import pytest

from mpxtarget.iscsi import transfer
from mpxtarget.pdu import DataIn, ScsiResponse
from support.cdb import TEST_UNIT_READY, data, inquiry, read_10, report_luns, verify_10, write_10
from support.fixtures import MakeWorld
from support.world import LUN, Scripted, World, only

UNDER, OVER, NONE = "underflow", "overflow", "none"


def kind_of(pdu: ScsiResponse | DataIn) -> tuple[str, int]:
    """Which residual flag is set, and the count."""
    assert not (pdu.underflow and pdu.overflow)
    return UNDER if pdu.underflow else OVER if pdu.overflow else NONE, pdu.residual_count


@pytest.mark.conformance("RES-001", "RES-002", "RES-003", "RES-007", "RDF-010", "RDF-012")
@pytest.mark.parametrize("presented", [0, 1, 255, 256, 257, 100000])
@pytest.mark.parametrize("expected", [0, 1, 256, 4096])
def test_a_read_tells_the_difference(make_world: MakeWorld, expected: int, presented: int) -> None:
    commands = Scripted(lambda task: transfer.respond_with_data(task, data(presented)))
    host = make_world(commands=commands).host()
    answers = host.say(
        host.make.scsi_command(lun=LUN, read=1, expected_data_transfer_length=expected, cdb=bytes(16))
    )
    last = answers[-1][0]
    assert isinstance(last, ScsiResponse | DataIn)
    difference = presented - expected
    want = (NONE, 0) if not difference else (OVER if difference > 0 else UNDER, abs(difference))
    assert kind_of(last) == want
    assert b"".join(content for _, content in answers) == data(presented)[: min(presented, expected)]


@pytest.mark.conformance("RES-001", "RES-002", "RES-003", "RES-005", "CDB-011")
@pytest.mark.parametrize("used", [0, 512, 1024, 5000])
@pytest.mark.parametrize("expected", [512, 1024, 4096])
def test_a_write_tells_the_difference(make_world: MakeWorld, expected: int, used: int) -> None:
    commands = Scripted(lambda task: transfer.expect(task, used))
    commands.on_taken = lambda task: transfer.respond(task, 0, b"", used)
    host = make_world(commands=commands).host(keys={"FirstBurstLength": "512", "MaxBurstLength": "512"})
    content = data(expected)
    done = host.scsi(LUN, write_10(0, 1), data_out=content)
    assert commands.data[done.itt] == content[: min(used, expected)]
    assert (done.underflow, done.overflow, done.residual) == (
        used < expected,
        used > expected,
        abs(used - expected),
    )


@pytest.mark.conformance("RES-004")
def test_the_allocation_length_is_no_overflow(world: World) -> None:
    host = world.host()
    nexus = host.session.nexus
    for lun in range(3, 40):
        nexus.map(lun, world.disk)
    done = host.scsi(0, report_luns(16), read_length=16)
    assert (done.status, done.underflow, done.overflow, done.residual) == (0, False, False, 0)
    assert int.from_bytes(done.data[:4], "big") == 40 * 8


@pytest.mark.conformance("RES-003", "RES-004")
def test_an_allocation_length_beyond_the_expected_length_is_one(world: World) -> None:
    host = world.host()
    done = host.scsi(0, inquiry(36), read_length=5)
    assert (done.overflow, done.residual, len(done.data)) == (True, 31, 5)


@pytest.mark.conformance("RES-009")
@pytest.mark.parametrize("write", [False, True])
def test_a_command_that_fails_first_has_transferred_nothing(world: World, write: bool) -> None:
    host = world.host()
    beyond = world.disk.blocks
    if write:
        done = host.scsi(LUN, write_10(beyond, 2), data_out=data(1024))
    else:
        done = host.scsi(LUN, read_10(beyond, 2), read_length=1024)
    assert (done.status, done.underflow, done.residual) == (2, True, 1024)


@pytest.mark.conformance("RES-010")
def test_a_command_without_data_and_without_expectation_has_no_residual(world: World) -> None:
    host = world.host()
    answer = only(host.say(host.make.scsi_command(lun=LUN, cdb=TEST_UNIT_READY)), ScsiResponse)
    assert kind_of(answer) == (NONE, 0)


@pytest.mark.conformance("RES-002", "RES-010")
def test_a_read_expected_from_a_command_without_data(world: World) -> None:
    host = world.host()
    done = host.scsi(LUN, TEST_UNIT_READY, read_length=512)
    assert (done.status, done.underflow, done.residual, done.data) == (0, True, 512, b"")


@pytest.mark.conformance("RES-001", "RES-006")
@pytest.mark.parametrize(("expected", "residual"), [(1024, (False, False, 0)), (1536, (True, False, 512))])
def test_verify_with_data_counts_what_it_compares(
    world: World, expected: int, residual: tuple[bool, bool, int]
) -> None:
    host = world.host()
    content = data(expected)
    world.store.content[:1024] = content[:1024]
    done = host.scsi(LUN, verify_10(0, 2, bytchk=1), data_out=content)
    assert (done.status, done.underflow, done.overflow, done.residual) == (0, *residual)
    world.store.content[700] ^= 1
    assert host.scsi(LUN, verify_10(0, 2, bytchk=1), data_out=content).sense[2] == 0xE


@pytest.mark.conformance("RES-003", "RES-007")
def test_a_write_without_expected_length_overflows_by_all_of_it(world: World) -> None:
    host = world.host()
    for write in (0, 1):
        answer = only(
            host.say(host.make.scsi_command(lun=LUN, write=write, cdb=write_10(0, 2))), ScsiResponse
        )
        assert kind_of(answer) == (OVER, 1024)
    assert not any(world.store.content)
