"""Writes that are all or nothing, for WRITE ATOMIC: also when the process is killed or the power fails.

A store cannot promise that for even one page: the kernel copies a write into the page cache page by page and
looks for a fatal signal in between, and a disk that loses power has written any of its sectors. So what was
there before is written down first:

1. the old contents, with a checksum, go into a file of the state folder, and with its name to stable storage;
2. the new contents go into the store, and to stable storage;
3. the file is made void in stable storage, then removed.

Killed before 1 is complete, the store is as it was, and the checksum does not fit: the file is nothing.
Killed between 1 and 3, the next start puts the old contents back, before anybody can read them. After 3 the
new contents are there for good, whether or not the void file can be removed; only then is the write
acknowledged, and only then may others touch its blocks. Whoever puts back and is killed meanwhile is followed
by somebody who does it again.

A store that fails in step 2 gets its old contents back at once. One that keeps nothing over a restart needs
no file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from construct import Const, ConstructError, GreedyBytes, Int32ub, Int64ub, Prefixed, Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backing_stores import BackingStore

log = logging.getLogger("mpxtarget.io")

FOLDER: Final = "unfinished-writes"
_PAGE: Final = 4096

_MAGIC: Final = b"mpxundo1"
_UNDO: Final = Struct(
    "magic" / Const(_MAGIC),
    "checksum" / Int32ub,
    "offset" / Int64ub,
    "old" / Prefixed(Int32ub, GreedyBytes),
)


class WholeWrites:
    """Of the disks of one array. With `folder` None nothing outlasts the process (see 1 and 3)."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if folder is None else folder / FOLDER

    def write(
        self,
        disk: bytes,
        store: BackingStore,
        offset: int,
        data: memoryview,
        flush: Callable[[], None] | None = None,
    ) -> None:
        """Change a range in stable storage, wholly or not at all. Blocks.

        `disk` names it for good, `flush` is called instead of the store's.

        Two writes at one offset of a disk must not run at the same time. Raises OSError, and then nothing
        has changed, as far as the store lets itself be written to.
        """
        old = bytearray(len(data))
        store.read(memoryview(old), offset)
        if self._folder is None or not store.durable:
            _change(store, offset, data, bytes(old), flush or store.flush)
            return
        path = self._folder / f"{disk.hex()}-{offset:x}"
        with self._written_down(path, offset, bytes(old)):
            _change(store, offset, data, bytes(old), flush or store.flush)

    def unfinished(self, disk: bytes) -> bool:
        """Whether `recover` has something to look at."""
        return self._folder is not None and any(self._folder.glob(f"{disk.hex()}-*"))

    def recover(self, disk: bytes, store: BackingStore) -> None:
        """Put back what unfinished writes of a disk have changed. Blocks; raises OSError."""
        if self._folder is None or store.read_only or not self._folder.is_dir():
            return
        for path in sorted(self._folder.glob(f"{disk.hex()}-*")):
            found = _read(path)
            if found is not None and found[0] + len(found[1]) <= store.size:
                log.warning("%s: a write of %d bytes was not finished: undone", store.url, len(found[1]))
                _put_back(store, *found)
                store.flush()
            self._remove(path)

    @contextlib.contextmanager
    def _written_down(self, path: Path, offset: int, old: bytes) -> Iterator[None]:
        """The file, while the store changes."""
        record = _UNDO.build({"checksum": _checksum(offset, old), "offset": offset, "old": old})
        path.parent.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb", buffering=0, closefd=False) as file:
                view = memoryview(record)
                while view:
                    view = view[file.write(view) :]
            os.fsync(fd)
            _sync_folder(path.parent)
            yield
        finally:
            try:
                _make_void(path, fd)
            finally:
                os.close(fd)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        _sync_folder(path.parent)


def _make_void(path: Path, fd: int) -> None:
    """Nobody is to undo from this file any more: without its magic it is nothing. Raises OSError if neither
    that nor removing it can be had: a later write may then be undone at the next start.
    """
    try:
        os.pwrite(fd, bytes(len(_MAGIC)), 0)
        os.fdatasync(fd)
    except OSError as error:
        log.error("%s cannot be made void (%s): removing it", path, error.strerror)
        path.unlink(missing_ok=True)
        _sync_folder(path.parent)


def _change(
    store: BackingStore, offset: int, data: memoryview, old: bytes, flush: Callable[[], None]
) -> None:
    try:
        store.write(data, offset)
        flush()
    except OSError:
        with contextlib.suppress(OSError):
            _put_back(store, offset, old)
        raise


def _put_back(store: BackingStore, offset: int, old: bytes) -> None:
    """Page by page: one that was a hole gets no space, of which there may be none left."""
    view = memoryview(old)
    for at in range(0, len(old), _PAGE):
        page = view[at : at + _PAGE]
        if any(page):
            store.write(page, offset + at)
        else:
            store.discard(offset + at, len(page))


def _read(path: Path) -> tuple[int, bytes] | None:
    """Offset and old contents; None if they were not written down completely."""
    try:
        record = _UNDO.parse(path.read_bytes())
    except ConstructError:
        return None
    if record.checksum != _checksum(record.offset, record.old):
        return None
    return record.offset, record.old


def _checksum(offset: int, old: bytes) -> int:
    return zlib.crc32(old, zlib.crc32(offset.to_bytes(8, "big")))


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
