"""Threads for what blocks: a lane of them for each backing store, so that a slow store stalls nobody else.

Rules kept here:

- A lane has at most THREADS threads, started when work waits for them and gone after IDLE seconds without
  any.
- Jobs of a lane start in the order they were submitted, and run at the same time.
- A job's result comes back on the event loop: finished jobs are queued and one eventfd wakes the loop for all
  that have finished meanwhile (no future, no task, no executor of asyncio: reference figures are 14-26 us a
  hop).
- A thread spends its time in system calls; the Python around them is kept short, as it competes for the
  interpreter.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeAlias

log = logging.getLogger("mpxtarget.io")

THREADS = 4
IDLE = 10.0

Work: TypeAlias = Callable[[], None]
Done: TypeAlias = Callable[[OSError | None], None]


class Completions:
    """Finished jobs on their way to the loop. `fileno` is readable when there are some."""

    __slots__ = ("_armed", "_finished", "_lock", "fd")

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._finished: deque[tuple[Done, OSError | None]] = deque()
        self._armed = False
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """The eventfd."""
        return self.fd

    def put(self, done: Done, error: OSError | None) -> None:
        """Called by a thread of a lane: hand a finished job to the loop."""
        with self._lock:
            self._finished.append((done, error))
            if self._armed:
                return
            self._armed = True
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def drain(self) -> int:
        """Called by the loop: run what has to be done for all that have finished. How many they were."""
        with self._lock:
            if self._armed and self.fd >= 0:
                os.eventfd_read(self.fd)
                self._armed = False
            finished, self._finished = self._finished, deque()
        for done, error in finished:
            try:
                done(error)
            except Exception:  # one command's, not those of all that finished with it
                log.exception("what comes after a finished job failed")
        return len(finished)

    def close(self) -> None:
        """No wake-ups any more; jobs may still finish."""
        with self._lock:
            os.close(self.fd)
            self.fd = -1


class Lane:
    """The threads of one backing store."""

    __slots__ = ("_completions", "_jobs", "_lock", "_name", "_threads", "_unfinished", "pending")

    def __init__(self, completions: Completions, name: str) -> None:
        self._completions = completions
        self._jobs: SimpleQueue[tuple[Work, Done]] = SimpleQueue()
        self._name = name
        self._threads = 0
        self._unfinished = 0  # jobs that wait or run; with fewer threads than that, one more is started
        self._lock = threading.Lock()
        self.pending = 0  # jobs submitted and not yet handed back; the loop's own count

    def submit(self, work: Work, done: Done) -> None:
        """Run `work` in a thread, then `done(error)` on the loop. What is no OSError is an internal error,
        EIO-like.
        """
        self.pending += 1

        def handed_back(error: OSError | None) -> None:
            self.pending -= 1
            done(error)

        with self._lock:
            self._jobs.put((work, handed_back))
            self._unfinished += 1
            if self._threads >= min(self._unfinished, THREADS):
                return
            self._threads += 1
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:  # no more threads, or no memory for one
            self._manage_without()

    def _manage_without(self) -> None:
        """A thread could not be started: the jobs are for those there are, or else they have failed."""
        with self._lock:
            self._threads -= 1
            if self._threads:
                return
            failed = []
            with contextlib.suppress(Empty):
                while True:
                    failed.append(self._jobs.get_nowait()[1])
            self._unfinished -= len(failed)
        for done in failed:
            self._completions.put(done, OSError(errno.EAGAIN, f"{self._name}: no thread can be started"))

    def _run(self) -> None:
        while True:
            try:
                work, done = self._jobs.get(timeout=IDLE)
            except Empty:
                with self._lock:
                    if self._jobs.empty():  # otherwise a job came just now, counting on this thread
                        self._threads -= 1
                        return
                continue
            error: OSError | None = None
            try:
                work()
            except OSError as failed:
                error = failed
            except Exception as failed:
                log.exception("%s: a backing store failed unexpectedly", self._name)
                error = OSError(str(failed))
            with self._lock:
                self._unfinished -= 1
            self._completions.put(done, error)
