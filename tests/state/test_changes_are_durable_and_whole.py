"""What was answered is on disk, what was not finished never happened, whoever is killed in between."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mpxtarget.server.errors import Conflict, Refusal
from mpxtarget.server.state import InitiatorRecord, PortalSpec, PresentationRecord, State, VdiskSpec

INITIATOR = "iqn.1991-05.com.microsoft:host"


def killed(folder: Path, code: str) -> None:
    """Run `code` on the state of a folder in a process that SIGKILLs itself at the end."""
    program = f"""
import os, signal, sys
from mpxtarget.server.state import *
state = State.open(sys.argv[1])
{code}
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def test_a_committed_change_survives_kill_9(tmp_path: Path) -> None:
    State.create(tmp_path).close()
    killed(
        tmp_path,
        "state.add_vdisk(VdiskSpec('third', 1 << 20))\n"
        f"state.add_initiator(InitiatorRecord({INITIATOR!r}))\n"
        f"state.add_presentation(PresentationRecord(3, {INITIATOR!r}, 9))\n"
        "state.remove_portal(2)",
    )
    with State.open(tmp_path) as state:
        assert [vdisk.name for vdisk in state.list_vdisks()] == ["vdisk1", "vdisk2", "third"]
        assert state.list_presentations() == [PresentationRecord(3, INITIATOR, 9)]
        assert [portal.id for portal in state.list_portals()] == [1]


def test_an_unfinished_transaction_never_happened(tmp_path: Path) -> None:
    State.create(tmp_path).close()
    killed(
        tmp_path,
        "unfinished = state.transaction()\n"
        "unfinished.__enter__()\n"
        "state.remove_vdisk(1)\n"
        "for n in range(2000): state.add_vdisk(VdiskSpec(f'v{n}', 512, lun=None))",
    )
    with State.open(tmp_path) as state:
        assert [vdisk.name for vdisk in state.list_vdisks()] == ["vdisk1", "vdisk2"]


def test_an_exception_undoes_the_whole_transaction(tmp_path: Path) -> None:
    with State.create(tmp_path) as state:
        with pytest.raises(Conflict), state.transaction():
            state.remove_portal(1)
            with state.transaction():
                state.add_portal(PortalSpec("::1"))
            state.add_vdisk(VdiskSpec("vdisk1", 512))
        assert [portal.id for portal in state.list_portals()] == [1, 2]
        state.remove_portal(1)  # and the next one works
    with State.open(tmp_path) as state:
        assert [portal.id for portal in state.list_portals()] == [2]


def test_a_refused_change_inside_a_transaction_can_be_passed_over(tmp_path: Path) -> None:
    with State.create(tmp_path) as state:
        with state.transaction():
            state.remove_portal(1)
            with pytest.raises(Refusal):
                state.add_vdisk(VdiskSpec("vdisk1", 512))
        assert [portal.id for portal in state.list_portals()] == [2]


def test_everything_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    with State.create(tmp_path) as state:
        secret, target = b"\0\xff" * 8, b"\xfe" * 16
        initiator = InitiatorRecord(INITIATOR, "alias \u00fc", "user", secret, "tgt", target, None, 1.5)
        written = (
            state.add_portal(PortalSpec("2001:DB8::0001", 860, "san.example.com:1", False)),
            state.add_vdisk(VdiskSpec("big", 1 << 43, None, 4096, "block:/dev/sdz", True, "B-failback")),
            state.add_initiator(initiator),
            state.add_presentation(PresentationRecord(1, INITIATOR, 255)),
            state.array(),
        )
    with State.open(tmp_path) as state:
        assert written == (
            state.list_portals()[-1],
            state.find_vdisk("BIG"),
            state.get_initiator(INITIATOR.upper()),
            state.list_presentations(INITIATOR.upper())[0],
            state.array(),
        )
        assert written[0].address == "2001:db8::1"
        assert written[1].controller == "B" and written[1].read_only is True and written[1].lun is None


def test_threads_take_turns(tmp_path: Path) -> None:
    with State.create(tmp_path, vdisks=()) as state:

        def add(first: int) -> None:
            for number in range(first, first + 10):
                with state.transaction():
                    state.add_vdisk(VdiskSpec(f"v{number}", 512))

        threads = [threading.Thread(target=add, args=(first,)) for first in (0, 100, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        vdisks = state.list_vdisks()
        assert [vdisk.lun for vdisk in vdisks] == list(range(1, 31))
        assert len({vdisk.wwlun for vdisk in vdisks}) == 30


def test_removing_takes_no_space(tmp_path: Path) -> None:
    State.create(tmp_path).close()

    def taken() -> dict[str, int]:
        return {path.name: path.stat().st_blocks for path in tmp_path.iterdir()}

    before = taken()
    assert before["array.db-journal"] * 512 >= 128 << 10
    with State.open(tmp_path) as state:
        for vdisk in state.list_vdisks():
            state.remove_vdisk(vdisk.id)
        assert taken() == before
    with State.open(tmp_path) as state:
        assert state.list_vdisks() == []
    assert taken() == before
