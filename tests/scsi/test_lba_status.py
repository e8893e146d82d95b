"""GET LBA STATUS: which blocks take space, from an address on."""

import struct

import pytest
from medium import Ram, carry_out
from scsi_initiator import Array, Path, make_disk

from mpxtarget.scsi.personality import Personality
from mpxtarget.scsi.plan import Reply

BLOCKS = 1 << 21
BLOCK = 512
MAPPED, DEALLOCATED = 0, 1
THICK = Personality("thick", frozenset({"TEST UNIT READY", "GET LBA STATUS"}))


def ask(lba: int, room: int = 4096, report_type: int = 0) -> str:
    """GET LBA STATUS."""
    return f"9E 12 {lba:016X} {room:08X} {report_type:02X}"


def parse(data: bytes) -> list[tuple[int, int, int]]:
    """(LBA, blocks, provisioning status) of each descriptor that is there as a whole."""
    assert data[4:8] == bytes(4)
    found = []
    for at in range(8, len(data) - 15, 16):
        lba, blocks, status, rest = struct.unpack_from(">QIB3s", data, at)
        assert rest == bytes(3)
        found.append((lba, blocks, status))
    return found


def status(path: Path, medium: Ram, lba: int = 0, **how: int) -> list[tuple[int, int, int]]:
    """What the disk says, and that its length field is right."""
    data = carry_out(path, ask(lba, **how), medium).data
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    return parse(data)


@pytest.mark.conformance("SBC-018")
def test_descriptors_cover_the_disk_from_the_address_on(path: Path) -> None:
    medium = Ram(mapped=[(0, 4096), (65536, 8192)])
    whole = [(0, 8, MAPPED), (8, 120, DEALLOCATED), (128, 16, MAPPED), (144, BLOCKS - 144, DEALLOCATED)]
    assert status(path, medium) == whole
    assert status(path, medium, 130) == [(130, 14, MAPPED), whole[3]]
    assert status(path, medium, BLOCKS - 1) == [(BLOCKS - 1, 1, DEALLOCATED)]


@pytest.mark.conformance("SBC-018", "CDB-005", "CDB-006")
@pytest.mark.parametrize("lba", [BLOCKS, BLOCKS + 1, 2**63, 2**64 - 1])
def test_address_out_of_range(path: Path, lba: int) -> None:
    assert path.sense(ask(lba)).code == (5, 0x2100)


@pytest.mark.conformance("SBC-018", "CDB-002")
def test_as_many_descriptors_as_there_is_room_for(path: Path) -> None:
    medium = Ram(mapped=[(n << 16, 4096) for n in range(4000)])
    assert len(status(path, medium, room=24)) == 1
    assert len(status(path, medium, room=8 + 16 * 5)) == 5
    assert len(status(path, medium, room=0xFFFF_FFFF)) == 1024, "bounded"
    whole = carry_out(path, ask(0, 24), medium).data
    for room in (0, 4, 8, 23):
        assert carry_out(path, ask(0, room), medium).data == whole[:room]


@pytest.mark.conformance("SBC-018")
def test_block_that_takes_space_in_part_is_mapped() -> None:
    path = Array({1: make_disk(block_size=4096, blocks=256)}).path()
    medium = Ram(256 * 4096, mapped=[(1024, 1024), (6144, 4096), (20480, 512)])
    assert status(path, medium) == [
        (0, 3, MAPPED),
        (3, 2, DEALLOCATED),
        (5, 1, MAPPED),
        (6, 250, DEALLOCATED),
    ]


@pytest.mark.conformance("SBC-018")
def test_very_long_run_takes_several_descriptors() -> None:
    path = Array({1: make_disk(blocks=2**33)}).path()
    most = 0xFFFF_FFFF
    assert status(path, Ram(2**42)) == [(0, most, 1), (most, most, 1), (2 * most, 2, 1)]


@pytest.mark.conformance("SBC-018", "OPC-001")
@pytest.mark.parametrize(
    ("report_type", "wanted"),
    [(0x00, {0, 1}), (0x01, {1}), (0x02, {0}), (0x03, {1}), (0x04, set()), (0x10, set())],
)
def test_report_type_selects(path: Path, report_type: int, wanted: set[int]) -> None:
    medium = Ram(mapped=[(65536, 4096)])
    found = status(path, medium, report_type=report_type)
    assert found == [each for each in status(path, medium) if each[2] in wanted]


@pytest.mark.conformance("SBC-018", "OPC-001")
@pytest.mark.parametrize("report_type", [0x05, 0x0F, 0x11, 0xFF])
def test_other_report_types_are_refused(path: Path, report_type: int) -> None:
    assert path.sense(ask(0, report_type=report_type)).pointer == ("CDB", 14, None)


@pytest.mark.conformance("SBC-018", "VPD-015")
def test_every_block_of_a_fully_provisioned_disk_is_mapped() -> None:
    reply = Array({1: make_disk(personality=THICK)}).path().plan(ask(8))
    assert isinstance(reply, Reply)
    assert parse(reply.data) == [(8, BLOCKS - 8, MAPPED)]
