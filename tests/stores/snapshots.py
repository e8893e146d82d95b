"""A disk and its snapshots in one folder, each opened as the target opens it."""

from dataclasses import dataclass, field
from pathlib import Path

from backing_stores import create, open_store
from backing_stores.preserving import PreservingStore
from backing_stores.snapshot import SnapshotStore

CHUNK = 1 << 16
SIZE = 4 * CHUNK + 3 * 512
"""The last chunk is a short one."""


@dataclass
class Family:
    """A parent and its snapshots by name; `close` and `reopen` are a restart of the target."""

    folder: Path
    parent: PreservingStore
    snapshots: dict[str, SnapshotStore] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, content: bytes) -> "Family":
        """A parent with this content."""
        create("file:parent", len(content) or 512, base=folder)
        family = cls(folder, PreservingStore(open_store("file:parent", base=folder)))
        family.parent.inner.write(memoryview(content), 0)
        family.parent.inner.flush()
        return family

    def take(self, name: str) -> SnapshotStore:
        """Take a snapshot."""
        self.parent.flush()
        SnapshotStore.create(f"file:{name}", self.parent.size, base=self.folder)
        return self.open(name)

    def open(self, name: str) -> SnapshotStore:
        """Open a snapshot that was taken."""
        store = self.snapshots[name] = SnapshotStore.open(f"file:{name}", self.parent, base=self.folder)
        return store

    def close(self) -> None:
        """Close everything, unflushed."""
        for snapshot in self.snapshots.values():
            snapshot.close()
        self.parent.close()

    def reopen(self) -> None:
        """Close everything and open it again."""
        self.close()
        self.parent = PreservingStore(open_store("file:parent", base=self.folder))
        for name in list(self.snapshots):
            self.open(name)
