"""SendTargets: which targets are told to whom, and by which addresses."""

from dataclasses import replace

import pytest

from bridge.factory import INITIATOR, bridge, eva
from mpxtarget.bridge.bridge import Bridge
from mpxtarget.bridge.records import PortalRecord

REACHED = ("192.0.2.7", 3260)


def addresses(*portals: PortalRecord, reached: tuple[str, int] = REACHED) -> list[str]:
    made = Bridge(eva())
    for number, each in enumerate(portals):
        made.set_portal(replace(each, id=number))
    answers = made.send_targets(INITIATOR, None, reached)
    assert all(each == answers[0][1] for _, each in answers)
    return answers[0][1]


def portal(
    address: str, port: int = 3260, *, advertise: str | None = None, enabled: bool = True
) -> PortalRecord:
    return PortalRecord(0, address, port, advertise, enabled)


@pytest.mark.conformance("DSC-006", "DSC-011")
def test_all_targets_with_all_portals() -> None:
    made = bridge()
    answers = made.send_targets(INITIATOR, None, ("127.0.0.1", 3260))
    assert [name for name, _ in answers] == list(made.targets)
    for _, each in answers:
        assert each == ["127.0.0.1:3260,1", "127.0.0.1:3261,1"]


@pytest.mark.conformance("DSC-007")
def test_one_target_by_name() -> None:
    made = bridge()
    name = list(made.targets)[2]
    assert [found for found, _ in made.send_targets(INITIATOR, name, REACHED)] == [name]
    assert made.send_targets(INITIATOR, "iqn.2004-09.com.hp:nowhere", REACHED) == []
    assert made.send_targets(INITIATOR, "not a name", REACHED) == []


@pytest.mark.conformance("DSC-006")
def test_a_target_out_of_service_is_not_told() -> None:
    made = bridge()
    first, *others = made.targets
    made.set_online(first, False)
    assert [name for name, _ in made.send_targets(INITIATOR, None, REACHED)] == others
    assert made.send_targets(INITIATOR, first, REACHED) == []


@pytest.mark.conformance("DSC-009", "DSC-010")
def test_every_address_has_port_and_portal_group_tag() -> None:
    assert addresses(portal("192.0.2.1"), portal("2001:db8::1", 860)) == [
        "192.0.2.1:3260,1",
        "[2001:db8::1]:860,1",
    ]


@pytest.mark.conformance("DSC-014")
@pytest.mark.parametrize(
    ("listening", "reached", "told"),
    [
        ("0.0.0.0", "192.0.2.7", "192.0.2.7:3260,1"),
        ("::", "2001:db8::7", "[2001:db8::7]:3260,1"),
        ("::", "::ffff:192.0.2.7", "192.0.2.7:3260,1"),
        ("::", "fe80::1%eth0", "[fe80::1]:3260,1"),
    ],
)
def test_a_wildcard_portal_is_told_as_the_address_reached(listening: str, reached: str, told: str) -> None:
    assert addresses(portal(listening), reached=(reached, 3260)) == [told]


@pytest.mark.conformance("DSC-014")
def test_a_second_wildcard_portal_keeps_its_own_port() -> None:
    told = addresses(portal("0.0.0.0"), portal("0.0.0.0", 3261), reached=("192.0.2.7", 3260))
    assert told == ["192.0.2.7:3260,1", "192.0.2.7:3261,1"]


@pytest.mark.parametrize(
    ("advertise", "told"),
    [
        ("198.51.100.9", "198.51.100.9:3260,1"),
        ("198.51.100.9:13260", "198.51.100.9:13260,1"),
        ("san.example.com", "san.example.com:3260,1"),
        ("san.example.com:13260", "san.example.com:13260,1"),
        ("2001:db8::9", "[2001:db8::9]:3260,1"),
        ("[2001:db8::9]", "[2001:db8::9]:3260,1"),
        ("[2001:db8::9]:13260", "[2001:db8::9]:13260,1"),
    ],
)
@pytest.mark.parametrize("listening", ["0.0.0.0", "192.0.2.7"])
@pytest.mark.conformance("DSC-010", "DSC-014")
def test_advertise_has_the_last_word(listening: str, advertise: str, told: str) -> None:
    assert addresses(portal(listening, advertise=advertise)) == [told]


def test_a_disabled_portal_is_not_told() -> None:
    assert addresses(portal("192.0.2.1"), portal("192.0.2.2", enabled=False)) == ["192.0.2.1:3260,1"]


def test_portals_that_look_alike_from_outside_are_told_once() -> None:
    assert addresses(portal("0.0.0.0"), portal("192.0.2.7")) == ["192.0.2.7:3260,1"]


def test_portals_change_at_once() -> None:
    made = bridge()
    reached = ("127.0.0.1", 3260)
    made.remove_portal(1)
    assert made.send_targets(INITIATOR, None, reached)[0][1] == ["127.0.0.1:3261,1"]
    made.remove_portal(2)
    assert made.send_targets(INITIATOR, None, reached)[0][1] == []


@pytest.mark.conformance("DSC-014")
@pytest.mark.parametrize(
    ("reached", "told"),
    [
        ("192.0.2.7", ["192.0.2.7:3260,1"]),
        ("::ffff:192.0.2.7", ["192.0.2.7:3260,1", "192.0.2.7:3261,1"]),
        ("2001:db8::7", ["[2001:db8::7]:3261,1"]),
    ],
)
def test_a_wildcard_portal_is_told_only_where_it_listens(reached: str, told: list[str]) -> None:
    assert addresses(portal("0.0.0.0"), portal("::", 3261), reached=(reached, 3260)) == told


@pytest.mark.conformance("DSC-011")
def test_a_loopback_portal_is_told_to_those_who_came_by_loopback() -> None:
    portals = portal("127.0.0.1"), portal("::1"), portal("192.0.2.7", 3261)
    everything = ["127.0.0.1:3260,1", "[::1]:3260,1", "192.0.2.7:3261,1"]
    assert addresses(*portals, reached=("127.0.0.1", 3260)) == everything
    assert addresses(*portals, reached=("::1", 3260)) == everything
    assert addresses(*portals, reached=("192.0.2.7", 3261)) == ["192.0.2.7:3261,1"]


def test_a_loopback_portal_with_another_name_is_told_by_it() -> None:
    assert addresses(portal("127.0.0.1", advertise="san.example")) == ["san.example:3260,1"]
