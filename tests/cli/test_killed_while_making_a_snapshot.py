"""A command is killed before each step it takes: what is listed then works, and nothing is left over."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import backing_stores.chunk_map
from mpxtarget.server.database import Database

from .arrays import Array, make, served
from .test_snapshots_and_clones import ORIGINAL, SIZE, read, write

KILLED = 9
STEPS = ("open", "unlink", "fsync", "fdatasync", "ftruncate", "close")
"""Calls of `os` before which the command may be killed; and before each SQL statement and write to a map."""


def killed_at(array: Array, step: int, *words: str) -> bool:
    """Run a command in a process of its own that ends before its `step`th step; whether it got there."""
    child = os.fork()
    if child == 0:
        try:
            _die_before(step)
            os.close(1)
            os.open(os.devnull, os.O_WRONLY)
            os._exit(array.run(*words).exit_code)
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED), code
    return code == KILLED


def _die_before(step: int) -> None:
    left = [step]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                os._exit(KILLED)
            return function(*arguments, **named)

        return call

    exit_now = os._exit
    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    os._exit = exit_now
    backing_stores.chunk_map.pwrite = counted(backing_stores.chunk_map.pwrite)
    backing_stores.chunk_map.fdatasync = counted(backing_stores.chunk_map.fdatasync)
    Database.run = counted(Database.run)  # type: ignore[method-assign]


@pytest.fixture
def array(tmp_path: Path) -> Array:
    """At rest, with a disk `data`."""
    make(tmp_path / "state")
    array = Array(tmp_path / "state")
    array.ok("lun", "create", "data", "--size", str(SIZE))
    write(array, "data", 0, ORIGINAL)
    return array


def listed(array: Array) -> dict[str, dict[str, Any]]:
    """The disks by name."""
    return {row["name"]: row for row in json.loads(array.ok("lun", "list", "--json"))}


@pytest.mark.parametrize("kind", ["snapshot", "clone"])
def test_killed_while_taking_one(array: Array, kind: str) -> None:
    step = 1
    while killed_at(array, step, "lun", kind, "data", "snap"):
        if "snap" in listed(array):  # killed after the commit
            assert listed(array)["snap"]["condition"] in ("good", "copying")
            assert read(array, "snap") == ORIGINAL
            array.ok("lun", "remove", "snap", "--delete-data")
        elif step % 5 == 0:  # else the next one takes over what this one left
            with served(array.folder):
                assert array.files() == {"data.img"}
        step += 1
    assert step > 30
    assert read(array, "snap") == ORIGINAL


def test_killed_while_removing_one(array: Array) -> None:
    step = 1
    array.ok("lun", "snapshot", "data", "snap")
    while killed_at(array, step, "lun", "remove", "snap", "--delete-data"):
        with served(array.folder) as running:
            if "snap" in listed(running):
                assert read(running, "snap") == ORIGINAL
            else:
                assert running.files() == {"data.img"}
                running.ok("lun", "snapshot", "data", "snap")
        step += 1
    assert step > 10
    assert array.files() == {"data.img"}


def test_killed_while_completing_a_clone(array: Array) -> None:
    step = 1
    array.ok("lun", "clone", "data", "copy")
    while killed_at(array, step, "lun", "wait", "copy"):
        copy = listed(array)["copy"]
        if copy["kind"] == "disk":
            assert (array.folder / "vdisks" / "copy.img").read_bytes() == ORIGINAL
            array.ok("lun", "wait", "copy")
            array.ok("lun", "remove", "copy", "--delete-data")
            array.ok("lun", "clone", "data", "copy")
        step += 1
    assert step > 20
    assert (array.folder / "vdisks" / "copy.img").read_bytes() == ORIGINAL
    with served(array.folder) as running:
        assert running.files() == {"data.img", "copy.img"}
