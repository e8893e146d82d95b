"""A claim of very many ranges keeps a few that hold them all, so that nobody has to look at hundreds."""

from hypothesis import given
from hypothesis import strategies as st

from mpxtarget.server.disk_io import MOST_RANGES, Range, few
from support.cdb import read_10
from support.world import LUN, World

RANGES = st.lists(
    st.builds(
        lambda start, length, writing: (start, start + length, writing),
        st.integers(0, 10_000),
        st.integers(1, 500),
        st.booleans(),
    ),
    min_size=1,
    max_size=300,
)
BLOCK = 512


@given(RANGES)
def test_what_is_kept_holds_all_that_was_asked_for(ranges: list[Range]) -> None:
    kept = few(ranges)
    assert len(kept) <= MOST_RANGES
    for start, end, writing in ranges:
        assert any(s <= start and end <= e and (w or not writing) for s, e, w in kept)


@given(RANGES)
def test_nothing_is_kept_before_the_first_or_behind_the_last(ranges: list[Range]) -> None:
    kept = few(ranges)
    assert min(start for start, _, _ in kept) == min(start for start, _, _ in ranges)
    assert max(end for _, end, _ in kept) == max(end for _, end, _ in ranges)


def test_the_largest_gaps_stay_free() -> None:
    clusters = [1000, 5000, 20_000, 60_000]
    ranges = [(at + step, at + step + 5, True) for step in range(0, 90, 10) for at in clusters]
    assert few(ranges) == [(at, at + 85, True) for at in clusters]


def test_few_ranges_are_kept_as_they_are() -> None:
    ranges = [(number * 100, number * 100 + 1, bool(number % 2)) for number in range(MOST_RANGES)]
    assert few(ranges) == ranges


def test_an_unmap_of_many_ranges_unmaps_these_and_no_others(world: World) -> None:
    before = world.store.pattern()
    host = world.host()
    descriptors = b"".join(
        (lba * 8).to_bytes(8, "big") + (1).to_bytes(4, "big") + bytes(4) for lba in range(256)
    )
    length = len(descriptors)
    parameters = (length + 6).to_bytes(2, "big") + length.to_bytes(2, "big") + bytes(4) + descriptors
    cdb = bytes.fromhex("42 00 00000000 00") + len(parameters).to_bytes(2, "big") + b"\0"
    assert host.scsi(LUN, cdb, data_out=parameters).status == 0
    expected = bytearray(before)
    for lba in range(256):
        expected[lba * 8 * BLOCK : (lba * 8 + 1) * BLOCK] = bytes(BLOCK)
    assert world.store.content == expected
    assert host.scsi(LUN, read_10(1, 1), read_length=BLOCK).data == before[BLOCK : 2 * BLOCK]
