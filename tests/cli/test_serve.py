"""`serve` starts whole or not at all, is alone in its folder, and stops cleanly."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpxtarget.cli import client
from mpxtarget.server.state import PortalSpec, State

from .arrays import Array

LAST_LINE = "Ctrl-C stops."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An array whose portals get any free port."""
    array = Array(tmp_path / "state")
    array.ok("init", "--portal", "127.0.0.1:0", "--portal", "[::1]:0")
    array.ok("lun", "create", "data", "--size", "1M")
    return array.folder


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start `mpxtarget serve`."""
    return subprocess.Popen(
        [sys.executable, "-m", "mpxtarget", "serve", "--state", str(folder), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def banner(server: subprocess.Popen[str]) -> str:
    """What it says until it is ready."""
    assert server.stdout is not None
    said = ""
    while LAST_LINE not in said:
        line = server.stdout.readline()
        if not line:
            pytest.fail(f"it did not start: {server.communicate()}")
        said += line
    return said


@contextlib.contextmanager
def serving(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running target and its banner."""
    server = start(folder, *words)
    try:
        yield server, banner(server)
    finally:
        if server.poll() is None:
            server.kill()
        server.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_it_cleanly(folder: Path, number: signal.Signals) -> None:
    with serving(folder) as (server, _):
        server.send_signal(number)
        out, _ = server.communicate(timeout=60)
    assert server.returncode == 0
    assert out == "stopped\n"
    assert not (folder / "control.sock").exists()
    assert Array(folder).ok("lun", "list").count("data") == 2


def test_the_banner_says_what_there_is_and_what_to_type(folder: Path) -> None:
    with serving(folder) as (_, said):
        portals = [
            f"{row['address']} {row['listening']}" for row in client.request(folder, "portal/list", {})
        ]
        targets = [row["name"] for row in client.request(folder, "target/list", {})]
    assert said.startswith("EVA4400 (HSV300, EVA4400), node WWN 5001-4380-")
    for portal in portals:
        assert f"iscsicli AddTargetPortal {portal}\n" in said
        assert f"iscsicli LoginTarget {targets[0]} T {portal} * * * 0x2 * * * * * * * * * 0\n" in said
        assert f"iscsicli LoginTarget {targets[2]} T {portal} * * * 0x2 * * * * * * * * * 0\n" in said
    assert 'mpclaim -r -i -d "HP      HSV300          "' in said
    assert f"iscsiadm -m discovery -t sendtargets -p {portals[0].replace(' ', ':')}\n" in said
    assert "data  1M    controller A" in said


@pytest.mark.conformance("TCP-006")
def test_a_live_change_reaches_the_sockets(folder: Path) -> None:
    with serving(folder):
        array = Array(folder)
        array.ok("portal", "add", "127.0.0.1:0")
        ports = [row["listening"] for row in json.loads(array.ok("portal", "list", "--json"))]
        for address, port in zip(("127.0.0.1", "::1", "127.0.0.1"), ports, strict=True):
            socket.create_connection((address, port)).close()
        assert "cannot listen on 127.0.0.1" in array.refused("portal", "add", f"127.0.0.1:{ports[0]}")
        array.ok("portal", "remove", "3")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", ports[2]))
        array.ok("lun", "create", "more", "--size", "1M")
        array.ok("lun", "remove", "data", "--delete-data")
        assert array.files() == {"more.img"}


def test_the_second_on_one_folder_is_refused_and_names_the_first(folder: Path) -> None:
    with serving(folder) as (server, _):
        second = start(folder)
        _, errors = second.communicate(timeout=60)
        assert second.returncode == 1
        assert f"in use by process {server.pid}" in errors
        assert client.request(folder, "status", {})["pid"] == server.pid


def test_it_waits_for_a_command_that_has_the_lock_for_a_moment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mpxtarget.cli import serve
    from mpxtarget.server.lock import FolderLock

    ran: list[State] = []
    lock = FolderLock(folder, "lun/create")
    monkeypatch.setattr(serve, "_run", ran.append)
    monkeypatch.setattr("time.sleep", lambda _: lock.release())
    Array(folder).ok("serve")
    assert len(ran) == 1


def test_after_a_kill_it_starts_again(folder: Path) -> None:
    with serving(folder) as (server, _):
        server.kill()
        server.wait()
    assert (folder / "control.sock").exists()
    with serving(folder):
        assert client.request(folder, "status", {})["running"] is True


def test_one_that_is_stopped_by_a_signal_does_not_hang_the_commands(folder: Path) -> None:
    with serving(folder) as (server, _):
        server.send_signal(signal.SIGSTOP)
        with pytest.raises(client.NoAnswer, match=r"did not answer within 0\.2 seconds"):
            client.request(folder, "status", {}, seconds=0.2)
        server.send_signal(signal.SIGCONT)


def test_a_portal_that_is_taken_is_named_and_nothing_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        State.create(tmp_path / "state", portals=[PortalSpec("127.0.0.1", port)], vdisks=()).close()
        server = start(tmp_path / "state")
        _, errors = server.communicate(timeout=60)
    assert server.returncode == 1
    assert errors.splitlines()[-2:][0] == f"error: cannot listen on 127.0.0.1:{port}: Address already in use"
    assert "Traceback" not in errors


@pytest.mark.conformance("LST-004")
def test_a_missing_backing_file_is_named_and_nothing_starts(folder: Path) -> None:
    (folder / "vdisks" / "data.img").unlink()
    server = start(folder)
    _, errors = server.communicate(timeout=60)
    assert server.returncode == 1
    assert "vdisks/data.img does not exist" in errors
    assert "Traceback" not in errors


def test_demo_makes_the_default_array_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mpxtarget.cli import serve

    monkeypatch.setattr(serve, "_run", lambda state: None)  # its ports are well known, and may be taken here
    array = Array(tmp_path / "state")
    assert array.ok("serve", "--demo") == f"made a new array in {array.folder}\n"
    with State.open(array.folder) as state:
        assert (state.array().model, state.array().policy) == ("HSV300", "present-all")
        assert [(p.address, p.port) for p in state.list_portals()] == [
            ("127.0.0.1", 3260),
            ("127.0.0.1", 3261),
        ]
        assert [(v.lun, v.size) for v in state.list_vdisks()] == [(1, 1 << 30), (2, 1 << 30)]
    array.ok("lun", "remove", "2")
    assert array.ok("serve", "--demo") == ""
    assert "vdisk2" not in array.ok("lun", "list")


def test_the_memory_of_an_idle_target_is_small(folder: Path) -> None:
    with serving(folder):
        assert client.request(folder, "status", {})["memory"] < 60 << 20


def test_the_running_target_does_not_load_the_declarations(folder: Path) -> None:
    script = (
        "import sys\n"
        "from mpxtarget.server.target import TargetServer\n"
        "from mpxtarget.server.control import ControlServer\n"
        "from mpxtarget.cli import banner, serve\n"
        "assert 'scapy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
