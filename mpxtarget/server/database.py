"""The SQLite file under `state`: its schema, transactions, and what SQLite's errors mean in plain words.

Rules kept here:
- A transaction that has returned is on stable storage (synchronous=EXTRA: as FULL, and the folder is synced
  too).
- The journal has a place on the disk for good, so that something can be removed when there is no space left.
- sqlite3 exceptions do not leave this module; they become `Refusal`s that say what to do.
- The file says that it is ours (application_id) and which version of the schema it has (user_version). An
  older one is brought up to date when it is opened, a newer one is refused, never guessed at.
- One statement at a time, from whichever thread.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mpxtarget.server.errors import Busy, Refusal

SCHEMA_VERSION: Final = 2
_APPLICATION_ID: Final = 0x6D707874  # "mpxt"
_BUSY_TIMEOUT: Final = 5.0  # seconds
_JOURNAL_BYTES: Final = 128 << 10  # for a change of thirty pages, more than it takes to remove anything

_SCHEMA: Final = """
CREATE TABLE array (
    only INTEGER PRIMARY KEY DEFAULT 1 CHECK (only = 1),
    name TEXT NOT NULL,
    model TEXT NOT NULL,
    node_wwn INTEGER NOT NULL,
    controller_serial TEXT NOT NULL,
    bridge_serial TEXT NOT NULL,
    name_template TEXT NOT NULL,
    policy TEXT NOT NULL,
    target_user TEXT NOT NULL,
    target_secret BLOB NOT NULL,
    wwlun_base BLOB NOT NULL,
    wwluns_made INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE portal (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    address TEXT NOT NULL,
    port INTEGER NOT NULL,
    advertise TEXT,
    enabled INTEGER NOT NULL
) STRICT;
CREATE TABLE vdisk (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    lun INTEGER UNIQUE,
    wwlun BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    block_size INTEGER NOT NULL,
    store_url TEXT NOT NULL,
    read_only INTEGER NOT NULL,
    preferred TEXT NOT NULL,
    controller TEXT NOT NULL
) STRICT;
CREATE TABLE initiator (
    name TEXT PRIMARY KEY,
    alias TEXT NOT NULL,
    chap_user TEXT NOT NULL,
    chap_secret BLOB NOT NULL,
    target_user TEXT NOT NULL,
    target_secret BLOB NOT NULL,
    first_seen REAL,
    last_seen REAL
) STRICT;
CREATE TABLE presentation (
    vdisk_id INTEGER NOT NULL REFERENCES vdisk (id) ON DELETE CASCADE,
    initiator TEXT NOT NULL REFERENCES initiator (name) ON DELETE CASCADE,
    lun INTEGER NOT NULL,
    PRIMARY KEY (initiator, lun),
    UNIQUE (vdisk_id, initiator)
) STRICT;
"""

_SCHEMA_2: Final = """
ALTER TABLE array ADD COLUMN strict INTEGER NOT NULL DEFAULT 0;
ALTER TABLE array ADD COLUMN serial_numbers TEXT NOT NULL DEFAULT 'controller';
ALTER TABLE array ADD COLUMN transition_time INTEGER NOT NULL DEFAULT 0;
ALTER TABLE array ADD COLUMN implicit_transition TEXT NOT NULL DEFAULT '3600:60:10000';
ALTER TABLE array ADD COLUMN failed_controller TEXT;
ALTER TABLE array ADD COLUMN stopped_cleanly INTEGER NOT NULL DEFAULT 1;
CREATE TABLE kept (
    vdisk_id INTEGER PRIMARY KEY REFERENCES vdisk (id) ON DELETE CASCADE,
    content TEXT NOT NULL
) STRICT;
ALTER TABLE vdisk ADD COLUMN kind TEXT NOT NULL DEFAULT 'disk';
ALTER TABLE vdisk ADD COLUMN parent INTEGER REFERENCES vdisk (id);
"""

_UPGRADES: Final[dict[int, str]] = {0: _SCHEMA, 1: _SCHEMA_2}
"""Script that turns schema version N into N + 1."""


class Database:
    """An open database file."""

    def __init__(self, path: Path) -> None:
        """Open a file that exists; an empty one has still to be `initialise`d. Raises Refusal."""
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        try:
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise self._refusal(error) from error
        try:
            self.run("PRAGMA synchronous = EXTRA")
            self.run("PRAGMA foreign_keys = ON")
        except Refusal:
            self.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def initialise(self) -> None:
        """Make the tables in an empty file."""
        with self.transaction():
            self.run(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._upgrade(0)

    def check(self) -> None:
        """Refuse a file that is not ours, is damaged or too new; bring an older one up to date."""
        application = self.run("PRAGMA application_id")[0][0]
        version = self.run("PRAGMA user_version")[0][0]
        if application != _APPLICATION_ID:
            raise Refusal(
                f"{self.path} is not the database of an array", "choose another folder with --state"
            )
        if version > SCHEMA_VERSION:
            raise Refusal(
                f"{self.path} was written by a newer mpxtarget: schema {version}, this one knows"
                f" {SCHEMA_VERSION}",
                "run the newer version",
            )
        problem = self.run("PRAGMA quick_check(1)")[0][0]
        if problem != "ok":
            raise self.damaged(problem)
        if version < SCHEMA_VERSION:
            with self.transaction():
                self._upgrade(version)
        self.run("PRAGMA journal_mode = PERSIST")
        self._make_room_for_the_journal()

    def _make_room_for_the_journal(self) -> None:
        """Extend the journal with zeros, at which SQLite ends when it reads one. Where that is not possible,
        it is done without.
        """
        journal = self.path.with_name(f"{self.path.name}-journal")
        with contextlib.suppress(OSError, Refusal):
            if journal.exists() and journal.stat().st_size >= _JOURNAL_BYTES:
                return
            with self.transaction():  # nobody else writes to it meanwhile
                fd = os.open(journal, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    size = os.fstat(fd).st_size
                    os.pwrite(fd, bytes(max(0, _JOURNAL_BYTES - size)), size)
                finally:
                    os.close(fd)

    def run(self, sql: str, *values: Any) -> list[Any]:
        """Run one statement and return its rows. Raises Refusal."""
        with self._lock:
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise self._refusal(error) from error

    def insert(self, table: str, columns: str, record: object) -> int:
        """Add a record, whose attributes have the names of the columns; the number it got."""
        values = _values(record, columns)
        sql = f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(values))}) RETURNING rowid"
        return int(self.run(sql, *values)[0][0])

    def update(self, table: str, columns: str, record: object, key: str, value: int | str) -> None:
        """Change the record whose column `key` has this value."""
        values = _values(record, columns)
        marks = ", ".join("?" * len(values))
        self.run(f"UPDATE {table} SET ({columns}) = ({marks}) WHERE {key} = ?", *values, value)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes made inside happen together, or, when an exception leaves it, not at all. May be
        nested.

        Other threads wait until it is over.
        """
        with self._lock:
            if self._depth == 0:
                self.run("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
                if self._depth == 1:
                    self.run("COMMIT")
            except BaseException:
                if self._depth == 1 and self._connection.in_transaction:
                    self.run("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def _upgrade(self, version: int) -> None:
        while version < SCHEMA_VERSION:
            for statement in _UPGRADES[version].split(";"):
                self.run(statement)
            version += 1
        self.run(f"PRAGMA user_version = {version}")

    def damaged(self, problem: str) -> Refusal:
        """What to say of a file that is ours and not as we left it."""
        return Refusal(
            f"{self.path} is damaged: {problem}", "put a copy of it back, or make a new array elsewhere"
        )

    def _refusal(self, error: sqlite3.Error) -> Refusal:
        match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return Busy(f"{self.path} is being written to by another process", "try again")
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return self.damaged(str(error))
            case sqlite3.SQLITE_FULL:
                return Refusal(f"no space left to write {self.path}", "make room on that file system")
            case (
                sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_IOERR
            ):
                return Refusal(
                    f"cannot write {self.path}: {error}",
                    "check the owner and the mode of the folder and the file",
                )
        if str(error).startswith("no such "):  # table, column
            return self.damaged(str(error))
        return Refusal(f"{self.path}: {error}", "look at the file and its folder, and try again")


def _values(record: object, columns: str) -> list[Any]:
    return [getattr(record, column) for column in columns.split(", ")]
