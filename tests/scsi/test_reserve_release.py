"""RESERVE and RELEASE of SPC-2."""

import pytest
from scsi_initiator import GOOD, READ_8, RESERVATION_CONFLICT, WRITE_8, Array, Path

from mpxtarget.scsi import task_management
from mpxtarget.scsi.command import Command
from mpxtarget.scsi.commands import command_set
from mpxtarget.scsi.personality import EVERYTHING
from mpxtarget.scsi.plan import ReadBlocks, Reply
from mpxtarget.scsi.reservations import Reserved

RESERVE = ["16", "56"]
RELEASE = ["17", "57"]

# SPC-2 table 10
PERMITTED = {
    "INQUIRY",
    "REPORT LUNS",
    "REQUEST SENSE",
    "LOG SENSE",
    "READ CAPACITY(10)",
    "RELEASE(6)",
    "RELEASE(10)",
    "PREVENT ALLOW MEDIUM REMOVAL",
}
# younger than SPC-2, and conflict with no persistent reservation either
REPORTS = ("READ CAPACITY(16)", "REPORT ", "RECEIVE COPY", "RECEIVE ROD")
PERSISTENT_RESERVE_OUT = 0x5F


def is_permitted(command: Command) -> bool:
    """Whether a command passes a reservation that another nexus has by RESERVE."""
    looks = command.name.startswith(REPORTS) and command.reserved is Reserved.ALLOWED
    return command.name in PERMITTED or looks


@pytest.mark.conformance("RSV-002", "OPC-002", "OPC-003", "SAM-009")
@pytest.mark.parametrize("reserve", RESERVE)
def test_others_may_only_look(reserve: str) -> None:
    array = Array()
    holder, other, second_path = array.path(), array.path("iqn.b"), array.path(port=2)
    assert holder.send(reserve) == Reply(GOOD)
    for command in command_set(EVERYTHING, 0):
        cdb = bytes((command.opcode, command.service_action or 0)).hex()
        for each in (other, second_path):
            plan = each.plan(cdb)
            conflict = plan == Reply(RESERVATION_CONFLICT)
            assert conflict is not is_permitted(command), command.name
        plan = holder.plan(cdb + " 00 00 00 00 00 00 18")
        assert (plan == Reply(RESERVATION_CONFLICT)) is (command.opcode == PERSISTENT_RESERVE_OUT)
        holder.send(reserve)
        array.disk.start()


@pytest.mark.conformance("RSV-002")
@pytest.mark.parametrize(
    ("cdb", "conflict"),
    [
        ("1B 00 00 00 01", False),
        ("1B 00 00 00 00", True),
        ("1B 00 00 00 11", True),
        ("1E 00 00 00 00", False),
        ("1E 00 00 00 01", True),
    ],
)
def test_field_decides_whether_it_conflicts(path: Path, other: Path, cdb: str, conflict: bool) -> None:
    path.send("16")
    assert other.send(cdb).status == (RESERVATION_CONFLICT if conflict else GOOD)


@pytest.mark.conformance("RSV-002", "UAT-001")
def test_revoking_is_told_to_the_holder_alone(array: Array, path: Path, other: Path) -> None:
    path.send("16")
    array.disk.revoke_reservations()
    assert (path.attentions(), other.attentions()) == ([0x2A03], [])
    assert other.itl().go_write
    assert other.send("16") == Reply(GOOD)


@pytest.mark.conformance("RSV-002", "RSV-003")
@pytest.mark.parametrize("release", RELEASE)
def test_release_by_the_holder_only(path: Path, other: Path, release: str) -> None:
    path.send("16")
    assert other.send(release) == Reply(GOOD)
    assert other.send("16") == Reply(RESERVATION_CONFLICT)
    assert path.send(release) == Reply(GOOD)
    assert other.send("16") == Reply(GOOD)
    assert path.send("16") == Reply(RESERVATION_CONFLICT)


@pytest.mark.conformance("RSV-004")
@pytest.mark.parametrize("reserve", RESERVE)
def test_holder_reserves_again(path: Path, reserve: str) -> None:
    for _ in range(2):
        assert path.send(reserve) == Reply(GOOD)
    assert isinstance(path.plan(READ_8), ReadBlocks)


@pytest.mark.conformance("RSV-003", "RSV-007", "CLR-003", "TMF-015")
@pytest.mark.parametrize("end", ["lun reset", "target reset", "nexus loss", "unmapping"])
def test_reservation_ends_with(path: Path, other: Path, end: str) -> None:
    path.send("16")
    assert not other.itl().go_read
    if end == "lun reset":
        task_management.lun_reset(other.nexus, 1 << 48)
    elif end == "target reset":
        task_management.target_reset(other.nexus)
    elif end == "nexus loss":
        path.nexus.lose()
    else:
        path.nexus.unmap(1)
    other.attentions()
    assert isinstance(other.plan(READ_8), ReadBlocks)
    assert other.itl().go_read


@pytest.mark.conformance("RSV-003")
def test_loss_of_another_nexus_ends_nothing(array: Array, path: Path, other: Path) -> None:
    path.send("16")
    other.nexus.lose()
    third = array.path("iqn.c")
    assert third.send(WRITE_8) == Reply(RESERVATION_CONFLICT)


@pytest.mark.conformance("RSV-001")
@pytest.mark.parametrize("cdb", ["16 10", "16 01", "16 02", "16 00 01", "56 10", "56 02", "56 00 00 01"])
def test_third_parties_and_extents_are_refused(path: Path, cdb: str) -> None:
    assert path.sense(cdb).code == (5, 0x2400)
