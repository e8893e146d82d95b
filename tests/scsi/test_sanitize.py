"""SANITIZE: the whole medium, refused where it must be, seen by everybody meanwhile, never half done."""

import pytest
from medium import Ram, carry_out, sense_of
from scsi_initiator import (
    CHECK_CONDITION,
    GOOD,
    LU_RESET,
    READ_8,
    REPORT_LUNS,
    REQUEST_SENSE,
    TEST_UNIT_READY,
    WRITE_8,
    Array,
    Path,
    make_disk,
    parse_sense,
)

from mpxtarget.scsi.plan import Keep, Reply, TakeData, WorkOnBlocks

SIZE = 1 << 30
BLOCK = 512
IN_PROGRESS, FAILED = (2, 0x041B), (3, 0x3103)
RESERVATION_CONFLICT = 0x18

OVERWRITE, BLOCK_ERASE, EXIT_FAILURE_MODE = 0x01, 0x02, 0x1F
IMMED, AUSE = 0x80, 0x20


def sanitize(action: int, length: int = 0, flags: int = 0) -> str:
    """SANITIZE."""
    return f"48 {flags | action:02X} 0000000000 {length:04X}"


def overwrite(pattern: bytes, count: int = 1, flags: int = 0, invert: bool = False) -> tuple[str, bytes]:
    """SANITIZE, OVERWRITE: CDB and parameter list."""
    data = bytes((0x80 * invert | count, 0)) + len(pattern).to_bytes(2, "big") + pattern
    return sanitize(OVERWRITE, len(data), flags), data


def begin(path: Path, cdb: str = sanitize(BLOCK_ERASE), data: bytes = b"") -> WorkOnBlocks:
    """Plan a SANITIZE that is valid."""
    plan = path.plan(cdb)
    if isinstance(plan, TakeData):
        plan = plan.then(data)
    assert isinstance(plan, WorkOnBlocks)
    return plan


def fail(path: Path, flags: int = 0) -> Reply:
    """A SANITIZE whose medium fails."""
    outcome = begin(path, sanitize(BLOCK_ERASE, flags=flags)).finished(Reply(CHECK_CONDITION))
    assert isinstance(outcome, Reply)
    return outcome


@pytest.mark.conformance("SBC-019")
def test_block_erase_leaves_zeros_and_nothing_else(path: Path) -> None:
    medium = Ram()
    medium.write(5 * BLOCK, b"secret")
    assert carry_out(path, sanitize(BLOCK_ERASE), medium).status == GOOD
    erased = medium.done("zero")
    assert sum(length for _, length in erased) == SIZE
    assert len(erased) > 1, "in pieces"
    assert medium.log[-1][0] == "flush"
    assert medium.read(0, 4096) == bytes(4096)
    assert path.send(TEST_UNIT_READY).status == GOOD


@pytest.mark.conformance("SBC-019")
@pytest.mark.parametrize("length", [1, 4, 256, 511, 512])
def test_pattern_fills_every_block(length: int) -> None:
    path = Array({1: make_disk(blocks=5000)}).path()
    pattern = bytes(n % 251 + 1 for n in range(length))
    cdb, data = overwrite(pattern)
    medium = Ram(5000 * BLOCK)
    assert carry_out(path, cdb, medium, data).status == GOOD
    block = (pattern * 512)[:512]
    assert medium.read(0, 5000 * BLOCK) == block * 5000
    assert max(size for _, size in medium.done("write")) <= 1 << 20


@pytest.mark.conformance("SBC-019")
@pytest.mark.parametrize(("count", "last"), [(1, 0x0F), (2, 0xF0), (3, 0x0F), (31, 0x0F)])
def test_every_second_time_is_inverted_if_asked_for(count: int, last: int) -> None:
    path = Array({1: make_disk(blocks=8)}).path()
    medium = Ram(4096)
    cdb, data = overwrite(b"\x0f", count, invert=True)
    carry_out(path, cdb, medium, data)
    assert len(medium.done("write")) == len(medium.done("flush")) == count, "each is in stable storage"
    assert medium.read(0, 4096) == bytes((last,)) * 4096


@pytest.mark.conformance("SBC-019")
def test_zeros_are_written_only_over_what_has_space() -> None:
    path = Array({1: make_disk(blocks=1 << 31)}).path()
    medium = Ram(1 << 40, mapped=[(0, 4096), (1 << 39, 8192)])
    cdb, data = overwrite(b"\0")
    assert carry_out(path, cdb, medium, data).status == GOOD
    assert medium.done("write") == [(0, 4096), (1 << 39, 8192)]


@pytest.mark.conformance("SBC-019", "OPC-001")
@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 517, 0xFFFF])
def test_overwrite_list_has_a_pattern_of_at_most_a_block(path: Path, length: int) -> None:
    sense = path.sense(sanitize(OVERWRITE, length))
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 7, None)
    assert path.send(TEST_UNIT_READY).status == GOOD


@pytest.mark.conformance("SBC-019", "SNS-004")
@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ("00 00 0004 AAAAAAAA", (0, 4)),
        ("80 00 0004 AAAAAAAA", (0, 4)),
        ("21 00 0004 AAAAAAAA", (0, 6)),
        ("01 00 0000 AAAAAAAA", (2, None)),
        ("01 00 0005 AAAAAAAA", (2, None)),
    ],
)
def test_wrong_overwrite_lists(path: Path, data: str, pointer: tuple[int, int | None]) -> None:
    sense = path.sense(sanitize(OVERWRITE, 8), data=bytes.fromhex(data))
    assert sense.code == (5, 0x2600)
    assert sense.pointer == ("data", *pointer)
    assert path.send(TEST_UNIT_READY).status == GOOD


@pytest.mark.conformance("SBC-019", "OPC-001")
@pytest.mark.parametrize("action", [BLOCK_ERASE, EXIT_FAILURE_MODE])
def test_others_have_no_list(path: Path, action: int) -> None:
    assert path.sense(sanitize(action, 8)).pointer == ("CDB", 7, None)


@pytest.mark.conformance("SBC-019", "CDB-001")
@pytest.mark.parametrize("action", sorted(set(range(32)) - {OVERWRITE, BLOCK_ERASE, EXIT_FAILURE_MODE}))
def test_there_is_nothing_cryptographic_to_erase(path: Path, action: int) -> None:
    assert path.sense(sanitize(action)).code == (5, 0x2400)


@pytest.mark.conformance("SBC-019", "SBC-006")
@pytest.mark.parametrize("cdb", [sanitize(OVERWRITE, 8), sanitize(BLOCK_ERASE)])
def test_write_protected_disk_refuses(cdb: str) -> None:
    path = Array({1: make_disk(read_only=True)}).path()
    assert path.sense(cdb).code == (7, 0x2700)


@pytest.mark.conformance("SBC-019", "RSV-002")
@pytest.mark.parametrize("cdb", [sanitize(OVERWRITE, 8), sanitize(BLOCK_ERASE), sanitize(EXIT_FAILURE_MODE)])
def test_reserved_disk_refuses(path: Path, other: Path, cdb: str) -> None:
    other.send("16")
    assert path.send(cdb).status == RESERVATION_CONFLICT


@pytest.mark.conformance("SBC-019", "SNS-007", "UAT-010")
def test_everybody_is_told_how_far_it_is(path: Path, other: Path, array: Array) -> None:
    plan = begin(path)
    assert not path.itl().go_read
    assert not other.itl().go_write
    assert array.disk.sanitizing is not None
    for done, progress in ((0, 0), (SIZE // 2, 0x8000), (SIZE, 0xFFFF)):
        array.disk.sanitizing.done = done
        for cdb in (TEST_UNIT_READY, READ_8, WRITE_8, "1B 00 00 00 01", sanitize(BLOCK_ERASE), "5F 00"):
            sense = other.sense(cdb)
            assert sense.code == IN_PROGRESS
            assert sense.pointer is not None
            assert sense.pointer[1] == progress
        current = other.read(REQUEST_SENSE)
        assert parse_sense(current).code == IN_PROGRESS
        assert current[15:18] == bytes((0x80,)) + progress.to_bytes(2, "big")
    assert plan.finished(Reply(GOOD)) == Keep(array.disk, Reply(GOOD))
    assert other.send(TEST_UNIT_READY).status == GOOD
    assert path.itl().go_read


@pytest.mark.conformance("SBC-019", "UAT-003", "LUN-012")
@pytest.mark.parametrize(
    "cdb",
    ["12 00 00 00 60", REPORT_LUNS, REQUEST_SENSE, "A3 0C 00 000000 00001000", "A3 0A 00000000 00000100"],
)
def test_what_tells_of_the_unit_is_processed_meanwhile(path: Path, cdb: str) -> None:
    begin(path)
    assert path.read(cdb)


@pytest.mark.conformance("SBC-019", "TMF-014")
def test_it_survives_a_reset(path: Path, other: Path, array: Array) -> None:
    plan = begin(path)
    assert plan.enduring
    array.disk.reset()
    assert path.sense(TEST_UNIT_READY).code == (6, LU_RESET)
    assert path.sense(TEST_UNIT_READY).code == IN_PROGRESS


@pytest.mark.conformance("SBC-019")
@pytest.mark.parametrize(("flags", "immediate"), [(0, False), (IMMED, True)])
def test_immed_does_not_wait(path: Path, flags: int, immediate: bool) -> None:
    cdb, data = overwrite(b"x", flags=flags)
    assert begin(path, cdb, data).immediate is immediate


@pytest.mark.conformance("SBC-019")
def test_that_it_began_is_kept_until_it_has_succeeded(path: Path, array: Array) -> None:
    assert array.disk.kept.unsanitized is None
    plan = begin(path, sanitize(BLOCK_ERASE, flags=AUSE))
    assert array.disk.kept.unsanitized is True
    plan.finished(Reply(GOOD))
    assert array.disk.kept.unsanitized is None


@pytest.mark.conformance("SBC-019")
@pytest.mark.parametrize("flags", [0, AUSE])
def test_a_target_that_was_killed_meanwhile_knows_it_after_its_start(path: Path, flags: int) -> None:
    begin(path, sanitize(BLOCK_ERASE, flags=flags))
    after = Array()
    host = after.path()
    after.disk.restore(path.itl().lu.kept)  # type: ignore[attr-defined]
    assert host.sense(READ_8).code == FAILED
    assert (carry_out(host, sanitize(EXIT_FAILURE_MODE), Ram()).status == GOOD) is bool(flags)


@pytest.mark.conformance("SBC-019", "SBC-023")
def test_after_a_failure_only_another_one_is_processed(path: Path, other: Path) -> None:
    assert parse_sense(fail(path).sense).code == FAILED
    for cdb in (TEST_UNIT_READY, READ_8, WRITE_8, "25"):
        assert other.sense(cdb).code == FAILED
    assert parse_sense(other.read(REQUEST_SENSE)).code == FAILED
    assert path.read("12 00 00 00 60")
    assert not path.itl().go_read
    assert carry_out(other, sanitize(BLOCK_ERASE), Ram()).status == GOOD
    assert other.send(TEST_UNIT_READY).status == GOOD


@pytest.mark.conformance("SBC-019")
def test_interrupted_is_failed(path: Path, array: Array) -> None:
    assert begin(path).finished(None) is None
    assert array.disk.kept.unsanitized is False
    assert path.sense(READ_8).code == FAILED


@pytest.mark.conformance("SBC-019")
def test_failure_can_be_left_only_if_that_was_said_before(path: Path, array: Array) -> None:
    assert path.send(sanitize(EXIT_FAILURE_MODE)).status == GOOD, "there is none"
    fail(path)
    assert path.sense(sanitize(EXIT_FAILURE_MODE)).code == (5, 0x2400)
    assert path.sense(sanitize(BLOCK_ERASE, flags=AUSE)).pointer == ("CDB", 1, 5)
    carry_out(path, sanitize(BLOCK_ERASE), Ram())
    fail(path, AUSE)
    assert path.sense(READ_8).code == FAILED
    assert path.plan(sanitize(EXIT_FAILURE_MODE)) == Keep(array.disk, Reply(GOOD))
    assert path.send(TEST_UNIT_READY).status == GOOD


@pytest.mark.conformance("SBC-019", "SBC-023")
def test_medium_that_fails_is_a_failed_sanitize(path: Path) -> None:
    class Full(Ram):
        def flush(self) -> None:
            raise OSError(28, "no space left")

    plan = begin(path)
    with pytest.raises(OSError):
        plan.work({path.itl().lu: Full()})  # type: ignore[dict-item]
    assert sense_of(path, sanitize(BLOCK_ERASE), Ram()).code == IN_PROGRESS
    plan.finished(Reply(CHECK_CONDITION))
    assert path.sense(TEST_UNIT_READY).code == FAILED


@pytest.mark.conformance("SBC-019")
def test_one_whose_data_comes_while_another_goes_on_is_refused(path: Path, other: Path, array: Array) -> None:
    cdb, data = overwrite(b"\x5a")
    late = other.plan(cdb)
    assert isinstance(late, TakeData)
    going_on = begin(path)
    refused = late.then(data)
    assert isinstance(refused, Reply)
    assert parse_sense(refused.sense).code == IN_PROGRESS
    going_on.finished(Reply(CHECK_CONDITION))
    assert array.disk.unsanitized is False


@pytest.mark.conformance("SBC-019")
def test_a_failure_while_its_data_came_stays_restricted(path: Path, other: Path, array: Array) -> None:
    cdb, data = overwrite(b"\x5a", flags=AUSE)
    late = other.plan(cdb)
    assert isinstance(late, TakeData)
    fail(path)
    refused = late.then(data)
    assert isinstance(refused, Reply)
    assert parse_sense(refused.sense).pointer == ("CDB", 1, 5)
    assert array.disk.unsanitized is False
