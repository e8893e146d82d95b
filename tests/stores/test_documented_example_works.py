"""The store that the README writes is a store: it installs, opens, reads, and refuses what it says."""

import re
import sys
from pathlib import Path

import pytest

import backing_stores
from backing_stores import StoreError, create, open_store
from stores.helpers import get

README = Path(backing_stores.__file__).with_name("README.md")


def test_the_store_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (toml,) = re.findall(r"```toml\n(.*?)```", README.read_text(), re.DOTALL)
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    point = re.search(r'^(\w+) = "([\w:]+)"', toml, re.MULTILINE)
    assert point
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "zeros_store.py").write_text(code)
    info = tmp_path / "zeros-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zeros\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{backing_stores.ENTRY_POINT_GROUP}]\n{point.group(1)} = {point.group(2)}\n"
    )
    try:
        create("zeros:", 4096)
        store = open_store("zeros:", size=4096, read_only=True)
        assert get(store, 512, 1024) == bytes(1024)
        with pytest.raises(OSError, match="read-only"):
            store.write(memoryview(b"x" * 512), 0)
        store.close()
        with pytest.raises(StoreError, match="make the disk read-only"):
            open_store("zeros:", size=4096)
    finally:
        sys.modules.pop("zeros_store", None)
