"""A disk whose store cannot be durable is listed as such, and tells hosts so."""

import json
from pathlib import Path

import pytest

from backing_stores import is_durable

from .arrays import Array, make, served


@pytest.mark.conformance("SBC-009")
def test_listing_says_which_disks_are_volatile(tmp_path: Path) -> None:
    make(tmp_path)
    array = Array(tmp_path)
    array.ok("lun", "create", "kept", "--size", "1M")
    array.ok("lun", "create", "scratch", "--size", "1M", "--store", "memory:", "--read-only")
    durable = {row["name"]: row["durable"] for row in json.loads(array.ok("lun", "list", "--json"))}
    assert (durable["kept"], durable["scratch"]) == (True, False)
    lines = {line.split()[1]: line for line in array.ok("lun", "list").splitlines()}
    assert " ro, volatile " in lines["scratch"]
    assert "volatile" not in lines["kept"]
    with served(tmp_path) as live:
        rows = json.loads(live.ok("lun", "list", "--json"))
        assert {row["name"]: row["durable"] for row in rows} == durable
        assert live.target is not None
        vdisks = live.target.bridge.array.vdisks.values()
        assert {each.record.name: each.disk.durable for each in vdisks} == durable


def test_only_memory_is_volatile() -> None:
    assert not is_durable("memory:")
    assert is_durable("file:memory:")
    assert is_durable("block:/dev/sdb")
