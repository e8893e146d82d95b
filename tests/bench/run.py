"""Measure this project's target against Debian's tgt, in turn, with the same client.

    .venv/bin/python tests/bench/run.py [--quick]

Prints one table and writes the same as JSON. Ends with 1 if a row is behind tgt or the idle target
is larger than it may be, with 2 if nothing could be measured. README.md says how to read the table.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from targets import Mpxtarget, NotStarted, Target, Tgt

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MIB = 1 << 20
CLIENT_PROCESSOR = 0
TARGET_PROCESSOR = 1
IDLE_LIMIT = 60 * MIB
"""Resident memory that an idle target of ours may have."""

Result = dict[str, float]
"""What isload prints."""


@dataclass(frozen=True, slots=True)
class Row:
    """One load."""

    name: str
    arguments: tuple[str, ...]


ROWS = (
    Row("4 KiB random read, depth 1", ("--depth", "1")),
    Row("4 KiB random read, depth 32", ("--depth", "32")),
    Row("4 KiB random read, depth 128", ("--depth", "128")),
    Row("4 KiB random write, depth 32", ("--depth", "32", "--write")),
    Row("256 KiB sequential read, depth 8", ("--depth", "8", "--size", "262144", "--sequential")),
    Row("256 KiB sequential write, depth 8", ("--depth", "8", "--size", "262144", "--sequential", "--write")),
)


class NotMeasured(Exception):  # noqa: N818
    """Something that the benchmark needs is missing or failed; the text says what."""


def build_client(folder: Path) -> Path:
    """Compile isload into `folder` unless it is there and newer than its source."""
    source, program = HERE / "isload.c", folder / "isload"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = program.with_suffix(".new")
        command = ["gcc", "-O2", "-Wall", "-o", str(fresh), str(source)]
        if subprocess.run(command, check=False, timeout=120).returncode:
            raise NotMeasured("isload.c does not compile")
        fresh.replace(program)
    return program


def check_machine() -> None:
    """Refuse a machine on which the figures would mean nothing."""
    for tool, package in (("gcc", "gcc"), ("tgtd", "tgt"), ("tgtadm", "tgt")):
        if shutil.which(tool) is None:
            raise NotMeasured(f"{tool} is missing: apt-get install {package}")
    usable = os.sched_getaffinity(0)
    if not {CLIENT_PROCESSOR, TARGET_PROCESSOR} <= usable:
        raise NotMeasured(
            f"client and target need the processors {CLIENT_PROCESSOR} and {TARGET_PROCESSOR} "
            f"to themselves; usable are {sorted(usable)}"
        )


def measure(client: Path, target: Target, row: Row, seconds: float) -> Result:
    """Run one load once."""
    target.settle()
    command = [
        str(client), *row.arguments,
        "--seconds", str(seconds),
        "--cpu", str(CLIENT_PROCESSOR),
        "--pids", ",".join(map(str, target.pids())),
        target.url(),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds + 60,
            check=False,
        )
        result = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise NotMeasured(f"{target.name}, {row.name}: {error}; {target.tail()}") from error
    if "error" in result:
        raise NotMeasured(f"{target.name}, {row.name}: {result['error']}; {target.tail()}")
    result["target_us_per_io"] = result["target_cpu_s"] * 1e6 / max(result["ios"], 1)
    result["others_share"] = result["others_cpu_s"] / (result["seconds"] * (os.cpu_count() or 1))
    return dict(result)


@contextmanager
def running(target: Target) -> Iterator[Target]:
    """Start a target; stop it whatever happens."""
    try:
        target.start()
        yield target
    finally:
        target.stop()


def median(runs: list[Result], key: str) -> float:
    """The median of one figure of several runs."""
    return statistics.median(run[key] for run in runs)


def summarise(row: Row, ours: list[Result], theirs: list[Result]) -> dict[str, Any]:
    """One line of the table. The ratio is that of the medians."""
    return {
        "row": row.name,
        "mpxtarget": ours,
        "tgt": theirs,
        "mpxtarget_iops": median(ours, "iops"),
        "tgt_iops": median(theirs, "iops"),
        "ratio": median(ours, "iops") / median(theirs, "iops"),
        "mpxtarget_us_per_io": median(ours, "target_us_per_io"),
        "tgt_us_per_io": median(theirs, "target_us_per_io"),
        "others_share": max(run["others_share"] for run in ours + theirs),
    }


def show(lines: list[dict[str, Any]], idle: dict[str, int]) -> None:
    """Print the table."""
    print(f"\n{'':34}{'operations per second':>24}{'':>9}{'target CPU us per op':>24}{'':>8}")
    print(f"{'load':34}{'mpxtarget':>12}{'tgt':>12}{'ratio':>9}{'mpxtarget':>14}{'tgt':>10}{'others':>8}")
    for line in lines:
        mark = "" if line["ratio"] >= 1 else "  BEHIND"
        print(
            f"{line['row']:34}{line['mpxtarget_iops']:>12.0f}{line['tgt_iops']:>12.0f}{line['ratio']:>8.2f}x"
            f"{line['mpxtarget_us_per_io']:>14.1f}{line['tgt_us_per_io']:>10.1f}"
            f"{line['others_share'] * 100:>7.0f}%{mark}"
        )
    mark = "" if idle["mpxtarget"] < IDLE_LIMIT else "  TOO LARGE"
    print(
        f"{'resident memory when idle, MiB':34}{idle['mpxtarget'] / MIB:>12.1f}{idle['tgt'] / MIB:>12.1f}"
        f"{'':>9}(limit {IDLE_LIMIT // MIB}){mark}"
    )
    if any(line["others_share"] > 0.08 for line in lines):
        print("others: the machine was not quiet; a row with a large share there should be measured again")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="0.5 s runs on a 256 MiB image: under a minute")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each load on each target (3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time of one run (2)")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="size of the image (1024)")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="where the images are made and deleted (the system's temporary folder)",
    )
    parser.add_argument(
        "--build",
        type=Path,
        default=ROOT / "build" / "bench",
        metavar="DIR",
        help="where the client is built",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where the record goes (in the build folder)"
    )
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.size = 0.5, 256
    return arguments


def main() -> int:
    """Measure everything; the exit status."""
    arguments = parse_arguments()
    runs: dict[tuple[str, str], list[Result]] = {}
    try:
        check_machine()
        client = build_client(arguments.build)
        with ExitStack() as stack:
            folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.data))
            )
            size = arguments.size * MIB
            ours, theirs = Mpxtarget(folder, TARGET_PROCESSOR, size), Tgt(folder, TARGET_PROCESSOR, size)
            for target in (ours, theirs):
                print(f"starting {target.name} with an image of {arguments.size} MiB", file=sys.stderr)
                stack.enter_context(running(target))
            time.sleep(0.5)  # idle memory is what is left when starting up is over
            idle = {target.name: target.resident() for target in (ours, theirs)}
            for turn in range(arguments.rounds):
                for row in ROWS:
                    for target in (ours, theirs):
                        result = measure(client, target, row, arguments.seconds)
                        runs.setdefault((row.name, target.name), []).append(result)
                        print(
                            f"{turn + 1}/{arguments.rounds} {row.name}, {target.name}: "
                            f"{result['iops']:.0f}/s, {result['target_us_per_io']:.1f} us",
                            file=sys.stderr,
                        )
    except (NotMeasured, NotStarted) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    lines = [summarise(row, runs[row.name, ours.name], runs[row.name, theirs.name]) for row in ROWS]
    show(lines, idle)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    record = arguments.json or arguments.build / f"{stamp}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
    }
    setting = {"seconds": arguments.seconds, "rounds": arguments.rounds, "image_mib": arguments.size}
    content = {"when": stamp, "machine": machine, "setting": setting, "idle_bytes": idle, "rows": lines}
    record.write_text(json.dumps(content, indent=1) + "\n")
    print(f"\nrecord: {record}")
    behind = any(line["ratio"] < 1 for line in lines) or idle["mpxtarget"] >= IDLE_LIMIT
    return 1 if behind else 0


if __name__ == "__main__":
    sys.exit(main())
