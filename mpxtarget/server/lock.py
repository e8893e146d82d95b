"""One writer at a time on a state folder.

Rules kept here:
- `serve.lock` is locked (flock) by a running `mpxtarget serve` for as long as it runs, and by a verb that
  writes without one for the moment of its writing. The kernel lets go of the lock when its holder dies,
  however it dies.
- Only the lock counts. What is written in the file (process id and purpose) is for the message to whoever
  is refused.
"""

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mpxtarget.server.errors import Busy, Refusal

LOCK_NAME: Final = "serve.lock"
SERVING: Final = "serve"

_ATTEMPTS: Final = 5
_PAUSE: Final = 0.02


class FolderLock:
    """The lock on a state folder. A context manager; `release` may be called more than once."""

    def __init__(self, folder: Path, purpose: str = SERVING) -> None:
        """Take the lock at once. Raises Busy when somebody has it, Refusal when that is not possible."""
        path = folder / LOCK_NAME
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Refusal(
                f"cannot lock {folder}: {os.strerror(error.errno or errno.EIO)}",
                "run as the user that owns the folder",
            ) from None
        for attempt in range(_ATTEMPTS):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                said = _read(fd)
                if said[0] == 0 and attempt < _ATTEMPTS - 1:
                    time.sleep(_PAUSE)  # somebody looked with holder(), or has only just got it
                    continue
                os.close(fd)
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise Refusal(f"cannot lock {path}: {os.strerror(error.errno or errno.EIO)}") from None
                raise Busy(
                    f"the array in {folder} is in use by {_describe(said)}",
                    "stop that one first, or give this one a folder of its own with --state",
                ) from None
        with contextlib.suppress(OSError):  # no space left, most likely: the lock is held all the same
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()} {purpose}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        if self._fd >= 0:
            # The file stays: to remove it would let two processes lock two different files of this name.
            os.ftruncate(self._fd, 0)
            # To close it is not enough while a child of ours is between fork and exec.
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def holder(folder: Path) -> tuple[int, str] | None:
    """Process id and purpose of whoever has the lock now (0 and "" if it did not say); None if it is free."""
    try:
        fd = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read(fd)
    finally:
        os.close(fd)
    return None


def _read(fd: int) -> tuple[int, str]:
    pid, _, purpose = os.pread(fd, 64, 0).decode("ascii", "replace").strip().partition(" ")
    return (int(pid), purpose) if pid.isdigit() else (0, "")


def _describe(said: tuple[int, str]) -> str:
    pid, purpose = said
    if not pid:
        return "another process"
    return f"process {pid} (mpxtarget {purpose})"
