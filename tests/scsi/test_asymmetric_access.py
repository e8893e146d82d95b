"""Target port groups: who manages a disk, and what the ports of the other controller answer."""

from dataclasses import dataclass

import pytest
from scsi_initiator import (
    ACCESS_CHANGED,
    CONTROLLER_A,
    CONTROLLER_B,
    READ_8,
    WRITE_8,
    Array,
    Custody,
    Path,
    make_disk,
)
from test_vpd_pages import PORT_GROUP, RELATIVE_PORT, designators, page, parse_designators

from mpxtarget.scsi.codes import AccessState
from mpxtarget.scsi.commands import command_set
from mpxtarget.scsi.logical_unit import EVA_STATES
from mpxtarget.scsi.personality import EVERYTHING
from mpxtarget.scsi.plan import ReadBlocks, WriteBlocks

RTPG = "A3 0A 00000000 00001104"
RTPG_EXTENDED = "A3 2A 00000000 00001104"

# the column St of the checklist's table of commands: operation codes, and service actions of some
ALWAYS = {0x03, 0x12, 0xA0, (0xA3, 0x0A)}
NOT_IN_TRANSITION = {0x3B, 0x3C, (0xA4, 0x0A)}
STANDBY_ONLY = {0x15, 0x1A, 0x1C, 0x1D, 0x4C, 0x4D, 0x55, 0x5A, 0x5E, 0x5F}

OperationCodes = set[int | tuple[int, int]]


@dataclass(frozen=True)
class Group:
    """A target port group descriptor."""

    pref: bool
    state: int
    supported: int
    group: int
    status_code: int
    ports: list[int]


def groups(data: bytes) -> list[Group]:
    """The descriptors after the header, taken apart by hand."""
    found = []
    while data:
        count = data[7]
        ports = [int.from_bytes(data[8 + 4 * i : 12 + 4 * i], "big") for i in range(count)]
        group = int.from_bytes(data[2:4], "big")
        found.append(Group(bool(data[0] & 0x80), data[0] & 0x0F, data[1], group, data[5], ports))
        data = data[8 + 4 * count :]
    return found


def report(path: Path) -> list[Group]:
    """REPORT TARGET PORT GROUPS."""
    data = path.read(RTPG)
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    return groups(data[4:])


@pytest.mark.conformance("ALU-001", "ALU-003", "ALU-011", "LAY-001")
def test_each_controller_is_a_group(path: Path) -> None:
    assert report(path) == [
        Group(False, AccessState.ACTIVE_OPTIMIZED, 0x8B, CONTROLLER_A, 0, [1, 2]),
        Group(False, AccessState.ACTIVE_NON_OPTIMIZED, 0x8B, CONTROLLER_B, 0, [3, 4]),
    ]


@pytest.mark.conformance("ALU-001")
def test_extended_header(path: Path) -> None:
    data = path.read(RTPG_EXTENDED)
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    assert data[4:8] == bytes.fromhex("10 00 0000")
    assert groups(data[8:]) == report(path)


@pytest.mark.conformance("ALU-001")
def test_extended_header_tells_how_long_a_transition_takes(array: Array, path: Path) -> None:
    array.disk.custody = Custody(45)
    assert path.read(RTPG_EXTENDED)[4:8] == bytes.fromhex("10 2D 0000")
    assert groups(path.read(RTPG_EXTENDED)[8:]) == report(path)


@pytest.mark.conformance("ALU-001", "OPC-001")
@pytest.mark.parametrize("header", range(2, 8))
def test_other_headers_are_refused(path: Path, header: int) -> None:
    sense = path.sense(f"A3 {header << 5 | 0x0A:02X} 00000000 00001104")
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 1, 7)


@pytest.mark.conformance("CDB-002", "ALU-001")
@pytest.mark.parametrize("allocation_length", [0, 4, 13, 0x1104])
def test_answer_is_cut_to_the_allocation_length(path: Path, allocation_length: int) -> None:
    assert path.read(f"A3 0A 00000000 {allocation_length:08X}") == path.read(RTPG)[:allocation_length]


@pytest.mark.conformance("ALU-001", "ALU-002", "VPD-005", "VPD-011")
def test_every_path_gives_the_same_report_and_finds_itself_in_it(array: Array) -> None:
    paths = [array.path(port=port) for port in range(4)]
    first = report(paths[0])
    for path in paths:
        assert report(path) == first
        numbers = {each.type: int.from_bytes(each.value, "big") for each in designators(path)}
        (mine,) = [group for group in first if group.group == numbers[PORT_GROUP]]
        assert numbers[RELATIVE_PORT] in mine.ports
        assert list(scsi_ports(path)) == [port for group in first for port in group.ports]
        assert scsi_ports(path)[numbers[RELATIVE_PORT]] == path.nexus.target_port.name


def scsi_ports(path: Path) -> dict[int, str]:
    """VPD page 88h: iSCSI names of the ports, by their relative identifiers."""
    data, found = page(path, 0x88), {}
    while data:
        relative_id = int.from_bytes(data[2:4], "big")
        at = 8 + int.from_bytes(data[6:8], "big")
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        (name,) = parse_designators(data[at + 4 : at + 4 + length])
        found[relative_id] = name.value.rstrip(b"\0").decode().partition(",")[0]
        data = data[at + 4 + length :]
    return found


@pytest.mark.conformance("LUN-006")
def test_console_has_no_target_port_groups(path: Path) -> None:
    assert path.sense(RTPG, lun=0).code == (5, 0x2000)


@pytest.mark.conformance("ALU-008")
@pytest.mark.parametrize(
    ("preferred", "expected"),
    [(None, [False, False]), (CONTROLLER_A, [True, False]), (CONTROLLER_B, [False, True])],
)
def test_preference_marks_a_group_and_moves_nothing(
    array: Array, path: Path, preferred: int | None, expected: list[bool]
) -> None:
    array.disk.prefer(preferred)
    assert [group.pref for group in report(path)] == expected
    assert array.disk.managing_group == CONTROLLER_A
    assert [each.pref for each in report(Array({1: make_disk(preferred_group=preferred)}).path())] == expected


@pytest.mark.conformance("ALU-004", "ALU-007")
def test_disk_moves_and_both_controllers_go_on_serving_it(array: Array, path: Path, other: Path) -> None:
    array.disk.manage(CONTROLLER_B)
    path.attentions()
    other.attentions()
    assert [(group.state, group.status_code) for group in report(path)] == [(1, 2), (0, 2)]
    assert report(other) == report(path)
    for each in (path, other):
        assert isinstance(each.plan(READ_8), ReadBlocks)
        assert isinstance(each.plan(WRITE_8), WriteBlocks)
        assert each.itl().go_read


@pytest.mark.conformance("ALU-005", "OPC-001")
@pytest.mark.parametrize(
    ("state", "asc", "processed"),
    [
        (AccessState.STANDBY, 0x040B, STANDBY_ONLY | NOT_IN_TRANSITION | ALWAYS),
        (AccessState.UNAVAILABLE, 0x040C, NOT_IN_TRANSITION | ALWAYS),
    ],
)
def test_limited_group_processes_what_its_state_allows(
    state: int, asc: int, processed: OperationCodes
) -> None:
    array = Array({1: make_disk(states=EVA_STATES | {AccessState.STANDBY})})
    path, other = array.path(), array.path(port=2)
    array.disk.limit_access(CONTROLLER_A, state)
    assert path.sense("00").code == (6, 0x2A06)
    other.attentions()
    assert report(path)[0].state == state
    assert report(path)[0].supported >> state & 1
    assert not path.itl().go_read
    assert other.itl().go_read
    assert isinstance(other.plan(READ_8), ReadBlocks)
    check_processed(path, asc, processed)
    array.disk.limit_access(CONTROLLER_A, None)
    path.attentions()
    assert path.itl().go_read


# the modes of WRITE BUFFER and READ BUFFER that are about the echo buffer
ECHO = {0x3B: 0x0A, 0x3C: 0x0B}


def check_processed(path: Path, asc: int, processed: OperationCodes) -> None:
    """See that of all commands just these are processed, and the others end with this code."""
    for command in command_set(EVERYTHING, 0):
        cdb = bytes((command.opcode, command.service_action or ECHO.get(command.opcode, 0))).hex()
        if {command.opcode, (command.opcode, command.service_action)} & processed:
            plan = path.plan(cdb)
            assert getattr(plan, "sense", b"")[12:14] != asc.to_bytes(2, "big"), command.name
        else:
            assert path.sense(cdb).code == (2, asc), command.name


@pytest.mark.conformance("ALU-005", "UAT-001")
def test_disk_in_transition_is_so_for_both_groups_and_told_when_it_is_over() -> None:
    array = Array()
    path, other = array.path(), array.path(port=2)
    array.disk.custody = Custody()
    array.disk.manage(CONTROLLER_B)
    for each in (path, other):
        assert not each.itl().attentions
        assert not each.itl().go_read
        assert [(group.state, group.status_code) for group in report(each)] == [(0xF, 2), (0xF, 2)]
        assert report(each)[0].supported >> 7
        check_processed(each, 0x040A, ALWAYS)
        assert each.sense(WRITE_8).code == (2, 0x040A)
    assert array.disk.kept.managing_group == CONTROLLER_B
    array.disk.arrive()
    for each in (path, other):
        assert each.attentions() == [ACCESS_CHANGED]
        assert [group.state for group in report(each)] == [1, 0]
        assert each.itl().go_read


@pytest.mark.conformance("ALU-005")
def test_group_of_a_failed_controller_stays_unavailable_in_transition(array: Array, other: Path) -> None:
    array.disk.custody = Custody()
    array.disk.limit_access(CONTROLLER_A, AccessState.UNAVAILABLE)
    array.disk.manage(CONTROLLER_B)
    assert other.sense("00").code == (6, ACCESS_CHANGED)
    assert [group.state for group in report(other)] == [3, 0xF]
    array.disk.arrive()
    assert other.attentions() == [ACCESS_CHANGED]
    assert [group.state for group in report(other)] == [3, 0]


@pytest.mark.conformance("ALU-003")
@pytest.mark.parametrize("state", [0x0, 0x2, 0x4, 0xE, 0xF])
def test_no_group_is_limited_to_a_state_that_is_not_reported_as_supported(array: Array, state: int) -> None:
    with pytest.raises(ValueError, match="cannot be limited"):
        array.disk.limit_access(CONTROLLER_A, state)


def test_port_numbers_have_to_differ(array: Array) -> None:
    port = array.device.ports[0]
    with pytest.raises(ValueError, match="different"):
        type(array.device)("iqn.x", [port, port], array.disk.identity)
