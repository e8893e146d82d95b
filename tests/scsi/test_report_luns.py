"""REPORT LUNS: which logical units a nexus can reach."""

import struct

import pytest
from scsi_initiator import LUNS_CHANGED, POWER_ON, REPORT_LUNS, Array, Path, make_disk

from mpxtarget.scsi.codes import AccessState


def luns(data: bytes) -> list[int]:
    """The LUN fields, upper 16 bits, after checking the header."""
    length, reserved = struct.unpack_from(">II", data)
    assert reserved == 0
    assert length == len(data) - 8
    fields = struct.unpack_from(f">{length // 8}Q", data, 8)
    assert all(field & 0xFFFF_FFFF_FFFF == 0 for field in fields)
    return [field >> 48 for field in fields]


@pytest.fixture
def big() -> Array:
    """LUNs in no order, below and above 255."""
    return Array({lun: make_disk() for lun in (300, 2, 255, 256, 1)})


@pytest.mark.conformance("LUN-002", "LUN-006", "LUN-010", "LUN-012")
def test_list_is_ascending_from_lun_0(big: Array) -> None:
    path = big.login()
    assert luns(path.read(REPORT_LUNS, lun=0)) == [0, 1, 2, 255, 0x4100, 0x412C]


@pytest.mark.conformance("LUN-012")
def test_every_lun_gives_the_same_list_in_every_state(array: Array, other: Path) -> None:
    path = array.login()
    before = path.read(REPORT_LUNS, lun=0)
    other.send("16")
    array.disk.stop()
    array.disk.limit_access(path.nexus.target_port.group_id, AccessState.UNAVAILABLE)
    assert path.read(REPORT_LUNS, lun=1) == before


@pytest.mark.conformance("LUN-010", "CDB-002")
@pytest.mark.parametrize("allocation_length", [16, 17, 20, 24, 255])
def test_truncation_leaves_the_list_length_alone(big: Array, allocation_length: int) -> None:
    path = big.login()
    data = path.read(f"A0 00 00 000000 {allocation_length:08X}", lun=0)
    assert data == path.read(REPORT_LUNS, lun=0)[:allocation_length]
    assert data[:4] == (6 * 8).to_bytes(4, "big")


@pytest.mark.conformance("LUN-011")
@pytest.mark.parametrize("allocation_length", [0, 1, 8, 15])
def test_allocation_length_below_16_is_refused(path: Path, allocation_length: int) -> None:
    sense = path.sense(f"A0 00 00 000000 {allocation_length:08X}", lun=0)
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 6, None)


@pytest.mark.conformance("LUN-008")
@pytest.mark.parametrize(("select", "expected"), [(0x00, [0, 1]), (0x01, []), (0x02, [0, 1])])
def test_select_report(path: Path, select: int, expected: list[int]) -> None:
    assert luns(path.read(f"A0 00 {select:02X} 000000 00001000", lun=0)) == expected


@pytest.mark.conformance("LUN-008")
@pytest.mark.parametrize("select", [0x03, 0x10, 0x11, 0x12, 0xFF])
def test_other_select_report_values_are_refused(path: Path, select: int) -> None:
    sense = path.sense(f"A0 00 {select:02X} 000000 00001000", lun=0)
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 2, None)


@pytest.mark.conformance("LUN-013", "UAT-003")
def test_reading_the_list_clears_luns_changed_everywhere_and_nothing_else(array: Array, path: Path) -> None:
    array.disk.reset()
    path.nexus.map(2, make_disk())
    path.read(REPORT_LUNS, lun=0)
    assert path.attentions(0) == []
    assert path.attentions(1) == [0x2903]


@pytest.mark.conformance("LUN-014", "UAT-001")
def test_new_lun_is_announced_on_the_luns_that_were_there(array: Array, path: Path, other: Path) -> None:
    path.nexus.map(2, make_disk())
    assert path.attentions(0) == [LUNS_CHANGED]
    assert path.attentions(1) == [LUNS_CHANGED]
    assert path.attentions(2) == [POWER_ON]
    assert other.attentions(0) == other.attentions(1) == []


@pytest.mark.conformance("LUN-014", "UAT-001")
def test_lun_taken_away_is_announced(path: Path) -> None:
    path.nexus.unmap(1)
    assert path.attentions(0) == [LUNS_CHANGED]


@pytest.mark.conformance("LUN-014")
def test_nobody_is_told_of_a_list_he_has_not_seen(array: Array) -> None:
    path = array.login()
    path.nexus.map(2, make_disk())
    assert path.attentions(0) == [POWER_ON]
