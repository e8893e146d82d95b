"""sg3-utils, a judge of its own, reads what this target sends."""

import subprocess

import pytest
from medium import Ram
from scsi_initiator import NAA, PORTS, Array, Path, make_disk

from mpxtarget.scsi.codes import Asc, SenseKey
from mpxtarget.scsi.plan import WorkOnBlocks
from mpxtarget.scsi.sense import FieldPointer, SenseData
from tools.requirement import require_tool

pytestmark = require_tool("sg_inq")


def judge(*command: str, data: bytes) -> str:
    """What a tool says about these bytes; it must not complain."""
    done = subprocess.run(
        command, input=data.hex(" "), capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr == ""
    return done.stdout


def vpd(path: Path, code: int, lun: int = 1) -> str:
    """A page as sg_vpd reads it."""
    return judge("sg_vpd", "--inhex=-", "-p", f"0x{code:02x}", data=path.read(f"12 01 {code:02X} 00 FF", lun))


@pytest.mark.conformance("INQ-001", "INQ-003", "INQ-004", "INQ-005", "LAY-001")
def test_standard_inquiry_of_a_disk(path: Path) -> None:
    text = judge("sg_inq", "--inhex=-", "-d", data=path.read("12 00 00 00 60"))
    for expected in (
        "PQual=0  PDT=0  RMB=0",
        "version=0x05  [SPC-3]",
        "HiSUP=1  Resp_data_format=2",
        "TPGS=3",
        "3PC=1  Protect=0",
        "MultiP=1",
        "CmdQue=1",
        "length=96 (0x60)   Peripheral device type: disk",
        "Vendor identification: HP",
        "Product identification: HSV300",
        "Product revision level: 0953",
        "SAM-3 (no version claimed)",
        "iSCSI (no version claimed)",
        "SPC-3 (no version claimed)",
        "SBC-3 (no version claimed)",
    ):
        assert expected in text


@pytest.mark.conformance("INQ-002", "LUN-006")
def test_standard_inquiry_of_the_console(path: Path) -> None:
    text = judge("sg_inq", "--inhex=-", data=path.read("12 00 00 00 60", lun=0))
    assert "Peripheral device type: storage array controller" in text
    assert "TPGS=0" in text


@pytest.mark.conformance("VPD-017", "VPD-001")
def test_supported_pages(path: Path) -> None:
    lines = [line.strip() for line in vpd(path, 0x00).splitlines()[1:]]
    assert [line[line.index("[") + 1 : -1] for line in lines] == [
        *("sv", "sn", "di", "ei", "mpp", "sp", "tpc", "bl", "bdc", "lbpv")
    ]


@pytest.mark.conformance("VPD-017", "VPD-003")
def test_serial_number(path: Path) -> None:
    assert "Unit serial number: P65E2A8GAHZ0AB" in vpd(path, 0x80)


@pytest.mark.conformance("VPD-017", "VPD-004", "VPD-005", "VPD-006")
def test_device_identification(path: Path, array: Array) -> None:
    lines = [line.strip() for line in vpd(path, 0x83).splitlines()]
    assert f"0x{NAA.hex()}" in lines
    assert f"naa.{NAA.hex().upper()}" in lines
    assert "Relative target port: 0x1" in lines
    assert "Target port group: 0x1" in lines
    assert lines.count("transport: Internet SCSI (iSCSI)") == 4
    assert f"{PORTS[0].name},t,0x0001" in lines
    assert array.device.name in lines


@pytest.mark.conformance("VPD-017", "VPD-004")
def test_device_identification_of_the_console(path: Path) -> None:
    text = vpd(path, 0x83, lun=0)
    assert "vendor id: HP" in text
    assert "vendor specific: HSV300          P65E2A8GAHZ0AB" in text


@pytest.mark.conformance("VPD-017", "VPD-009")
def test_extended_inquiry(path: Path) -> None:
    text = vpd(path, 0x86)
    for expected in ("HEADSUP=1", "ORDSUP=1", "SIMPSUP=1", "V_SUP=1", "NV_SUP=0", "LUICLR=1", "UASK_SUP=0"):
        assert expected in text, text


@pytest.mark.conformance("VPD-017", "VPD-010")
def test_mode_page_policy(path: Path) -> None:
    text = vpd(path, 0x87)
    assert "Policy page code: 0x3f,  subpage code: 0xff" in text, text
    assert "MLUS=0,  Policy: shared" in text, text


@pytest.mark.conformance("VPD-017", "VPD-011")
def test_scsi_ports(path: Path) -> None:
    page = path.read("12 01 88 02 00")
    lines = [line.strip() for line in judge("sg_vpd", "--inhex=-", "-p", "0x88", data=page).splitlines()]
    assert [line for line in lines if line.startswith("Relative port")] == [
        f"Relative port={number}" for number in (1, 2, 3, 4)
    ]
    for port in PORTS:
        assert f"{port.name},t,0x0001" in lines


@pytest.mark.conformance("VPD-017", "VPD-013")
def test_block_limits(path: Path) -> None:
    lines = [line.strip() for line in vpd(path, 0xB0).splitlines()]
    for expected in (
        "Write same non-zero (WSNZ): 0",
        "Maximum compare and write length: 255 blocks",
        "Maximum transfer length: 65536 blocks",
        "Maximum prefetch transfer length: 65536 blocks",
        "Maximum unmap LBA count: -1 [unbounded]",
        "Maximum unmap block descriptor count: 256",
        "Optimal unmap granularity: 8 blocks",
        "Unmap granularity alignment valid: true",
        "Unmap granularity alignment: 0",
        "Maximum write same length: 0xffffffff blocks",
        "Maximum atomic transfer length: 2048 blocks",
        "Atomic alignment: 8",
        "Atomic transfer length granularity: 8",
    ):
        assert expected in lines, (expected, lines)


@pytest.mark.conformance("VPD-017", "VPD-014")
def test_block_device_characteristics(path: Path) -> None:
    assert "Nominal rotation rate: 15000 rpm" in vpd(path, 0xB1)


@pytest.mark.conformance("VPD-017", "VPD-015")
def test_logical_block_provisioning(path: Path) -> None:
    text = vpd(path, 0xB2)
    for expected in (
        "(LBPU): 1",
        "(LBPWS): 1",
        "(LBPWS10): 1",
        "(LBPRZ): 1",
        "(ANC_SUP): 0",
        "thin provisioned",
    ):
        assert expected in text, text


@pytest.mark.conformance("SBC-018", "LAY-001")
def test_lba_status(path: Path) -> None:
    plan = path.plan("9E 12 0000000000000000 00000038")
    assert isinstance(plan, WorkOnBlocks)
    medium = Ram(1 << 30, mapped=[(4096, 8192)])
    data = plan.work({path.itl().lu: medium}).data
    text = judge("sg_get_lba_status", "--inhex=-", "--maxlen=56", "-b", data=data)
    assert [line.split() for line in text.splitlines()[2:]] == [
        ["0x0000000000000000", "0x8", "1", "0"],
        ["0x0000000000000008", "0x10", "0", "0"],
        ["0x0000000000000018", "0x1fffe8", "1", "0"],
    ]


@pytest.mark.conformance("SNS-007", "SBC-019")
@pytest.mark.parametrize("descriptor", [False, True])
def test_progress(descriptor: bool) -> None:
    sense = SenseData(
        SenseKey.NOT_READY, Asc.LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS, progress=0x8000
    ).pack(descriptor)
    assert "Progress indication: 50.00%" in judge("sg_decode_sense", "--file=-", data=sense)


@pytest.mark.conformance("SNS-002", "SNS-003", "SNS-004", "SNS-005")
@pytest.mark.parametrize("descriptor", [False, True])
def test_sense_data_with_pointer_and_information(descriptor: bool) -> None:
    sense = SenseData(
        SenseKey.ILLEGAL_REQUEST, Asc.INVALID_FIELD_IN_CDB, information=0x1234, field=FieldPointer(True, 6, 5)
    )
    text = judge("sg_decode_sense", "--file=-", data=sense.pack(descriptor))
    assert "Illegal Request" in text
    assert "Invalid field in cdb" in text
    assert "Error in Command: byte 6 bit 5" in text
    assert "0x1234" in text or "0x0000000000001234" in text


NAMES = {
    name: value
    for name, value in vars(Asc).items()
    if not name.startswith("_") and name != "NO_ADDITIONAL_SENSE"
}


@pytest.mark.conformance("SNS-005")
def test_additional_sense_codes_have_the_names_of_the_standard() -> None:
    for name, asc in NAMES.items():
        text = judge("sg_decode_sense", "--file=-", data=SenseData(SenseKey.ILLEGAL_REQUEST, asc).pack(False))
        words = "".join(each for each in text.lower() if each.isalnum())
        assert name.replace("_", "").lower() in words, (name, text)


@pytest.mark.conformance("SNS-005", "SNS-008")
def test_large_disk_reports_a_64_bit_address() -> None:
    path = Array({1: make_disk(blocks=2**33)}).path()
    path.send("15 10 00 00 10", data=bytes.fromhex("00000000 0A0A 04 10 00 00 0000 FFFF 0000"))
    reply = path.send("88 00 0000000200000000 00000001")
    text = judge("sg_decode_sense", "--file=-", data=reply.sense)
    assert "Logical block address out of range" in text
    assert "0x0000000200000000" in text


@pytest.mark.conformance("VPD-012", "VPD-017")
def test_third_party_copy(path: Path) -> None:
    text = judge("sg_vpd", "--inhex=-", "-p", "0x8f", data=path.read("12 01 8F 10 00"))
    for line in (
        "Block Device ROD Token Limits:",
        "Maximum Range Descriptors: 64",
        "Maximum Inactivity Timeout: 600 seconds",
        "Default Inactivity Timeout: 60 seconds",
        "Extended copy(LID1)",
        "Populate token",
        "Write using token",
        "Receive copy status(LID1)",
        "Receive ROD token information",
        "Maximum CSCD Descriptor Count: 32",
        "Maximum Segment Descriptor Count: 64",
        "Maximum Inline Data Length: 0",
        "ROD Token Features:",
        "Total Concurrent Copies: 32",
        "Maximum Segment Length: 33554432",
    ):
        assert line.lower() in text.lower(), text
