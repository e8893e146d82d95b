"""Nothing gets into the state that breaks a rule, and the refusal says which one."""

from dataclasses import replace
from pathlib import Path

import pytest

from mpxtarget.server import validation
from mpxtarget.server.errors import Conflict, Invalid, NotFound, Refusal
from mpxtarget.server.state import InitiatorRecord, PortalSpec, PresentationRecord, State, VdiskSpec

INITIATOR = "iqn.1991-05.com.microsoft:host"
SECRET = b"0123456789ab"
OTHER_SECRET = b"ba9876543210"


@pytest.fixture
def state(tmp_path: Path):  # type: ignore[no-untyped-def]
    with State.create(tmp_path) as state:
        yield state


@pytest.mark.conformance("LUN-006")
@pytest.mark.parametrize("lun", [-1, 0, 256])
def test_disks_have_luns_from_1_to_255(state: State, lun: int) -> None:
    with pytest.raises(Invalid, match=f"LUN {lun} "):
        state.add_vdisk(VdiskSpec("x", 512, lun=lun))
    with pytest.raises(Invalid, match=f"LUN {lun} "):
        state.update_vdisk(replace(state.get_vdisk(1), lun=lun))
    state.add_initiator(InitiatorRecord(INITIATOR))
    with pytest.raises(Invalid, match=f"LUN {lun} "):
        state.add_presentation(PresentationRecord(1, INITIATOR, lun))


@pytest.mark.parametrize("size", [0, -512, 511, 513, (1 << 48) * 512 + 512])
def test_sizes_are_whole_blocks(state: State, size: int) -> None:
    with pytest.raises(Invalid, match="size"):
        state.add_vdisk(VdiskSpec("x", size))
    with pytest.raises(Invalid, match="size"):
        state.update_vdisk(replace(state.get_vdisk(1), size=size))


def test_the_block_size_counts(state: State) -> None:
    with pytest.raises(Invalid, match="4096"):
        state.add_vdisk(VdiskSpec("x", 4096 + 512, block_size=4096))
    with pytest.raises(Invalid, match="1000"):
        state.add_vdisk(VdiskSpec("x", 1000, block_size=1000))


@pytest.mark.parametrize("name", ["", ".", "..", "-x", "a/b", "a b", "\u00e4", "x" * 33, "a\n"])
def test_names_of_disks_are_safe_as_file_names(state: State, name: str) -> None:
    with pytest.raises(Invalid, match="name of a vdisk"):
        state.add_vdisk(VdiskSpec(name, 512))


@pytest.mark.parametrize("url", ["", "vdisks/x.img", "FILE:x", "file:a\nb", "file:a\0b"])
def test_a_store_is_a_url(state: State, url: str) -> None:
    with pytest.raises(Invalid, match="blocks of a vdisk live"):
        state.add_vdisk(VdiskSpec("x", 512, store_url=url))


def test_a_wwlun_is_an_naa_6_designator(state: State) -> None:
    for wwlun in (b"", bytes(16), b"\x60" * 15):
        with pytest.raises(Invalid, match="World Wide LUN Name"):
            state.add_vdisk(VdiskSpec("x", 512, wwlun=wwlun))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (VdiskSpec("VDISK1", 512), "already a vdisk vdisk1"),
        (VdiskSpec("x", 512, lun=2), "LUN 2 belongs to vdisk vdisk2"),
        (VdiskSpec("x", 512, store_url="file:vdisks/vdisk1.img"), "lives in"),
        (VdiskSpec("x", 512, store_url="file:./vdisks//vdisk1.img"), "lives in"),
    ],
)
def test_disks_do_not_get_in_each_others_way(state: State, spec: VdiskSpec, message: str) -> None:
    with pytest.raises(Conflict, match=message):
        state.add_vdisk(spec)


def test_the_refusal_of_a_lun_names_a_free_one(state: State) -> None:
    with pytest.raises(Conflict) as caught:
        state.add_vdisk(VdiskSpec("x", 512, lun=1))
    assert caught.value.hint == "the next free one is 3"


def test_two_disks_in_memory_are_two_disks(state: State) -> None:
    state.add_vdisk(VdiskSpec("x", 512, store_url="memory:"))
    state.add_vdisk(VdiskSpec("y", 512, store_url="memory:"))


def test_the_next_lun_is_the_lowest_free_one_and_runs_out(state: State) -> None:
    state.remove_vdisk(1)
    assert state.add_vdisk(VdiskSpec("x", 512)).lun == 1
    with state.transaction():
        for number in range(253):
            state.add_vdisk(VdiskSpec(f"n{number}", 512))
    assert state.next_free_lun() is None
    assert state.add_vdisk(VdiskSpec("last", 512)).lun is None


def test_a_wwlun_is_one_disks(state: State) -> None:
    with pytest.raises(Conflict, match="has the World Wide LUN Name 6001-43"):
        state.add_vdisk(VdiskSpec("x", 512, wwlun=state.get_vdisk(1).wwlun))


@pytest.mark.parametrize("change", [{"wwlun": bytes.fromhex("6" + "1" * 31)}, {"block_size": 4096}])
def test_what_a_disk_is_cannot_change(state: State, change: dict[str, object]) -> None:
    with pytest.raises(Conflict, match="cannot be changed"):
        state.update_vdisk(replace(state.get_vdisk(1), **change))  # type: ignore[arg-type]


def test_new_disks_go_to_the_controller_with_fewer(state: State) -> None:
    made = [state.add_vdisk(VdiskSpec(f"n{number}", 512)).controller for number in range(4)]
    assert made == ["A", "B", "A", "B"]
    assert state.add_vdisk(VdiskSpec("b", 512, preferred="B")).controller == "B"
    assert state.add_vdisk(VdiskSpec("a", 512, preferred="A-failback")).controller == "A"


@pytest.mark.parametrize("address", ["", "localhost", "127.0.0.256", "[::1", "::g", "127.0.0.1:3260"])
def test_a_portal_listens_on_an_address(state: State, address: str) -> None:
    with pytest.raises(Invalid, match="not an IPv4 or IPv6 address"):
        state.add_portal(PortalSpec(address))


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("224.0.0.1", "a group"),
        ("ff02::1", "a group"),
        ("255.255.255.255", "a group"),
        ("::ffff:127.0.0.1", "write 127.0.0.1"),
        ("fe80::1%lo", "link-local"),
    ],
)
def test_a_portal_has_an_address_that_hosts_can_connect_to(state: State, address: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        state.add_portal(PortalSpec(address))


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_portal_has_a_tcp_port(state: State, port: int) -> None:
    with pytest.raises(Invalid, match="TCP port"):
        state.add_portal(PortalSpec("127.0.0.1", port))


@pytest.mark.conformance("NAM-007")
def test_the_port_is_3260_unless_said_otherwise(state: State) -> None:
    assert state.add_portal(PortalSpec("127.0.0.2")).port == 3260


@pytest.mark.parametrize(
    "advertise",
    [
        "",
        ":3260",
        "a b",
        "host:",
        "host:0",
        "host:65536",
        "host:x",
        "[::1]x",
        "-a.b",
        "[1.2.3.4",
        "a" * 64,
        "0.0.0.0",
        "[::]:1",
        "h:" + "9" * 5000,
    ],
)
def test_advertise_is_host_or_host_and_port(state: State, advertise: str) -> None:
    with pytest.raises(Invalid):
        state.add_portal(PortalSpec("127.0.0.1", 1, advertise))


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_two_portals_cannot_listen_in_one_place(state: State, address: str) -> None:
    with pytest.raises(Conflict, match="portal 1"):
        state.add_portal(PortalSpec(address))
    disabled = state.add_portal(PortalSpec("0.0.0.0", 3260, enabled=False))
    with pytest.raises(Conflict, match="overlaps"):
        state.update_portal(replace(disabled, enabled=True))


def test_portals_of_two_families_or_of_the_systems_choice_do_not_meet(state: State) -> None:
    state.add_portal(PortalSpec("::"))
    for _ in range(2):
        state.add_portal(PortalSpec("127.0.0.1", 0))


@pytest.mark.conformance("NAM-002")
def test_initiators_are_kept_by_their_normal_name(state: State) -> None:
    assert state.add_initiator(InitiatorRecord(INITIATOR.upper())).name == INITIATOR
    with pytest.raises(Conflict, match="already an initiator"):
        state.add_initiator(InitiatorRecord(INITIATOR.title()))
    assert state.update_initiator(InitiatorRecord(INITIATOR.title(), alias="x")).alias == "x"
    assert [initiator.name for initiator in state.list_initiators()] == [INITIATOR]


@pytest.mark.conformance("NAM-001", "NAM-002")
@pytest.mark.parametrize(
    "name", ["", "host", "iqn.1991-05.com.microsoft:a b", "iqn.1991-05.com." + "x" * 220]
)
def test_initiators_have_iscsi_names(state: State, name: str) -> None:
    for call in (state.get_initiator, state.remove_initiator, state.list_presentations):
        with pytest.raises(Invalid):
            call(name)
    with pytest.raises(Invalid):
        state.add_initiator(InitiatorRecord(name))
    with pytest.raises(Invalid):
        state.see_initiator(name, 1.0)


@pytest.mark.conformance("CHP-014")
@pytest.mark.parametrize("field", ["chap_secret", "target_secret"])
@pytest.mark.parametrize("length", [1, 11, 256])
def test_secrets_have_12_bytes_or_more(state: State, field: str, length: int) -> None:
    secrets = {"chap_secret": SECRET, field: b"\xaa" * length}
    with pytest.raises(Invalid, match="bytes"):
        state.add_initiator(InitiatorRecord(INITIATOR, **secrets))


@pytest.mark.conformance("CHP-014")
@pytest.mark.parametrize("length", [12, 16, 128])
def test_secrets_are_any_bytes(state: State, length: int) -> None:
    secret = bytes(range(128, 128 + min(length, 128)))
    assert state.add_initiator(InitiatorRecord(INITIATOR, chap_secret=secret)).chap_secret == secret


@pytest.mark.conformance("CHP-013")
def test_initiator_and_target_secret_differ(state: State) -> None:
    with pytest.raises(Invalid, match="same as the target's"):
        state.add_initiator(InitiatorRecord(INITIATOR, chap_secret=SECRET, target_secret=SECRET))
    state.add_initiator(InitiatorRecord(INITIATOR, chap_secret=SECRET, target_secret=OTHER_SECRET))
    with pytest.raises(Invalid, match=INITIATOR):
        state.update_array(replace(state.array(), target_secret=SECRET))
    state.remove_initiator(INITIATOR)
    state.update_array(replace(state.array(), target_secret=SECRET))
    with pytest.raises(Invalid, match="same as the target's"):
        state.add_initiator(InitiatorRecord(INITIATOR, chap_secret=SECRET))


def test_mutual_chap_needs_the_initiators_secret(state: State) -> None:
    for fields in ({"target_secret": SECRET}, {"target_user": "x"}, {"chap_user": "x"}):
        with pytest.raises(Invalid, match="needs the initiator's secret"):
            state.add_initiator(InitiatorRecord(INITIATOR, **fields))  # type: ignore[arg-type]


@pytest.mark.conformance("CHP-017")
def test_no_refusal_quotes_a_secret(state: State) -> None:
    for fields in (
        {"chap_secret": b"hunter2"},
        {"chap_secret": b"hunter2-hunter2", "target_secret": b"hunter2-hunter2"},
        {"chap_secret": b"hunter2" * 40},
        {"target_secret": b"hunter2-hunter2"},
    ):
        with pytest.raises(Refusal) as caught:
            state.add_initiator(InitiatorRecord(INITIATOR, **fields))  # type: ignore[arg-type]
        assert "hunter2" not in str(caught.value) + repr(caught.value)


@pytest.mark.conformance("CHP-013", "CHP-014")
def test_likely_mistakes_with_secrets_are_warned_of() -> None:
    record = InitiatorRecord(INITIATOR, chap_secret=SECRET)
    other = InitiatorRecord("iqn.1994-05.com.redhat:x", chap_secret=SECRET)
    assert validation.initiator_warnings(record, [record]) == []
    (warning,) = validation.initiator_warnings(record, [record, other])
    assert other.name in warning and "0123" not in warning
    (warning,) = validation.initiator_warnings(replace(record, chap_secret=b"x" * 17), [])
    assert "12 to 16" in warning


@pytest.mark.parametrize(
    "change",
    [
        {"name": " x"},
        {"model": "HSV1"},
        {"policy": "open"},
        {"controller_serial": ""},
        {"bridge_serial": "UPPER"},
        {"name_template": "iqn.2004-09.com.hp:{nn}{x}"},
        {"name_template": "iqn.2004-09.com.hp:{"},
        {"name_template": "iqn.2004-09.com.hp:{serial}"},
        {"name_template": "{nn}"},
        {"name_template": "iqn.2004-09.com.HP:{nn}"},
        {"name_template": "iqn.2004-09.com.hp:{nn.__class__}"},
        {"target_secret": b"short"},
        {"target_user": " x"},
    ],
)
def test_the_array_is_checked_like_the_rest(state: State, change: dict[str, object]) -> None:
    before = state.array()
    with pytest.raises(Invalid):
        state.update_array(replace(before, **change))  # type: ignore[arg-type]
    assert state.array() == before


def test_world_wide_names_stay_for_ever(state: State) -> None:
    with pytest.raises(Conflict, match="World Wide Names"):
        state.update_array(replace(state.array(), node_wwn=0x5001438000000010))


def test_an_initiator_keeps_its_first_login(state: State) -> None:
    state.see_initiator(INITIATOR, 10.0)
    seen = state.see_initiator(INITIATOR.upper(), 20.0)
    assert (seen.first_seen, seen.last_seen) == (10.0, 20.0)
    state.add_initiator(InitiatorRecord("iqn.1994-05.com.redhat:x", chap_secret=SECRET))
    seen = state.see_initiator("iqn.1994-05.com.redhat:x", 30.5)
    assert (seen.first_seen, seen.last_seen, seen.chap_secret) == (30.5, 30.5, SECRET)


def test_a_disk_is_presented_once_to_an_initiator_and_a_lun_once(state: State) -> None:
    with pytest.raises(NotFound, match="no initiator"):
        state.add_presentation(PresentationRecord(1, INITIATOR, 1))
    state.add_initiator(InitiatorRecord(INITIATOR))
    state.add_presentation(PresentationRecord(1, INITIATOR.upper(), 1))
    with pytest.raises(Conflict, match="at LUN 1"):
        state.add_presentation(PresentationRecord(1, INITIATOR, 2))
    with pytest.raises(Conflict, match="already has vdisk1 at LUN 1"):
        state.add_presentation(PresentationRecord(2, INITIATOR, 1))
    with pytest.raises(NotFound, match="vdisk2 is not presented"):
        state.remove_presentation(2, INITIATOR)
    assert state.remove_presentation(1, INITIATOR.upper()) == PresentationRecord(1, INITIATOR, 1)


def test_presentations_go_with_their_disk_and_their_initiator(state: State) -> None:
    for name in (INITIATOR, "iqn.1994-05.com.redhat:x"):
        state.add_initiator(InitiatorRecord(name))
        for vdisk_id in (1, 2):
            state.add_presentation(PresentationRecord(vdisk_id, name, vdisk_id))
    state.remove_vdisk(1)
    state.remove_initiator(INITIATOR)
    assert state.list_presentations() == [PresentationRecord(2, "iqn.1994-05.com.redhat:x", 2)]


def test_numbers_are_not_given_twice(state: State) -> None:
    state.remove_vdisk(2)
    state.remove_portal(2)
    assert state.add_vdisk(VdiskSpec("x", 512)).id == 3
    assert state.add_portal(PortalSpec("::1")).id == 3


def test_what_is_not_there_is_named_with_where_to_look(state: State) -> None:
    for call, text in (
        (lambda: state.get_vdisk(9), "vdisk number 9"),
        (lambda: state.find_vdisk("nine"), "vdisk nine"),
        (lambda: state.find_vdisk_by_lun(9), "vdisk at LUN 9"),
        (lambda: state.get_portal(9), "portal 9"),
        (lambda: state.get_initiator(INITIATOR), INITIATOR),
    ):
        with pytest.raises(NotFound, match=text) as caught:
            call()
        assert "list" in caught.value.hint


@pytest.mark.parametrize("name", ["array.db", "./serve.lock", "vdisks/../control.sock", "array.db-journal"])
def test_no_disk_lives_in_a_file_of_the_array_itself(state: State, name: str) -> None:
    for url in (f"file:{name}", f"file:{state.folder}/{name}", f"file://{state.folder}/{name}"):
        with pytest.raises(Invalid, match="belongs to the array itself"):
            state.add_vdisk(VdiskSpec("x", 512, store_url=url))
