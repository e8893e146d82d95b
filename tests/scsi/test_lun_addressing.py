"""How a LUN field names a logical unit, and what a LUN without one answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scsi_initiator import GOOD, READ_8, REPORT_LUNS, REQUEST_SENSE, Array, Path, make_disk, parse_sense

from mpxtarget.scsi import device_server
from mpxtarget.scsi import lun as lun_format
from mpxtarget.scsi.plan import Reply

LUNS = st.integers(0, lun_format.MAX_LUN)
INQUIRY_CDB = bytes.fromhex("120000006000").ljust(16, b"\0")


@pytest.mark.conformance("LUN-001", "LUN-002")
@pytest.mark.parametrize(
    ("field", "lun"),
    [
        (0x0000_0000_0000_0000, 0),
        (0x0001_0000_0000_0000, 1),
        (0x00FF_0000_0000_0000, 255),
        (0x4001_0000_0000_0000, 1),
        (0x4019_0000_0000_0000, 25),
        (0x4100_0000_0000_0000, 256),
        (0x7FFF_0000_0000_0000, 16383),
    ],
)
def test_peripheral_and_flat_form_name_a_lun(field: int, lun: int) -> None:
    assert lun_format.from_field(field) == lun
    assert field in lun_format.accepted_fields(lun)


@pytest.mark.conformance("LUN-001", "LUN-003", "LUN-004")
@pytest.mark.parametrize(
    "field",
    [
        0x0001_0001_0000_0000,
        0x0001_0000_0000_0001,
        0x0101_0000_0000_0000,
        0x3F01_0000_0000_0000,
        0x8001_0000_0000_0000,
        0xC101_0000_0000_0000,
        0xD200_0001_0000_0000,
    ],
)
def test_other_forms_name_nothing(path: Path, field: int) -> None:
    assert lun_format.from_field(field) is None
    plan = device_server.plan(path.nexus, field, bytes(16))
    assert isinstance(plan, Reply)
    assert parse_sense(plan.sense).code == (5, 0x2500)


@given(LUNS)
@pytest.mark.conformance("LUN-002")
def test_what_is_reported_is_accepted_and_means_the_same(lun: int) -> None:
    field = lun_format.to_field(lun)
    assert field in lun_format.accepted_fields(lun)
    assert {lun_format.from_field(form) for form in lun_format.accepted_fields(lun)} == {lun}
    assert field >> 62 == (0 if lun < 256 else 1)


@given(st.integers(0, 2**64 - 1))
def test_every_field_is_a_known_lun_or_none(field: int) -> None:
    lun = lun_format.from_field(field)
    assert lun is None or field in lun_format.accepted_fields(lun)


@pytest.mark.parametrize("lun", [-1, 16384])
def test_number_out_of_range_is_a_programming_error(lun: int) -> None:
    with pytest.raises(ValueError):
        lun_format.to_field(lun)
    with pytest.raises(ValueError):
        lun_format.accepted_fields(lun)


@pytest.mark.conformance("LUN-002")
def test_both_forms_reach_one_nexus(path: Path) -> None:
    assert path.nexus.luns[0x0001 << 48] is path.nexus.luns[0x4001 << 48] is path.itl(1)


@pytest.mark.conformance("LUN-009", "INQ-002")
def test_missing_lun_answers_inquiry_with_7fh(path: Path) -> None:
    data = path.read("12 00 00 00 60", lun=9)
    assert data[0] == 0x7F
    assert len(data) == 96


@pytest.mark.conformance("LUN-009")
def test_missing_lun_has_no_vital_product_data(path: Path) -> None:
    assert path.sense("12 01 00 00 FF", lun=9).code == (5, 0x2400)


@pytest.mark.conformance("LUN-009")
@pytest.mark.parametrize(("desc", "code"), [("00", 0x70), ("01", 0x72)])
def test_missing_lun_answers_request_sense(path: Path, desc: str, code: int) -> None:
    sense = parse_sense(path.read(f"03 {desc} 00 00 FC", lun=9))
    assert sense.response_code == code
    assert sense.code == (5, 0x2500)


@pytest.mark.conformance("LUN-009")
def test_missing_lun_answers_report_luns_as_lun_0_does(path: Path) -> None:
    assert path.read(REPORT_LUNS, lun=9) == path.read(REPORT_LUNS, lun=0)


@pytest.mark.conformance("LUN-009")
@pytest.mark.parametrize("cdb", ["00", "25", READ_8, "1A 00 3F 00 C0", "A3 0A", "FF", "9E 1F"])
def test_missing_lun_refuses_all_else(path: Path, cdb: str) -> None:
    assert path.sense(cdb, lun=9).code == (5, 0x2500)


@pytest.mark.conformance("LUN-005", "LUN-007")
def test_lun_0_answers_even_if_nothing_is_there(array: Array) -> None:
    path = array.login()
    path.nexus.unmap(0)
    data = path.read("12 00 00 00 60", lun=0)
    assert data[0] >> 5 == 0b001
    assert data[8:16] == b"HP      "
    assert path.send(REPORT_LUNS, lun=0).status == GOOD
    assert parse_sense(path.read(REQUEST_SENSE, lun=0)).code == (5, 0x2500)


@pytest.mark.conformance("LUN-015")
def test_unmapped_lun_is_gone(array: Array, path: Path) -> None:
    itl = path.itl(1)
    path.nexus.unmap(1)
    assert path.sense("00", lun=1).code == (5, 0x2500)
    itl.refresh()
    assert not itl.go_read
    assert not itl.go_write
    assert array.disk.attached == []


def test_lun_is_mapped_once(path: Path) -> None:
    with pytest.raises(ValueError, match="already mapped"):
        path.nexus.map(1, make_disk())
    with pytest.raises(KeyError):
        path.nexus.unmap(7)
