"""What PERSISTENT RESERVE IN tells: lengths that are whole, keys, holders, capabilities."""

import pytest
from persistent_initiator import (
    ALL_REGISTRANTS,
    APTPL,
    EA,
    RESERVE,
    TYPES,
    WE_AR,
    A,
    B,
    C,
    Status,
    full_status,
    good,
    keys,
    register,
    reservation,
)
from scsi_initiator import Array, Path, make_disk

from mpxtarget.scsi.commands import COMMANDS
from mpxtarget.scsi.personality import Personality


@pytest.mark.conformance("PRS-021", "PRS-022")
@pytest.mark.parametrize("action", [0, 1, 3])
def test_nobody_is_registered_at_first(path: Path, action: int) -> None:
    assert path.read(f"5E {action:02X} 00 00 00 00 00 01 00 00") == bytes(8)


@pytest.mark.conformance("PRS-021", "CDB-002")
@pytest.mark.parametrize("action", [0, 1, 3])
@pytest.mark.parametrize("length", [0, 1, 4, 7, 8, 9, 16, 23, 24, 31])
def test_allocation_length_cuts_the_data_and_not_what_it_says_of_its_length(
    path: Path, other: Path, action: int, length: int
) -> None:
    register((path, A), (other, B))
    good(path, RESERVE, A, type_=EA)
    whole = path.read(f"5E {action:02X} 00 00 00 00 00 FFFF 00")
    assert int.from_bytes(whole[4:8], "big") == len(whole) - 8
    assert path.read(f"5E {action:02X} 00 00 00 00 00 {length:04X} 00") == whole[:length]


@pytest.mark.conformance("PRS-022")
@pytest.mark.parametrize("type_", TYPES)
def test_reservation_tells_the_key_of_the_one_holder(path: Path, other: Path, type_: int) -> None:
    register((path, A), (other, B))
    good(path, RESERVE, A, type_=type_)
    for each in (path, other):
        assert reservation(each) == (0 if type_ in ALL_REGISTRANTS else A, type_)


@pytest.mark.conformance("PRS-022")
def test_a_key_that_changes_is_the_holders_too(path: Path) -> None:
    register((path, A))
    good(path, RESERVE, A, type_=EA)
    register((path, C))
    assert reservation(path) == (C, EA)


@pytest.mark.conformance("PRS-008", "PRS-018", "PRS-021")
@pytest.mark.parametrize("type_", TYPES)
def test_full_status_tells_every_nexus(array: Array, type_: int) -> None:
    path, second, other = (
        array.path("iqn.a", 0, 0x23D000001),
        array.path("iqn.a", 2, 5),
        array.path("iqn.b", 3),
    )
    register((path, A), (second, A), (other, B))
    good(second, RESERVE, A, type_=type_)
    everybody = type_ in ALL_REGISTRANTS
    assert full_status(other) == [
        Status(A, False, everybody, type_ * everybody, 1, 1, "iqn.a,i,0x00023d000001"),
        Status(A, False, True, type_, 3, 1, "iqn.a,i,0x000000000005"),
        Status(B, False, everybody, type_ * everybody, 4, 1, "iqn.b,i,0x000000000001"),
    ]


@pytest.mark.conformance("PRS-020")
def test_capabilities(path: Path) -> None:
    data = path.read("5E 02 00 00 00 00 00 FFFF 00")
    assert data == bytes.fromhex("0008 1D C0 EA01 0000")
    register((path, A))
    good(path, 6, 0, B, flags=APTPL)
    assert path.read("5E 02 00 00 00 00 00 0008 00") == bytes.fromhex("0008 1D C1 EA01 0000")
    assert path.read("5E 02 00 00 00 00 00 0003 00") == data[:3]


@pytest.mark.conformance("PRS-020", "RSV-005")
def test_compatible_reservation_handling_is_told_where_reserve_exists() -> None:
    offered = frozenset(row.name for row in COMMANDS if not row.name.startswith(("RESERVE(", "RELEASE(")))
    array = Array({1: make_disk(personality=Personality("no RESERVE", offered))})
    assert array.path().read("5E 02 00 00 00 00 00 0008 00")[2] == 0x0D


@pytest.mark.conformance("PRS-004")
@pytest.mark.parametrize("action", [4, 5, 0x1F])
def test_service_action_that_does_not_exist(path: Path, action: int) -> None:
    sense = path.sense(f"5E {action:02X} 00 00 00 00 00 01 00 00")
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 1, 4)


@pytest.mark.conformance("PRS-021")
def test_asking_changes_nothing(path: Path, other: Path) -> None:
    register((path, A), (other, B))
    good(path, RESERVE, A, type_=WE_AR)
    for _ in range(2):
        assert keys(other) == [A, B]
        assert reservation(other) == (0, WE_AR)
        assert len(full_status(other)) == 2
    assert path.attentions() == other.attentions() == []
