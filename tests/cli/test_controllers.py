"""Controllers fail, recover and restart, and disks change hands, by command."""

import json
from typing import Any

import pytest

from mpxtarget.scsi.codes import AccessState

from .arrays import Array, FakeSession


def controllers(array: Array) -> dict[str, dict[str, Any]]:
    """The rows of `controller list`, by name."""
    return {row["name"]: row for row in json.loads(array.ok("controller", "list", "--json"))}


def owners(array: Array) -> dict[str, str]:
    """Who manages which disk, by the listing, the database and the running disks."""
    while array.target is not None and array.in_loop(lambda: array.target.keeper.busy):  # type: ignore[union-attr]
        pass
    listed = {row["name"]: row["controller"] for row in json.loads(array.ok("lun", "list", "--json"))}
    records = array.records()["vdisks"]
    assert {record.name: record.controller for record in records} == listed  # type: ignore[attr-defined]
    if array.target is not None:
        vdisks = array.target.bridge.array.vdisks.values()
        assert {vdisk.record.name: vdisk.record.controller for vdisk in vdisks} == listed
        assert all(vdisk.disk.managing_group == {"A": 1, "B": 2}[vdisk.record.controller] for vdisk in vdisks)
    return listed


@pytest.fixture
def disks(array: Array) -> Array:
    """An array with a disk of every kind of preference for A."""
    for name, preferred in (("any", "none"), ("only", "A"), ("back", "A-failback")):
        array.ok("lun", "create", name, "--size", "1M", "--store", "memory:", "--preferred", preferred)
    return array


@pytest.mark.conformance("ALU-009", "ALU-010")
def test_a_controller_fails_and_comes_back_by_the_table(disks: Array) -> None:
    assert owners(disks) == {"any": "A", "only": "A", "back": "A"}
    assert disks.ok("controller", "fail", "A") == "controller A has failed, controller B manages all LUNs\n"
    assert owners(disks) == {"any": "B", "only": "B", "back": "B"}
    assert {name: row["state"] for name, row in controllers(disks).items()} == {"A": "failed", "B": "ok"}
    assert disks.ok("controller", "recover", "A") == "controller A is back, it manages back\n"
    assert owners(disks) == {"any": "B", "only": "B", "back": "A"}
    assert controllers(disks)["A"]["state"] == "ok"
    assert controllers(disks)["B"]["luns"] == ["any", "only"]


@pytest.mark.conformance("ALU-010")
def test_sessions_of_a_failed_controller_end_and_the_others_go_on(live: Array) -> None:
    assert live.target is not None
    targets = list(live.target.bridge.targets)
    live.target.logged_in = [FakeSession(number, target=name) for number, name in enumerate(targets)]
    live.ok("controller", "fail", "B")
    assert [session.target for session in live.target.logged_in] == targets[:2]


def test_what_makes_no_sense_is_refused_with_a_reason(disks: Array) -> None:
    assert disks.refused("controller", "recover", "A") == "controller A works"
    disks.ok("controller", "fail", "A")
    assert disks.refused("controller", "fail", "A") == "controller A has failed already"
    assert disks.refused("controller", "fail", "B") == (
        "controller B is the only one that works, the other one is failed"
    )
    assert "only one that works" in disks.refused("controller", "restart", "B", "--seconds", "0")
    assert disks.refused("lun", "trespass", "any") == "controller A is out of service: failed"
    assert disks.refused("lun", "trespass", "any", "--to", "A") == "controller A is out of service: failed"
    assert "there is no vdisk nothing" in disks.refused("lun", "trespass", "nothing")
    disks.refused("controller", "fail", "C", code=2)
    for seconds in ("-1", "86401", "nan", "inf"):
        said = disks.refused("controller", "restart", "A", "--seconds", seconds, code=2)
        assert said == f"Invalid value for '--seconds': {seconds} is not between 0 and 86400."
    assert owners(disks) == {"any": "B", "only": "B", "back": "B"}


def test_trespass_moves_a_disk_and_says_when_that_does_not_last(disks: Array) -> None:
    assert disks.ok("lun", "trespass", "any") == "controller B manages any\n"
    assert disks.ok("lun", "trespass", "any", "--to", "b") == "controller B manages any\n"
    assert disks.ok("lun", "trespass", "only").splitlines() == [
        "controller B manages only",
        "it prefers controller A, and is there again after the next start",
    ]
    assert owners(disks) == {"any": "B", "only": "B", "back": "A"}
    assert json.loads(disks.ok("lun", "trespass", "1", "--json"))["controller"] == "A"


def test_prefer_moves_nothing(disks: Array) -> None:
    assert (
        disks.ok("lun", "prefer", "any", "B-failback") == "any prefers B-failback, controller A manages it\n"
    )
    assert json.loads(disks.ok("lun", "prefer", "any", "B", "--json"))["preferred"] == "B"
    assert owners(disks)["any"] == "A"
    if disks.target is not None:
        assert disks.target.bridge.array.vdisks[1].disk.preferred_group == 2


def test_controllers_are_named_in_any_case(disks: Array) -> None:
    assert disks.ok("lun", "prefer", "any", "b-Failback").startswith("any prefers B-failback, ")
    disks.ok("lun", "create", "more", "--size", "1M", "--store", "memory:", "--preferred", "b")
    assert owners(disks)["more"] == "B"


def test_what_is_preferred_is_said_of_the_parent_not_of_its_snapshot(array: Array) -> None:
    array.ok("lun", "create", "data", "--size", "1M", "--preferred", "A")
    array.ok("lun", "snapshot", "data", "snap")
    assert array.refused("lun", "prefer", "snap", "B") == "snap is managed where data is, and prefers nothing"
    assert array.ok("lun", "trespass", "snap").splitlines() == ["controller B manages snap, and data with it"]
    assert owners(array) == {"data": "B", "snap": "B"}


def test_a_restart_moves_disks_there_and_back(disks: Array) -> None:
    said = disks.ok("controller", "restart", "A", "--seconds", "0.2").splitlines()
    assert said[-1] == "controller A is back, it manages back"
    assert (len(said) > 1) is disks.live
    assert all(line.startswith("controller A restarts, ") for line in said[:-1])
    assert owners(disks) == {"any": "B", "only": "B", "back": "A"}


def test_a_restart_shows_as_one_and_is_none_after_a_crash(live: Array) -> None:
    live.ok("lun", "create", "data", "--size", "1M", "--store", "memory:")
    assert live.ok("controller", "restart", "A", "--seconds", "3600", "--no-wait").startswith(
        "controller A: restarting, "
    )
    row = controllers(live)["A"]
    assert row["state"] == "restarting" and 3500 < row["seconds_left"] <= 3600
    assert "restarting, " in live.ok("controller", "list")
    assert "other one is restarting" in live.refused("controller", "fail", "B")
    assert Array(live.folder).run("lun", "list").exit_code == 0
    assert live.ok("controller", "recover", "A").startswith("controller A is back")


def test_a_restart_brings_a_failed_controller_back(disks: Array) -> None:
    disks.ok("controller", "fail", "A")
    disks.ok("controller", "restart", "A", "--seconds", "0")
    assert controllers(disks)["A"]["state"] == "ok"
    assert owners(disks) == {"any": "B", "only": "B", "back": "A"}


@pytest.mark.conformance("ALU-009")
def test_settings_are_shown_set_and_refused(array: Array) -> None:
    shown = json.loads(array.ok("array", "show", "--json"))
    assert (shown["transition_time"], shown["implicit_transition"]) == (0, "3600:60:10000")
    array.ok("array", "set", "--transition-time", "12", "--implicit-transition", "600:75")
    assert "in transition for 12 s" in array.ok("array", "show")
    assert "more than 75 % of at least 10000 reads in 600 s" in array.ok("array", "show")
    assert "share of 50 %" in array.refused("array", "set", "--implicit-transition", "600:50")
    assert "not between 0 and 255" in array.refused("array", "set", "--transition-time", "256")
    for seconds in ("-1", "99999999999"):
        said = array.refused("array", "set", "--transition-time", seconds)
        assert said == f"a transition time of {seconds} seconds is not between 0 and 255"
    if array.target is not None:
        ownership = array.target.bridge.array.ownership
        assert (ownership.transition_time, str(ownership.implicit)) == (12, "600:75:10000")
    assert "off: no LUN moves" in array.ok("array", "set", "--implicit-transition", "off")


@pytest.mark.conformance("ALU-005")
def test_a_disk_in_transition_is_listed_as_such(live: Array) -> None:
    live.ok("lun", "create", "data", "--size", "1M", "--preferred", "A")
    live.ok("array", "set", "--transition-time", "200")
    assert "(in transition)" not in live.ok("lun", "list")
    live.ok("lun", "trespass", "data")
    assert "B (in transition)" in live.ok("lun", "list")
    (row,) = json.loads(live.ok("lun", "list", "--json"))
    assert (row["controller"], row["in_transition"]) == ("B", True)


def test_settings_go_through_a_file(array: Array, tmp_path: object) -> None:
    array.ok("array", "set", "--transition-time", "7", "--implicit-transition", "60:90:5")
    text = array.ok("export")
    assert 'transition_time = 7\nimplicit_transition = "60:90:5"\n' in text
    array.ok("array", "set", "--transition-time", "0", "--implicit-transition", "off")
    said = array.ok("apply", "-", stdin=text)
    assert "transition_time 7" in said and "implicit_transition 60:90:5" in said
    assert array.ok("export") == text
    assert "nothing to do" in array.ok("apply", "-", stdin=text)
    wrong = array.refused("apply", "-", stdin='[array]\nimplicit_transition = "often"\n')
    assert "array.implicit_transition: " in wrong


@pytest.mark.conformance("ALU-005")
def test_a_trespass_takes_the_transition_time(live: Array) -> None:
    assert live.target is not None
    live.ok("lun", "create", "data", "--size", "1M", "--store", "memory:")
    live.ok("array", "set", "--transition-time", "200")
    live.ok("lun", "trespass", "data")
    disk = live.target.bridge.array.vdisks[1].disk
    assert disk.access_state(1) == disk.access_state(2) == AccessState.TRANSITIONING
    assert owners(live) == {"data": "B"}


def test_the_status_page_names_a_controller_that_is_out_of_service(array: Array) -> None:
    assert "controller" not in array.ok("status").splitlines()[1]
    array.ok("controller", "fail", "B")
    assert "controller B: failed" in array.ok("status")
