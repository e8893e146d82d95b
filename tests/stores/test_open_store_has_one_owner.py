"""While a store is open nobody else gets it: not another process, not this one, not for reading only."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backing_stores import StoreError, create, delete, open_store

HOLD = """
import sys
from backing_stores import open_store
store = open_store(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create(f"file:{tmp_path}/disk.img", 4096)
    return tmp_path / "disk.img"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the file open as a store."""
    command = [sys.executable, "-c", HOLD, f"file:{path}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


@pytest.mark.parametrize("read_only", [False, True])
def test_not_while_another_process_has_it(path: Path, holder: subprocess.Popen[str], read_only: bool) -> None:
    with pytest.raises(StoreError, match=r"disk\.img is already in use"):
        open_store(f"file:{path}", read_only=read_only)


def test_again_as_soon_as_the_other_process_is_dead(path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    open_store(f"file:{path}").close()


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_not_twice_in_one_process(path: Path, first: bool, second: bool) -> None:
    store = open_store(f"file:{path}", read_only=first)
    with pytest.raises(StoreError, match=r"disk\.img is already in use"):
        open_store(f"file:{path}", read_only=second)
    store.close()
    open_store(f"file:{path}", read_only=second).close()


def test_not_by_another_name_of_the_same_file(path: Path) -> None:
    (path.parent / "link.img").symlink_to(path)
    (path.parent / "hard.img").hardlink_to(path)
    store = open_store(f"file:{path}")
    for name in ("link.img", "hard.img"):
        with pytest.raises(StoreError, match="already in use"):
            open_store(f"file:{path.parent / name}")
    store.close()


def test_what_is_open_is_not_deleted(path: Path) -> None:
    store = open_store(f"file:{path}")
    with pytest.raises(StoreError, match="already in use"):
        delete(f"file:{path}")
    store.close()
    delete(f"file:{path}")
    assert not path.exists()


def test_a_refused_open_leaves_no_lock_and_no_descriptor(path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    with pytest.raises(StoreError, match="too small"):
        open_store(f"file:{path}", size=8192)
    assert len(list(descriptors.iterdir())) == before
    open_store(f"file:{path}").close()
