"""Where the blocks of a disk live: stores, found by the scheme of a URL.

`file:`, `memory:` and `block:` are built in. Any installed package adds a scheme by an entry point in the
group `mpxtarget.backing_stores`, whose name is the scheme and whose object is a `StoreType`. `interface.py`
is all that an author of a store needs; README.md walks through it.

This package knows nothing of iSCSI, SCSI or mpxtarget.
"""

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Final, cast

from backing_stores.block import BlockStore
from backing_stores.file import FileStore
from backing_stores.interface import SECTOR, BackingStore, StoreError, StoreType
from backing_stores.memory import MemoryStore

__all__ = [
    "ENTRY_POINT_GROUP",
    "SECTOR",
    "BackingStore",
    "StoreError",
    "StoreType",
    "create",
    "delete",
    "is_durable",
    "open_store",
    "schemes",
]

ENTRY_POINT_GROUP: Final = "mpxtarget.backing_stores"

_BUILT_IN: Final[Mapping[str, StoreType]] = MappingProxyType(
    {"file": FileStore, "memory": MemoryStore, "block": BlockStore}
)

_VOLATILE: Final = "memory:"


def create(url: str, size: int, *, base: Path | None = None) -> None:
    """Make a new store of `size` zero bytes; an existing one is never overwritten. Raises StoreError."""
    _store_type(url).create(url, size, base=base)


def open_store(
    url: str, *, read_only: bool = False, size: int | None = None, base: Path | None = None
) -> BackingStore:
    """Open a store for this process alone. Raises StoreError.

    `size` is how many bytes its disk has: a store with less is refused, and `memory:` cannot do without.
    `base` is the folder that relative paths in the URL count from.
    """
    return _store_type(url).open(url, read_only=read_only, size=size, base=base)


def delete(url: str, *, base: Path | None = None) -> None:
    """Remove a store that nobody has open, with all that is in it. Raises StoreError."""
    _store_type(url).delete(url, base=base)


def is_durable(url: str) -> bool:
    """Whether a store of this URL can outlive the process that opens it: all but `memory:`.

    What an open store says of itself (`BackingStore.durable`) is more exact.
    """
    return not url.startswith(_VOLATILE)


def schemes() -> list[str]:
    """The URL schemes that can be used here, built in or added by a package."""
    return sorted({*_BUILT_IN, *entry_points(group=ENTRY_POINT_GROUP).names})


def _store_type(url: str) -> StoreType:
    scheme, colon, _ = url.partition(":")
    if not colon or not scheme:
        raise StoreError(
            f"{url!r} is not the URL of a store: write SCHEME:..., for example file:/var/lib/disk.img"
        )
    built_in = _BUILT_IN.get(scheme)  # a package cannot take a built-in scheme away
    if built_in is not None:
        return built_in
    found = entry_points(group=ENTRY_POINT_GROUP, name=scheme)
    if not found:
        raise StoreError(
            f"{url}: there is no kind of store called {scheme!r}: use one of {', '.join(schemes())},"
            " or install the package that has it"
        )
    packages = sorted(point.dist.name for point in found if point.dist)
    if len(found) > 1:
        raise StoreError(
            f"{url}: {scheme!r} is claimed by {' and '.join(packages)}: uninstall all but one of them"
        )
    (point,) = found
    try:
        return cast(StoreType, point.load())
    except (ImportError, AttributeError) as error:
        raise StoreError(
            f"{url}: package {' '.join(packages)} does not load: {error}: reinstall it"
        ) from error
