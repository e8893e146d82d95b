"""REPORT and SET TIMESTAMP."""

import pytest
from scsi_initiator import GOOD, Array, Path, make_disk

from mpxtarget.scsi.plan import Reply

TIMESTAMP_CHANGED = 0x2A10
SET_OTHERWISE, SET_BY_COMMAND = 0b011, 0b010


class Clock:
    """Seconds since 1970, as a test likes them."""

    def __init__(self, array: Array) -> None:
        self.now = 1_700_000_000.25
        array.device.set_clock(lambda: self.now)


@pytest.fixture
def clock(array: Array) -> Clock:
    return Clock(array)


def report(path: Path, lun: int = 1) -> tuple[int, int]:
    """REPORT TIMESTAMP: origin and milliseconds."""
    data = path.read("A3 0F 00000000 00000100", lun)
    assert data[:2] == bytes((0, 10))
    assert len(data) == 12
    assert data[3] == 0
    assert data[10:] == bytes(2)
    return data[2], int.from_bytes(data[4:10], "big")


def put(path: Path, milliseconds: int) -> Reply:
    """SET TIMESTAMP."""
    data = bytes(4) + milliseconds.to_bytes(6, "big") + bytes(2)
    return path.send("A4 0F 00000000 0000000C", data=data)


@pytest.mark.conformance("MSC-004", "LAY-001")
def test_clock_begins_as_that_of_the_server(path: Path, clock: Clock) -> None:
    assert report(path) == (SET_OTHERWISE, 1_700_000_000_250)
    clock.now += 2
    assert report(path) == (SET_OTHERWISE, 1_700_000_002_250)


@pytest.mark.conformance("MSC-004", "LAY-001")
@pytest.mark.parametrize("milliseconds", [0, 1_234_567, (1 << 48) - 1001, 1_800_000_000_000])
def test_clock_goes_on_from_what_it_was_set_to(path: Path, clock: Clock, milliseconds: int) -> None:
    assert put(path, milliseconds) == Reply(GOOD)
    assert report(path) == (SET_BY_COMMAND, milliseconds)
    clock.now += 1
    assert report(path) == (SET_BY_COMMAND, milliseconds + 1000)


@pytest.mark.conformance("MSC-004")
def test_clock_has_48_bits(path: Path, clock: Clock) -> None:
    put(path, (1 << 48) - 1)
    clock.now += 0.001
    assert report(path) == (SET_BY_COMMAND, 0)


@pytest.mark.conformance("MSC-004", "UAT-001", "UAT-006")
def test_every_other_nexus_of_the_unit_hears_of_it(clock: Clock) -> None:
    array = Array({1: make_disk(), 2: make_disk()})
    path, other = array.path(), array.path(isid=2)
    put(path, 5)
    assert path.attentions() == []
    assert other.attentions() == [TIMESTAMP_CHANGED]
    assert other.attentions(2) == []
    assert report(path, lun=2)[0] == SET_OTHERWISE


@pytest.mark.conformance("MSC-004")
def test_resets_do_not_touch_the_clock(path: Path, array: Array, clock: Clock) -> None:
    put(path, 5)
    array.disk.reset()
    path.attentions()
    assert report(path) == (SET_BY_COMMAND, 5)


@pytest.mark.conformance("MSC-004", "CDB-003")
def test_empty_list_is_good_and_changes_nothing(path: Path, other: Path, clock: Clock) -> None:
    assert path.send("A4 0F") == Reply(GOOD)
    assert report(path)[0] == SET_OTHERWISE
    assert other.attentions() == []


@pytest.mark.conformance("MSC-004", "CDB-003", "OPC-001")
@pytest.mark.parametrize("length", [1, 4, 11, 13, 0xFFFFFFFF])
def test_list_of_another_length_is_refused_unseen(path: Path, length: int) -> None:
    assert path.sense(f"A4 0F 00000000 {length:08X}").code == (5, 0x1A00)


@pytest.mark.conformance("MSC-004", "CDB-002")
def test_length_is_not_changed_by_truncation(path: Path) -> None:
    assert path.read("A3 0F 00000000 00000003") == bytes((0, 10, SET_OTHERWISE))
