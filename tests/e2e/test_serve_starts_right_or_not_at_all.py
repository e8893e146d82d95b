"""`mpxtarget serve` starts right or not at all: folders in use, wrong backing files. And it stops cleanly.

A refused start ends with status 1 and one line that names the file: never a target with a broken disk.
"""

import fcntl
import os
import signal
from pathlib import Path

import pytest

from .harness import MIB, PROGRAM, ROOT, TargetUnderTest, mpxtarget
from .processes import Done, run
from .raw import RawPeer

WITHOUT_PRIVILEGES = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root, but file modes count for it too."""


@pytest.fixture
def resting(tmp_path: Path) -> TargetUnderTest:
    """An array that nobody serves."""
    return TargetUnderTest(tmp_path / "resting", size=4 * MIB)


def refused(done: Done, *words: object) -> None:
    """Assert that a command was refused by a line that has these words in it, and a hint."""
    assert done.status == 1, str(done)
    assert "Traceback" not in done.text, str(done)
    errors = [line for line in done.errors.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, str(done)
    for word in words:
        assert str(word) in errors[0], str(done)
    assert "sessions" not in done.output


def serve(array: TargetUnderTest, *wrapper: str) -> Done:
    """Try to serve an array; it has to end by itself."""
    return run([*wrapper, *PROGRAM, "serve", "--state", array.folder], timeout=20, cwd=ROOT)


def test_a_second_serve_on_one_state_folder_is_refused(fresh_target: TargetUnderTest) -> None:
    refused(serve(fresh_target), fresh_target.folder, f"process {fresh_target.pid}")
    with RawPeer(fresh_target.portals[0]).ready(fresh_target.target_names[0]) as peer:
        peer.check(0, 1)


def test_a_folder_without_an_array_is_refused(tmp_path: Path) -> None:
    refused(mpxtarget("serve", "--state", tmp_path / "nothing", check=False), tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_missing_backing_file_is_refused(resting: TargetUnderTest) -> None:
    resting.image(2).unlink()
    refused(serve(resting), resting.image(2), "vdisk2", "does not exist")
    assert not resting.image(2).exists(), "an empty disk was put in place of a lost one"


def test_a_backing_file_that_is_too_small_is_refused(resting: TargetUnderTest) -> None:
    os.truncate(resting.image(), 4 * MIB - 512)
    refused(serve(resting), resting.image(), "vdisk1")
    assert resting.image().stat().st_size == 4 * MIB - 512


def test_a_backing_file_that_may_not_be_written_is_refused(resting: TargetUnderTest) -> None:
    resting.image().chmod(0o400)
    refused(serve(resting, *(WITHOUT_PRIVILEGES if os.geteuid() == 0 else ())), resting.image(), "vdisk1")


def test_a_backing_file_that_somebody_else_has_locked_is_refused(resting: TargetUnderTest) -> None:
    with resting.image().open("rb") as image:
        fcntl.flock(image, fcntl.LOCK_SH)
        refused(serve(resting), resting.image(), "vdisk1")


def test_a_backing_file_that_another_target_serves_is_refused(
    fresh_target: TargetUnderTest, resting: TargetUnderTest
) -> None:
    busy = fresh_target.image()
    words = ("lun", "create", "shared", "--size", "4M", "--existing", "--store", f"file:{busy}")
    refused(resting.cli(*words, check=False), busy)
    fresh_target.stop()
    resting.cli(*words)
    fresh_target.start()
    refused(serve(resting), busy, "shared")


def test_a_portal_that_is_taken_is_refused(fresh_target: TargetUnderTest, tmp_path: Path) -> None:
    taken = fresh_target.portals[0]
    other = tmp_path / "other"
    mpxtarget("init", "--state", other, "--portal", str(taken))
    refused(mpxtarget("serve", "--state", other, check=False), taken)


def test_a_refused_start_leaves_the_folder_free(resting: TargetUnderTest) -> None:
    resting.image(2).rename(resting.image(2).with_suffix(".away"))
    refused(serve(resting), resting.image(2))
    resting.image(2).with_suffix(".away").rename(resting.image(2))
    with resting:
        assert len(resting.portals) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly_when_it_is_told_to(fresh_target: TargetUnderTest, number: signal.Signals) -> None:
    with RawPeer(fresh_target.portals[0]).ready(fresh_target.target_names[0]) as peer:
        peer.check(0, 1)
        os.kill(fresh_target.pid, number)
        assert peer.receive() is None
    assert fresh_target.wait() == 0
    text = fresh_target.read_log()
    assert text.rstrip().endswith("stopped"), text
    assert "Traceback" not in text


def test_what_was_acknowledged_is_there_after_the_target_was_killed(fresh_target: TargetUnderTest) -> None:
    with RawPeer(fresh_target.portals[0]).ready(fresh_target.target_names[0]) as peer:
        data = bytes(range(256)) * 256
        for number in range(64):
            assert peer.write(number * 128, data).status == 0
        os.kill(fresh_target.pid, signal.SIGKILL)
    assert fresh_target.wait() == -signal.SIGKILL
    fresh_target.start()
    with RawPeer(fresh_target.portals[0]).ready(fresh_target.target_names[0]) as peer:
        for number in range(64):
            assert peer.read(number * 128, 128).data == data
