"""Log pages and self-tests of a disk that really does something."""

from collections.abc import Iterator

import pytest

from support.cdb import data, read_10, verify_10, write_10
from support.world import LUN, OTHER_HOST, Host, World

SELF_TEST = bytes.fromhex("1DA000000000")


@pytest.fixture(params=[True, False], ids=["by the short cut", "step by step"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(fast=request.param)
    yield world
    world.close()


def log_page(host: Host, code: int) -> dict[int, bytes]:
    """The parameters of a log page."""
    page = host.scsi(LUN, bytes((0x4D, 0, 0x40 | code, 0, 0, 0, 0, 0x10, 0, 0)), read_length=4096).data
    found, at = {}, 4
    while at < len(page):
        end = at + 4 + page[at + 3]
        found[int.from_bytes(page[at : at + 2], "big")] = page[at + 4 : end]
        at = end
    return found


def counters(host: Host, code: int) -> dict[int, int]:
    """The counters of a log page."""
    return {parameter: int.from_bytes(value, "big") for parameter, value in log_page(host, code).items()}


@pytest.mark.conformance("LOG-001", "LOG-003")
def test_bytes_are_those_that_all_hosts_have_moved_also_those_that_left(world: World) -> None:
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    host.scsi(LUN, write_10(0, 8), data_out=data(4096))
    host.scsi(LUN, verify_10(0, 2))
    for _ in range(3):
        other.scsi(LUN, read_10(0, 8), read_length=4096)
    other.target.hang_up()
    assert counters(host, 0x02)[0x0005] == 4096
    assert counters(host, 0x03)[0x0005] == 3 * 4096
    assert counters(host, 0x05)[0x0005] == 2 * 512
    statistics = log_page(host, 0x19)[0x0001]
    numbers = [int.from_bytes(statistics[at : at + 8], "big") for at in range(0, 32, 8)]
    assert numbers == [3, 1, 8, 24]
    host.scsi(LUN, bytes.fromhex("4C024000000000000000"))
    assert counters(host, 0x03)[0x0005] == 0


@pytest.mark.conformance("LOG-001", "SNS-008", "SBC-023")
def test_errors_are_counted_once_for_each_command(world: World) -> None:
    host = world.host()
    world.store.read_error = world.store.write_error = 5
    assert host.scsi(LUN, read_10(0, 1), read_length=512).status == 2
    assert host.scsi(LUN, read_10(0, 1), read_length=512).status == 2
    assert host.scsi(LUN, write_10(0, 1), data_out=data(512)).status == 2
    assert counters(host, 0x03)[0x0006] == 2
    assert counters(host, 0x02)[0x0006] == 1


@pytest.mark.conformance("MSC-001", "LOG-001")
def test_self_test_fails_with_the_disk_and_passes_with_it(world: World) -> None:
    host = world.host()
    assert host.scsi(LUN, SELF_TEST).status == 0
    world.store.read_error = 5
    done = host.scsi(LUN, SELF_TEST)
    assert (done.status, done.sense[2], done.sense[12:14]) == (2, 0x4, b"\x3e\x03")
    latest, first = log_page(host, 0x10)[1], log_page(host, 0x10)[2]
    assert (latest[0], first[0]) == (0xA7, 0xA0)
