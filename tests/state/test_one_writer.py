"""One writer at a time on a state folder, until its death and no longer."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mpxtarget.server import lock
from mpxtarget.server.errors import Busy, Refusal
from mpxtarget.server.lock import FolderLock, holder


def test_the_second_is_refused_and_told_who_is_the_first(tmp_path: Path) -> None:
    with FolderLock(tmp_path):
        assert holder(tmp_path) == (os.getpid(), "serve")
        with pytest.raises(Busy, match=rf"process {os.getpid()} \(mpxtarget serve\)") as caught:
            FolderLock(tmp_path, "lun create")
        assert "--state" in caught.value.hint
        assert holder(tmp_path) == (os.getpid(), "serve")
    assert holder(tmp_path) is None
    with FolderLock(tmp_path, "lun create"):
        assert holder(tmp_path) == (os.getpid(), "lun create")


def test_a_lock_can_be_released_twice(tmp_path: Path) -> None:
    held = FolderLock(tmp_path)
    held.release()
    held.release()
    with FolderLock(tmp_path):
        pass


def test_the_last_words_of_a_killed_holder_are_forgotten(tmp_path: Path) -> None:
    (tmp_path / lock.LOCK_NAME).write_text("4194304 a verb with a very long name\n")
    assert holder(tmp_path) is None
    with FolderLock(tmp_path):
        assert holder(tmp_path) == (os.getpid(), "serve")


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    program = """
import os, sys, time
from pathlib import Path
from mpxtarget.server.lock import FolderLock
held = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert holder(tmp_path) == (other.pid, "serve")
        with pytest.raises(Busy, match=f"process {other.pid}"):
            FolderLock(tmp_path)
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert holder(tmp_path) is None
    with FolderLock(tmp_path):
        assert holder(tmp_path) == (os.getpid(), "serve")


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    held = FolderLock(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        held.release()
        assert holder(tmp_path) is None
        child.communicate(b"\n")


def test_a_glance_at_the_holder_does_not_turn_a_writer_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    (tmp_path / lock.LOCK_NAME).touch()
    glance = (tmp_path / lock.LOCK_NAME).open()
    fcntl.flock(glance, fcntl.LOCK_SH)
    monkeypatch.setattr("time.sleep", lambda _: glance.close())
    with FolderLock(tmp_path):
        assert holder(tmp_path) == (os.getpid(), "serve")


def test_a_folder_that_is_not_there_is_a_refusal(tmp_path: Path) -> None:
    assert holder(tmp_path / "missing") is None
    with pytest.raises(Refusal, match="missing: No such file"):
        FolderLock(tmp_path / "missing")


def test_a_lock_is_held_where_there_is_no_space_to_say_by_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", no_space)
    with FolderLock(tmp_path), pytest.raises(Busy, match="in use by another process"):
        FolderLock(tmp_path)
    FolderLock(tmp_path).release()
