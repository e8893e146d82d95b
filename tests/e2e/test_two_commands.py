"""`make run` in the prepared environment: what it says, and that Ctrl-C ends it cleanly."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .harness import MIB, ROOT, TargetUnderTest, listing, portals_of
from .processes import die_with_parent, end
from .raw import RawPeer

DEMO_PORTS = (3260, 3261)


@contextmanager
def make_run(state: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`make run`, without preparing the environment again."""
    command = ["make", "-o", ".venv/installed", "run", f"STATE={state}"]
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        yield process
    finally:
        end(process)


def wait_for(process: subprocess.Popen[bytes], log: Path, words: str) -> str:
    """Wait until the log has these words; returns all of it."""
    for _ in range(400):
        if words in (text := log.read_text()):
            return text
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError(f"no {words!r} in the output:\n{log.read_text()}")


def is_free(port: int) -> bool:
    """Whether somebody could listen on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_it_says_what_to_type_and_ctrl_c_ends_it_cleanly(tmp_path: Path) -> None:
    state, log = tmp_path / "array", tmp_path / "log"
    TargetUnderTest(state, size=4 * MIB)
    log.touch()
    with make_run(state, log) as process:
        banner = wait_for(process, log, "Ctrl-C stops.")
        portals = portals_of(banner)
        assert len(portals) == 2
        for portal in portals:
            assert f"iscsicli AddTargetPortal {portal.host} {portal.port}" in banner
        assert f"iscsiadm -m discovery -t sendtargets -p {portals[0]}" in banner
        targets = [row["name"] for row in listing(state, "target", "list")]
        assert len(targets) == 4
        assert all(f"  {name}\n" in banner for name in targets)
        with RawPeer(portals[1]).ready(targets[0]) as peer:
            peer.check(0, 1)
            os.killpg(process.pid, signal.SIGINT)  # what a terminal does with Ctrl-C
            assert peer.receive() is None
        # make itself ends by the signal too, after its child, and its status says so
        assert process.wait(20) in (0, -signal.SIGINT), log.read_text()
    text = log.read_text()
    assert text.rstrip().endswith("stopped"), text
    assert "Traceback" not in text
    assert "***" not in text, "make complains"


def test_a_fresh_folder_becomes_the_default_array(tmp_path: Path) -> None:
    state, log = tmp_path / "array", tmp_path / "log"
    log.touch()
    free = all(is_free(port) for port in DEMO_PORTS)
    with make_run(state, log) as process:
        if not free:  # somebody serves there already: then the refusal has to say so
            assert "cannot listen on 127.0.0.1:326" in wait_for(process, log, "hint:")
            return
        banner = wait_for(process, log, "Ctrl-C stops.")
        portals = portals_of(banner)
        assert [portal.port for portal in portals] == list(DEMO_PORTS)
        targets = [row["name"] for row in listing(state, "target", "list")]
        with RawPeer(portals[0]).ready(targets[0]) as peer:
            for lun in (1, 2):
                peer.check(1024 * MIB // 512 - 1, 1, lun=lun)
                assert peer.capacity(lun) == 1024 * MIB
    disks = [path.stat() for path in sorted((state / "vdisks").iterdir())]
    assert [disk.st_size for disk in disks] == [1024 * MIB] * 2
    assert all(disk.st_blocks * 512 < MIB for disk in disks), "the disks are not thin"
    assert state.stat().st_mode & 0o077 == 0, "others may look into the state folder"
