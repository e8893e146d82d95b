"""iSCSI names are compared in one form, and ports are named after them (RFC 7143 4.2.7, 4.4.1, RFC 3722)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpxtarget.iscsi.names import InvalidName, initiator_port_name, normalize_name, target_port_name

GOOD = [
    "iqn.2004-09.com.hp:fcgw.mpx100.2b3c.b1.01.50001fe150012348",
    "iqn.1991-05.com.microsoft:win-host_1.example.com",
    "iqn.1993-08.org.debian:01:abcdef:more",
    "iqn.2001-04.com.example",
    "iqn.2001-04.com.example:",
    "iqn.1991-05.com.microsoft:büro",
    "eui.02004567a425678d",
    "naa.52004567ba64678d",
    "naa.62004567ba64678d0123456789abcdef",
]


@pytest.mark.conformance("NAM-001")
@pytest.mark.parametrize("name", GOOD)
def test_names_of_all_types_are_taken_as_they_are(name: str) -> None:
    assert normalize_name(name) == name


@pytest.mark.conformance("NAM-001")
def test_a_name_has_223_bytes_at_most() -> None:
    name = "iqn.2001-04.com.example:" + "x" * (223 - 24)
    assert len(name) == 223
    assert normalize_name(name) == name
    grows = "iqn.2001-04.com.example:" + "\u0149" * 99  # two bytes each, and three in normal form
    assert len(grows.encode()) == 222
    for long in (name + "x", "iqn.2001-04.com.example:" + "ü" * 100, grows):
        with pytest.raises(InvalidName, match="223"):
            normalize_name(long)


@pytest.mark.conformance("NAM-001")
@pytest.mark.parametrize(
    "name",
    [
        "",
        "host",
        "iqn",
        "iqn.",
        "iqn.2001.com.example",
        "iqn.2001-04.",
        "iqn.2001-04.:x",
        "eui.02004567a425678",
        "eui.02004567a425678d0",
        "eui.02004567a425678g",
        "naa.5200",
        "naa.62004567ba64678d0123456789abcde",
        "t10.vendor",
    ],
)
def test_what_has_no_known_type_is_no_name(name: str) -> None:
    with pytest.raises(InvalidName):
        normalize_name(name)


@pytest.mark.conformance("NAM-002")
@pytest.mark.parametrize(
    "bad", [" ", "\t", "\n", "\0", ",", "/", "=", "\x7f", "\u00a0", "\u3002", "\u202e", "\ue000"]
)
def test_white_space_and_other_strange_characters_are_refused(bad: str) -> None:
    with pytest.raises(InvalidName):
        normalize_name(f"iqn.2001-04.com.example:a{bad}b")


@pytest.mark.conformance("NAM-002")
@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("IQN.2001-04.COM.Example:Disk", "iqn.2001-04.com.example:disk"),
        ("EUI.02004567A425678D", "eui.02004567a425678d"),
        ("iqn.2001-04.com.example:straße", "iqn.2001-04.com.example:strasse"),
        ("iqn.2001-04.com.example:\uff21\uff22", "iqn.2001-04.com.example:ab"),
        ("iqn.2001-04.com.example:u\u0308", "iqn.2001-04.com.example:ü"),
        ("iqn.2001-04.com.example:soft\u00adhyphen", "iqn.2001-04.com.example:softhyphen"),
    ],
)
def test_names_that_look_alike_are_one(name: str, normal: str) -> None:
    assert normalize_name(name) == normal


@pytest.mark.conformance("NAM-002")
@given(st.text(max_size=40))
def test_a_normal_name_is_its_own_normal_form(more: str) -> None:
    try:
        normal = normalize_name("iqn.2001-04.com.example:" + more)
    except InvalidName:
        return
    assert normalize_name(normal) == normal
    assert len(normal.encode()) <= 223


@pytest.mark.conformance("NAM-003")
def test_ports_are_named_by_node_and_number() -> None:
    assert initiator_port_name("iqn.2001-04.com.example:a", 0x400001370000) == (
        "iqn.2001-04.com.example:a,i,0x400001370000"
    )
    assert initiator_port_name("iqn.2001-04.com.example:a", 1) == "iqn.2001-04.com.example:a,i,0x000000000001"
    assert target_port_name("iqn.2001-04.com.example:b", 1) == "iqn.2001-04.com.example:b,t,0x0001"
    assert target_port_name("iqn.2001-04.com.example:b", 0xABCD) == "iqn.2001-04.com.example:b,t,0xabcd"


@pytest.mark.conformance("NAM-003")
def test_numbers_of_ports_are_bounded() -> None:
    for isid in (-1, 1 << 48):
        with pytest.raises(ValueError, match="48"):
            initiator_port_name("iqn.2001-04.com.example:a", isid)
    for tag in (-1, 1 << 16):
        with pytest.raises(ValueError, match="16"):
            target_port_name("iqn.2001-04.com.example:b", tag)
