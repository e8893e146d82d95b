"""The backing store of a virtual disk: how it is made, opened and deleted from the disk's record.

Relative locations count from the state folder. All of it raises StoreError, and may block; `as_refusal` puts
such an error in the words of a refusal.
"""

import contextlib
from pathlib import Path

import backing_stores
from backing_stores import BackingStore, StoreError
from mpxtarget.array.records import VdiskRecord
from mpxtarget.server.errors import Refusal
from mpxtarget.server.state import VDISK_FOLDER


def create(folder: Path, record: VdiskRecord) -> None:
    """Make a new store for the disk, and the folder for files of our own if it is the first."""
    if record.store_url.startswith(f"file:{VDISK_FOLDER}/"):
        (folder / VDISK_FOLDER).mkdir(mode=0o700, exist_ok=True)
    backing_stores.create(record.store_url, record.size, base=folder)


def open_store(folder: Path, record: VdiskRecord) -> BackingStore:
    """Open the store of the disk, for this process alone."""
    return backing_stores.open_store(
        record.store_url, read_only=record.read_only, size=record.size, base=folder
    )


def delete(folder: Path, record: VdiskRecord) -> None:
    """Delete the store of the disk, with all that is in it."""
    backing_stores.delete(record.store_url, base=folder)


def delete_quietly(folder: Path, record: VdiskRecord) -> None:
    """Take back a store that was made a moment ago."""
    with contextlib.suppress(StoreError):
        delete(folder, record)


def as_refusal(error: StoreError, before: str = "") -> Refusal:
    """A store's message is one sentence, `what is wrong: what to do`."""
    message, _, hint = str(error).rpartition(": ")
    return Refusal(before + (message or hint), hint if message else "")
