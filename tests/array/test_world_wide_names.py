"""WWNs, World Wide LUN Names and serial numbers have the shapes of real arrays, and never come twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpxtarget.array import identity
from mpxtarget.array.models import MODELS, OUI_COMPAQ_WWLUN, OUI_HP, Model

entropy = st.binary(min_size=8, max_size=8)
models = st.sampled_from(sorted(MODELS.values(), key=lambda model: model.product))


@given(models, entropy)
def test_node_wwn_is_naa_5_of_the_models_company_and_ends_in_0(model: Model, random: bytes) -> None:
    wwn = identity.make_node_wwn(model.node_oui, random)
    assert wwn >> 60 == 5
    assert wwn >> 36 & 0xFFFFFF == model.node_oui
    assert wwn & 0xF == 0
    assert wwn < 1 << 63  # fits where numbers are signed


@given(entropy)
def test_node_wwns_look_like_those_of_real_arrays(random: bytes) -> None:
    # Real ones: 5001438004c8a250, 5001438024484b70; 50001fe150019a60, 50001fe1501e6d70
    assert f"{identity.make_node_wwn(OUI_HP, random):016x}".startswith("50014380")
    assert f"{identity.make_node_wwn(0x0001FE, random):016x}".startswith(("50001fe1500", "50001fe1501"))


def test_host_ports_are_8_to_b_on_controller_a_and_c_to_f_on_controller_b() -> None:
    node = 0x50001FE15011F980  # an EVA8000
    assert [identity.host_port_wwn(node, "A", n) & 0xFF for n in range(1, 5)] == [0x88, 0x89, 0x8A, 0x8B]
    assert [identity.host_port_wwn(node, "B", n) & 0xFF for n in range(1, 5)] == [0x8C, 0x8D, 0x8E, 0x8F]


@pytest.mark.parametrize("number", [0, 5])
def test_a_controller_has_no_other_ports(number: int) -> None:
    with pytest.raises(ValueError, match="1 to 4"):
        identity.host_port_wwn(0x50001FE15011F980, "A", number)


def test_wwlun_fields_are_where_real_arrays_have_them() -> None:
    # A disk of a real HSV300, 6001-4380-0648-d7e4-0000-7000-0231-0000: array 00648d7e4, table 7, counter 231h
    base = bytes.fromhex("600143800648d7e40000000000000000")
    ordinal = 7 * 0x4000 + 0x230 // 4
    assert identity.wwlun(base, ordinal).hex() == "600143800648d7e40000700002300000"


@given(entropy)
def test_wwlun_base_begins_as_on_real_arrays(random: bytes) -> None:
    assert identity.make_wwlun_base(OUI_COMPAQ_WWLUN, random).hex().startswith(("600508b4000", "600508b4001"))
    assert identity.make_wwlun_base(OUI_HP, random).hex().startswith(("60014380", "60014381"))
    assert identity.make_wwlun_base(OUI_HP, random)[8:] == bytes(8)


@given(entropy, st.integers(1, identity.MAX_WWLUNS - 2))
def test_each_disk_of_an_array_has_a_wwlun_of_its_own(random: bytes, ordinal: int) -> None:
    base = identity.make_wwlun_base(OUI_HP, random)
    one, next_one = identity.wwlun(base, ordinal), identity.wwlun(base, ordinal + 1)
    assert one < next_one
    assert one[:8] == next_one[:8] == base[:8]
    assert len(one) == 16


def test_an_array_that_has_used_up_its_wwluns_makes_no_doubles() -> None:
    base = identity.make_wwlun_base(OUI_HP, bytes(8))
    for ordinal in (0, identity.MAX_WWLUNS):
        with pytest.raises(ValueError, match="at most"):
            identity.wwlun(base, ordinal)


@given(entropy)
def test_serial_numbers_have_ten_characters(random: bytes) -> None:
    controller, bridge = identity.make_controller_serial(random), identity.make_bridge_serial(random)
    assert len(controller) == len(bridge) == 10
    assert controller.isascii() and controller.isalnum()
    assert bridge == bridge.lower() and 1 <= int(bridge[2:4]) <= 52


def test_names_are_shown_in_groups_of_four() -> None:
    assert identity.dashed(0x5001438004C72D90) == "5001-4380-04C7-2D90"
    wwlun = bytes.fromhex("600508b4000f3eed00005000003a0000")
    assert identity.dashed(wwlun) == "6005-08B4-000F-3EED-0000-5000-003A-0000"
    assert identity.plain(0x50014380_04C72D98) == "5001438004c72d98"


def test_too_little_randomness_is_an_error() -> None:
    with pytest.raises(ValueError, match="random"):
        identity.make_node_wwn(OUI_HP, b"\0" * 7)
