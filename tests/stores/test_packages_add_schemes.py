"""An installed package adds a kind of store by an entry point, and cannot take a built-in one away."""

from pathlib import Path

import pytest

from backing_stores import StoreError, create, delete, open_store, schemes
from backing_stores.memory import MemoryStore

MODULE = """
from backing_stores.memory import MemoryStore

class Store(MemoryStore):
    pass
"""


def install(folder: Path, package: str, **points: str) -> None:
    """What pip leaves behind, as far as entry points go."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = "".join(f"{scheme} = {target}\n" for scheme, target in points.items())
    (info / "entry_points.txt").write_text(f"[mpxtarget.backing_stores]\n{lines}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "elsewhere_store.py").write_text(MODULE)
    return tmp_path


def test_a_scheme_of_another_package(site: Path) -> None:
    install(site, "elsewhere", elsewhere="elsewhere_store:Store")
    assert schemes() == ["block", "elsewhere", "file", "memory"]
    create("elsewhere:x", 1024)
    store = open_store("elsewhere:x", size=1024)
    assert type(store).__module__ == "elsewhere_store"
    assert store.size == 1024
    store.close()
    delete("elsewhere:x")


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(StoreError, match=r"nowhere:x: .* 'nowhere': use one of block, file, memory,"):
        open_store("nowhere:x")


def test_a_built_in_scheme_stays_what_it_is(site: Path) -> None:
    install(site, "greedy", memory="elsewhere_store:Store")
    store = open_store("memory:", size=512)
    assert type(store) is MemoryStore
    store.close()


def test_two_packages_with_one_scheme(site: Path) -> None:
    install(site, "first", elsewhere="elsewhere_store:Store")
    install(site, "second", elsewhere="elsewhere_store:Store")
    with pytest.raises(StoreError, match="claimed by first and second: uninstall"):
        open_store("elsewhere:x")


@pytest.mark.parametrize("target", ["no_such_module:Store", "elsewhere_store:NoSuchClass"])
def test_a_package_that_does_not_load(site: Path, target: str) -> None:
    install(site, "broken", elsewhere=target)
    with pytest.raises(StoreError, match=r"package broken does not load: .*: reinstall it"):
        open_store("elsewhere:x")
