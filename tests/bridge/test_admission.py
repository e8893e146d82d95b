"""Who may log in, and what has to be proved."""

from dataclasses import replace

import pytest

from bridge.factory import INITIATOR, ISID, OTHER, array_record, bridge, eva, found, login
from mpxtarget.bridge import initiators
from mpxtarget.bridge.bridge import Bridge, NoSuchTarget, NotAllowed, TargetOffline
from mpxtarget.bridge.records import InitiatorRecord

SECRET = b"0123456789ab"
TARGET_SECRET = b"ba9876543210"


def test_an_unknown_initiator_gets_in_and_becomes_known() -> None:
    seen: list[tuple[str, bool]] = []
    made = Bridge(eva(), lambda name, new: seen.append((name, new)))
    target = next(iter(made.targets))
    decision = made.admit(INITIATOR, target)
    assert decision.initiator == INITIATOR
    assert decision.chap is None and decision.allow_none
    assert not seen and INITIATOR not in made.initiators  # it has not logged in yet
    made.attach(INITIATOR, ISID, target)
    made.attach(INITIATOR, ISID + 1, target)
    assert seen == [(INITIATOR, True), (INITIATOR, False)]
    assert INITIATOR in made.initiators


@pytest.mark.conformance("LUN-006")
def test_behind_a_mask_an_unknown_initiator_finds_the_console_alone() -> None:
    assert found(login(bridge(policy="masked"))) == {0: None}
    assert found(login(bridge())) == {0: None, 1: 1, 2: 2}


@pytest.mark.conformance("CHP-018")
def test_an_initiator_with_a_secret_has_to_authenticate() -> None:
    made = bridge()
    made.set_initiator(InitiatorRecord(INITIATOR, chap_secret=SECRET))
    for target in (None, *made.targets):
        decision = made.admit(INITIATOR, target)
        assert not decision.allow_none
        assert decision.chap is not None and decision.chap.secret == SECRET
    assert made.admit(OTHER, None).allow_none


@pytest.mark.conformance("CHP-019")
def test_a_known_initiator_without_a_secret_need_not_authenticate() -> None:
    made = bridge(target_user="eva", target_secret=TARGET_SECRET)
    made.set_initiator(InitiatorRecord(INITIATOR))
    decision = made.admit(INITIATOR, None)
    assert decision.chap is None and decision.allow_none


def test_a_discovery_session_makes_its_initiator_known_too() -> None:
    seen: list[tuple[str, bool]] = []
    made = Bridge(eva(), lambda name, new: seen.append((name, new)))
    made.seen(INITIATOR)
    made.seen(INITIATOR)
    assert seen == [(INITIATOR, True), (INITIATOR, False)]


@pytest.mark.conformance("CHP-015")
@pytest.mark.parametrize(("user", "expected"), [("", INITIATOR), ("alice", "alice")])
def test_the_chap_name_belongs_to_the_initiator(user: str, expected: str) -> None:
    made = bridge()
    made.set_initiator(InitiatorRecord(INITIATOR, chap_user=user, chap_secret=SECRET))
    chap = made.admit(INITIATOR, None).chap
    assert chap is not None and chap.user == expected


def test_mutual_chap_uses_the_initiators_target_secret_or_else_the_arrays() -> None:
    made = bridge(target_user="eva", target_secret=TARGET_SECRET)
    made.set_initiator(InitiatorRecord(INITIATOR, chap_secret=SECRET))
    chap = made.admit(INITIATOR, None).chap
    assert chap is not None and (chap.target_user, chap.target_secret) == ("eva", TARGET_SECRET)
    own = InitiatorRecord(INITIATOR, chap_secret=SECRET, target_user="t", target_secret=b"own own own own")
    made.set_initiator(own)
    chap = made.admit(INITIATOR, None).chap
    assert chap is not None and (chap.target_user, chap.target_secret) == ("t", b"own own own own")


def test_without_a_target_secret_chap_is_one_way() -> None:
    made = bridge()
    made.set_initiator(InitiatorRecord(INITIATOR, chap_secret=SECRET))
    chap = made.admit(INITIATOR, None).chap
    assert chap is not None and not chap.target_secret


def test_what_the_array_says_in_mutual_chap_changes_at_once() -> None:
    made = bridge()
    made.set_initiator(InitiatorRecord(INITIATOR, chap_secret=SECRET))
    made.set_array(array_record(target_secret=TARGET_SECRET))
    chap = made.admit(INITIATOR, None).chap
    assert chap is not None and (chap.target_user, chap.target_secret) == ("EVA4400", TARGET_SECRET)


@pytest.mark.conformance("CHP-017")
def test_secrets_are_in_no_repr() -> None:
    made = bridge(target_secret=TARGET_SECRET)
    record = InitiatorRecord(INITIATOR, chap_secret=SECRET, target_secret=TARGET_SECRET)
    made.set_initiator(record)
    text = repr([record, made.admit(INITIATOR, None), made.array.record, made, made.array])
    assert "0123456789ab" not in text and "ba9876543210" not in text


@pytest.mark.parametrize("name", ["iqn.2004-09.com.hp:nowhere", "", "not a name", "x" * 300])
def test_a_target_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(NoSuchTarget):
        bridge().admit(INITIATOR, name)
    with pytest.raises(NoSuchTarget):
        bridge().attach(INITIATOR, ISID, name)


def test_a_target_out_of_service_says_so_and_comes_back() -> None:
    made = bridge()
    name = next(iter(made.targets))
    made.set_online(name, False)
    with pytest.raises(TargetOffline, match="Ctl-A/FP-1"):
        made.admit(INITIATOR, name)
    made.admit(INITIATOR, None)
    made.set_online(name, True)
    made.admit(INITIATOR, name)
    with pytest.raises(NoSuchTarget):
        made.set_online("iqn.2004-09.com.hp:nowhere", False)


@pytest.mark.conformance("DSC-006")
def test_names_made_up_by_a_peer_fill_a_bounded_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initiators, "MAX_INITIATORS", 3)
    made = bridge()
    for number in range(3):
        login(made, f"iqn.1994-05.com.redhat:{number}")
    with pytest.raises(NotAllowed, match="remove"):
        made.admit(INITIATOR, None)
    assert made.send_targets(INITIATOR, None, ("127.0.0.1", 3260)) == []
    made.admit("iqn.1994-05.com.redhat:1", None)  # who is known stays welcome
    made.remove_initiator("iqn.1994-05.com.redhat:2")
    made.admit(INITIATOR, None)


def test_targets_carry_the_ports_of_the_array() -> None:
    made = bridge()
    names = list(made.targets)
    assert names[0] == "iqn.2004-09.com.hp:fcgw.mpx100.0834e00025.b1.01.5001438004c8a258"
    assert names[3] == "iqn.2004-09.com.hp:fcgw.mpx100.0834e00025.b1.04.5001438004c8a25d"
    ports = [target.scsi_port for target in made.targets.values()]
    assert [(port.relative_id, port.group_id) for port in ports] == [(1, 1), (2, 1), (3, 2), (4, 2)]
    assert {port.portal_group_tag for port in ports} == {1}
    assert [port.name for port in ports] == names
    assert made.admit(INITIATOR, names[2]).target_alias == "EVA4400 Ctl-B/FP-1"


def test_the_name_template_is_the_users() -> None:
    made = bridge(name_template="iqn.2026-01.org.example:{serial}:{nn}")
    assert next(iter(made.targets)) == "iqn.2026-01.org.example:0834e00025:01"


def test_a_changed_initiator_counts_from_its_next_login() -> None:
    made = bridge()
    nexus = login(made)
    made.set_initiator(replace(InitiatorRecord(INITIATOR), chap_secret=SECRET))
    assert found(nexus) == {0: None, 1: 1, 2: 2}
    assert not made.admit(INITIATOR, None).allow_none
