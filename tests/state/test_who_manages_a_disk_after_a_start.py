"""Who manages a disk, and which controller has failed, outlasts a restart.

After a clean stop the preferred paths decide.
"""

from pathlib import Path

import pytest

from mpxtarget.array.records import ControllerName
from mpxtarget.server.assemble import Assembly, assemble, create_array
from mpxtarget.server.errors import Conflict, NotFound, Refusal
from mpxtarget.server.state import State, VdiskSpec

DISKS = [
    VdiskSpec("any", 1 << 20, store_url="memory:"),
    VdiskSpec("first", 1 << 20, store_url="memory:", preferred="A"),
    VdiskSpec("second", 1 << 20, store_url="memory:", preferred="B-failback"),
]


@pytest.fixture
def state(tmp_path: Path) -> State:
    return create_array(tmp_path / "array", vdisks=DISKS)


def owners(state: State) -> list[str]:
    """Who manages the disks, by the records."""
    return [record.controller for record in state.list_vdisks()]


def live_owners(assembly: Assembly) -> list[str]:
    """Who manages the disks of a running array."""
    return [vdisk.record.controller for vdisk in assembly.bridge.array.vdisks.values()]


def turn_round(state: State) -> None:
    """Every disk moves to the other controller."""
    other: dict[str, ControllerName] = {"A": "B", "B": "A"}
    state.set_controllers({record.id: other[record.controller] for record in state.list_vdisks()})


@pytest.mark.conformance("ALU-008", "ALU-009")
def test_after_a_clean_stop_the_preferred_path_decides(state: State) -> None:
    assert owners(state) == ["A", "A", "B"]
    turn_round(state)
    assembly = assemble(state)
    assert owners(state) == live_owners(assembly) == ["B", "A", "B"]
    assembly.close()
    turn_round(state)
    again = assemble(state)
    assert owners(state) == live_owners(again) == ["A", "A", "B"]


@pytest.mark.conformance("ALU-009")
def test_after_a_crash_every_disk_is_where_it_was(state: State) -> None:
    assembly = assemble(state)
    turn_round(state)
    with State.open(state.folder) as crashed:
        again = assemble(crashed)
        assert owners(crashed) == live_owners(again) == ["B", "B", "A"]
        again.close()
        assert crashed.stopped_cleanly()
    assembly.close()


def test_an_array_that_could_not_be_started_was_not_started(state: State, tmp_path: Path) -> None:
    state.add_vdisk(VdiskSpec("broken", 1 << 20, store_url="file:missing.img"))
    turn_round(state)
    before = owners(state)
    with pytest.raises(Refusal, match="broken"):
        assemble(state)
    assert state.stopped_cleanly()
    assert owners(state) == before


@pytest.mark.conformance("ALU-010")
@pytest.mark.parametrize("clean", [True, False])
def test_a_failed_controller_is_still_failed_after_a_restart(state: State, clean: bool) -> None:
    state.set_failed_controller("A")
    if not clean:
        state.note_start()
    with State.open(state.folder) as again:
        assembly = assemble(again)
        assert assembly.bridge.array.ownership.state("A") == "failed"
        assert live_owners(assembly) == owners(again) == ["B", "B", "B"]
        again.set_failed_controller(None)
        assembly.close()
        working = assemble(again)
        assert working.bridge.array.ownership.out_of_service is None
        assert live_owners(working) == ["B", "A", "B"]
        working.close()


def test_a_disk_made_while_a_controller_is_out_starts_at_the_survivor(state: State) -> None:
    state.set_failed_controller("B")
    assert state.add_vdisk(VdiskSpec("new", 1 << 20, preferred="B")).controller == "A"
    assert state.add_vdisk(VdiskSpec("newer", 1 << 20)).controller == "A"


def test_who_manages_a_disk_that_is_not_there_is_nobodys_business(state: State) -> None:
    state.set_controllers({99: "B"})
    with pytest.raises(NotFound):
        state.get_vdisk(99)


def test_a_stop_that_cannot_be_noted_is_a_stop(
    state: State, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assembly = assemble(state)

    def full() -> None:
        raise Conflict("no space left")

    monkeypatch.setattr(state, "note_stop", full)
    assembly.close()
    assert "no space left" in caplog.text and "crash" in caplog.text
    assert not state.stopped_cleanly()
