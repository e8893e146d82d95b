"""A change happens in the database, in the running target and on the disk, or nowhere."""

import os
from typing import Any

import pytest

import backing_stores
from mpxtarget.server.errors import Refusal
from mpxtarget.server.state import State

from .arrays import HOST, Array


class Broken(Refusal):
    """What the test breaks with."""


def breaks(*_: Any, **__: Any) -> Any:
    """Stands in for something that fails."""
    raise Broken("broken on purpose")


def test_a_portal_that_cannot_be_opened_is_not_stored(live: Array) -> None:
    assert live.target is not None
    live.target.taken.add(("127.0.0.1", 3261))
    before = live.records()
    assert "cannot listen on 127.0.0.1:3261" in live.refused("portal", "add", "127.0.0.1:3261")
    assert live.records() == before
    assert live.target.open.keys() == {1}


def test_a_portal_that_cannot_be_opened_again_stays_disabled(live: Array) -> None:
    assert live.target is not None
    live.ok("portal", "disable", "1")
    live.target.taken.add(("127.0.0.1", 3260))
    before = live.records()
    live.refused("portal", "enable", "1")
    assert live.records() == before


def test_a_store_that_cannot_be_made_leaves_no_lun(array: Array) -> None:
    (array.folder / "vdisks").mkdir(exist_ok=True)
    (array.folder / "vdisks" / "data.img").write_bytes(b"precious")
    before = array.records()
    assert "already exists and is not overwritten" in array.refused("lun", "create", "data", "--size", "1M")
    assert array.records() == before
    assert (array.folder / "vdisks" / "data.img").read_bytes() == b"precious"


def test_what_a_killed_target_left_of_a_lun_is_not_in_the_way(array: Array) -> None:
    (array.folder / "vdisks").mkdir(exist_ok=True)
    (array.folder / "vdisks" / "data.img").touch()
    os.truncate(array.folder / "vdisks" / "data.img", 1 << 20)
    assert array.ok("lun", "create", "data", "--size", "1M").startswith("created data: LUN 1")


def test_a_lun_the_database_refuses_leaves_no_file(array: Array) -> None:
    array.ok("lun", "create", "data", "--size", "1M")
    array.refused("lun", "create", "more", "--size", "1M", "--lun", "1")
    assert array.files() == {"data.img"}


def test_a_commit_that_fails_leaves_neither_file_nor_disk(
    array: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mpxtarget.server.database import Database

    run = Database.run

    def full(self: Database, sql: str, *values: Any) -> list[Any]:
        if sql == "COMMIT":
            raise Broken("no space left")
        return run(self, sql, *values)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "run", full)
        assert array.refused("lun", "create", "data", "--size", "1M") == "no space left"
    assert array.files() == set()
    assert array.ok("lun", "list", "--json") == "[]\n"
    if array.target is not None:
        assert (array.target.stores, array.target.bridge.array.vdisks) == ({}, {})
    array.ok("lun", "create", "data", "--size", "1M")


def test_a_disk_the_bridge_does_not_take_leaves_neither_record_nor_file(
    live: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert live.target is not None
    with monkeypatch.context() as patch:
        patch.setattr(live.target.bridge, "add_vdisk", breaks)
        live.refused("lun", "create", "data", "--size", "1M")
    assert (live.files(), live.target.stores) == (set(), {})
    live.ok("lun", "create", "data", "--size", "1M")


def test_a_removal_that_fails_leaves_the_disk_with_its_presentations(
    array: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mpxtarget.server.database import Database

    array.ok("lun", "create", "data", "--size", "1M")
    array.ok("initiator", "add", HOST)
    array.ok("lun", "present", "data", HOST, "--at", "7")
    before = array.records()
    run = Database.run

    def full(self: Database, sql: str, *values: Any) -> list[Any]:
        if sql == "COMMIT":
            raise Broken("no space left")
        return run(self, sql, *values)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "run", full)
        array.refused("lun", "remove", "data")
        array.refused("initiator", "remove", HOST)
        array.refused("lun", "unpresent", "data", HOST)
    assert array.records() == before
    if array.target is not None:
        bridge = array.target.bridge
        nexus = array.in_loop(lambda: bridge.attach(HOST, 1, next(iter(bridge.targets))))
        assert sorted(nexus.by_number) == [0, 7]


def test_a_removed_lun_keeps_its_data_unless_told_otherwise(array: Array) -> None:
    array.ok("lun", "create", "data", "--size", "1M")
    assert "its data stays in file:vdisks/data.img" in array.ok("lun", "remove", "data")
    assert array.files() == {"data.img"}
    array.ok("lun", "create", "data", "--existing")
    assert array.ok("lun", "remove", "data", "--delete-data") == "removed data and its data\n"
    assert array.files() == set()


def test_shrinking_needs_force_and_cuts_the_store(array: Array) -> None:
    array.ok("lun", "create", "data", "--size", "2M")
    assert array.refused("lun", "resize", "data", "1M").startswith("data has 2M; 1M would cut data off")
    array.ok("lun", "resize", "data", "1M", "--force")
    assert (array.folder / "vdisks" / "data.img").stat().st_size == 1 << 20


def test_a_store_that_does_not_grow_leaves_the_size(array: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    from backing_stores.file import FileStore

    def full(self: FileStore, size: int) -> None:
        raise backing_stores.StoreError("the disk is full: make room")

    array.ok("lun", "create", "data", "--size", "1M")
    before = array.records()
    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "resize", full)
        assert array.refused("lun", "resize", "data", "2M") == "the disk is full"
        assert array.refused("lun", "resize", "data", "512K", "--force") == "the disk is full"
    assert array.records() == before
    if array.target is not None:
        assert array.target.bridge.array.vdisks[1].disk.blocks == 2048


def test_a_size_the_database_refuses_leaves_the_store(array: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    array.ok("lun", "create", "data", "--size", "1M")
    with monkeypatch.context() as patch:
        patch.setattr(State, "update_vdisk", breaks)
        array.refused("lun", "resize", "data", "2M")
    assert (array.folder / "vdisks" / "data.img").stat().st_size == 1 << 20


def test_an_existing_store_that_is_too_small_is_refused_by_name(array: Array) -> None:
    (array.folder / "vdisks").mkdir(exist_ok=True)
    (array.folder / "vdisks" / "data.img").write_bytes(bytes(1024))
    message = array.refused("lun", "create", "data", "--existing", "--size", "1M")
    assert "vdisks/data.img is too small" in message
    assert array.ok("lun", "create", "data", "--existing").startswith("created data: LUN 1, 1K")


def test_a_store_whose_io_hangs_does_not_hang_the_verbs(live: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    from mpxtarget.server.verbs import lun

    assert live.target is not None
    monkeypatch.setattr(lun, "LET_GO_SECONDS", 0.05)
    live.ok("lun", "create", "data", "--size", "1M")
    store = live.target.stores[1]
    with monkeypatch.context() as patch:
        patch.setattr(live.target.executor, "busy", lambda disk: True)
        live.ok("lun", "remove", "data")
    assert "in use" in live.refused("lun", "create", "data", "--existing")
    store.close()
    live.ok("lun", "create", "data", "--existing")


def test_a_store_in_use_elsewhere_is_refused(array: Array) -> None:
    (array.folder / "vdisks").mkdir(exist_ok=True)
    backing_stores.create("file:vdisks/data.img", 1 << 20, base=array.folder)
    store = backing_stores.open_store("file:vdisks/data.img", base=array.folder)
    assert "in use" in array.refused("lun", "create", "data", "--existing")
    store.close()
    array.ok("lun", "create", "data", "--existing")
