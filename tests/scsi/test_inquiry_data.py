"""Standard INQUIRY data."""

import pytest
from scsi_initiator import INQUIRY, Array, Path, identity, make_disk

from mpxtarget.scsi.codes import AccessState
from mpxtarget.scsi.logical_unit import Console, Identity

DISK_LUN, CONSOLE_LUN = 1, 0


@pytest.mark.conformance("INQ-001", "INQ-002", "INQ-003", "LAY-001")
@pytest.mark.parametrize(("lun", "peripheral"), [(DISK_LUN, 0x00), (CONSOLE_LUN, 0x0C)])
def test_layout(path: Path, lun: int, peripheral: int) -> None:
    data = path.read("12 00 00 00 FF", lun)
    assert len(data) == 96
    assert data[0] == peripheral
    assert data[1] == 0
    assert data[2] == 0x05
    assert data[3] == 0x12
    assert data[4] == 91
    assert data[6] == 0x10
    assert data[7] == 0x02
    assert data[8:16] == b"HP      "
    assert data[16:32] == b"HSV300          "
    assert data[32:36] == b"0953"
    assert data[36:58] == bytes(22)
    assert data[74:] == bytes(22)


@pytest.mark.conformance("LUN-006", "INQ-004", "ALU-011")
def test_tpgs_says_what_the_lun_does(path: Path) -> None:
    assert path.read(INQUIRY, DISK_LUN)[5] & 0x30 == 0x30
    assert path.read(INQUIRY, CONSOLE_LUN)[5] == 0x00


@pytest.mark.conformance("LUN-006")
def test_console_has_the_names_of_the_disks(path: Path) -> None:
    assert path.read(INQUIRY, DISK_LUN)[8:36] == path.read(INQUIRY, CONSOLE_LUN)[8:36]


@pytest.mark.conformance("INQ-003", "INQ-005")
@pytest.mark.parametrize(
    ("version", "general", "disk"), [(5, "0060 0960 0300", "04C0"), (6, "00A0 0960 0460", "04C0")]
)
def test_version_descriptors_follow_the_version(version: int, general: str, disk: str) -> None:
    array = Array(
        {1: make_disk(identity=identity(version=version))}, console=Console(identity(None, version=version))
    )
    path = array.path()
    data = path.read(INQUIRY, DISK_LUN)
    assert data[2] == version
    assert data[58:74] == bytes.fromhex(general + disk).ljust(16, b"\0")
    assert path.read(INQUIRY, CONSOLE_LUN)[58:74] == bytes.fromhex(general).ljust(16, b"\0")


@pytest.mark.conformance("INQ-006", "OPC-001")
@pytest.mark.parametrize("page", [0x01, 0x80, 0x83, 0xFF])
def test_page_code_without_evpd_is_refused(path: Path, page: int) -> None:
    sense = path.sense(f"12 00 {page:02X} 00 FF")
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 2, None)


@pytest.mark.conformance("INQ-006", "OPC-001")
def test_cmddt_is_refused(path: Path) -> None:
    assert path.sense("12 02 00 00 FF").pointer == ("CDB", 1, 1)


@pytest.mark.conformance("INQ-008", "CDB-002")
@pytest.mark.parametrize("allocation_length", [0, 5, 36, 95, 96, 255, 511, 512, 0xFFFF])
def test_answer_is_cut_to_16_bits_of_allocation_length(path: Path, allocation_length: int) -> None:
    data = path.read(f"12 00 00 {allocation_length:04X}")
    assert data == path.read(INQUIRY)[:allocation_length]


@pytest.mark.conformance("INQ-007")
def test_answer_is_the_same_on_every_path_in_every_state(array: Array, path: Path, other: Path) -> None:
    expected = path.read(INQUIRY)
    other.send("16")
    array.disk.stop()
    array.disk.limit_access(path.nexus.target_port.group_id, AccessState.UNAVAILABLE)
    for each in (path, other, array.login(isid=7, port=3)):
        assert each.read(INQUIRY) == expected


@pytest.mark.conformance("INQ-001")
@pytest.mark.parametrize(
    "fields",
    [
        ("HEWLETT-PACKARD", "HSV300", "0953", "S"),
        ("", "HSV300", "0953", "S"),
        ("  ", "HSV300", "0953", "S"),
        ("HP", "HSV300 is too long", "0953", "S"),
        ("HP", "HSV\n", "0953", "S"),
        ("HP", "HSV300", "09531", "S"),
        ("HP", "HSV300", "0953", "é"),
    ],
)
def test_names_that_do_not_fit_are_refused(fields: tuple[str, str, str, str]) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        Identity(*fields)


@pytest.mark.parametrize("changes", [{"naa": b"\x50" + bytes(15)}, {"naa": bytes(8)}, {"version": 4}])
def test_identity_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Identity("HP", "HSV300", "0953", "S", **changes)  # type: ignore[arg-type]


@pytest.mark.conformance("INQ-001")
def test_old_arrays_fill_the_product_name() -> None:
    old = Identity("COMPAQ", "HSV110 (C)COMPAQ", "3028", "S")
    assert Array({1: make_disk(identity=old)}).path().read(INQUIRY)[8:36] == b"COMPAQ  HSV110 (C)COMPAQ3028"
