"""SEND DIAGNOSTIC and RECEIVE DIAGNOSTIC RESULTS."""

from collections.abc import Iterator

import pytest
from scsi_initiator import GOOD, Array, Path, make_disk, parse_sense

from mpxtarget.scsi.logical_unit import Disk
from mpxtarget.scsi.plan import Medium, Reply, WorkOnBlocks

LISTED_PAGES = bytes.fromhex("00 00 0001 00")
SHORT_FOREGROUND = "1D A0 00 00 00"


class Blocks(Medium):
    """A medium with blocks that cannot be read."""

    def __init__(self, *bad: int) -> None:
        self.bad = bad
        self.seen: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.seen.append((offset // 512, length // 512))
        if offset // 512 in self.bad:
            raise OSError(5, "bad block")
        return bytes(length)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        raise AssertionError("a self-test changes nothing")

    def write_whole(self, offset: int, data: bytes | memoryview) -> None:
        raise AssertionError("a self-test changes nothing")

    def zero(self, offset: int, length: int) -> None:
        raise AssertionError("a self-test changes nothing")

    def flush(self) -> None:
        raise AssertionError("there is nothing to flush")

    def runs(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        raise AssertionError("a self-test asks for nothing else")


def self_test(path: Path, disk: Disk, medium: Blocks) -> Reply:
    """Run a short self-test on this medium."""
    plan = path.plan(SHORT_FOREGROUND)
    assert isinstance(plan, WorkOnBlocks)
    assert all(each.disk is disk and not each.writing for each in plan.extents)
    reply = plan.finished(plan.work({disk: medium}))
    assert isinstance(reply, Reply)
    assert sorted(medium.seen) == sorted((each.offset // 512, 1) for each in plan.extents)[: len(medium.seen)]
    return reply


def results(path: Path) -> list[bytes]:
    """The twenty results of log page 10h, each without its header."""
    data = path.read("4D 00 50 00 00 0000 FFFF")
    assert data[:4] == bytes.fromhex("90 00 0190")
    entries = [data[at : at + 20] for at in range(4, len(data), 20)]
    assert [each[:2] for each in entries] == [bytes((0, number)) for number in range(1, 21)]
    assert {each[3] for each in entries} == {16}
    return [each[4:] for each in entries]


@pytest.mark.conformance("MSC-001", "OPC-005")
@pytest.mark.parametrize("lun", [0, 1])
@pytest.mark.parametrize("cdb", ["1D 04 00 00 00", "1D 10 00 00 00", "1D 00 00 00 00", "1D 07 00 00 00"])
def test_default_self_test_passes(path: Path, lun: int, cdb: str) -> None:
    assert path.send(cdb, lun) == Reply(GOOD)


@pytest.mark.conformance("MSC-001")
@pytest.mark.parametrize("lun", [0, 1])
def test_the_only_diagnostic_page_is_the_list_of_pages(path: Path, lun: int) -> None:
    assert path.send("1D 10 00 00 04", lun, data=bytes(4)) == Reply(GOOD)
    assert path.read("1C 01 00 00 FF", lun) == LISTED_PAGES
    assert path.read("1C 00 00 00 FF", lun) == LISTED_PAGES
    assert path.read("1C 01 00 00 03", lun) == LISTED_PAGES[:3]


@pytest.mark.conformance("MSC-001", "OPC-001", "SNS-004")
@pytest.mark.parametrize(
    ("cdb", "pointer"),
    [
        ("1D 20 00 00 00", (1, 7)),
        ("1D 40 00 00 00", (1, 7)),
        ("1D 80 00 00 00", (1, 7)),
        ("1D C0 00 00 00", (1, 7)),
        ("1D E0 00 00 00", (1, 7)),
        ("1D A4 00 00 00", (1, 7)),
        ("1D 00 00 00 04", (3, None)),
        ("1D 14 00 00 04", (3, None)),
        ("1D B0 00 00 04", (3, None)),
        ("1C 01 01 00 FF", (2, None)),
        ("1C 01 40 00 FF", (2, None)),
    ],
)
def test_unsupported_codes_and_pages_are_refused(
    path: Path, cdb: str, pointer: tuple[int, int | None]
) -> None:
    sense = path.sense(cdb)
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", *pointer)


@pytest.mark.conformance("MSC-001")
def test_console_has_no_self_test_but_the_default_one(path: Path) -> None:
    assert path.sense(SHORT_FOREGROUND, lun=0).pointer == ("CDB", 1, 7)


@pytest.mark.conformance("MSC-001", "CDB-003")
@pytest.mark.parametrize("length", [1, 3, 5, 0x1000])
def test_list_of_another_length_is_refused_unseen(path: Path, length: int) -> None:
    assert path.sense(f"1D 10 00 {length:04X}").code == (5, 0x1A00)


@pytest.mark.conformance("MSC-001")
@pytest.mark.parametrize(("data", "at"), [("01 00 0000", 0), ("00 01 0000", 1), ("00 00 0001", 3)])
def test_other_page_is_refused_and_pointed_at(path: Path, data: str, at: int) -> None:
    sense = path.sense("1D 10 00 00 04", data=bytes.fromhex(data))
    assert sense.code == (5, 0x2600)
    assert sense.pointer == ("data", at, None)


@pytest.mark.conformance("MSC-001", "LOG-001")
def test_short_self_test_reads_the_ends_and_the_middle(path: Path, array: Array) -> None:
    medium = Blocks()
    assert self_test(path, array.disk, medium) == Reply(GOOD)
    assert medium.seen == [(0, 1), (1 << 20, 1), ((1 << 21) - 1, 1)]
    assert results(path) == [bytes.fromhex("A0 00 0000 FFFFFFFFFFFFFFFF 00 0000 00"), *[bytes(16)] * 19]


@pytest.mark.conformance("MSC-001", "LOG-001", "SNS-008")
def test_failed_self_test_tells_the_block_that_failed_it(path: Path, array: Array) -> None:
    reply = self_test(path, array.disk, Blocks(1 << 20))
    sense = parse_sense(reply.sense)
    assert (sense.code, sense.information) == ((4, 0x3E03), 1 << 20)
    assert results(path)[0] == bytes.fromhex("A7 00 0000 0000000000100000 04 3E03 00")


@pytest.mark.conformance("LOG-001")
def test_twenty_results_are_kept_the_latest_first(path: Path, array: Array) -> None:
    self_test(path, array.disk, Blocks(0))
    for _ in range(19):
        self_test(path, array.disk, Blocks())
    assert [each[0] for each in results(path)] == [0xA0] * 19 + [0xA7]
    self_test(path, array.disk, Blocks())
    assert [each[0] for each in results(path)] == [0xA0] * 20


@pytest.mark.conformance("LOG-001")
def test_aborted_self_test_is_remembered_as_such(path: Path, array: Array) -> None:
    plan = path.plan(SHORT_FOREGROUND)
    assert isinstance(plan, WorkOnBlocks)
    assert plan.finished(None) is None
    assert results(path)[0][0] == 0xA2


@pytest.mark.conformance("LOG-001")
def test_results_tell_for_how_many_hours_the_array_was_on(path: Path, array: Array) -> None:
    now = 1_000_000.0
    array.device.set_clock(lambda: now)
    now += 3 * 3600 + 1800
    self_test(path, array.disk, Blocks())
    assert results(path)[0][2:4] == bytes((0, 3))


@pytest.mark.conformance("MSC-001")
def test_smallest_disk_is_tested_once() -> None:
    array = Array({1: make_disk(blocks=1)})
    medium = Blocks()
    assert self_test(array.path(), array.disk, medium) == Reply(GOOD)
    assert medium.seen == [(0, 1)]
