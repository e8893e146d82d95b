"""What a persistent reservation forbids: every command, every type, every kind of nexus; and to whom not."""

import pytest
from persistent_initiator import (
    ALL_REGISTRANTS,
    EA_RO,
    FOR_REGISTRANTS,
    REGISTER,
    RELEASE,
    RESERVE,
    TYPES,
    WE,
    WE_RO,
    A,
    B,
    C,
    basic_list,
    good,
    keys,
    out,
    out_cdb,
    refused,
    register,
    reservation,
)
from scsi_initiator import GOOD, READ_8, RESERVATION_CONFLICT, WRITE_8, Array, Path, make_disk
from test_supported_operation_codes import RESERVATION_CLASSES

from mpxtarget.scsi import device_server
from mpxtarget.scsi.command import Command
from mpxtarget.scsi.commands import command_set
from mpxtarget.scsi.personality import EVERYTHING
from mpxtarget.scsi.plan import ReadBlocks, Reply, TakeData, WriteBlocks

CONFLICT = Reply(RESERVATION_CONFLICT)
EXCLUSIVE_ACCESS = (3, 6, 8)
RESERVE_AND_RELEASE = (0x16, 0x17, 0x56, 0x57)
DISK = command_set(EVERYTHING, 0)


def letter(table: str, type_: int, registered: bool) -> str:
    """The checklist's column for a nexus that does not hold a reservation of this type."""
    exclusive_access = type_ in EXCLUSIVE_ACCESS
    if type_ not in FOR_REGISTRANTS:
        return table[exclusive_access]
    return table[2] if registered else table[3 + exclusive_access]


@pytest.mark.conformance("OPC-001", "OPC-002", "OPC-003", "PRS-025", "SAM-001")
@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("who", ["holder", "registered", "not registered"])
def test_every_command_under_every_type(who: str, type_: int) -> None:
    for text, table in RESERVATION_CLASSES.items():
        cdb = bytes.fromhex(text).ljust(16, b"\0")
        if not isinstance(DISK.find(cdb), Command) or cdb[0] in RESERVE_AND_RELEASE:
            continue
        array = Array()  # for commands such as SANITIZE take effect
        holder, other = array.path("iqn.holder"), array.path("iqn.other", port=2)
        register((holder, A))
        good(holder, RESERVE, A, type_=type_)
        if who == "registered":
            register((other, B))
        path = holder if who == "holder" else other
        holds = who == "holder" or (who == "registered" and type_ in ALL_REGISTRANTS)
        forbidden = not holds and letter(table, type_, who == "registered") == "C"
        assert device_server.conflicts(path.nexus, array.disk, cdb) is forbidden, text
        assert (path.plan(text) == CONFLICT) is forbidden, text


@pytest.mark.conformance("OPC-003")
@pytest.mark.parametrize("type_", TYPES)
def test_conflict_comes_before_any_look_at_the_fields(path: Path, other: Path, type_: int) -> None:
    register((other, B))
    good(other, RESERVE, B, type_=type_)
    for cdb in ("2A FF FFFFFFFF FF FFFF FF", "8A FF" + "FF" * 13, "15 FF FF FF FF FF"):
        assert path.plan(cdb) == CONFLICT


@pytest.mark.conformance("SAM-001", "SAM-002", "UAT-004")
def test_unit_attention_is_told_before_a_conflict(array: Array, other: Path) -> None:
    register((other, B))
    good(other, RESERVE, B, type_=WE)
    newcomer = array.login("iqn.new")
    assert newcomer.sense(WRITE_8).key == 6
    assert newcomer.plan(WRITE_8) == CONFLICT


@pytest.mark.conformance("PRS-025", "SBC-006")
@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("registered", [False, True])
def test_short_cut_goes_as_far_as_the_reservation_lets_it(
    array: Array, path: Path, other: Path, type_: int, registered: bool
) -> None:
    second_path = array.path("iqn.1994-05.com.redhat:host", port=3)
    register((other, B))
    if registered:
        register((path, A))
    good(other, RESERVE, B, type_=type_)
    shares = registered and type_ in FOR_REGISTRANTS
    assert path.itl().go_write is shares
    assert path.itl().go_read is (shares or type_ not in EXCLUSIVE_ACCESS)
    assert second_path.itl().go_write is False, "a path of the holder's host is a nexus of its own"
    assert other.itl().go_read
    assert other.itl().go_write
    good(other, RELEASE, B, type_=type_)
    path.attentions()
    for each in (path, other, second_path):
        assert each.itl().go_read
        assert each.itl().go_write


@pytest.mark.conformance("PRS-024", "SAM-010")
def test_a_reservation_is_the_disks_whatever_path_it_came_by(array: Array) -> None:
    by_a, by_b = array.path("iqn.a", port=0), array.path("iqn.b", port=3)
    register((by_a, A), (by_b, B))
    good(by_a, RESERVE, A, type_=WE)
    for path in (by_a, by_b, array.path("iqn.c", port=1)):
        assert keys(path) == [A, B]
        assert reservation(path) == (A, WE)
    array.disk.manage(2)
    for path in (by_a, by_b):
        path.attentions()
        assert reservation(path) == (A, WE)


@pytest.mark.conformance("PRS-024")
def test_a_reservation_of_one_disk_is_nothing_to_another() -> None:
    array = Array({1: make_disk(), 2: make_disk()})
    path, other = array.path("iqn.a"), array.path("iqn.b")
    register((path, A))
    good(path, RESERVE, A, type_=3)
    assert other.plan(READ_8) == CONFLICT
    assert isinstance(other.plan(READ_8, lun=2), ReadBlocks)
    assert isinstance(other.plan(WRITE_8, lun=2), WriteBlocks)


@pytest.mark.conformance("PRS-001")
@pytest.mark.parametrize("held", TYPES)
@pytest.mark.parametrize("asked", TYPES)
@pytest.mark.parametrize("again_by", ["holder", "other"])
def test_reserve_while_there_is_a_reservation(
    path: Path, other: Path, held: int, asked: int, again_by: str
) -> None:
    register((path, A), (other, B))
    good(path, RESERVE, A, type_=held)
    who, key = (path, A) if again_by == "holder" else (other, B)
    holds = who is path or held in ALL_REGISTRANTS
    expected = GOOD if holds and asked == held else RESERVATION_CONFLICT
    assert out(who, RESERVE, key, type_=asked) == expected
    assert reservation(path) == (0 if held in ALL_REGISTRANTS else A, held)
    assert path.attentions() == other.attentions() == []


# RESERVE and RELEASE of SPC-2 beside persistent reservations


@pytest.mark.conformance("RSV-005")
@pytest.mark.parametrize("cdb", ["16", "56", "17", "57"])
@pytest.mark.parametrize("type_", [None, *TYPES])
def test_reserve_of_spc_2_does_nothing_where_anybody_is_registered(
    array: Array, path: Path, other: Path, cdb: str, type_: int | None
) -> None:
    stranger = array.path("iqn.stranger")
    register((path, A), (other, B))
    if type_ is not None:
        good(path, RESERVE, A, type_=type_)
    assert path.send(cdb).status == (RESERVATION_CONFLICT if type_ is None else GOOD)
    assert other.send(cdb).status == (GOOD if type_ in FOR_REGISTRANTS else RESERVATION_CONFLICT)
    assert stranger.send(cdb).status == RESERVATION_CONFLICT
    assert array.disk.reserved_by is None
    assert (reservation(path) is None) is (type_ is None)


@pytest.mark.conformance("RSV-006")
@pytest.mark.parametrize("reserve", ["16", "56"])
def test_nobody_registers_while_reserved_by_spc_2(path: Path, other: Path, reserve: str) -> None:
    path.send(reserve)
    for action in range(8):
        for who in (path, other):
            refused(who, action, 0, A, type_=WE)
    for action in range(4):
        assert other.send(f"5E {action:02X} 00 00 00 00 00 01 00 00").status == RESERVATION_CONFLICT
        path.read(f"5E {action:02X} 00 00 00 00 00 01 00 00")
    assert keys(path) == []
    path.send("17")
    register((path, A))


@pytest.mark.conformance("RSV-006")
def test_who_reserves_while_a_list_is_on_its_way_wins(path: Path, other: Path) -> None:
    plan = path.plan(out_cdb(REGISTER))
    assert isinstance(plan, TakeData)
    other.send("16")
    assert plan.then(basic_list(0, A)) == CONFLICT
    other.send("17")
    assert keys(path) == []


@pytest.mark.conformance("PRS-026")
def test_every_registered_nexus_writes_under_registrants_only(array: Array) -> None:
    nodes = [array.path(name, port) for name in ("iqn.a", "iqn.b") for port in (0, 2)]
    for path, key in zip(nodes, (A, A, B, B), strict=True):
        register((path, key))
    good(nodes[0], RESERVE, A, type_=WE_RO)
    assert all(path.itl().go_write for path in nodes)
    stranger = array.path("iqn.c")
    assert stranger.itl().go_read
    assert stranger.plan(WRITE_8) == CONFLICT
    good(nodes[0], RELEASE, A, type_=WE_RO)
    for path in nodes:
        path.attentions()
    good(nodes[3], RESERVE, B, type_=EA_RO)
    assert stranger.plan(READ_8) == CONFLICT
    register((stranger, C))
    assert isinstance(stranger.plan(READ_8), ReadBlocks)
