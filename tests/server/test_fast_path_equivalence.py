"""The short cut for READ and WRITE is a short cut through the rules: nobody can tell whether it was taken.

Two identical targets get the same bytes, one with the short cut and one without. Every byte of their answers,
all blocks of their disks and all statistics have to be equal, whatever changes between the commands.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mpxtarget.pdu import NO_TAG, RejectReason, assemble
from mpxtarget.scsi import device_server
from mpxtarget.scsi.codes import AccessState
from mpxtarget.scsi.logical_unit import ModeParameters
from mpxtarget.scsi.nexus import ITNexus
from mpxtarget.scsi.plan import TakeData
from mpxtarget.server import fast_path, lanes
from mpxtarget.testing import CommandDone
from support.cdb import SYNCHRONIZE_CACHE, TEST_UNIT_READY, data, read_10, read_16, write_10, write_16
from support.fixtures import MakeWorld
from support.world import LUN, OTHER_LUN, Host, World, calm, reject_of

BLOCKS = 64
FLAT_LUN = 0x4001 << 48


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of a lane end in the order they came, at both targets."""
    monkeypatch.setattr(lanes, "THREADS", 1)


class Taken:
    """Counts how many bytes the short cut took, so that a test knows that it was not bypassed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        real = fast_path.run

        def run(connection: Any, view: memoryview, pos: int, end: int) -> int:
            at = real(connection, view, pos, end)
            self.bytes += at - pos
            return at

        monkeypatch.setattr(fast_path, "run", run)


class Twins:
    """The same host at two targets."""

    def __init__(self, keys: dict[str, str], cmd_sn: int = 1) -> None:
        self.worlds = [World(size=BLOCKS * 512, fast=fast) for fast in (True, False)]
        self.hosts: list[Host] = []
        for world in self.worlds:
            world.store.pattern()
            host = world.host(keys=keys, cmd_sn=cmd_sn)
            other = world.host(initiator="iqn.2001-04.com.example:other")
            calm(host.session.nexus)
            self.hosts.append(host)
            world.hosts.clear()
            assert other.logged_in

    def send(self, stream: bytes) -> None:
        """Send the same bytes to both, and compare all that comes of it."""
        answers = []
        for world, host in zip(self.worlds, self.hosts, strict=True):
            host.target.receive(stream, world.now)
            came = host.target.to_send()
            while world.executor.busy(world.disk) or world.executor.busy(world.other_disk):
                assert world.drain()
                came += host.target.to_send()
            answers.append(came)
        assert answers[0] == answers[1]
        fast, slow = self.worlds
        assert fast.store.content == slow.store.content
        assert fast.other_store.content == slow.other_store.content
        assert self.state(0) == self.state(1)

    def state(self, which: int) -> list[object]:
        """What the session and its nexuses know."""
        host = self.hosts[which]
        if host.closed:
            return ["closed"]
        session, c = host.session, host.target.connection
        counts = [
            (itl.lun, itl.reads, itl.writes, itl.read_bytes, itl.written_bytes, itl.go_read, itl.go_write)
            for itl in session.nexus.by_number.values()
        ]
        return [session.exp_cmd_sn, session.outstanding, list(session.tasks), c.stat_sn, counts]

    def change(self, what: str) -> None:
        """Change the state of LUN 1 at both."""
        for world, host in zip(self.worlds, self.hosts, strict=True):
            disk, itl = world.disk, host.itl
            if what == "attention":
                itl.raise_unit_attention(0x2A01)
            elif what == "calm":
                calm(host.session.nexus)
            elif what == "stop":
                disk.stop()
            elif what == "start":
                disk.start()
            elif what == "read only":
                disk.set_read_only(True)
            elif what == "writable":
                disk.set_read_only(False)
            elif what == "smaller":
                disk.resize(BLOCKS // 2)
            elif what == "larger":
                disk.resize(BLOCKS)
            elif what == "hold":
                disk.hold()
            elif what == "release":
                if disk._holds:
                    disk.release()
            elif what == "reserved":
                other = next(each for each in world.sessions if each is not host.session)
                disk.reserve_for(other.nexus)
            elif what == "unreserved":
                if disk.reserved_by is not None:
                    disk.end_reservation(disk.reserved_by)
            elif what in PERSISTENT:
                whose, action, kind = PERSISTENT[what]
                other = next(each for each in world.sessions if each is not host.session)
                persist(host.session.nexus if whose == "ours" else other.nexus, action, kind)
            elif what in ("moved", "moved back"):
                disk.manage(2 if what == "moved" else 1)
            elif what == "reset":
                disk.reset()
            elif what == "unavailable":
                disk.limit_access(1, AccessState.UNAVAILABLE)
            elif what == "active":
                disk.limit_access(1, None)
            elif what == "write through":
                disk.select_mode(ModeParameters(write_cache_enable=False), by=host.session.nexus)
            elif what == "write back":
                disk.select_mode(ModeParameters(), by=host.session.nexus)
            elif what == "unmap":
                if LUN in host.session.nexus.by_number:
                    host.session.nexus.unmap(LUN)
                    host.session.nexus.map(LUN, disk)
            elif what == "slow":
                world.store.at_once = False
            elif what == "quick":
                world.store.at_once = True
            elif what == "broken":
                world.store.read_error = world.store.write_error = 5
            elif what == "whole":
                world.store.read_error = world.store.write_error = 0
            elif what == "buggy":
                world.store.crash = ValueError("a bug")
            elif what == "fixed":
                world.store.crash = None
            elif what == "all well":
                for nexus in (each.nexus for each in world.sessions):
                    calm(nexus)
                    persist(nexus, 0x03, 0)
                while disk._holds:
                    disk.release()
                disk.reset()
                disk.set_read_only(False)
                disk.resize(BLOCKS)
                disk.limit_access(1, None)
                world.store.at_once, world.store.crash = True, None
                world.store.read_error = world.store.write_error = 0
                calm(host.session.nexus)
            else:
                raise AssertionError(what)

    def close(self) -> None:
        for world in self.worlds:
            world.close()


KEY = 0xABC

# whose PERSISTENT RESERVE OUT, its service action, and the type
PERSISTENT = {
    "register": ("ours", 0x06, 0),
    "unregister": ("ours", 0x00, 0),
    "release it": ("theirs", 0x02, 5),
    "clear": ("theirs", 0x03, 0),
    "preempt": ("theirs", 0x04, 5),
} | {f"reserve {kind}": ("theirs", 0x01, kind) for kind in (1, 3, 5, 6, 7, 8)}


def persist(nexus: ITNexus, action: int, kind: int) -> None:
    """PERSISTENT RESERVE OUT of a nexus, with one key for all; a reservation needs a registration first."""
    if action == 0x01:
        persist(nexus, 0x06, 0)
    new = KEY if action in (0x04, 0x06) else 0
    cdb = bytes([0x5F, action, kind, 0, 0, 0, 0, 0, 24, 0])
    plan = device_server.plan(nexus, LUN << 48, cdb)
    if isinstance(plan, TakeData):
        plan.then(struct.pack(">QQ8x", 0 if action == 0x06 else KEY, new))


CHANGES = (
    "attention", "calm", "stop", "start", "read only", "writable", "smaller", "larger", "hold", "release",
    "reserved", "unreserved", "reset", "unavailable", "active", "write through", "write back", "unmap",
    "slow", "quick", "broken", "whole", "buggy", "fixed", "moved", "moved back", *PERSISTENT,
)  # fmt: skip

CDB_FIELDS = {
    "lba": st.sampled_from((0, 1, 7, 31, 32, 33, 62, 63, 64, 65, 1 << 31)),
    "blocks": st.sampled_from((0, 1, 1, 1, 2, 2, 4, 8, 16, 32, 64, 65)),
    "flags": st.sampled_from((0, 0, 0, 0x10, 0x08, 0x02, 0x01, 0x20, 0xFF)),
    "group": st.sampled_from((0, 0, 0, 0x01, 0x1F, 0x20, 0xFF)),
    "control": st.sampled_from((0, 0, 0, 0, 0x04, 0xC0, 0x01)),
}

ODD = (
    "", "", "", "", "", "", "", "", "immediate", "attr", "more", "less", "no data", "wrong way", "lun 2",
    "flat lun", "no lun", "early", "old", "same tag", "no tag", "reserved bits", "ahs", "F=0",
    "long cdb tail", "corrupt", "beyond the limit",
)  # fmt: skip


PLAIN = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(("read 10", "read 16", "write 10", "write 16")),
        "cdb": st.fixed_dictionaries(
            {
                "lba": st.integers(0, BLOCKS - 1),
                "blocks": st.sampled_from((1, 1, 1, 2, 3, 4)),
                "flags": st.sampled_from((0, 0, 0x10)),
                "group": st.sampled_from((0, 0x1F)),
                "control": st.just(0),
            }
        ),
        "odd": st.just(""),
        "seed": st.integers(0, 255),
    }
)


@st.composite
def steps(draw: st.DrawFn) -> dict[str, Any] | str:
    """A plain command, or one with something odd about it, or a change of state or the end of all."""
    which = draw(st.integers(0, 9))
    if which < 6:
        return draw(PLAIN)
    if which < 8:
        return draw(odd_commands())
    return "all well" if which < 9 else draw(st.sampled_from(CHANGES))


@st.composite
def odd_commands(draw: st.DrawFn) -> dict[str, Any]:
    """A READ or WRITE with something odd about it, or another command."""
    return {
        "kind": draw(st.sampled_from(("read 10", "read 16", "write 10", "write 16", "other"))),
        "cdb": {name: draw(values) for name, values in CDB_FIELDS.items()},
        "odd": draw(st.sampled_from(ODD)),
        "seed": draw(st.integers(0, 255)),
    }


def wire(twins: Twins, spec: dict[str, Any], number: int, before: int) -> bytes:
    """The bytes of a command, as the host would send it now, `before` others having been sent already."""
    host = twins.hosts[0]
    odd, cdb, kind = spec["odd"], spec["cdb"], spec["kind"]
    make = {
        "read 10": read_10,
        "read 16": read_16,
        "write 10": write_10,
        "write 16": write_16,
    }.get(kind)
    if make is None:
        content, text = b"", (TEST_UNIT_READY, SYNCHRONIZE_CACHE)[spec["seed"] & 1]
        length, write = 0, False
    else:
        text = make(**cdb)
        write = kind.startswith("write")
        length = cdb["blocks"] * 512 + {"more": 512, "less": -512}.get(odd, 0)
        length = max(0, length)
        content = data(length, spec["seed"]) if write and odd != "no data" else b""
    if odd == "wrong way":
        write, content = not write, b""
    pdu = host.make.scsi_command(
        lun={"lun 2": OTHER_LUN, "flat lun": FLAT_LUN, "no lun": 77}.get(odd, LUN),
        itt={"same tag": 0x1000, "no tag": NO_TAG}.get(odd, 0x1000 + number),
        immediate=int(odd == "immediate"),
        attr=spec["seed"] & 7 if odd == "attr" else spec["seed"] & 1,
        read=int(not write and length > 0),
        write=int(write and length > 0),
        final=int(odd != "F=0" or not write),
        expected_data_transfer_length=length,
        cmd_sn=(host.session.exp_cmd_sn + before + {"early": 3, "old": -1}.get(odd, 0)) & NO_TAG,
        cdb=text.ljust(16, b"\xff" if odd == "long cdb tail" else b"\0"),
    )
    parameters = host.session.parameters
    limit = parameters.first_burst_length if parameters.immediate_data else 0
    if len(content) > limit and odd != "beyond the limit":
        content = content[:limit]
    ahs = b"\0\x05\x01\0" + bytes(4) if odd == "ahs" else b""
    stream = bytearray(
        assemble(
            pdu, content, ahs, header_digest=parameters.header_digest, data_digest=parameters.data_digest
        )
    )
    if odd == "reserved bits" and not parameters.header_digest:
        stream[0] |= 0x80
        stream[1] |= 0x18
        stream[3] = 0xFF
    if odd == "corrupt" and len(content) and parameters.data_digest:
        stream[-1] ^= 1
    return bytes(stream)


KEYS = st.fixed_dictionaries(
    {
        "HeaderDigest": st.sampled_from(("None", "CRC32C")),
        "DataDigest": st.sampled_from(("None", "CRC32C")),
        "ImmediateData": st.sampled_from(("Yes", "Yes", "No")),
        "MaxRecvDataSegmentLength": st.sampled_from(("512", "1021", "8192", "262144")),
        "MaxBurstLength": st.sampled_from(("512", "2050", "262144")),
        "FirstBurstLength": st.sampled_from(("512", "4096", "65536")),
    }
)


@pytest.mark.conformance("CMD-012", "RES-001", "CSN-001", "STS-001", "RDF-011", "SEC-011")
@settings(max_examples=120, suppress_health_check=list(HealthCheck))
@given(
    keys=KEYS,
    cmd_sn=st.sampled_from((1, 0xFFFFFFFA)),
    script=st.lists(steps(), max_size=40),
    batch=st.integers(1, 4),
)
@example(
    keys={"HeaderDigest": "None", "DataDigest": "None"},
    cmd_sn=1,
    script=[
        {
            "kind": kind,
            "cdb": {"lba": 1, "blocks": 1, "flags": 0, "group": 0x20, "control": 0},
            "odd": "",
            "seed": 0,
        }
        for kind in ("read 10", "read 16", "write 10", "write 16")
    ],
    batch=1,
)
def test_nobody_can_tell_whether_the_short_cut_was_taken(
    keys: dict[str, str], cmd_sn: int, script: list[Any], batch: int
) -> None:
    twins = Twins(keys, cmd_sn)
    waiting: list[bytes] = []
    for number, step in enumerate(script):
        if twins.hosts[0].closed:
            break
        if isinstance(step, str):
            twins.change(step)
            continue
        waiting.append(wire(twins, step, number, len(waiting)))
        if len(waiting) >= batch:
            twins.send(b"".join(waiting))
            waiting.clear()
    twins.send(b"".join(waiting))
    twins.close()


KINDS = ("read 10", "read 16", "write 10", "write 16")
ODD_FIELDS = {
    "lba": (BLOCKS - 1, BLOCKS, BLOCKS + 1, 1 << 31),
    "blocks": (0, 2, BLOCKS, BLOCKS + 1),
    "flags": tuple(1 << bit for bit in range(8)),
    "group": tuple(1 << bit for bit in range(8)),
    "control": tuple(1 << bit for bit in range(8)),
}
DIGESTS = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}


def plain(kind: str, **changes: Any) -> dict[str, Any]:
    """A plain command, but for what is changed."""
    cdb = {"lba": 1, "blocks": 1, "flags": 0, "group": 0, "control": 0}
    return {"kind": kind, "cdb": cdb | changes, "odd": "", "seed": 1}


def one_odd_thing(kind: str) -> list[dict[str, Any]]:
    """Every way in which one thing alone makes a command less than plain."""
    specs = [plain(kind, **{name: value}) for name, values in ODD_FIELDS.items() for value in values]
    for odd in ODD:
        specs += [plain(kind, blocks=blocks) | {"odd": odd} for blocks in (1, 4)]
    specs += [plain(kind) | {"odd": "attr", "seed": seed} for seed in range(8)]
    return specs


@pytest.mark.conformance("CMD-007", "CMD-012", "CSN-019", "RES-001")
@pytest.mark.parametrize("keys", [{}, {"ImmediateData": "No"}, {"FirstBurstLength": "512"}, DIGESTS])
@pytest.mark.parametrize("kind", KINDS)
def test_one_odd_thing_is_seen_by_the_short_cut(kind: str, keys: dict[str, str]) -> None:
    twins = Twins(keys)
    for number, spec in enumerate(one_odd_thing(kind)):
        twins.send(wire(twins, spec, number, 0))
        if twins.hosts[0].closed or twins.hosts[0].session.held:
            twins.close()
            twins = Twins(keys)
    twins.close()


@pytest.mark.conformance("SEC-011", "RES-001")
@pytest.mark.parametrize("change", CHANGES)
def test_one_change_of_state_is_seen_by_the_short_cut(change: str) -> None:
    twins = Twins({})
    number = 0
    for kind in KINDS:
        for lba in (1, BLOCKS // 2, BLOCKS - 1):
            twins.change("all well")
            twins.send(wire(twins, plain(kind, lba=lba), number, 0))
            twins.change(change)
            for _ in range(3):
                number += 1
                twins.send(wire(twins, plain(kind, lba=lba), number, 0))
    twins.close()


@pytest.mark.conformance("CSN-019", "RJT-002")
@pytest.mark.parametrize("write", [False, True])
def test_a_tag_in_use_is_seen_by_the_short_cut(make_world: MakeWorld, write: bool) -> None:
    world = make_world(fast=True)
    gate = world.store.close_gate()
    host = world.host()
    live = host.make.scsi_command(lun=LUN, read=1, expected_data_transfer_length=512, cdb=read_10(0, 1))
    assert host.say(live) == []
    gate.arrived(1)
    world.store.at_once = True
    content = data(512) if write else b""
    again = host.make.scsi_command(
        lun=LUN,
        itt=live.itt,
        read=int(not write),
        write=int(write),
        expected_data_transfer_length=512,
        cdb=(write_10 if write else read_10)(9, 1),
    )
    assert reject_of(host.say(again, content)).reason == RejectReason.TASK_IN_PROGRESS
    assert not any(world.store.content)


@pytest.mark.conformance("CSN-001", "STS-001")
@pytest.mark.parametrize("kind", ["read", "write", "mixed"])
def test_a_long_run_of_plain_commands_is_taken_by_the_short_cut(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    taken = Taken(monkeypatch)
    twins = Twins({}, cmd_sn=0xFFFFFFF0)
    host = twins.hosts[0]
    stream = b""
    for number in range(64):
        write = kind == "write" or (kind == "mixed" and number % 2)
        cdb = (write_10 if write else read_10)(number % BLOCKS, 1)
        pdu = host.make.scsi_command(
            lun=LUN,
            itt=number,
            read=int(not write),
            write=int(write),
            expected_data_transfer_length=512,
            cmd_sn=(0xFFFFFFF0 + number) & NO_TAG,
            cdb=cdb,
        )
        stream += assemble(pdu, data(512, number) if write else b"")
    twins.send(stream)
    assert taken.bytes == len(stream)
    assert host.session.exp_cmd_sn == 48
    twins.close()


@pytest.mark.conformance("WRT-007", "TMF-023")
def test_a_write_that_waits_in_the_lane_is_not_overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read is in the lane, a write of the same block waits for it: the next write may not be quicker."""
    taken = Taken(monkeypatch)
    twins = Twins({})
    world, host = twins.worlds[0], twins.hosts[0]
    world.hosts.append(host)
    gate = world.store.close_gate()
    host.command(LUN, read_10(0, 1), read_length=512)
    gate.arrived(1)
    first = host.command(LUN, write_10(0, 1), data_out=data(512, 1))
    world.store.at_once = True
    second = host.command(LUN, write_10(0, 1), data_out=data(512, 2))
    assert taken.bytes == 0
    world.store.open_gate()
    world.settle()
    assert host.done(first).status == host.done(second).status == 0
    assert world.store.content[:512] == data(512, 2), "in the order in which they came"
    host.command(LUN, write_10(0, 1), data_out=data(512, 3))
    assert taken.bytes == 560, "and the short cut is open again"
    twins.close()


@pytest.mark.conformance("RDF-001", "RDF-002")
def test_small_segments_in_odd_bursts_do_not_run_over_the_buffer(make_world: MakeWorld) -> None:
    """MaxBurstLength a little above the segment size: twice as many headers as the data alone would need."""
    world = make_world(fast=True)
    content = world.store.pattern()
    host = world.host(keys={"MaxRecvDataSegmentLength": "512", "MaxBurstLength": "516"})
    for lba, blocks in enumerate((*[64] * 15, 56, 64, 1, 1)):  # the third last does not quite fit
        host.machine.command(LUN, read_10(lba, blocks), read_length=blocks * 512)
    host.run()
    reads = [event for event in host.events if isinstance(event, CommandDone)]
    assert len(reads) == 19
    for lba, done in enumerate(reads):
        assert done.data == content[lba * 512 :][: len(done.data)]
