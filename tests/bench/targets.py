"""The targets that are measured: this project's and Debian's tgt, started alike.

Each serves one disk image through one portal on 127.0.0.1. Both images lie on one file system and
are written alike (`write_image`), and neither target syncs what it is not told to sync. A target is
a process of its own, pinned to one processor before it starts, so that all its threads are.
"""

import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

BLOCK = 512
PAGE = 4096
CONTROL_SOCKETS = Path("/run/tgtd")
"""Where tgtd keeps its control sockets; the folder has to exist."""


class NotStarted(Exception):  # noqa: N818
    """A target did not start; the text says why."""


def write_image(path: Path, size: int) -> None:
    """Write an image of `size` bytes, every block stamped with its own address, as isload expects.

    It is written 4 KiB at a time, like the load writes it later: ext4 keeps one large write in
    large folios of the page cache, and small writes into these cost ten times as much.
    """
    page = bytearray(b"\xa5" * PAGE)
    stamps = [struct.Struct("=Q")] * (PAGE // BLOCK)
    with path.open("xb", buffering=0) as image:
        for offset in range(0, size, PAGE):
            for index, stamp in enumerate(stamps):
                stamp.pack_into(page, index * BLOCK, offset // BLOCK + index)
            image.write(page)
        os.fsync(image.fileno())


def free_port() -> int:
    """A TCP port of 127.0.0.1 that the kernel calls free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _on_processor(processor: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None)

    def settle() -> None:
        libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no target outlives the benchmark
        os.sched_setaffinity(0, {processor})

    return settle


class Target:
    """One running target. `start` once, `stop` always."""

    name: str

    def __init__(self, folder: Path, processor: int, size: int) -> None:
        self.folder = folder / self.name
        self.folder.mkdir(parents=True)
        self.processor = processor
        self.size = size
        self.port = free_port()
        self.log = self.folder / "target.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def image(self) -> Path:
        """The file behind the LUN."""
        return self.folder / "disk.img"

    def url(self) -> str:
        """What isload is told."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it listens. Raises NotStarted."""
        raise NotImplementedError

    def launch(self, command: list[str]) -> None:
        """Start the process and wait until the portal answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_on_processor(self.processor),
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise NotStarted(f"{self.name} does not listen on port {self.port}: {self.tail()}")

    def run(self, *command: str) -> str:
        """Run one administrative command. Raises NotStarted if it fails."""
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise NotStarted(f"{' '.join(command)}: {done.stdout}{done.stderr}{self.tail()}")
        return done.stdout

    def tail(self) -> str:
        """The end of what the target wrote."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def pids(self) -> list[int]:
        """The process and its descendants."""
        if self.process is None:
            return []
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except (OSError, IndexError, ValueError):
                    continue
                children.setdefault(parent, []).append(int(entry.name))
        found = [self.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def resident(self) -> int:
        """Resident memory in bytes of all its processes."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1]) * 1024
        return total

    def settle(self) -> None:
        """Bring what was written to the disk, so that it is not written back during the next run."""
        descriptor = os.open(self.image, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def stop(self) -> None:
        """End it: politely, then not."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()  # tgtd ignores TERM while it has targets
            self.process.wait(5)


class Tgt(Target):
    """Debian's tgt, tuned: its defaults (8 KiB segments, InitialR2T=Yes) would lose without a race."""

    name = "tgt"
    iqn = "iqn.2004-09.com.example:tgt"

    def url(self) -> str:
        return f"iscsi://127.0.0.1:{self.port}/{self.iqn}/1"

    def start(self) -> None:
        CONTROL_SOCKETS.mkdir(exist_ok=True)
        write_image(self.image, self.size)
        control = str(self.port % 32768)  # the number of its control socket: one for each daemon
        self.launch(["tgtd", "-f", "-C", control, "-t", "16", "--iscsi", f"portal=127.0.0.1:{self.port}"])
        admin = ["tgtadm", "-C", control, "--lld", "iscsi"]
        target = [*admin, "--mode", "target", "--tid", "1", "--op"]
        self.run(*target, "new", "--targetname", self.iqn)
        for name, value in (
            ("MaxRecvDataSegmentLength", "262144"),
            ("MaxXmitDataSegmentLength", "262144"),
            ("MaxBurstLength", "1048576"),
            ("FirstBurstLength", "262144"),
            ("InitialR2T", "No"),
            ("ImmediateData", "Yes"),
            ("MaxOutstandingR2T", "8"),
            ("MaxQueueCmd", "128"),
        ):
            self.run(*target, "update", "--name", name, "--value", value)
        self.run(
            *admin, "--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1",
            "--backing-store", str(self.image), "--bstype", "rdwr",
        )  # fmt: skip
        self.run(*target, "bind", "--initiator-address", "ALL")


class Mpxtarget(Target):
    """This project's target, as it is installed for this interpreter."""

    name = "mpxtarget"
    program = (sys.executable, "-m", "mpxtarget")
    iqn = ""

    def url(self) -> str:
        return f"iscsi://127.0.0.1:{self.port}/{self.iqn}/1"

    def start(self) -> None:
        state = ("--state", str(self.folder / "state"))
        write_image(self.image, self.size)
        self.run(*self.program, "init", *state, "--portal", f"127.0.0.1:{self.port}")
        store = f"file:{self.image.resolve()}"
        self.run(*self.program, "lun", "create", *state, "bench", "--existing", "--store", store)
        self.iqn = json.loads(self.run(*self.program, "target", "list", *state, "--json"))[0]["name"]
        self.launch([*self.program, "serve", *state])
