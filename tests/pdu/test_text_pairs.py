"""Text is NUL-terminated key=value pairs in UTF-8, and nothing else is (RFC 7143 6.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpxtarget.pdu import TextError, decode_pairs, encode_pairs, split_text

KEYS = st.from_regex(r"(X#)?[A-Z][A-Za-z0-9.\-+@_]{0,59}", fullmatch=True)
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
PAIRS = st.lists(st.tuples(KEYS, VALUES))


@pytest.mark.conformance("NEG-001")
@given(PAIRS)
def test_pairs_come_back_in_order_and_in_their_case(pairs: list[tuple[str, str]]) -> None:
    assert decode_pairs(encode_pairs(pairs)) == pairs


@pytest.mark.conformance("LGN-018")
@given(PAIRS, st.integers(1, 200))
def test_text_may_be_split_at_any_byte(pairs: list[tuple[str, str]], limit: int) -> None:
    text = encode_pairs(pairs)
    segments = list(split_text(text, limit))
    assert all(len(segment) <= limit for segment in segments)
    assert decode_pairs(b"".join(segments)) == pairs


def test_text_that_is_empty_is_one_empty_segment() -> None:
    assert list(split_text(b"", 512)) == [b""]
    assert decode_pairs(b"") == []


@pytest.mark.conformance("NEG-002")
@pytest.mark.parametrize("text", [b"A=b", b"A=b\0C=d", b"A"])
def test_the_last_pair_ends_in_a_nul(text: bytes) -> None:
    with pytest.raises(TextError, match="NUL"):
        decode_pairs(text)


@pytest.mark.conformance("NEG-002")
@pytest.mark.conformance("NEG-037")
@pytest.mark.parametrize("text", [b"\0", b"A=b\0\0", b"\0A=b\0", b"A=b\0\0C=d\0"])
def test_a_nul_too_many_is_an_error(text: bytes) -> None:
    with pytest.raises(TextError, match="empty"):
        decode_pairs(text)


@pytest.mark.conformance("NEG-003")
def test_the_value_may_hold_equals_signs_or_be_empty() -> None:
    assert decode_pairs(b"CHAP_C=0bAA==\0TargetAlias=\0") == [("CHAP_C", "0bAA=="), ("TargetAlias", "")]


@pytest.mark.conformance("NEG-004")
@pytest.mark.parametrize("key", ["", "=", "1Key", "Key Name", "K\u00e9y", "Key/Name", "X#", "K" * 64, "-Key"])
def test_a_key_name_is_a_standard_label(key: str) -> None:
    with pytest.raises(TextError):
        decode_pairs(key.encode() + b"=Yes\0")
    with pytest.raises(TextError):
        encode_pairs([(key, "Yes")])


@pytest.mark.conformance("NEG-004")
@pytest.mark.parametrize(
    "key", ["K" * 63, "X-com.example.key", "X#NodeArchitecture", "CHAP_N", "iSCSIProtocolLevel"]
)
def test_key_names_of_the_longest_kind_and_of_extensions_are_good(key: str) -> None:
    assert decode_pairs(encode_pairs([(key, "Yes")])) == [(key, "Yes")]


@pytest.mark.conformance("NEG-004")
def test_a_pair_without_equals_is_an_error() -> None:
    with pytest.raises(TextError, match="without '='"):
        decode_pairs(b"InitialR2T\0")


@pytest.mark.conformance("NEG-001")
def test_text_that_is_not_utf_8_is_an_error() -> None:
    with pytest.raises(TextError, match="UTF-8"):
        decode_pairs(b"InitiatorAlias=\xff\xfe\0")


def test_a_value_with_a_nul_cannot_be_sent_and_is_not_quoted() -> None:
    with pytest.raises(TextError) as caught:
        encode_pairs([("CHAP_R", "secret\0")])
    assert "secret" not in str(caught.value)


@given(st.binary(max_size=300))
def test_any_bytes_decode_or_raise_text_error(text: bytes) -> None:
    try:
        pairs = decode_pairs(text)
    except TextError:
        return
    assert encode_pairs(pairs) == text
