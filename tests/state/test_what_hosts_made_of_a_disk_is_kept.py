"""What hosts have made of a disk is there after the database was closed and opened again."""

from pathlib import Path

import pytest

from mpxtarget.scsi.logical_unit import Kept
from mpxtarget.scsi.reservations import (
    KeptReservations,
    NexusName,
    Registration,
    Reservation,
    Type,
)
from mpxtarget.server.assemble import assemble, create_array
from mpxtarget.server.errors import Refusal
from mpxtarget.server.state import State, VdiskSpec

NEXUSES = [NexusName(f"iqn.2001-04.com.example:host,i,0x80000000000{n}", n) for n in (1, 2)]
FULL = Kept(
    managing_group=2,
    identifying_information=bytes(range(256)),
    identifying_text=b"the disk of the cluster\0",
    reservations=KeptReservations(
        tuple(Registration(nexus, (1 << 64) - 1) for nexus in NEXUSES),
        Reservation(Type.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, NEXUSES[0]),
    ),
)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.create(tmp_path / "array", vdisks=[VdiskSpec("one", 1 << 20), VdiskSpec("two", 1 << 20)])


def test_nothing_is_kept_of_a_new_disk(state: State) -> None:
    assert state.kept(1) is None


def test_what_is_kept_is_found_again(state: State) -> None:
    state.keep(1, FULL)
    state.close()
    with State.open(state.folder) as again:
        assert again.kept(1) == FULL
        assert again.kept(2) is None
        assert again.get_vdisk(1).controller == "B"


def test_the_controller_of_the_record_is_the_one_that_counts(state: State) -> None:
    state.keep(1, Kept(managing_group=2))
    state.set_controllers({1: "A"})
    assert state.kept(1) == Kept(managing_group=1)


def test_a_disk_takes_what_is_kept_of_it_along(state: State) -> None:
    state.keep(1, Kept(managing_group=2))
    state.remove_vdisk(1)
    assert state.kept(1) is None


def test_keeping_a_disk_that_is_gone_changes_nothing(state: State) -> None:
    state.remove_vdisk(1)
    state.keep(1, Kept(managing_group=2))
    assert state.kept(1) is None


def test_nonsense_in_the_database_is_a_refusal(state: State) -> None:
    state.keep(1, Kept(managing_group=2))
    for nonsense in ("{", "[]", '{"reservations": 7}', '{"reservations": {"registrations": [[1]]}}'):
        state._database.run("UPDATE kept SET content = ?", nonsense)
        with pytest.raises(Refusal, match="vdisk 1"):
            state.kept(1)


@pytest.mark.conformance("PRS-015", "MSC-003")
def test_a_disk_starts_with_what_is_kept_of_it(tmp_path: Path) -> None:
    state = create_array(tmp_path / "array", vdisks=[VdiskSpec("one", 1 << 20)])
    state.keep(1, FULL)
    state.note_start()
    assembly = assemble(state)
    try:
        assert assembly.bridge.array.vdisks[1].disk.kept == FULL
    finally:
        assembly.close()


@pytest.mark.parametrize("wrong", [Reservation(Type(1), None), Reservation(Type(1), NEXUSES[1])])
def test_reservations_that_can_never_have_been_are_a_refusal(tmp_path: Path, wrong: Reservation) -> None:
    state = create_array(tmp_path / "array", vdisks=[VdiskSpec("one", 1 << 20)])
    state.keep(1, Kept(1, reservations=KeptReservations((Registration(NEXUSES[0], 1),), wrong)))
    with pytest.raises(Refusal, match="one"):
        assemble(state)
