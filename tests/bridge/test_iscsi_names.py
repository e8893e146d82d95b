"""What is an iSCSI name, and which names are the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpxtarget.bridge.names import MAX_NAME_BYTES, InvalidName, normalise

WELL_FORMED = [
    "iqn.1991-05.com.microsoft:host.example.com",
    "iqn.1994-05.com.redhat:1a2b3c4d5e6f",
    "iqn.2008-11.org.linux-kvm",
    "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-ls",
    "eui.0123456789abcdef",
    "naa.5001438004c8a258",
    "naa.600143800648d7e40000700002310000",
]


@pytest.mark.conformance("NAM-001")
@pytest.mark.parametrize("name", WELL_FORMED)
def test_the_three_forms_of_names_are_accepted(name: str) -> None:
    assert normalise(name) == name


@pytest.mark.conformance("NAM-001")
@pytest.mark.parametrize(
    "name",
    [
        "",
        "iqn.",
        "iqn",
        "host.example.com",
        "eui.0123456789abcde",
        "eui.0123456789abcdefa",
        "eui.0123456789abcdeg",
        "naa.5001438004c8a25",
        "naa.600143800648d7e4000070000231000",
        "IQX.1991-05.com.microsoft",
    ],
)
def test_other_forms_are_not_names(name: str) -> None:
    with pytest.raises(InvalidName):
        normalise(name)


@pytest.mark.conformance("NAM-001")
def test_a_name_has_at_most_223_bytes() -> None:
    longest = "iqn.1991-05.com.microsoft:".ljust(MAX_NAME_BYTES, "x")
    assert normalise(longest) == longest
    with pytest.raises(InvalidName, match="223"):
        normalise(longest + "x")
    with pytest.raises(InvalidName, match="223"):
        normalise(longest[:-1] + "ü")  # two bytes


@pytest.mark.conformance("NAM-002")
@pytest.mark.parametrize("name", WELL_FORMED)
def test_capitals_make_no_difference(name: str) -> None:
    assert normalise(name.upper()) == normalise(name.title()) == name


@pytest.mark.conformance("NAM-002")
def test_compatibility_forms_make_no_difference() -> None:
    assert (
        normalise("iqn.1991-05.com.example:ｈｏｓｔ") == "iqn.1991-05.com.example:host"
    )  # full width letters
    assert normalise("iqn.1991-05.com.example:cafe\u0301") == normalise("iqn.1991-05.com.example:caf\xe9")


@pytest.mark.conformance("NAM-002")
@pytest.mark.parametrize("bad", [" ", "\t", "\0", "_", "/", ",", "=", "\xa0", "\u200b", "\u2028", "\ud800"])
def test_white_space_and_other_signs_are_refused(bad: str) -> None:
    with pytest.raises(InvalidName) as caught:
        normalise(f"iqn.1991-05.com.example:a{bad}b")
    assert str(caught.value).isascii() and str(caught.value).isprintable()


@pytest.mark.conformance("NAM-002")
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_normalising_is_final_or_refused(rest: str) -> None:
    try:
        name = normalise("iqn." + rest)
    except InvalidName as error:
        assert str(error).isascii()  # a peer's bytes cannot play with the log
    else:
        assert normalise(name) == name
        assert not any(character.isspace() or character.isupper() for character in name)
