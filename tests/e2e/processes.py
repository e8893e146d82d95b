"""Processes of the end-to-end tests. Rules: each is bounded in time, none outlives the test run, and each is
ended by its own process id."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Runs in the child between fork and exec: the kernel kills it when the test run ends, somehow."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Done:
    """A finished command: exit status (negative: the signal that ended it) and all that it wrote."""

    command: tuple[str, ...]
    status: int
    output: str
    errors: str

    @property
    def text(self) -> str:
        """Both streams."""
        return self.output + self.errors

    def __str__(self) -> str:
        return f"$ {' '.join(self.command)}\n{self.text}[exit status {self.status}]"


def run(
    command: Sequence[str | Path],
    *,
    timeout: float = 30.0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = False,
) -> Done:
    """Run a command to its end. It fails the test if it takes longer than `timeout` seconds or, with `check`,
    if it ends with anything but 0."""
    words = tuple(map(str, command))
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            check=False,
            preexec_fn=die_with_parent,
        )
    except subprocess.TimeoutExpired as late:
        parts = [
            part.decode(errors="replace") for part in (late.stdout, late.stderr) if isinstance(part, bytes)
        ]
        raise AssertionError(f"no end within {timeout} s: {' '.join(words)}\n{''.join(parts)}") from late
    result = Done(words, done.returncode, done.stdout, done.stderr)
    assert not check or result.status == 0, str(result)
    return result


def end(process: subprocess.Popen[bytes], patience: float = 10.0) -> int:
    """End a process: SIGTERM, and SIGKILL when `patience` seconds were not enough. Returns its status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait(patience)


def resident(pid: int) -> int:
    """Resident memory of a process in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no VmRSS: it has ended")


def open_files(pid: int) -> int:
    """How many file descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
