"""Who is registered with which disk is listed, and an administrator ends it, by command."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mpxtarget.scsi.codes import Asc
from mpxtarget.scsi.logical_unit import Disk, Kept
from mpxtarget.scsi.nexus import ITNexus
from mpxtarget.scsi.reservations import (
    KeptReservations,
    NexusName,
    Registration,
    Reservation,
    Type,
)
from mpxtarget.server.state import State

from .arrays import HOST, Array, make, served

ISID = 0x400001370000
FIRST = NexusName(f"{HOST},i,0x{ISID:012x}", 1)
SECOND = NexusName(f"{HOST},i,0x{ISID:012x}", 9)
KEPT = Kept(
    managing_group=1,
    identifying_text=b"stays\0",
    reservations=KeptReservations(
        (Registration(FIRST, 0xA), Registration(SECOND, (1 << 64) - 1)),
        Reservation(Type.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, FIRST),
    ),
)

COMMANDS = [
    ["reservation", "list"],
    ["reservation", "list", "--json"],
    ["reservation", "list", "data"],
    ["reservation", "list", "1"],
    ["reservation", "list", "other"],
    ["reservation", "list", "nothing"],
    ["reservation", "clear", "nothing"],
    ["reservation", "clear", "other"],
    ["reservation", "clear", "data"],
    ["reservation", "clear", "data"],
    ["reservation", "clear", "1", "--json"],
    ["reservation", "list"],
    ["reservation", "list", "--json"],
]


def make_with_registrations(folder: Path) -> None:
    """An array with a disk that hosts want their registrations with kept, and one that nobody wants."""
    make(folder)
    array = Array(folder)
    for name in ("data", "other"):
        array.ok("lun", "create", name, "--size", "1M", "--store", "memory:")
    with State.open(folder) as state:
        state.keep(1, KEPT)


def told(array: Array) -> list[tuple[object, ...]]:
    """What every command said."""
    results = [array.run(*words) for words in COMMANDS]
    return [(result.exit_code, result.stdout, result.stderr) for result in results]


def kept(folder: Path) -> Kept | None:
    """What the database has of the disk."""
    with State.open(folder) as state:
        return state.kept(1)


def rows(array: Array) -> list[dict[str, Any]]:
    """The rows of `reservation list`."""
    listed: list[dict[str, Any]] = json.loads(array.ok("reservation", "list", "--json"))
    return listed


@pytest.fixture
def disk(live: Array) -> Disk:
    """A disk that is being served, LUN 1."""
    assert live.target is not None
    live.ok("lun", "create", "data", "--size", "1M", "--store", "memory:")
    return live.target.bridge.array.vdisks[1].disk


def log_in(live: Array, isid: int) -> ITNexus:
    """A nexus by the first target, which has been told of all that it was due."""
    assert live.target is not None
    bridge = live.target.bridge
    nexus: ITNexus = live.in_loop(lambda: bridge.attach(HOST, isid, next(iter(bridge.targets))))
    told_of(nexus)
    return nexus


def told_of(nexus: ITNexus) -> list[int]:
    """The unit attentions of LUN 1."""
    itl, found = nexus.by_number[1], []
    while itl.attentions:
        found.append(itl.take_unit_attention())
    return found


def change(live: Array, disk: Disk, act: Callable[[], Any]) -> None:
    """Let a host change the reservations of a disk."""
    live.in_loop(lambda: disk.reservations_changed(act()))


@pytest.mark.conformance("PRS-015")
def test_the_same_is_listed_and_cleared_live_and_at_rest(tmp_path: Path) -> None:
    folder = tmp_path / "one" / "state"
    make_with_registrations(folder)
    expected = told(Array(folder))
    left = kept(folder)
    assert left == Kept(1, identifying_text=b"stays\0", reservations=KeptReservations((), None))
    folder.rename(tmp_path / "at-rest")

    make_with_registrations(folder)
    with served(folder) as live:
        assert told(live) == expected
        assert kept(folder) == left


def test_a_row_says_who_holds_what_by_which_port(tmp_path: Path) -> None:
    make_with_registrations(tmp_path / "state")
    array = Array(tmp_path / "state")
    first = {
        "lun": 1,
        "name": "data",
        "initiator": HOST,
        "isid": f"{ISID:012x}",
        "target_port": 1,
        "host_port": "Ctl-A/FP-1",
        "key": "0x000000000000000a",
        "holds": True,
        "type": "Write Exclusive - Registrants Only",
        "kept": True,
        "logged_in": False,
    }
    no_such_port = {"target_port": 9, "host_port": None}
    second = {**first, **no_such_port, "key": "0xffffffffffffffff", "holds": False, "type": None}
    assert rows(array) == [first, second]
    lines = array.ok("reservation", "list").splitlines()
    assert lines[1].split()[3:8] == [f"{ISID:012x}", "1", "Ctl-A/FP-1", "0x000000000000000a", "yes"]
    assert lines[2].split()[3:] == [f"{ISID:012x}", "9", "0xffffffffffffffff", "no", "-", "yes", "no"]


def test_clearing_says_how_many_registrations_went(tmp_path: Path) -> None:
    make_with_registrations(tmp_path / "state")
    array = Array(tmp_path / "state")
    assert array.ok("reservation", "clear", "data") == (
        "2 registrations of data removed, and its reservation: Write Exclusive - Registrants Only\n"
    )
    assert array.ok("reservation", "clear", "data") == "0 registrations of data removed\n"
    assert array.ok("reservation", "list") == "nobody is registered\n"


def test_what_can_never_have_been_kept_is_one_clear_line(tmp_path: Path) -> None:
    make_with_registrations(tmp_path / "state")
    with State.open(tmp_path / "state") as state:
        state.keep(1, Kept(1, reservations=KeptReservations((Registration(FIRST, 0),), None)))
    for verb in (["list"], ["clear", "data"]):
        assert "out of range" in Array(tmp_path / "state").refused("reservation", *verb)


def test_who_is_logged_in_is_told(live: Array, disk: Disk) -> None:
    here, away = log_in(live, 1), log_in(live, 2)
    for nexus in (here, away):
        change(live, disk, partial(disk.reservations.register, nexus.name, None, 7, aptpl=False))
    change(live, disk, lambda: disk.reservations.reserve(here.name, 7, Type.EXCLUSIVE_ACCESS_ALL_REGISTRANTS))
    assert live.target is not None
    bridge = live.target.bridge
    live.in_loop(lambda: bridge.detach(away))
    assert [(row["isid"], row["logged_in"]) for row in rows(live)] == [
        ("000000000001", True),
        ("000000000002", False),
    ]
    assert {(row["holds"], row["type"], row["kept"]) for row in rows(live)} == {
        (True, "Exclusive Access - All Registrants", False)
    }


@pytest.mark.conformance("PRS-013", "PRS-015")
def test_hosts_learn_of_it_and_nothing_is_kept_when_the_verb_has_returned(live: Array, disk: Disk) -> None:
    holder, stranger = log_in(live, 1), log_in(live, 2)
    change(live, disk, lambda: disk.reservations.register(holder.name, None, 7, aptpl=True))
    change(live, disk, lambda: disk.reservations.reserve(holder.name, 7, Type.EXCLUSIVE_ACCESS))
    assert live.target is not None
    keeper = live.target.keeper
    live.in_loop(lambda: keeper.keep(disk))
    assert not stranger.by_number[1].go_read
    assert live.ok("reservation", "clear", "1").startswith("1 registration of data removed, and its")
    cleared = kept(live.folder)
    assert cleared is not None
    assert cleared.reservations == KeptReservations((), None)
    assert told_of(holder) == [Asc.RESERVATIONS_PREEMPTED]
    assert told_of(stranger) == []
    assert stranger.by_number[1].go_write


@pytest.mark.conformance("RSV-002")
def test_a_reservation_by_reserve_is_listed_and_ends(live: Array, disk: Disk) -> None:
    holder, other = log_in(live, 1), log_in(live, 2)
    live.in_loop(lambda: disk.reserve_for(holder))
    (row,) = rows(live)
    assert (row["isid"], row["key"], row["holds"], row["type"]) == ("000000000001", None, True, "RESERVE")
    assert live.ok("reservation", "clear", "data") == (
        "0 registrations of data removed, and its reservation: RESERVE\n"
    )
    assert rows(live) == []
    assert told_of(holder) == [Asc.RESERVATIONS_PREEMPTED]
    assert told_of(other) == []
    assert other.by_number[1].go_write


def test_what_cannot_be_written_down_is_refused(
    live: Array, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = log_in(live, 1).name
    change(live, disk, lambda: disk.reservations.register(name, None, 7, aptpl=True))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(State, "keep", full)
        said = live.refused("reservation", "clear", "data")
    assert said.startswith("nobody is registered with data now, but that is not written down: ")
    assert live.ok("reservation", "clear", "data") == "0 registrations of data removed\n"
    assert kept(live.folder) == Kept(1, reservations=KeptReservations((), None))
