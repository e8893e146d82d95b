"""Transfer lengths and block addresses: zero, the last block, one beyond, and the largest numbers there
are.
"""

from dataclasses import dataclass

import pytest
from scsi_initiator import GOOD, Array, Path, Sense, make_disk, parse_sense

from mpxtarget.scsi import device_server
from mpxtarget.scsi.plan import CompareBlocks, Flush, Plan, ReadBlocks, Reply, WriteBlocks

BLOCKS = 1 << 21
MAXIMUM = (32 << 20) // 512


@dataclass(frozen=True)
class Form:
    """How a block command of one length is written."""

    opcode: int
    length: int

    def cdb(self, lba: int, count: int, flags: int = 0) -> str:
        """The CDB in hex."""
        if self.length == 6:
            return f"{self.opcode:02X}{lba:06X}{count:02X}00"
        if self.length == 10:
            return f"{self.opcode:02X}{flags:02X}{lba:08X}00{count:04X}00"
        if self.length == 12:
            return f"{self.opcode:02X}{flags:02X}{lba:08X}{count:08X}0000"
        return f"{self.opcode:02X}{flags:02X}{lba:016X}{count:08X}0000"


READS = [Form(0x08, 6), Form(0x28, 10), Form(0xA8, 12), Form(0x88, 16)]
WRITES = [Form(0x0A, 6), Form(0x2A, 10), Form(0xAA, 12), Form(0x8A, 16)]
VERIFIES = [Form(0x2F, 10), Form(0xAF, 12), Form(0x8F, 16)]
FLUSHES = [Form(0x35, 10), Form(0x91, 16)]
TRANSFERS = READS + WRITES + VERIFIES
EVERYTHING = TRANSFERS + FLUSHES


def ids(form: Form) -> str:
    """Test ids: the operation code."""
    return f"{form.opcode:02X}h"


def sense_of(plan: Plan) -> Sense:
    """Sense data of a plan that has to be CHECK CONDITION."""
    assert isinstance(plan, Reply)
    return parse_sense(plan.sense)


def extent(plan: Plan) -> tuple[int, int]:
    """Offset and length in bytes."""
    assert isinstance(plan, ReadBlocks | WriteBlocks | CompareBlocks | Flush), plan
    return plan.offset, plan.length


@pytest.mark.conformance("SBC-004")
@pytest.mark.parametrize("form", EVERYTHING, ids=ids)
@pytest.mark.parametrize("block_size", [512, 4096])
def test_blocks_become_bytes(form: Form, block_size: int) -> None:
    path = Array({1: make_disk(block_size=block_size)}).path()
    assert extent(path.plan(form.cdb(0x1234, 5))) == (0x1234 * block_size, 5 * block_size)


@pytest.mark.conformance("SBC-004")
@pytest.mark.parametrize("block_size", [0, 256, 513, 520, 8192])
def test_other_block_sizes_are_no_disk(block_size: int) -> None:
    with pytest.raises(ValueError, match="block size"):
        make_disk(block_size=block_size)


def test_disk_has_at_least_one_block(array: Array) -> None:
    with pytest.raises(ValueError):
        make_disk(blocks=0)
    with pytest.raises(ValueError):
        array.disk.resize(0)


@pytest.mark.parametrize("form", EVERYTHING, ids=ids)
def test_last_block_is_inside(form: Form) -> None:
    path = Array({1: make_disk(blocks=1 << 20)}).path()
    assert extent(path.plan(form.cdb((1 << 20) - 1, 1))) == (((1 << 20) - 1) * 512, 512)


@pytest.mark.conformance("CDB-005")
@pytest.mark.parametrize("form", EVERYTHING, ids=ids)
@pytest.mark.parametrize(("lba", "count"), [(-1, 2), (0, 1), (1, 1), (-3, 255)])
def test_range_beyond_the_end_is_refused_and_the_first_bad_address_told(
    form: Form, lba: int, count: int
) -> None:
    blocks = 1 << 20
    path = Array({1: make_disk(blocks=blocks)}).path()
    sense = path.sense(form.cdb(blocks + lba, count))
    assert sense.code == (5, 0x2100)
    assert sense.information == max(blocks, blocks + lba)


@pytest.mark.conformance("CDB-004", "CDB-005")
@pytest.mark.parametrize("form", [form for form in EVERYTHING if form.length > 6], ids=ids)
def test_zero_blocks_at_the_end_are_out_of_range(path: Path, form: Form) -> None:
    assert path.sense(form.cdb(BLOCKS, 0)).code == (5, 0x2100)


@pytest.mark.conformance("CDB-004")
@pytest.mark.parametrize("form", [form for form in TRANSFERS if form.length > 6], ids=ids)
def test_zero_blocks_are_good_and_nothing(path: Path, form: Form) -> None:
    assert path.send(form.cdb(BLOCKS - 1, 0)) == Reply(GOOD)


@pytest.mark.conformance("CDB-004")
@pytest.mark.parametrize("form", [READS[0], WRITES[0]], ids=ids)
def test_zero_means_256_in_six_bytes(path: Path, form: Form) -> None:
    assert extent(path.plan(form.cdb(1, 0))) == (512, 256 * 512)


@pytest.mark.conformance("CDB-004")
@pytest.mark.parametrize("form", [READS[0], WRITES[0]], ids=ids)
def test_21_bits_of_address_in_six_bytes(path: Path, form: Form) -> None:
    assert extent(path.plan(form.cdb(0x1F_FFFF, 1))) == (0x1F_FFFF * 512, 512)


@pytest.mark.conformance("CDB-006")
@pytest.mark.parametrize("form", [form for form in EVERYTHING if form.length == 16], ids=ids)
@pytest.mark.parametrize("lba", [2**64 - 1, 2**63, 2**55 - 1, 2**32])
@pytest.mark.parametrize("count", [0, 1, 2, 0x7FFF])
def test_addresses_do_not_wrap(path: Path, form: Form, lba: int, count: int) -> None:
    assert path.sense(form.cdb(lba, count)).code == (5, 0x2100)


@pytest.mark.conformance("CDB-012", "VPD-013")
@pytest.mark.parametrize("form", [form for form in TRANSFERS if form.length >= 12], ids=ids)
def test_maximum_transfer_length_is_enforced(path: Path, form: Form) -> None:
    assert extent(path.plan(form.cdb(0, MAXIMUM))) == (0, 32 << 20)
    sense = path.sense(form.cdb(0, MAXIMUM + 1))
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 6 if form.length == 12 else 10, None)


@pytest.mark.conformance("CDB-012")
def test_maximum_transfer_length_counts_bytes() -> None:
    path = Array({1: make_disk(block_size=4096)}).path()
    assert extent(path.plan(READS[1].cdb(0, 8192))) == (0, 32 << 20)
    assert path.sense(READS[1].cdb(0, 8193)).pointer == ("CDB", 7, None)


@pytest.mark.conformance("CDB-008", "OPC-001")
@pytest.mark.parametrize("form", [form for form in TRANSFERS if form.length > 6], ids=ids)
@pytest.mark.parametrize("protect", range(1, 8))
def test_protection_is_not_supported(path: Path, form: Form, protect: int) -> None:
    sense = path.sense(form.cdb(0, 1, protect << 5))
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 1, 7)


@pytest.mark.conformance("CDB-004", "SBC-009")
@pytest.mark.parametrize("form", FLUSHES, ids=ids)
def test_flush_of_zero_blocks_goes_to_the_end(path: Path, form: Form) -> None:
    assert extent(path.plan(form.cdb(8, 0))) == (8 * 512, (BLOCKS - 8) * 512)


@pytest.mark.conformance("CDB-012")
@pytest.mark.parametrize("form", FLUSHES[1:], ids=ids)
def test_flush_may_span_more_than_a_transfer(path: Path, form: Form) -> None:
    assert extent(path.plan(form.cdb(0, BLOCKS))) == (0, BLOCKS * 512)


@pytest.mark.conformance("SBC-005")
def test_new_capacity_counts_on_every_path_at_once(array: Array, path: Path, other: Path) -> None:
    array.disk.resize(100)
    for each in (path, other):
        each.attentions()
        assert each.sense("28 00 00000064 00 0001").information == 100
        assert each.itl().blocks == 100


def test_short_cdb_is_completed_with_zeros(path: Path) -> None:
    plan = device_server.plan(path.nexus, 1 << 48, b"\x28\0\0\0\0\x08\0\0\x01")
    assert extent(plan) == (8 * 512, 512)
    assert sense_of(device_server.plan(path.nexus, 1 << 48, b"\xff")).code == (5, 0x2000)
