"""Reading, writing, verifying, flushing; write protection, write cache, start and stop."""

import pytest
from scsi_initiator import (
    GOOD,
    READ_8,
    WRITE_8,
    Array,
    Path,
    make_disk,
    parse_sense,
)

from mpxtarget.scsi.plan import CompareBlocks, Flush, ReadBlocks, Reply, TakeData, WriteBlocks

WRITE_FORMS = [
    "0A 000000 08",
    "2A 00 00000000 00 0008",
    "AA 00 00000000 00000008",
    "8A 00" + "00" * 8 + "00000008",
]
MODE_SENSE_HEADER = "1A 08 0A 00 04"


def select(path: Path, pages: str) -> None:
    """MODE SELECT(6) of pages written in hex."""
    data = bytes(4) + bytes.fromhex(pages)
    assert path.send(f"15 10 00 00 {len(data):02X}", data=data).status == GOOD


WCE_0 = "0812" + "00" * 18
SWP_1 = "0A0A 00 10 08 00 0000 FFFF 0000"


@pytest.mark.conformance("CDB-009", "SBC-009")
@pytest.mark.parametrize(("flags", "durable"), [("00", False), ("08", True), ("10", False), ("18", True)])
@pytest.mark.parametrize(
    "cdb", ["2A {} 00000000 00 0008", "AA {} 00000000 00000008", "8A {}" + "00" * 8 + "00000008"]
)
def test_fua_makes_a_write_durable(path: Path, array: Array, cdb: str, flags: str, durable: bool) -> None:
    assert path.plan(cdb.format(flags)) == WriteBlocks(array.disk, 0, 4096, durable)


@pytest.mark.conformance("CDB-009")
@pytest.mark.parametrize(("flags", "durable"), [("08", True), ("10", False), ("04", False), ("1C", True)])
def test_dpo_and_rarc_are_accepted_for_reads_and_fua_wants_what_is_stored(
    path: Path, array: Array, flags: str, durable: bool
) -> None:
    assert path.plan(f"28 {flags} 00000000 00 0008") == ReadBlocks(array.disk, 0, 4096, durable)


@pytest.mark.conformance("SBC-009", "MOD-010")
@pytest.mark.parametrize("cdb", WRITE_FORMS)
def test_every_write_is_durable_without_write_cache(path: Path, array: Array, cdb: str) -> None:
    assert path.plan(cdb) == WriteBlocks(array.disk, 0, 4096, durable=False)
    select(path, WCE_0)
    assert path.plan(cdb) == WriteBlocks(array.disk, 0, 4096, durable=True)
    assert path.itl().go_read
    assert not path.itl().go_write


@pytest.mark.conformance("SBC-006", "MOD-005", "SNS-008")
@pytest.mark.parametrize("cdb", WRITE_FORMS)
def test_read_only_disk_refuses_writes_and_says_so(cdb: str) -> None:
    path = Array({1: make_disk(read_only=True)}).path()
    assert path.sense(cdb).code == (7, 0x2700)
    assert path.read(MODE_SENSE_HEADER)[2] & 0x80
    assert isinstance(path.plan(READ_8), ReadBlocks)
    assert path.itl().go_read
    assert not path.itl().go_write


@pytest.mark.conformance("SBC-006", "MOD-010")
def test_software_write_protect_works_at_once_on_all_paths(path: Path, other: Path) -> None:
    select(path, SWP_1)
    assert path.sense(WRITE_8).code == (7, 0x2700)
    other.attentions()
    assert other.sense(WRITE_8).code == (7, 0x2700)
    assert other.read(MODE_SENSE_HEADER)[2] & 0x80


@pytest.mark.conformance("SBC-006")
def test_write_of_nothing_is_refused_too_if_read_only() -> None:
    path = Array({1: make_disk(read_only=True)}).path()
    assert path.sense("2A 00 00000000 00 0000").code == (7, 0x2700)


VERIFY = ["2F {} 00000010 00 0003", "AF {} 00000010 00000003", "8F {} 0000000000000010 00000003"]


@pytest.mark.conformance("SBC-007")
@pytest.mark.parametrize("cdb", VERIFY)
def test_verify_without_bytchk_reads_the_medium_only(path: Path, array: Array, cdb: str) -> None:
    plan = path.plan(cdb.format("00"))
    assert isinstance(plan, CompareBlocks)
    assert (plan.disk, plan.offset, plan.data, plan.length) == (array.disk, 0x10 * 512, None, 3 * 512)


@pytest.mark.conformance("SBC-007")
@pytest.mark.parametrize("cdb", VERIFY)
@pytest.mark.parametrize(("flags", "taken"), [("02", 3 * 512), ("06", 512)])
def test_verify_with_bytchk_compares_what_it_is_given(
    path: Path, array: Array, cdb: str, flags: str, taken: int
) -> None:
    plan = path.plan(cdb.format(flags))
    assert isinstance(plan, TakeData)
    assert plan.length == taken
    data = bytes(range(256)) * (taken // 256)
    then = plan.then(data)
    assert isinstance(then, CompareBlocks)
    assert (then.disk, then.offset, then.data, then.length) == (array.disk, 0x10 * 512, data, 3 * 512)


@pytest.mark.conformance("SBC-007", "SNS-003")
def test_mismatch_tells_where(path: Path) -> None:
    plan = path.plan("2F 00 00000010 00 0003")
    assert isinstance(plan, CompareBlocks)
    sense = parse_sense(plan.mismatch(700).sense)
    assert sense.code == (0xE, 0x1D00)
    assert sense.information == 700


@pytest.mark.conformance("SBC-007", "OPC-001")
@pytest.mark.parametrize("cdb", VERIFY)
def test_reserved_bytchk_is_refused(path: Path, cdb: str) -> None:
    sense = path.sense(cdb.format("04"))
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 1, 2)


@pytest.mark.conformance("SBC-009")
@pytest.mark.parametrize("cdb", ["35 {} 00000000 00 0008", "91 {}" + "00" * 8 + "00000008"])
def test_flush_waits_unless_told_not_to(path: Path, array: Array, cdb: str) -> None:
    assert path.plan(cdb.format("00")) == Flush(array.disk, 0, 4096, immediate=False)
    assert path.plan(cdb.format("02")) == Flush(array.disk, 0, 4096, immediate=True)


STOP = "1B 00 00 00 00"
START = "1B 00 00 00 01"


@pytest.mark.conformance("SBC-021")
def test_stopped_disk_is_not_ready_until_started(path: Path, other: Path, array: Array) -> None:
    assert path.plan(STOP) == Flush(array.disk, 0, array.disk.blocks * 512, immediate=False)
    for each in (path, other):
        for cdb in ("00", READ_8, WRITE_8, "2F 00 00000000 00 0001", "35"):
            assert each.sense(cdb).code == (2, 0x0402)
        assert not each.itl().go_read
    assert path.send(START) == Reply(GOOD)
    assert isinstance(other.plan(READ_8), ReadBlocks)


@pytest.mark.conformance("SBC-021")
@pytest.mark.parametrize("cdb", ["12 00 00 00 60", "1A 00 3F 00 C0", "25", "9E 10", "A3 0A", "1E"])
def test_stopped_disk_still_answers_about_itself(path: Path, cdb: str) -> None:
    path.plan(STOP)
    assert path.send(cdb).status == GOOD


@pytest.mark.conformance("SBC-021")
def test_stop_flushes_as_asked(path: Path, array: Array) -> None:
    plan = path.plan("1B 01 00 00 00")
    assert isinstance(plan, Flush)
    assert plan.immediate
    assert path.send("1B 00 00 00 04") == Reply(GOOD)
    assert array.disk.stopped


@pytest.mark.conformance("SBC-021")
@pytest.mark.parametrize("flags", ["02", "03"])
def test_medium_is_not_ejected(path: Path, array: Array, flags: str) -> None:
    sense = path.sense(f"1B 00 00 00 {flags}")
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 4, 1)
    assert not array.disk.stopped


@pytest.mark.conformance("SBC-021")
@pytest.mark.parametrize("condition", ["10", "20", "30", "70", "A0", "B0", "12"])
def test_power_conditions_keep_the_disk_at_work(path: Path, array: Array, condition: str) -> None:
    assert path.send(f"1B 00 00 00 {condition}") == Reply(GOOD)
    assert not array.disk.stopped


@pytest.mark.conformance("SBC-021", "OPC-001")
@pytest.mark.parametrize("condition", ["40", "50", "60", "80", "C0", "F0"])
def test_other_power_conditions_are_refused(path: Path, condition: str) -> None:
    assert path.sense(f"1B 00 00 00 {condition}").pointer == ("CDB", 4, 7)


@pytest.mark.conformance("SBC-022")
@pytest.mark.parametrize("prevent", range(4))
def test_prevention_of_removal_is_accepted_and_changes_nothing(
    path: Path, array: Array, prevent: int
) -> None:
    assert path.send(f"1E 00 00 00 {prevent:02X}") == Reply(GOOD)
    assert path.plan(STOP) == Flush(array.disk, 0, array.disk.blocks * 512, immediate=False)
