"""libiscsi's tools: what they were asked, and what they said, in a form that tests can compare."""

import re
from dataclasses import dataclass

from .processes import Done, run


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one test of iscsi-test-cu came to. `reasons` are its own words."""

    outcome: str
    """`passed`, `skipped`, `failed`, or `not run`: the tool ends with 0 for most of these."""
    reasons: tuple[str, ...]
    output: str

    def __str__(self) -> str:
        return f"{self.outcome}: {'; '.join(self.reasons)}\n{self.output}"


def run_suite_test(
    name: str, *urls: str, initiator: str = "iqn.2004-09.com.example:suite", tests: int = 1
) -> Verdict:
    """Run one test, `FAMILY.SUITE.TEST`, or a whole suite of so many `tests`, against a LUN; its contents
    may be destroyed.
    """
    command = [
        "iscsi-test-cu", "--dataloss", "--allow-sanitize", "--ignore", "--verbose",
        "--initiator-name", f"{initiator}-1", "--initiator-name-2", f"{initiator}-2",
        "--test", name, *urls,
    ]  # fmt: skip
    return judge(run(command, timeout=30), tests)


def judge(done: Done, tests: int = 1) -> Verdict:
    """Read the output of a test. A pass is that it ran, none failed, and nothing is marked as skipped in it.

    `[FAILED]` in the output says that a command failed, which may be what the test wants; only counts tell.
    """
    # Before the first suite stands how the tool got to know the LUN, after the test how it cleaned up.
    head, _, body = done.text.partition("\nSuite:")
    counts = re.search(r"^\s+tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", body, re.MULTILINE)
    if counts is None or counts[2] == "0":
        return Verdict("not run", _marked("FAILED", head), str(done))
    if counts.groups() != (str(tests), str(tests), str(tests), "0") or done.status != 0:
        places = tuple(re.findall(r"^\s+\d+\. (\S+:\d+\s+- .*)$", body, re.MULTILINE))
        return Verdict("failed", _marked("FAILED", body) + places, str(done))
    test = re.search(r"^  Test: \S+ \.\.\.(.*?)passed", body, re.MULTILINE | re.DOTALL)
    skips = _marked("SKIPPED", test[1] if test else body)
    if skips:
        return Verdict("skipped", skips, str(done))
    return Verdict("passed", (), str(done))


def _marked(word: str, text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(re.findall(rf"\[{word}\]\s*(.*?)\s*$", text, re.MULTILINE)))


def list_suite_tests() -> set[str]:
    """Every test that this build of the tool has, as `SUITE.TEST`: its families repeat them."""
    words = (word.split(".") for word in run(["iscsi-test-cu", "--list"], check=True).output.split())
    return {".".join(parts[1:]) for parts in words if len(parts) == 3}


def discover(portal: object) -> dict[str, set[str]]:
    """SendTargets at a portal: target names, and the addresses with portal group tags of each."""
    found: dict[str, set[str]] = {}
    for line in run(["iscsi-ls", f"iscsi://{portal}"], check=True).output.splitlines():
        match = re.fullmatch(r"Target:(\S+) Portal:(\S+)", line)
        assert match, f"iscsi-ls said {line!r}"
        found.setdefault(match[1], set()).add(match[2])
    return found


def list_luns(portal: object) -> dict[str, dict[int, str]]:
    """REPORT LUNS and a look at every LUN of every target: by target name and LUN, what iscsi-ls says."""
    found: dict[str, dict[int, str]] = {}
    luns: dict[int, str] = {}
    done = run(["iscsi-ls", "--show-luns", f"iscsi://{portal}"], check=True)
    for line in done.output.splitlines():
        if target := re.match(r"Target:(\S+)", line):
            luns = found.setdefault(target[1], {})
        elif lun := re.match(r"Lun:(\d+)\s+(.*?)\s*$", line):
            luns[int(lun[1])] = lun[2]
        else:
            raise AssertionError(str(done))
    return found


def inquire(url: str, page: int | None = None, *, initiator: str = "iqn.2004-09.com.example:inq") -> Done:
    """iscsi-inq of a LUN: standard data or one vital product data page."""
    what = [] if page is None else ["--evpd", "1", "--pagecode", str(page)]
    return run(["iscsi-inq", "--initiator-name", initiator, *what, url])


def fields(text: str) -> dict[str, str]:
    """The `name:value` lines of iscsi-inq and iscsi-readcapacity16; of repeated names the first."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value)
    return found
