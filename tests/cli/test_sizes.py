"""Sizes are powers of 1024, exact, and multiples of the block size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpxtarget.server.verbs.sizes import LARGEST, format_size, parse_lun_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1G", 1 << 30),
        ("512M", 512 << 20),
        ("10GiB", 10 << 30),
        ("10gib", 10 << 30),
        ("1.5T", 3 << 39),
        ("0.5K", 512),
        ("4096", 4096),
        ("4096B", 4096),
        (" 1 k ", 1024),
        (4096, 4096),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "G",
        "-1G",
        "1GB",
        "1X",
        "1GiBB",
        "1e9",
        "0",
        0,
        -1,
        "1.0000000001K",
        "1/2G",
        "9" * 20,
        "٣G",
        1 << 63,
    ],
)
def test_what_is_no_size_is_refused(text: str | int) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


@given(st.integers(1, LARGEST))
def test_the_short_form_is_exact(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text())
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    try:
        assert 0 < parse_size(text) <= LARGEST
    except ValueError:
        pass


def test_a_lun_has_whole_blocks() -> None:
    assert parse_lun_size("8K", 4096) == 8192
    with pytest.raises(
        ValueError, match="not a multiple of the block size 4096; the nearest are 4096 and 8192"
    ):
        parse_lun_size("6K", 4096)
