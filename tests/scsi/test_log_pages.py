"""LOG SENSE and LOG SELECT."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scsi_initiator import GOOD, Array, Path, Sense, parse_sense

from mpxtarget.scsi.plan import Reply, TakeData
from mpxtarget.scsi.sense import io_failed
from tools.requirement import require_tool

CODES = [0x02, 0x03, 0x05, 0x0D, 0x0F, 0x10, 0x19, 0x2F]
COUNTERS = [0x02, 0x03, 0x05]
LOG_CHANGED = 0x2A02

THRESHOLD, CUMULATIVE, DEFAULT_THRESHOLD, DEFAULT_CUMULATIVE = range(4)

SET_ONE = bytes.fromhex("0F 00 0006 0003 00 02 AB CD")


def log_sense(code: int, control: int = CUMULATIVE, subpage: int = 0, pointer: int = 0) -> str:
    """A CDB of LOG SENSE."""
    return f"4D 00 {control << 6 | code:02X} {subpage:02X} 00 {pointer:04X} FFFF"


def parameters(path: Path, code: int, control: int = CUMULATIVE, pointer: int = 0) -> dict[int, bytes]:
    """The parameters of a page by parameter code; its header is checked."""
    data = path.read(log_sense(code, control, pointer=pointer))
    assert data[0] & 0x3F == code
    assert data[1] == 0
    assert int.from_bytes(data[2:4], "big") == len(data) - 4
    found, at = {}, 4
    while at < len(data):
        end = at + 4 + data[at + 3]
        found[int.from_bytes(data[at : at + 2], "big")] = data[at + 4 : end]
        at = end
    assert at == len(data)
    assert list(found) == sorted(found)
    return found


def count(path: Path, code: int, parameter: int, control: int = CUMULATIVE) -> int:
    """One counter."""
    return int.from_bytes(parameters(path, code, control)[parameter], "big")


def works(path: Path, reads: int = 3, writes: int = 2) -> None:
    """What the data path would have counted."""
    itl = path.itl()
    itl.reads += reads
    itl.read_bytes += reads * 4096
    itl.writes += writes
    itl.written_bytes += writes * 512


def log_select(path: Path, data: bytes, flags: int = 0) -> Reply:
    """LOG SELECT with a list."""
    return path.send(f"4C {flags:02X} 40 00 000000 {len(data):04X}", data=data)


def refused(path: Path, data: bytes) -> Sense:
    """A list that has to be refused; why."""
    return parse_sense(log_select(path, data).sense)


@pytest.mark.conformance("LOG-001")
def test_supported_pages_are_those_that_can_be_read(path: Path) -> None:
    assert path.read(log_sense(0x00)) == bytes((0, 0, 0, 1 + len(CODES), 0, *CODES))
    assert [code for code in range(0x40) if path.send(log_sense(code)).status == GOOD] == [0x00, *CODES]


@pytest.mark.conformance("LOG-001")
def test_supported_subpages_name_every_page_and_subpage(path: Path) -> None:
    data = path.read(log_sense(0x00, subpage=0xFF))
    assert data[:4] == bytes((0x40, 0xFF, 0, 2 * (len(CODES) + 2)))
    pairs = [tuple(data[at : at + 2]) for at in range(4, len(data), 2)]
    assert pairs == [(0, 0), (0, 0xFF), *((code, 0) for code in CODES)]


@pytest.mark.conformance("LOG-001", "OPC-001")
@pytest.mark.parametrize("code", sorted(set(range(1, 0x40)) - set(CODES)))
def test_unknown_page_is_refused(path: Path, code: int) -> None:
    sense = path.sense(log_sense(code))
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 2, 5)


@pytest.mark.conformance("LOG-001", "OPC-001")
@pytest.mark.parametrize(("code", "subpage"), [(0x00, 0x01), (0x02, 0x01), (0x19, 0xFF)])
def test_unknown_subpage_is_refused(path: Path, code: int, subpage: int) -> None:
    sense = path.sense(log_sense(code, subpage=subpage))
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 3, None)


@pytest.mark.conformance("LOG-001")
def test_counters_are_sums_over_all_nexuses(path: Path, other: Path) -> None:
    works(path)
    works(other, reads=10, writes=0)
    for reader in (path, other):
        assert count(reader, 0x02, 0x0005) == 2 * 512
        assert count(reader, 0x03, 0x0005) == 13 * 4096
        statistics = parameters(reader, 0x19)[0x0001]
        numbers = [int.from_bytes(statistics[at : at + 8], "big") for at in range(0, 64, 8)]
        assert numbers == [13, 2, 2, 13 * 8, 0, 0, 0, 0]


@pytest.mark.conformance("LOG-001")
def test_what_a_nexus_counted_stays_when_it_is_lost(path: Path, array: Array) -> None:
    for isid in range(2, 5):
        host = array.path(isid=isid)
        works(host, reads=1, writes=1)
        host.nexus.lose()
    assert count(path, 0x03, 0x0005) == 3 * 4096
    assert count(path, 0x02, 0x0005) == 3 * 512


@pytest.mark.conformance("LOG-001", "SNS-008")
def test_errors_of_the_store_are_counted_where_they_belong(path: Path, array: Array) -> None:
    for number, writing in ((5, True), (5, False), (5, False), (28, True), (30, True)):
        io_failed(OSError(number, "x"), array.disk, 0, writing, False)
    assert count(path, 0x02, 0x0006) == 1
    assert count(path, 0x03, 0x0006) == 2
    assert 0x0006 not in parameters(path, 0x05)


@pytest.mark.conformance("LOG-001")
@pytest.mark.parametrize("cdb", ["2F 00 00000000 00 0003", "8F 02 0000000000000000 00000003"])
def test_verified_bytes_are_counted(path: Path, cdb: str) -> None:
    path.plan(cdb)
    assert count(path, 0x05, 0x0005) == 3 * 512


@pytest.mark.conformance("LOG-001")
@pytest.mark.parametrize("code", COUNTERS)
def test_thresholds_are_never_met_and_defaults_are_zero(path: Path, code: int) -> None:
    works(path)
    path.plan("2F 00 00000000 00 0003")
    assert count(path, code, 0x0005) > 0
    assert count(path, code, 0x0005, DEFAULT_CUMULATIVE) == 0
    for control in (THRESHOLD, DEFAULT_THRESHOLD):
        assert set(parameters(path, code, control).values()) == {b"\xff" * 8}


@pytest.mark.conformance("LOG-002", "OPC-001")
@pytest.mark.parametrize("code", [0x00, *CODES])
def test_parameter_pointer_skips_parameters_and_ends_with_the_last(path: Path, code: int) -> None:
    last = max(parameters(path, code)) if code else 0
    if code:
        for pointer in (1, last):
            whole = parameters(path, code)
            assert parameters(path, code, pointer=min(pointer, last)) == {
                each: value for each, value in whole.items() if each >= min(pointer, last)
            }
    sense = path.sense(log_sense(code, pointer=last + 1))
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 5, None)


@pytest.mark.conformance("LOG-002", "LOG-003", "OPC-001")
@pytest.mark.parametrize(("flags", "bit"), [(0x02, 1), (0x01, 0)])
def test_ppc_and_sp_are_refused(path: Path, flags: int, bit: int) -> None:
    sense = path.sense(f"4D {flags:02X} 40 00 00 0000 00FF")
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 1, bit)


@pytest.mark.conformance("LOG-002", "CDB-002")
@pytest.mark.parametrize("length", [0, 3, 17])
def test_page_length_is_not_changed_by_truncation(path: Path, length: int) -> None:
    whole = path.read(log_sense(0x03))
    assert path.read(f"4D 00 43 00 00 0000 {length:04X}") == whole[:length]


@pytest.mark.conformance("LOG-003", "UAT-001", "UAT-006")
@pytest.mark.parametrize("cdb", ["4C 02 40", "4C 00 C0", "4C 02 C0 FF"])
def test_reset_of_all_pages_begins_at_zero_and_is_told_to_the_others(
    array: Array, path: Path, other: Path, cdb: str
) -> None:
    works(path)
    path.send(cdb)
    for code in COUNTERS:
        assert count(path, code, 0x0005) == 0
    assert not any(parameters(path, 0x19)[0x0001])
    assert other.attentions() == [LOG_CHANGED]
    assert path.attentions() == []
    works(other)
    assert count(path, 0x02, 0x0005) == 2 * 512
    assert path.itl().reads == 3  # what sessions count is not touched


@pytest.mark.conformance("LOG-003")
def test_reset_of_one_page_leaves_the_others(path: Path, other: Path) -> None:
    works(path)
    path.send("4C 02 42")
    assert count(path, 0x02, 0x0005) == 0
    assert count(path, 0x03, 0x0005) == 3 * 4096
    assert other.attentions() == [LOG_CHANGED]


@pytest.mark.conformance("LOG-003", "CDB-003")
@pytest.mark.parametrize("cdb", ["4C 00 40", "4C 00 00", "4C 00 80", "4C 00 43"])
def test_select_without_list_and_without_reset_changes_nothing(path: Path, other: Path, cdb: str) -> None:
    works(path)
    assert path.send(cdb) == Reply(GOOD)
    assert count(path, 0x02, 0x0005) == 2 * 512
    assert other.attentions() == []


@pytest.mark.conformance("UAT-006")
def test_reset_of_what_is_zero_is_no_change(path: Path, other: Path) -> None:
    path.send("4C 02 40")
    assert other.attentions() == []


@pytest.mark.conformance("LOG-003", "OPC-001")
@pytest.mark.parametrize(
    ("cdb", "pointer"),
    [
        ("4C 01 40", (1, 0)),
        ("4C 02 40 00 000000 0008", (7, None)),
        ("4C 00 4F 00 000000 0008", (2, 5)),
        ("4C 00 40 01 000000 0008", (3, None)),
        ("4C 02 47", (2, 5)),
        ("4C 02 42 01", (3, None)),
        ("4C 02 40 01", (3, None)),
    ],
)
def test_wrong_field_of_log_select_is_pointed_at(
    path: Path, cdb: str, pointer: tuple[int, int | None]
) -> None:
    sense = path.sense(cdb)
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", *pointer)


@pytest.mark.conformance("LOG-001", "LAY-001")
def test_application_client_page_keeps_what_hosts_put_there(path: Path, other: Path) -> None:
    assert log_select(path, SET_ONE).status == GOOD
    found = parameters(other, 0x0F) if other.attentions() == [LOG_CHANGED] else {}
    assert list(found) == list(range(64))
    assert found.pop(3) == bytes.fromhex("ABCD").ljust(0xFC, b"\0")
    assert not any(any(value) for value in found.values())
    assert path.attentions() == []


@pytest.mark.conformance("UAT-006")
def test_same_application_data_again_is_no_change(path: Path, other: Path) -> None:
    log_select(path, SET_ONE)
    other.attentions()
    log_select(path, SET_ONE)
    assert other.attentions() == []


@pytest.mark.conformance("LOG-003", "CDB-003", "SNS-004")
@pytest.mark.parametrize(
    ("data", "asc", "pointer"),
    [
        ("0F 00 00", 0x1A00, None),
        ("0F 00 0007 0003 00 02 ABCD", 0x1A00, None),
        ("0F 00 0003 0003 00", 0x1A00, None),
        ("0F 00 0006 0003 00 03 ABCD", 0x1A00, None),
        ("02 00 000C 0003 00 08 0000000000000000", 0x2600, ("data", 0, 5)),
        ("4F 00 0006 0003 00 02 ABCD", 0x2600, ("data", 1, None)),
        ("0F 01 0006 0003 00 02 ABCD", 0x2600, ("data", 1, None)),
        ("0F 00 0006 0040 00 02 ABCD", 0x2600, ("data", 4, None)),
        ("0F 00 0006 0003 00 02 ABCD 0F 00 0000", 0x2600, ("data", 10, None)),
        ("0F 00 000A 0003 00 02 ABCD 0003 00 00", 0x2600, ("data", 10, None)),
        ("0F 00 0101 0003 00 FD " + 253 * "00", 0x2600, ("data", 7, None)),
    ],
)
def test_faulty_list_is_refused_as_a_whole(
    path: Path, data: str, asc: int, pointer: tuple[str, int, int | None] | None
) -> None:
    sense = refused(path, bytes.fromhex(data))
    assert (sense.asc, sense.pointer) == (asc, pointer)
    assert not any(any(value) for value in parameters(path, 0x0F).values())


@pytest.mark.conformance("LOG-003")
@given(st.binary(min_size=1, max_size=80))
def test_no_parameter_list_does_harm(data: bytes) -> None:
    plan = Array().path().plan(f"4C 00 40 00 000000 {len(data):04X}")
    assert isinstance(plan, TakeData)
    assert isinstance(plan.then(data), Reply)


@pytest.mark.conformance("LOG-001", "LAY-001")
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x00, ["Supported log pages", "Informational exceptions", "Temperature", "Self test results"]),
        (0x02, ["Total bytes processed = 1024", "Total uncorrected errors = 0"]),
        (0x03, ["Total bytes processed = 12288", "Total errors corrected = 0"]),
        (0x05, ["Total bytes processed = 0"]),
        (0x0D, ["Current temperature = <not available>"]),
        (0x19, ["number of read commands = 3", "number of write commands = 2"]),
        (0x2F, ["IE asc = 0x0, ascq = 0x0"]),
    ],
)
@require_tool("sg_inq")
def test_sg_logs_reads_the_page(path: Path, code: int, words: list[str]) -> None:
    works(path)
    done = subprocess.run(
        ["sg_logs", "--in=-", f"--page=0x{code:02x}"],
        input=path.read(log_sense(code)).hex(" "),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    for each in words:
        assert each in done.stdout, done.stdout
