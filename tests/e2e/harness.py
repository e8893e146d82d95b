"""The target under test, as a process of its own: configured with its own command line, started, stopped.

Everything that the tests know about how a target is set up and run is in this file.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .processes import Done, die_with_parent, end, run

MIB = 1 << 20
PROGRAM = (sys.executable, "-m", "mpxtarget")
ROOT = Path(__file__).resolve().parents[2]
_READY = "Ctrl-C stops."
"""The last words of the banner: all portals listen by then."""


@dataclass(frozen=True, slots=True)
class Portal:
    """Where the target listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def mpxtarget(*words: str | Path, check: bool = True, timeout: float = 30.0) -> Done:
    """Run a command of the command line."""
    return run([*PROGRAM, *words], check=check, timeout=timeout, cwd=ROOT)


def listing(folder: Path, *words: str) -> list[dict[str, Any]]:
    """What a listing command says of an array with --json."""
    rows = json.loads(mpxtarget(*words, "--json", "--state", folder).output)
    assert isinstance(rows, list)
    return rows


class TargetUnderTest:
    """An EVA4400 with two portals, whose ports the kernel chooses, and disks vdisk1, vdisk2 at LUN 1 and 2.

    `wrapper` are words in front of the command that serves, such as `prlimit --fsize=...`.
    """

    def __init__(
        self, folder: Path, *, size: int = 64 * MIB, disks: int = 2, wrapper: Sequence[str | Path] = ()
    ) -> None:
        self.folder = folder
        self.size = size
        self.wrapper = tuple(wrapper)
        self.portals: list[Portal] = []
        self._log = folder.with_name(f"{folder.name}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self.target_names: list[str] = []
        mpxtarget("init", "--state", folder, "--portal", "127.0.0.1:0", "--portal", "127.0.0.1:0")
        luns = "".join(f'[[lun]]\nname = "vdisk{n}"\nsize = {size}\nlun = {n}\n' for n in range(1, disks + 1))
        configuration = folder.with_name(f"{folder.name}.toml")
        configuration.write_text(luns)
        self.cli("apply", configuration)

    # What it is

    @property
    def pid(self) -> int:
        """The process that serves."""
        assert self._process is not None, "not started"
        return self._process.pid

    def url(self, portal: int = 0, *, target: int = 0, lun: int = 1, user: str = "", secret: str = "") -> str:
        """The address of a LUN as libiscsi and QEMU take it."""
        login = f"{user}%{secret}@" if user else ""
        return f"iscsi://{login}{self.portals[portal]}/{self.target_names[target]}/{lun}"

    def image(self, disk: int = 1) -> Path:
        """The backing file of a disk."""
        return self.folder / "vdisks" / f"vdisk{disk}.img"

    def session_count(self) -> int:
        """How many sessions it lists."""
        return len(self.listing("session", "list"))

    # What one does with it

    def cli(self, *words: str | Path, check: bool = True) -> Done:
        """A command for this array, running or not."""
        return mpxtarget(*words, "--state", self.folder, check=check)

    def listing(self, *words: str) -> list[dict[str, Any]]:
        """A listing as it is told with --json."""
        return listing(self.folder, *words)

    def set_chap(
        self, initiator: str, user: str, secret: str, *, target_user: str = "", target_secret: str = ""
    ) -> None:
        """Give an initiator a secret, and with `target_secret` the target one too."""
        self.cli("initiator", "add", initiator)
        words: list[str | Path] = ["initiator", "set-chap", initiator, "--user", user]
        words += ["--secret-file", self._secret_file("initiator", secret)]
        if target_secret:
            words += ["--target-user", target_user]
            words += ["--target-secret-file", self._secret_file("target", target_secret)]
        self.cli(*words)

    def _secret_file(self, whose: str, secret: str) -> Path:
        path = self.folder.with_name(f"{self.folder.name}.{whose}-secret")
        path.write_text(secret + "\n")
        return path

    # Its life

    def start(self) -> Self:
        """Start serving; returns when all portals listen."""
        self._log.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.wrapper, *PROGRAM, "serve", "--state", self.folder],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
                cwd=ROOT,
            )
        self.eventually(lambda: _READY in self.read_log(), "the target does not start")
        self.portals = portals_of(self.read_log())
        self.target_names = section_of(self.read_log(), "Targets")
        return self

    def stop(self) -> int:
        """End it with SIGTERM; returns its exit status."""
        assert self._process is not None, "not started"
        return end(self._process)

    def wait(self) -> int:
        """Wait until it has ended by itself; returns its exit status."""
        assert self._process is not None, "not started"
        return self._process.wait(20)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def read_log(self) -> str:
        """What it wrote, to both streams, since its start."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def eventually(self, condition: Callable[[], bool], complaint: str, *, within: float = 20.0) -> None:
        """Wait until a condition holds. Fails after `within` seconds, and when the target ends meanwhile."""
        deadline = time.monotonic() + within
        while not condition():
            assert self._process is not None
            ended = self._process.poll()
            assert ended is None, f"the target ended with status {ended}:\n{self.read_log()}"
            assert time.monotonic() < deadline, f"{complaint}:\n{self.read_log()}"
            time.sleep(0.02)  # between two looks at another process; the wait has an end


def portals_of(banner: str) -> list[Portal]:
    """The portals that the banner of `mpxtarget serve` names, in its order."""
    parts = (line.rpartition(":") for line in section_of(banner, "Portals"))
    return [Portal(host, int(port)) for host, _, port in parts]


def section_of(banner: str, heading: str) -> list[str]:
    """The lines below a heading of the banner."""
    section = re.search(rf"^{heading}\n((?:  \S+\n)+)", banner, re.MULTILINE)
    assert section, f"no {heading} in the banner:\n{banner}"
    return [line.strip() for line in section[1].splitlines()]
