"""Which I/O waits for which: what overlaps goes one after the other, in the order it came, if it is written.

Whatever comes and goes, a disk does what this rule says of all that waits, without looking at all of it.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpxtarget.server import disk_io
from mpxtarget.server.disk_io import DiskIo, Range
from support.world import World

RANGE = st.builds(
    lambda start, length, writing: (start, start + length, writing),
    st.integers(0, 40),
    st.integers(1, 12),
    st.booleans(),
)
RANGES = st.lists(RANGE, min_size=1, max_size=3)


class Claims:
    """Claims on one disk, beside a list that knows nothing but the rule."""

    def __init__(self) -> None:
        self.world = World()
        self.io = DiskIo(self.world.disk, self.world.completions)
        self.granted: list[int] = []
        self.ranges: dict[int, list[Range]] = {}

    def claim(self, ranges: list[Range], *, at_once_over: bool = False) -> None:
        """The next claim; one that is `at_once_over` is given back as soon as it is granted."""
        number = len(self.ranges)
        self.ranges[number] = ranges

        def granted() -> None:
            self.granted.append(number)
            if at_once_over:
                self.give_back(number)

        self.io.claim(ranges, granted)

    def give_back(self, number: int) -> None:
        """A claim that was granted ends."""
        self.granted.remove(number)
        ranges = self.ranges.pop(number)
        self.ranges[number] = []  # numbers go on
        self.io.give_back(ranges)

    def by_the_rule(self) -> list[int]:
        """Who has to be granted now: who is in the way of nobody older."""
        older: list[Range] = []
        free = []
        for number, ranges in self.ranges.items():
            clear = not any(
                s < end and start < e and (writing or w)
                for start, end, writing in ranges
                for s, e, w in older
            )
            if ranges and clear:
                free.append(number)
            older += ranges
        return free


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(RANGES, st.booleans(), st.integers(0, 5)), max_size=40))
def test_what_nobody_older_is_in_the_way_of_is_under_way_and_nothing_else(
    steps: list[tuple[list[Range], bool, int]],
) -> None:
    claims = Claims()
    for ranges, at_once_over, ends in steps:
        claims.claim(ranges, at_once_over=at_once_over)
        assert sorted(claims.granted) == sorted(claims.by_the_rule())
        for _ in range(min(ends, len(claims.granted))):
            claims.give_back(claims.granted[ends % len(claims.granted)])
            assert sorted(claims.granted) == sorted(claims.by_the_rule())
    while claims.granted:
        claims.give_back(claims.granted[0])
    assert not any(claims.ranges.values())
    claims.world.close()


def test_the_next_of_many_that_want_one_block_is_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = Claims()
    for _ in range(500):
        claims.claim([(0, 512, True)])
    compared = 0
    real = disk_io._conflict

    def counting(*lists: list[Range]) -> bool:
        nonlocal compared
        compared += 1
        return real(*lists)

    monkeypatch.setattr(disk_io, "_conflict", counting)
    while claims.granted:
        claims.give_back(claims.granted[0])
    assert not any(claims.ranges.values())
    assert compared < 5 * 500
    claims.world.close()
