"""Tables of Debian packages (tests/packages.txt): what is missing, and installing it.

As a program, `python3 tests/tools/packages.py TABLE...` installs what is missing when run as root, and
otherwise does nothing: the test run says at its end what was left out. It uses the standard library only.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Asked by every package that would start a daemon; 101 = "not allowed"
_POLICY = Path("/usr/sbin/policy-rc.d")


def _search_path() -> str:
    # dpkg wants the system's own folders too, and daemons live there
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Need:
    """A package, and one command or file of it that somebody uses."""

    package: str
    provides: str

    @property
    def name(self) -> str:
        """The command, or the last part of the file's path."""
        return self.provides.rpartition("/")[2]

    def is_met(self) -> bool:
        """Whether the command or file is here."""
        if self.provides.startswith("/"):
            return any(Path("/").glob(self.provides[1:]))
        return shutil.which(self.provides, path=_search_path()) is not None


def read_table(path: Path) -> list[Need]:
    """The rows of a table, one for each command or file."""
    rows = (line.partition("#")[0].split() for line in path.read_text(encoding="utf-8").splitlines())
    return [Need(row[0], provided) for row in rows if row for provided in row[1:]]


def missing(needs: list[Need]) -> list[Need]:
    """Those that are not met."""
    return [need for need in needs if not need.is_met()]


def packages_of(needs: list[Need]) -> list[str]:
    """Their packages, each once, in order."""
    return list(dict.fromkeys(need.package for need in needs))


@contextlib.contextmanager
def _no_daemons() -> Iterator[None]:
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def install(packages: list[str]) -> None:
    """Install packages without starting what they contain. Raises CalledProcessError."""
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "PATH": _search_path()}
    with _no_daemons():
        subprocess.run([*apt, "update"], check=True, env=environment)
        command = [*apt, "install", "-y", "--no-install-recommends", *packages]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def main(tables: list[str]) -> None:
    """Install what the tables name and the machine lacks, if we may; never a reason to stop."""
    packages = packages_of(missing([need for table in tables for need in read_table(Path(table))]))
    if not packages or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    print(f"Installing {' '.join(packages)}", flush=True)
    try:
        install(packages)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"Installing {' '.join(packages)} did not work: {error}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
