"""Which login makes, ends or joins which session (RFC 7143 6.3.1, 6.3.4, 6.3.5, 7.4.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mpxtarget.iscsi.login import ChapPolicy
from mpxtarget.pdu import LoginResponse, NopIn, ScsiResponse
from mpxtarget.testing import ChapCredentials, LoginFailed
from support.cdb import TEST_UNIT_READY, data, inquiry, read_10, write_10
from support.fixtures import MakeWorld
from support.world import HOST, LUN, OTHER_HOST, OTHER_TARGET, TARGET, Host, World, only

ISID, OTHER_ISID = 0x80_1234_560001, 0x80_1234_560002
SECRET = b"a secret of sixteen bytes"


def status_of(host: Host) -> int:
    """Status-Class and Status-Detail of a login that failed."""
    (failed,) = host.of(LoginFailed)
    return failed.status


def alive(host: Host) -> bool:
    """Whether the connection still answers."""
    if host.closed:
        return False
    only(host.say(host.make.nop_out(immediate=1)), NopIn)
    return True


def come_back(world: World, old: Host, **changes: Any) -> Host:
    """A login that reinstates the connection of another: it says nothing of what belongs to the session."""
    options = old.machine.options
    how: dict[str, Any] = {
        "isid": options.isid,
        "cid": options.cid,
        "tsih": old.machine.tsih,
        "cmd_sn": old.machine.cmd_sn,
        "keys": {},
        "bare": True,
    }
    return world.host(**how | changes)


# the table of 6.3.1


@pytest.mark.conformance("SES-001", "LGN-022")
def test_a_new_isid_without_tsih_is_a_new_session(world: World) -> None:
    first, second = world.host(isid=ISID), world.host(isid=OTHER_ISID)
    assert first.machine.tsih != second.machine.tsih
    assert 0 not in (first.machine.tsih, second.machine.tsih)
    assert len(world.sessions) == 2
    assert alive(first)


@pytest.mark.conformance("SES-001")
def test_a_new_isid_with_a_tsih_names_no_session(world: World) -> None:
    first = world.host(isid=ISID)
    second = world.host(isid=OTHER_ISID, tsih=first.machine.tsih)
    assert status_of(second) == 0x020A
    assert alive(first)
    assert len(world.sessions) == 1


@pytest.mark.conformance("SES-001")
def test_a_known_isid_with_an_unknown_tsih_names_no_session(world: World) -> None:
    first = world.host(isid=ISID)
    second = world.host(isid=ISID, tsih=first.machine.tsih + 1)
    assert status_of(second) == 0x020A
    assert alive(first)


@pytest.mark.conformance("SES-001", "SES-006")
def test_a_second_connection_is_one_too_many(world: World) -> None:
    first = world.host(isid=ISID, cid=1)
    second = world.host(isid=ISID, tsih=first.machine.tsih, cid=2)
    assert status_of(second) == 0x0206
    assert alive(first)


@pytest.mark.conformance("SES-001", "SES-002", "SES-003", "SES-008", "RSP-007")
def test_a_known_isid_without_tsih_takes_the_place_of_its_session(world: World) -> None:
    world.store.close_gate()
    old = world.host(isid=ISID)
    nexus = old.session.nexus
    old.command(LUN, read_10(0, 1), read_length=512)
    old.command(LUN, write_10(0, 1), data_out=data(512))
    mark = len(old.seen)
    new = world.host(isid=ISID, attentions=True)
    assert new.logged_in
    assert old.closed
    assert new.machine.tsih != old.machine.tsih
    assert world.lost_nexuses == [nexus]
    assert len(world.sessions) == 1
    world.store.open_gate()
    world.settle()
    assert old.seen[mark:] == [], "tasks of the old session end without a response"
    done = new.scsi(LUN, TEST_UNIT_READY)
    assert (done.sense[2], *done.sense[12:14]) == (0x6, 0x29, 0x07), "the new nexus learns of the loss"


@pytest.mark.conformance("SES-001", "SES-004", "SES-005", "SES-012")
def test_a_connection_that_comes_back_keeps_its_session(world: World) -> None:
    gate = world.store.close_gate()
    old = world.host(isid=ISID, cid=7)
    session, nexus = old.session, old.session.nexus
    old.command(LUN, read_10(0, 1), read_length=512)
    gate.arrived(1)
    mark = len(old.seen)
    new = come_back(world, old)
    assert new.logged_in
    assert new.session is session
    assert new.machine.tsih == old.machine.tsih
    assert old.closed
    assert session.nexus is nexus
    assert world.lost_nexuses == []
    assert session.tasks == {}
    world.store.open_gate()
    world.settle()
    assert old.seen[mark:] == []
    assert new.scsi(LUN, TEST_UNIT_READY).status == 0
    old.target.connection.lost("late news of the old connection")
    assert alive(new)


@pytest.mark.conformance("SES-004", "SES-011", "DIG-008")
@pytest.mark.parametrize("before", [{}, {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}])
def test_a_connection_that_comes_back_negotiates_its_own_keys(world: World, before: dict[str, str]) -> None:
    content = world.store.pattern()
    after = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"} if not before else {}
    old = world.host(isid=ISID, keys=before)
    bare = {"HeaderDigest": "None", "DataDigest": "None", "MaxRecvDataSegmentLength": "512"} | after
    new = come_back(world, old, keys=bare)
    assert new.logged_in
    assert new.scsi(LUN, read_10(0, 4), read_length=2048).data == content[:2048]
    assert new.session.parameters.max_burst_length == 262144, "those of the session stay"


@pytest.mark.conformance("SES-004", "CSN-005")
def test_commands_that_waited_on_the_lost_connection_are_gone(world: World) -> None:
    old = world.host(isid=ISID)
    hole = old.skip_cmd_sn()
    held = old.make.scsi_command(lun=LUN, write=1, expected_data_transfer_length=512, cdb=write_10(0, 1))
    assert old.say(held, data(512)) == []
    new = come_back(world, old, cmd_sn=hole)
    answers = new.say(new.make.scsi_command(lun=LUN, cmd_sn=hole))
    only(answers, ScsiResponse)
    assert not any(world.store.content)
    assert new.session.held == {}


# success first


@pytest.mark.conformance("SES-002", "LGN-044")
def test_a_login_that_fails_leaves_the_old_session_alone(world: World) -> None:
    world.chap = ChapPolicy("host", SECRET)
    good = ChapCredentials("host", SECRET)
    old = world.host(isid=ISID, chap=good)
    assert old.logged_in
    for credentials in (replace(good, secret=b"another one of 16"), replace(good, user="nobody")):
        refused = world.host(isid=ISID, chap=credentials)
        assert status_of(refused) == 0x0201
        assert refused.closed
        assert old.scsi(LUN, TEST_UNIT_READY).status == 0
    assert world.host(isid=ISID, chap=good).logged_in
    assert old.closed


@pytest.mark.conformance("SES-002", "LGN-044")
def test_a_login_that_has_only_begun_leaves_the_old_session_alone(world: World) -> None:
    old = world.host(isid=ISID)
    begun = world.host(isid=ISID, login=False)
    begun.machine.start()
    begun.target.receive(begun.machine.to_send(), 0.0)
    assert begun.target.to_send() != b""
    assert alive(old)
    begun.target.hang_up()
    assert alive(old)
    assert len(world.sessions) == 1


# what makes a session another one


@pytest.mark.conformance("SES-013", "SES-014")
@pytest.mark.parametrize("other", [{"target": OTHER_TARGET}, {"isid": OTHER_ISID}, {"initiator": OTHER_HOST}])
def test_another_target_isid_or_initiator_is_another_session(world: World, other: dict[str, Any]) -> None:
    first = world.host(isid=ISID)
    options: dict[str, Any] = {"isid": ISID, "target": TARGET, "initiator": HOST}
    second = world.host(**options | other)
    assert len(world.sessions) == 2
    assert alive(first)
    assert alive(second)


@pytest.mark.conformance("SES-001", "SES-013")
def test_the_same_target_through_another_portal_of_the_group_is_the_same_session(world: World) -> None:
    first = world.host(isid=ISID)
    second = world.host(isid=ISID, address="192.0.2.2")
    assert first.closed
    assert alive(second)


@pytest.mark.conformance("DSC-015")
def test_an_unnamed_discovery_session_belongs_to_its_portal(world: World) -> None:
    first = world.discovery(isid=ISID)
    elsewhere = world.discovery(isid=ISID, address="192.0.2.2")
    assert alive(first)
    again = world.discovery(isid=ISID)
    assert first.closed
    assert alive(elsewhere)
    assert alive(again)


@pytest.mark.conformance("DSC-016")
def test_a_named_discovery_session_gives_way_to_a_normal_one(world: World) -> None:
    discovery = world.discovery(isid=ISID, target=TARGET)
    normal = world.host(isid=ISID)
    assert discovery.closed
    assert normal.scsi(LUN, inquiry(), read_length=36).status == 0


@pytest.mark.conformance("SES-013", "DSC-015", "CLI-003")
def test_discovery_beside_a_normal_session_disturbs_nobody(world: World) -> None:
    normal = world.host(isid=ISID)
    for _ in range(3):
        world.discovery(isid=ISID)
    assert alive(normal)
    assert len(world.sessions) == 2


# endings


@pytest.mark.conformance("SES-009", "SES-010", "SES-008", "SES-011")
def test_a_connection_that_breaks_ends_its_session_and_it_may_come_back_at_once(world: World) -> None:
    gate = world.store.close_gate()
    old = world.host(isid=ISID, keys={"HeaderDigest": "CRC32C"})
    old.command(LUN, read_10(0, 1), read_length=512)
    gate.arrived(1)
    old.target.hang_up()
    assert len(world.sessions) == 0
    assert len(world.lost_nexuses) == 1
    assert world.disk.attached == []
    new = world.host(isid=ISID)
    assert not new.machine.parameters.header_digest, "parameters are negotiated anew"
    world.store.open_gate()
    world.settle()
    assert new.scsi(LUN, read_10(0, 1), read_length=512).status == 0


@pytest.mark.conformance("SEC-001", "LGN-044")
def test_sessions_are_limited(make_world: MakeWorld) -> None:
    world = make_world(session_limit=3)
    hosts = [world.host(isid=ISID + number) for number in range(3)]
    refused = world.host(isid=ISID + 3)
    assert status_of(refused) == 0x0302
    assert world.host(isid=ISID).logged_in, "one that takes another's place is not one more"
    hosts[1].target.hang_up()
    assert world.host(isid=ISID + 3).logged_in


@pytest.mark.conformance("LGN-022", "SES-001", "NAM-006")
def test_handles_are_not_used_again_soon(world: World) -> None:
    handles = []
    for _ in range(100):
        host = world.host(isid=ISID)
        handles.append(host.machine.tsih)
        host.target.hang_up()
    assert len(set(handles)) == 100


@pytest.mark.conformance("LGN-022", "SES-001", "NAM-006")
def test_handles_wrap_around_zero_and_those_in_use(world: World) -> None:
    first = world.host(isid=ISID)
    world.sessions._next_tsih = 0xFFFF
    assert [world.host(isid=OTHER_ISID + number).machine.tsih for number in range(3)] == [
        0xFFFF,
        first.machine.tsih + 1,
        first.machine.tsih + 2,
    ]


@pytest.mark.conformance("LGN-044", "SEC-001", "SEC-005", "LGN-039")
def test_a_thousand_logins_that_never_end_leave_nothing(make_world: MakeWorld) -> None:
    world = make_world()
    targets = []
    for number in range(1000):
        host = world.host(login=False, isid=ISID + number, chap=None)
        host.machine.start()
        host.target.receive(host.machine.to_send()[: 48 + number % 100], 0.0)
        host.target.to_send()
        targets.append(host.target)
    for target in targets:
        target.tick(16.0)
    assert all(target.closed for target in targets)
    assert len(world.sessions) == 0
    assert world.disk.attached == []
    assert len(world.arenas._free) <= world.arenas.keep
    assert all(target.output._arena is None for target in targets)


@pytest.mark.conformance("LGN-023", "SES-011")
def test_numbers_start_with_each_login(world: World) -> None:
    for cmd_sn in (1, 0xFFFFFFFF, 77):
        host = world.host(isid=ISID, cmd_sn=cmd_sn)
        assert host.session.exp_cmd_sn == cmd_sn
        assert isinstance(host.seen[0][0], LoginResponse)
        assert host.scsi(LUN, TEST_UNIT_READY).status == 0
