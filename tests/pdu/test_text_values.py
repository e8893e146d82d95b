"""Numbers in decimal or hex, binary values in hex or base64 (RFC 7143 6.1)."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpxtarget.pdu import TextError, format_hex, parse_binary, parse_number


@pytest.mark.conformance("NEG-007")
@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0", 0),
        ("262144", 262144),
        ("0x40000", 262144),
        ("0X40000", 262144),
        ("0x00040000", 262144),
        ("0xaBcDeF", 0xABCDEF),
        ("18446744073709551615", (1 << 64) - 1),
        ("0xffffffffffffffff", (1 << 64) - 1),
    ],
)
def test_a_number_is_decimal_or_hex(value: str, number: int) -> None:
    assert parse_number(value) == number


@pytest.mark.conformance("NEG-007")
@pytest.mark.parametrize(
    "value",
    [
        "",
        "01",
        "00",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1_000",
        "\u0661",
        "0x",
        "x1",
        "0xg",
        "1.0",
        "Yes",
        "18446744073709551616",
        "0x10000000000000000",
        "9" * 5000,
    ],
)
def test_anything_else_is_no_number(value: str) -> None:
    with pytest.raises(TextError):
        parse_number(value)


@pytest.mark.conformance("NEG-007")
@given(st.integers(0, (1 << 64) - 1))
def test_both_forms_of_a_number_are_equal(number: int) -> None:
    assert parse_number(str(number)) == parse_number(hex(number)) == number


@pytest.mark.conformance("NEG-008")
@pytest.mark.parametrize(
    ("value", "binary"),
    [
        ("0x0", b"\0"),
        ("0x123", b"\x01\x23"),
        ("0X00ff", b"\x00\xff"),
        ("0xAbCd", b"\xab\xcd"),
        ("0bAA==", b"\0"),
        ("0BAAA=", b"\0\0"),
        ("0b+/+/", b"\xfb\xff\xbf"),
    ],
)
def test_a_binary_value_is_hex_or_base64(value: str, binary: bytes) -> None:
    assert parse_binary(value) == binary


@pytest.mark.conformance("NEG-008")
@given(st.binary(min_size=1, max_size=1024))
def test_binary_values_of_any_length_come_back(binary: bytes) -> None:
    assert parse_binary(format_hex(binary)) == binary
    assert parse_binary("0b" + base64.b64encode(binary).decode()) == binary


@pytest.mark.conformance("NEG-008")
@pytest.mark.conformance("NEG-009")
@pytest.mark.parametrize(
    "value",
    ["", "0", "255", "0x", "0b", "0xg0", "0bA", "0bAA", "0bAA=A", "0bAAAA==", "0b====", "0b_-_-", "0b A=="],
)
def test_decimal_and_broken_constants_are_no_binary_values(value: str) -> None:
    with pytest.raises(TextError):
        parse_binary(value)


@given(st.text())
def test_any_value_is_read_or_raises_text_error(value: str) -> None:
    for read in (parse_number, parse_binary):
        try:
            read(value)
        except TextError:
            continue
