"""A command does the same whether or not somebody serves: same words, same exit code, same records."""

from pathlib import Path

from .arrays import HOST, Array, make, served

COMMANDS = [
    ["portal", "list"],
    ["lun", "list"],
    ["initiator", "list"],
    ["session", "list"],
    ["target", "list"],
    ["controller", "list"],
    ["export"],
    ["portal", "add", "127.0.0.1:3261", "--advertise", "san.example:3260"],
    ["portal", "add", "127.0.0.1:3261"],
    ["portal", "add", "::1", "--port", "3262", "--disabled"],
    ["portal", "add", "0.0.0.0:3260"],
    ["portal", "add", "san.example"],
    ["portal", "enable", "[::1]:3262"],
    ["portal", "disable", "1"],
    ["portal", "advertise", "1", "10.0.0.1"],
    ["portal", "advertise", "1", "--off"],
    ["portal", "remove", "7"],
    ["lun", "create", "data", "--size", "16M"],
    ["lun", "create", "data", "--size", "16M"],
    ["lun", "create", "logs", "--size", "1000"],
    ["lun", "create", "logs", "--size", "1M", "--lun", "1"],
    ["lun", "create", "logs", "--size", "1M", "--lun", "9", "--preferred", "B", "--block-size", "4096"],
    ["lun", "create", "scratch", "--size", "1M", "--store", "memory:"],
    ["lun", "create", "hidden", "--size", "1M", "--lun", "none"],
    ["lun", "create", "0/0", "--size", "1M"],
    ["lun", "resize", "data", "32M"],
    ["lun", "resize", "1", "16M"],
    ["lun", "resize", "data", "16M", "--force"],
    ["lun", "present", "data", HOST],
    ["initiator", "add", HOST.upper(), "--alias", "the host"],
    ["initiator", "add", HOST],
    ["initiator", "add", "not a name"],
    ["lun", "present", "data", HOST],
    ["lun", "present", "hidden", HOST, "--at", "1"],
    ["lun", "present", "hidden", HOST],
    ["lun", "unpresent", "logs", HOST],
    ["lun", "unpresent", "data", HOST],
    ["lun", "snapshot", "data", "moment", "--lun", "20"],
    ["lun", "snapshot", "moment", "more"],
    ["lun", "snapshot", "scratch", "more"],
    ["lun", "list"],
    ["lun", "list", "--json"],
    ["lun", "resize", "moment", "64M"],
    ["lun", "remove", "data", "--delete-data"],
    ["lun", "remove", "moment"],
    ["export"],
    ["lun", "wait", "data"],
    ["lun", "wait", "moment"],
    ["lun", "remove", "20", "--delete-data"],
    ["initiator", "set-chap", HOST, "--secret-file", "-"],
    ["initiator", "set-chap", HOST, "--off"],
    ["reservation", "list"],
    ["reservation", "list", "data", "--json"],
    ["reservation", "list", "nothing"],
    ["reservation", "clear", "data"],
    ["reservation", "clear"],
    ["lun", "prefer", "data", "A-failback"],
    ["lun", "prefer", "data", "C"],
    ["lun", "trespass", "data"],
    ["lun", "trespass", "data", "--to", "B"],
    ["lun", "trespass", "nothing"],
    ["controller", "fail", "a"],
    ["controller", "fail", "A"],
    ["controller", "fail", "B"],
    ["controller", "restart", "B", "--seconds", "0"],
    ["controller", "list"],
    ["lun", "trespass", "data", "--to", "A"],
    ["lun", "create", "late", "--size", "1M", "--preferred", "A"],
    ["lun", "list"],
    ["controller", "recover", "A"],
    ["controller", "recover", "A"],
    ["controller", "list"],
    ["lun", "remove", "late"],
    ["controller", "restart", "A", "--seconds", "0", "--json"],
    ["controller", "restart", "A", "--seconds", "-1"],
    ["controller", "fail", "C"],
    ["array", "set", "--transition-time", "3", "--implicit-transition", "60:75"],
    ["array", "set", "--implicit-transition", "60:40"],
    ["array", "set", "--transition-time", "256"],
    ["array", "set", "--transition-time", "0", "--implicit-transition", "off"],
    ["lun", "remove", "9"],
    ["lun", "create", "again", "--existing", "--store", "file:vdisks/logs.img"],
    ["lun", "remove", "data", "--delete-data"],
    ["lun", "remove", "data"],
    ["initiator", "list"],
    ["lun", "list", "--json"],
    ["lun", "list"],
    ["controller", "list", "--json"],
    ["export"],
    ["portal", "remove", "127.0.0.1:3261"],
    ["initiator", "remove", HOST],
    ["session", "kill", "x"],
]


def told(array: Array) -> list[tuple[object, ...]]:
    """What every command said."""
    said: list[tuple[object, ...]] = []
    for words in COMMANDS:
        result = array.run(*words, stdin=b"correct horse 1\n")
        said.append((words, result.exit_code, result.stdout, result.stderr))
    return said


def test_the_same_words_do_the_same_live_and_at_rest(tmp_path: Path) -> None:
    folder = tmp_path / "one" / "state"
    make(folder)
    resting = Array(folder)
    expected = told(resting)
    records, files = resting.records(), resting.files()
    folder.rename(tmp_path / "at-rest")

    make(folder)
    with served(folder) as live:
        assert told(live) == expected
        assert live.records() == records
        assert live.files() == files


def test_half_of_those_words_succeed_and_half_are_refused(resting: Array) -> None:
    codes = [said[1] for said in told(resting)]
    assert codes.count(0) > 25
    assert {1, 2} <= set(codes)


def test_a_change_reaches_the_running_bridge(live: Array) -> None:
    assert live.target is not None
    bridge = live.target.bridge
    live.ok("portal", "add", "127.0.0.1:3261", "--advertise", "10.1.2.3")
    assert bridge.portals[2].advertise == "10.1.2.3"
    live.ok("portal", "advertise", "2", "10.9.9.9")
    assert bridge.portals[2].advertise == "10.9.9.9"
    live.ok("lun", "create", "data", "--size", "1M")
    assert bridge.array.vdisks[1].disk.blocks == 2048
    live.ok("lun", "resize", "data", "2M")
    assert bridge.array.vdisks[1].disk.blocks == 4096
    assert live.target.stores[1].size == 2 << 20
    live.ok("initiator", "add", HOST)
    assert HOST in bridge.initiators
    live.ok("lun", "remove", "data")
    assert (bridge.array.vdisks, live.target.stores) == ({}, {})
    live.ok("initiator", "remove", HOST)
    assert HOST not in bridge.initiators
    live.ok("portal", "disable", "2")
    assert live.target.open.keys() == {1}


def test_a_nexus_that_is_logged_in_sees_the_new_disk_and_its_new_size(live: Array) -> None:
    assert live.target is not None
    bridge = live.target.bridge
    nexus = live.in_loop(lambda: bridge.attach(HOST, 1, next(iter(bridge.targets))))
    live.ok("lun", "create", "data", "--size", "1M")
    live.ok("lun", "resize", "data", "2M")
    assert nexus.by_number[1].lu is bridge.array.vdisks[1].disk
    assert nexus.by_number[1].blocks == 4096
    live.ok("lun", "remove", "1")
    assert 1 not in nexus.by_number


def test_sessions_are_listed_counted_and_killed(live: Array) -> None:
    from .arrays import FakeSession

    assert live.target is not None
    target = next(iter(live.target.bridge.targets))
    live.target.logged_in = [FakeSession(1, target=target), FakeSession(2)]
    assert f"1  {HOST}  400001370000  {target}" in live.ok("session", "list")
    assert "(discovery)" in live.ok("session", "list")
    assert live.ok("portal", "list").split()[-1] == "2"
    assert [line.split()[-1] for line in live.ok("target", "list").splitlines()[1:]] == ["1", "0", "0", "0"]
    assert live.ok("session", "kill", "1") == f"killed session 1 of {HOST}\n"
    assert live.refused("session", "kill", "1") == "there is no session 1"


def test_sessions_by_a_wildcard_portal_are_counted_there(live: Array) -> None:
    from .arrays import FakeSession

    assert live.target is not None
    live.ok("portal", "add", "0.0.0.0:3300")
    live.target.logged_in = [FakeSession(1, portal="192.0.2.7:3300")]
    assert [line.split()[-1] for line in live.ok("portal", "list").splitlines()[1:]] == ["0", "1"]


def test_status_tells_whether_it_runs(array: Array) -> None:
    import json
    import os

    status = json.loads(array.ok("status", "--json"))
    assert status["running"] is array.live
    assert status["pid"] == (os.getpid() if array.live else None)
    assert (status["memory"] or 1 << 24) > 1 << 20
    assert ("running for" if array.live else "not running: mpxtarget serve") in array.ok("status")
    assert "no LUNs: mpxtarget lun create data --size 10G" in array.ok("status")
