"""Who learns of a change of reservations, and who does not: the nexuses that are due, never the issuer."""

from collections.abc import Callable

import pytest
from persistent_initiator import (
    ALL_REGISTRANTS,
    ALL_TG_PT,
    CLEAR,
    FOR_REGISTRANTS,
    IGNORE,
    PREEMPT,
    PREEMPT_AND_ABORT,
    REGISTER,
    REGISTRATIONS_PREEMPTED,
    RELEASE,
    RESERVATIONS_PREEMPTED,
    RESERVATIONS_RELEASED,
    RESERVE,
    TYPES,
    UNREG,
    WE,
    WE_RO,
    A,
    B,
    C,
    generation,
    good,
    keys,
    move,
    move_list,
    port_id,
    register,
    reservation,
)
from scsi_initiator import GOOD, Array, Path, make_disk

PREEMPTS = pytest.mark.parametrize("action", [PREEMPT, PREEMPT_AND_ABORT])
LOSS = 0x2907


class Hosts:
    """A holder, a second path of its host, two nexuses of other hosts that share a key, and a stranger."""

    def __init__(self, type_: int | None = None) -> None:
        self.array = Array({1: make_disk(), 2: make_disk()})
        self.holder = self.array.path("iqn.holder", 0)
        self.second = self.array.path("iqn.holder", 2)
        self.one = self.array.path("iqn.one", 1)
        self.two = self.array.path("iqn.two", 3)
        self.stranger = self.array.path("iqn.stranger", 2)
        register((self.holder, A), (self.second, C), (self.one, B), (self.two, B))
        self.type = type_ or 0
        if type_ is not None:
            good(self.holder, RESERVE, A, type_=type_)
        assert self.told() == {}

    def told(self) -> dict[str, int]:
        """The unit attention that each nexus reports of LUN 1, one at most; LUN 2 has none."""
        found: dict[str, int] = {}
        for name in ("holder", "second", "one", "two", "stranger"):
            path: Path = getattr(self, name)
            assert path.attentions(lun=2) == []
            attentions = path.attentions()
            assert len(attentions) <= 1, name
            if attentions:
                found[name] = attentions[0]
        return found


@pytest.mark.conformance("PRS-013", "UAT-001", "UAT-006", "UAT-007")
@pytest.mark.parametrize("type_", TYPES)
def test_release_is_told_to_the_other_registrants_of_a_registrants_type(type_: int) -> None:
    hosts = Hosts(type_)
    good(hosts.holder, RELEASE, A, type_=type_)
    shared = type_ in FOR_REGISTRANTS
    assert hosts.told() == (dict.fromkeys(("second", "one", "two"), RESERVATIONS_RELEASED) if shared else {})


@pytest.mark.conformance("PRS-013", "UAT-006")
@pytest.mark.parametrize("type_", ALL_REGISTRANTS)
def test_any_registrant_releases_for_all_registrants(type_: int) -> None:
    hosts = Hosts(type_)
    good(hosts.one, RELEASE, B, type_=type_)
    assert hosts.told() == dict.fromkeys(("holder", "second", "two"), RESERVATIONS_RELEASED)


@pytest.mark.conformance("PRS-006", "PRS-013", "UAT-001")
@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("how", [REGISTER, IGNORE])
def test_unregistering_holder_is_told_under_registrants_only(type_: int, how: int) -> None:
    hosts = Hosts(type_)
    good(hosts.holder, how, A, 0)
    released = type_ in FOR_REGISTRANTS and type_ not in ALL_REGISTRANTS
    assert hosts.told() == (
        dict.fromkeys(("second", "one", "two"), RESERVATIONS_RELEASED) if released else {}
    )


@pytest.mark.conformance("PRS-013", "PRS-016")
def test_holder_that_unregisters_on_all_ports_is_told_to_the_rest() -> None:
    hosts = Hosts(WE_RO)
    good(hosts.holder, IGNORE, 0, 0, flags=ALL_TG_PT)
    assert hosts.told() == dict.fromkeys(("one", "two"), RESERVATIONS_RELEASED)


@pytest.mark.conformance("PRS-013", "UAT-001", "UAT-006")
@pytest.mark.parametrize("type_", [None, *TYPES])
def test_clear_is_told_to_all_who_were_registered(type_: int | None) -> None:
    hosts = Hosts(type_)
    good(hosts.one, CLEAR, B)
    assert hosts.told() == dict.fromkeys(("holder", "second", "two"), RESERVATIONS_PREEMPTED)


@pytest.mark.conformance("PRS-013", "UAT-001", "UAT-006")
@pytest.mark.parametrize("type_", [None, *TYPES])
def test_revoking_is_told_to_all_who_were_registered_once(type_: int | None) -> None:
    hosts = Hosts(type_)
    before = generation(hosts.stranger)
    hosts.array.disk.revoke_reservations()
    assert hosts.told() == dict.fromkeys(("holder", "second", "one", "two"), RESERVATIONS_PREEMPTED)
    assert (keys(hosts.stranger), reservation(hosts.stranger)) == ([], None)
    assert generation(hosts.stranger) == before + 1
    assert all(path.itl().go_write for path in (hosts.holder, hosts.one, hosts.stranger))
    hosts.array.disk.revoke_reservations()
    assert hosts.told() == {}
    assert generation(hosts.stranger) == before + 1


@pytest.mark.conformance("PRS-011", "PRS-013", "UAT-001")
@PREEMPTS
@pytest.mark.parametrize("type_", [None, *TYPES])
def test_registrations_that_are_removed_are_told_to_those_who_had_them(
    action: int, type_: int | None
) -> None:
    hosts = Hosts(type_)
    good(hosts.second, action, C, B, type_=WE)
    assert hosts.told() == dict.fromkeys(("one", "two"), REGISTRATIONS_PREEMPTED)


@pytest.mark.conformance("PRS-009", "PRS-013", "UAT-006")
@PREEMPTS
def test_issuer_that_shares_the_key_learns_nothing(action: int) -> None:
    hosts = Hosts(WE)
    good(hosts.one, action, B, B)
    assert hosts.told() == {"two": REGISTRATIONS_PREEMPTED}


@pytest.mark.conformance("PRS-010", "PRS-013", "UAT-001")
@PREEMPTS
@pytest.mark.parametrize("before", [1, 3, 5, 6])
@pytest.mark.parametrize("after", TYPES)
def test_preempted_holder_loses_its_registration_and_the_rest_learn_of_another_type(
    action: int, before: int, after: int
) -> None:
    hosts = Hosts(before)
    good(hosts.one, action, B, A, type_=after)
    rest = dict.fromkeys(("second", "two"), RESERVATIONS_RELEASED) if before != after else {}
    assert hosts.told() == {"holder": REGISTRATIONS_PREEMPTED, **rest}


@pytest.mark.conformance("PRS-009", "PRS-013")
@PREEMPTS
@pytest.mark.parametrize("before", ALL_REGISTRANTS)
@pytest.mark.parametrize("after", TYPES)
def test_all_registrants_but_the_preemptor_are_told(action: int, before: int, after: int) -> None:
    hosts = Hosts(before)
    good(hosts.one, action, B, 0, type_=after)
    assert hosts.told() == dict.fromkeys(("holder", "second", "two"), REGISTRATIONS_PREEMPTED)


@pytest.mark.conformance("PRS-013", "UAT-006")
@pytest.mark.parametrize(
    "act",
    [
        lambda hosts: good(hosts.stranger, REGISTER, 0, C),
        lambda hosts: good(hosts.one, REGISTER, B, C),
        lambda hosts: good(hosts.one, REGISTER, B, 0),
        lambda hosts: good(hosts.two, IGNORE, 0, C),
        lambda hosts: good(hosts.holder, RESERVE, A, type_=WE_RO),
        lambda hosts: good(hosts.one, RELEASE, B, type_=WE_RO),
        lambda hosts: _move(hosts, 0),
        lambda hosts: _move(hosts, UNREG),
    ],
    ids=["register", "new key", "unregister", "ignore", "reserve again", "release nothing", "move", "leave"],
)
def test_nobody_is_told_of(act: Callable[[Hosts], None]) -> None:
    hosts = Hosts(WE_RO)
    act(hosts)
    assert hosts.told() == {}


def _move(hosts: Hosts, flags: int) -> None:
    heir = port_id("iqn.one", "1")
    assert move(hosts.holder, move_list(A, B, heir, flags=flags, port=2)) == GOOD


@pytest.mark.conformance("PRS-013")
def test_reserving_is_told_to_nobody() -> None:
    hosts = Hosts()
    good(hosts.one, RESERVE, B, type_=WE)
    assert hosts.told() == {}


@pytest.mark.conformance("PRS-013", "PRS-014")
def test_who_was_away_learns_of_its_own_loss_only() -> None:
    hosts = Hosts(WE_RO)
    hosts.one.nexus.lose()
    good(hosts.holder, CLEAR, A)
    hosts.one = hosts.array.login("iqn.one", 1)
    assert hosts.one.attentions(lun=2) == [LOSS]
    assert hosts.told() == {
        "one": LOSS,
        **dict.fromkeys(("second", "two"), RESERVATIONS_PREEMPTED),
    }


@pytest.mark.conformance("PRS-013", "UAT-004", "SBC-006")
def test_short_cut_is_closed_until_the_attention_is_told() -> None:
    hosts = Hosts(WE_RO)
    good(hosts.one, PREEMPT, B, A, type_=WE_RO)
    itl = hosts.holder.itl()
    assert not itl.go_read
    assert hosts.holder.attentions() == [REGISTRATIONS_PREEMPTED]
    assert itl.go_read
    assert not itl.go_write


@pytest.mark.conformance("PRS-013", "UAT-005")
def test_who_is_registered_no_more_is_told_no_more() -> None:
    hosts = Hosts(WE)
    good(hosts.second, PREEMPT, C, B)
    good(hosts.holder, CLEAR, A)
    assert hosts.told() == {
        "second": RESERVATIONS_PREEMPTED,
        **dict.fromkeys(("one", "two"), REGISTRATIONS_PREEMPTED),
    }
