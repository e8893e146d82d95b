"""EXTENDED COPY moves blocks between the disks that a host reaches, or says what was wrong and moves none."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from copy_host import SECOND_NAA, THIRD_NAA, CopyHost
from scsi_initiator import CONTROLLER_A, NAA, parse_sense

from mpxtarget.scsi.codes import AccessState
from mpxtarget.scsi.copy import extended
from mpxtarget.scsi.copy.access import disk_by_naa
from mpxtarget.scsi.logical_unit import Disk
from mpxtarget.scsi.nexus import ITNexus
from mpxtarget.scsi.plan import Extent, WorkOnBlocks
from mpxtarget.scsi.sanitize import Progress
from support.copies import (
    EXTENDED_COPY_LID1,
    EXTENDED_COPY_LID4,
    NO_LIST_IDENTIFIER,
    copy_out,
    cscd,
    lid1,
    lid4,
    segment,
)

ONE, TWO, THREE = cscd(NAA), cscd(SECOND_NAA), cscd(THIRD_NAA)
UNKNOWN = cscd(bytes.fromhex("600508b40006d7da0001a000ffff0000"))
COPY_ABORTED = 0xA


@pytest.fixture
def host() -> CopyHost:
    return CopyHost()


def request(cscds: bytes, segments: bytes, action: int = EXTENDED_COPY_LID1) -> tuple[bytes, bytes]:
    """CDB and parameter list."""
    data = lid1(cscds, segments) if action == EXTENDED_COPY_LID1 else lid4(cscds, segments)
    return copy_out(action, len(data)), data


@pytest.mark.conformance("XCP-001", "OPC-001")
@pytest.mark.parametrize("action", [EXTENDED_COPY_LID1, EXTENDED_COPY_LID4])
def test_blocks_arrive_on_the_other_disk(host: CopyHost, action: int) -> None:
    before, kept = host.blocks(1, 100, 50), host.blocks(2, 0, 7)
    host.good(*request(ONE + TWO, segment(50, 100, 7), action))
    assert host.blocks(2, 7, 50) == before == host.blocks(1, 100, 50)
    assert host.blocks(2, 0, 7) == kept


@pytest.mark.conformance("XCP-001")
def test_any_disk_may_be_asked(host: CopyHost) -> None:
    before = host.blocks(2, 0, 8)
    host.good(*request(TWO + ONE, segment(8, 0, 0)), lun=3)
    assert host.blocks(1, 0, 8) == before


@pytest.mark.conformance("XCP-001")
def test_segments_are_done_in_their_order(host: CopyHost) -> None:
    before = host.blocks(1, 0, 4)
    segments = segment(4, 0, 10) + segment(4, 10, 20, source=1, destination=0)
    host.good(*request(ONE + TWO, segments))
    assert host.blocks(2, 10, 4) == before == host.blocks(1, 20, 4)


@pytest.mark.conformance("XCP-001")
@pytest.mark.parametrize(("source", "destination"), [(0, 100), (100, 0), (0, 2000), (2000, 0), (5, 5)])
def test_ranges_of_one_disk_may_overlap(host: CopyHost, source: int, destination: int) -> None:
    before = host.blocks(1, source, 2095)
    host.good(*request(ONE, segment(2095, source, destination, destination=0)))
    assert host.blocks(1, destination, 2095) == before


@pytest.mark.conformance("XCP-001")
def test_this_logical_unit_needs_no_descriptor(host: CopyHost) -> None:
    before = host.blocks(1, 0, 4)
    host.good(*request(b"", segment(4, 0, 50, source=0xFFFF, destination=0xFFFF)))
    assert host.blocks(1, 50, 4) == before


@pytest.mark.conformance("XCP-001")
@pytest.mark.parametrize(("flags", "blocks"), [(0x00, 16), (0x02, 2)])
def test_dc_says_whose_blocks_are_counted(host: CopyHost, flags: int, blocks: int) -> None:
    before = host.blocks(1, 8, 16)
    host.good(*request(ONE + THREE, segment(blocks, 8, 3, flags=flags)))
    assert host.blocks(3, 3, 2) == before


@pytest.mark.conformance("XCP-002")
def test_a_segment_that_is_no_whole_number_of_blocks_is_refused(host: CopyHost) -> None:
    reply = host.send(*request(ONE + THREE, segment(8, 0, 0) + segment(9, 0, 0)))
    assert parse_sense(reply.sense).code == (COPY_ABORTED, 0x260A)
    assert reply.sense[10:12] == b"\0\1"


@pytest.mark.conformance("XCP-005")
def test_esxi_clones_in_segments_of_4_mib_and_more(host: CopyHost) -> None:
    host.disk(1).resize(1 << 16)
    host.disk(2).resize(1 << 16)
    host.media = {disk: type(medium)(disk) for disk, medium in host.media.items()}
    host.medium(1).content[:] = bytes(range(256)) * (len(host.medium(1).content) // 256)
    host.path.attentions(1), host.path.attentions(2)
    data = lid1(ONE + TWO, segment(8192, 0, 8192) + segment(32768, 8192, 16384), list_identifier=9)
    host.good(copy_out(EXTENDED_COPY_LID1, len(data)), data)
    assert host.blocks(2, 8192, 8192) == host.blocks(1, 0, 8192)
    assert host.blocks(2, 16384, 32768) == host.blocks(1, 8192, 32768)
    assert host.medium(1).longest == host.medium(2).longest == 1 << 20


@pytest.mark.conformance("XCP-002", "CDB-003")
@pytest.mark.parametrize("action", [EXTENDED_COPY_LID1, EXTENDED_COPY_LID4])
def test_no_parameter_list_and_no_segments_are_fine(host: CopyHost, action: int) -> None:
    host.good(copy_out(action, 0))
    host.good(*request(b"", b"", action))
    host.good(*request(ONE + TWO, b"", action))
    host.good(*request(ONE + TWO, segment(0, 5, 5), action))


@pytest.mark.conformance("XCP-002", "CDB-003")
@pytest.mark.parametrize(("action", "header"), [(EXTENDED_COPY_LID1, 16), (EXTENDED_COPY_LID4, 48)])
def test_lists_that_are_cut_short_are_refused(host: CopyHost, action: int, header: int) -> None:
    _, data = request(ONE + TWO, segment(1, 0, 0), action)
    before = host.blocks(2, 0, 1)
    for length in (1, header - 1, header, header + 31, header + 64, len(data) - 1):
        assert host.refused(copy_out(action, length), data).code == (5, 0x1A00), length
    assert host.blocks(2, 0, 1) == before


@pytest.mark.conformance("XCP-002")
@pytest.mark.parametrize("action", [EXTENDED_COPY_LID1, EXTENDED_COPY_LID4])
@pytest.mark.parametrize(
    ("cscds", "segments", "code"),
    [
        (33 * ONE, segment(1, 0, 0), 0x2606),
        (ONE, 65 * segment(1, 0, 0), 0x2608),
        (33 * ONE, 65 * segment(1, 0, 0), 0x1A00),
        (b"\xe0" + ONE[1:], segment(1, 0, 0), 0x2607),
        (ONE + b"\xff" + ONE[1:], segment(1, 0, 0), 0x2607),
        (ONE, b"\x00" + segment(1, 0, 0)[1:], 0x2609),
        (ONE, segment(1, 0, 0) + b"\x03" + segment(1, 0, 0)[1:], 0x2609),
        (ONE, b"\x14\0\0\x04" + bytes(4), 0x2609),
    ],
)
def test_too_many_and_unknown_descriptors_are_refused(
    host: CopyHost, action: int, cscds: bytes, segments: bytes, code: int
) -> None:
    assert host.refused(*request(cscds, segments, action)).code == (5, code)


@pytest.mark.conformance("XCP-002", "SNS-004")
@pytest.mark.parametrize(
    ("data", "byte", "bit"),
    [
        (lid1(ONE, b"", usage=1), 1, 4),
        (lid1(ONE, b"", usage=NO_LIST_IDENTIFIER), 0, None),
        (lid1(ONE[:31], b""), 2, None),
        (lid1(cscd(NAA, byte_1=0x40), b""), 17, 7),
        (lid1(ONE + cscd(NAA, byte_1=0xC0), b""), 49, 7),
        (lid1(ONE, segment(1, 0, 0)[:27]), 50, None),
        (lid1(ONE, b"\x02\0\0\x17" + segment(1, 0, 0)[4:]), 50, None),
        (lid1(cscd(NAA, block_length=4096), segment(1, 0, 0, destination=0)), 45, None),
    ],
)
def test_wrong_fields_of_a_lid1_list_are_pointed_at(
    host: CopyHost, data: bytes, byte: int, bit: int | None
) -> None:
    sense = host.refused(copy_out(EXTENDED_COPY_LID1, len(data)), data)
    assert sense.code == (5, 0x2600)
    assert sense.pointer == ("data", byte, bit)


@pytest.mark.conformance("XCP-002", "SNS-004")
@pytest.mark.parametrize(
    ("at", "value", "bit"),
    [(0, 0x02, None), (1, 0x08, 4), (3, 0x1F, None), (15, 0x02, 1), (16, 0x00, None)],
)
def test_wrong_fields_of_a_lid4_list_are_pointed_at(
    host: CopyHost, at: int, value: int, bit: int | None
) -> None:
    data = bytearray(lid4(ONE + TWO, segment(1, 0, 0)))
    data[at] = value
    sense = host.refused(copy_out(EXTENDED_COPY_LID4, len(data)), bytes(data))
    assert sense.code == (5, 0x2600)
    assert sense.pointer == ("data", at & ~1 if at == 3 else at, bit)


@pytest.mark.conformance("XCP-002")
def test_inline_data_is_not_taken(host: CopyHost) -> None:
    data = lid1(ONE, segment(1, 0, 0, destination=0), inline=bytes(8))
    assert host.refused(copy_out(EXTENDED_COPY_LID1, len(data)), data).code == (5, 0x260B)


@pytest.mark.conformance("XCP-002")
@pytest.mark.parametrize(
    ("cscds", "code", "field"),
    [
        (ONE, 0x0804, 6),
        (ONE + cscd(NAA, byte_1=0x20), 0x0804, 6),
        (ONE + UNKNOWN, 0x0D02, 6),
        (UNKNOWN + ONE, 0x0D02, 4),
        (ONE + cscd(NAA, kind=b"\x02\x03\0"), 0x0D02, 6),
        (ONE + cscd(NAA, kind=b"\x01\x13\0"), 0x0D02, 6),
        (ONE + cscd(NAA, kind=b"\x01\x02\0"), 0x0D02, 6),
        (ONE + cscd(NAA[:8]), 0x0D02, 6),
        (ONE + cscd(NAA, byte_1=0x01), 0x0D03, 6),
    ],
)
def test_a_disk_that_is_not_reached_aborts_the_copy(
    host: CopyHost, cscds: bytes, code: int, field: int
) -> None:
    before = host.blocks(1, 9, 1)
    segments = segment(1, 0, 9, source=0xFFFF, destination=0xFFFF) + segment(1, 0, 0)
    reply = host.send(*request(cscds, segments))
    assert parse_sense(reply.sense).code == (COPY_ABORTED, code)
    assert reply.sense[8:12] == b"\0\0\0\1", "the number of the segment"
    assert reply.sense[15:18] == bytes([0xA0, 0, field]), "a pointer into the segment descriptor"
    assert host.blocks(1, 9, 1) == before, "nothing is copied unless all can be"


@pytest.mark.conformance("XCP-002", "XCP-003")
def test_a_disk_that_is_not_mapped_for_the_host_is_not_reached(host: CopyHost) -> None:
    host.path.nexus.unmap(2)
    host.path.attentions(1)
    assert host.refused(*request(ONE + TWO, segment(1, 0, 0))).code == (COPY_ABORTED, 0x0D02)


@pytest.mark.conformance("XCP-002", "CDB-006")
@pytest.mark.parametrize(
    ("source", "destination", "field"),
    [(4095, 0, 12), (0, 4095, 20), ((1 << 64) - 1, 0, 12), (0, (1 << 64) - 1, 20)],
)
def test_blocks_that_do_not_exist_abort_the_copy(
    host: CopyHost, source: int, destination: int, field: int
) -> None:
    reply = host.send(*request(ONE + TWO, segment(2, source, destination)))
    assert parse_sense(reply.sense).code == (COPY_ABORTED, 0)
    assert reply.sense[15:18] == bytes([0xA0, 0, field])


@pytest.mark.conformance("XCP-003")
@pytest.mark.parametrize("writing", [False, True])
def test_a_reservation_of_another_host_holds_for_source_and_destination(
    host: CopyHost, writing: bool
) -> None:
    other = host.array.path("iqn.1994-05.com.redhat:host", port=2)
    other.send("16", lun=2)
    disks, held = (ONE + TWO, 2) if writing else (TWO + ONE, 1)
    reply = host.send(*request(disks, segment(1, 0, 0)))
    assert parse_sense(reply.sense).code == (COPY_ABORTED, 0x0D01)
    assert reply.sense[8:10] == (b"\0\x12" if writing else b"\x12\0"), "where in the sense data its status is"
    assert reply.sense[18:] == b"\x18", "RESERVATION CONFLICT"
    host.good(*request(disks, segment(1, 0, 0)), lun=2, path=other)
    assert host.blocks(held, 0, 1) == host.blocks(3 - held, 0, 1)


@pytest.mark.conformance("XCP-003", "OPC-001", "OPC-003")
def test_a_reservation_holds_for_the_disk_that_is_asked(host: CopyHost) -> None:
    other = host.array.path("iqn.1994-05.com.redhat:host", port=2)
    other.send("16", lun=1)
    assert host.path.plan(request(ONE + TWO, segment(1, 0, 0))[0].hex()).status == 0x18  # type: ignore[union-attr]


@pytest.mark.conformance("XCP-003", "SBC-006")
def test_a_write_protected_disk_is_read_and_not_written(host: CopyHost) -> None:
    host.disk(2).set_read_only(True)
    host.path.attentions(2)
    reply = host.send(*request(ONE + TWO, segment(1, 0, 0)))
    assert parse_sense(reply.sense).code == (COPY_ABORTED, 0x0D01)
    assert parse_sense(reply.sense[19:]).code == (7, 0x2700)
    host.good(*request(TWO + ONE, segment(1, 0, 0)))


@pytest.mark.conformance("XCP-003", "ALU-005")
def test_a_disk_without_active_access_neither_gives_nor_takes(host: CopyHost) -> None:
    host.disk(2).limit_access(CONTROLLER_A, AccessState.UNAVAILABLE)
    host.path.attentions(1)
    for disks in (ONE + TWO, TWO + ONE):
        reply = host.send(*request(disks, segment(1, 0, 0)))
        assert parse_sense(reply.sense).code == (COPY_ABORTED, 0x0D01)
        assert parse_sense(reply.sense[19:]).code == (2, 0x040C)


@pytest.mark.conformance("XCP-003")
def test_a_stopped_disk_neither_gives_nor_takes(host: CopyHost) -> None:
    host.disk(2).stop()
    for disks in (ONE + TWO, TWO + ONE):
        assert parse_sense(host.send(*request(disks, segment(1, 0, 0))).sense[19:]).code == (2, 0x0402)


@pytest.mark.conformance("XCP-003", "SBC-019")
@pytest.mark.parametrize("going_on", [True, False])
def test_a_disk_that_is_not_sanitized_neither_gives_nor_takes(host: CopyHost, going_on: bool) -> None:
    host.disk(2).begin_sanitize(Progress(1), may_exit=False)
    if not going_on:
        host.disk(2).end_sanitize(succeeded=False)
    code = (2, 0x041B) if going_on else (3, 0x3103)
    for disks in (ONE + TWO, TWO + ONE):
        assert parse_sense(host.send(*request(disks, segment(1, 0, 0))).sense[19:]).code == code
    host.disk(2).end_sanitize(succeeded=True)
    host.good(*request(ONE + TWO, segment(1, 0, 0)))


@pytest.mark.conformance("XCP-002", "SBC-023")
@pytest.mark.parametrize("descriptor", [False, True])
@pytest.mark.parametrize(("bad", "code"), [(1, (3, 0x1100)), (2, (3, 0x0C00))])
def test_a_disk_that_fails_aborts_the_copy_and_is_quoted(
    host: CopyHost, bad: int, code: tuple[int, int], descriptor: bool
) -> None:
    host.disk(1).select_mode(replace(host.disk(1).mode, descriptor_sense=descriptor), host.path.nexus)
    host.medium(bad).bad = 3000 * 512
    reply = host.send(*request(ONE + TWO, segment(8, 0, 0) + segment(2500, 1000, 1000)))
    assert parse_sense(reply.sense).code == (COPY_ABORTED, 0x0D01)
    assert host.blocks(2, 0, 8) == host.blocks(1, 0, 8), "the segment before is done"
    writing = bad == 2
    if descriptor:
        assert reply.sense[8:20] == bytes.fromhex("01 0A 0000 0000000000000001")
        forwarded = reply.sense[20:]
        assert forwarded[:4] == bytes((0x0C, len(forwarded) - 2, 2 if writing else 1, 2))
        quoted = parse_sense(forwarded[4:])
    else:
        assert reply.sense[8:12] == struct.pack(">BBH", *((0, 18) if writing else (18, 0)), 1)
        assert reply.sense[18] == 2
        quoted = parse_sense(reply.sense[19:])
    assert quoted.code == code
    assert quoted.information == 1000, "where the copy had come to"


@pytest.mark.conformance("XCP-001", "SBC-009")
@pytest.mark.parametrize("cache", [False, True])
def test_a_copy_to_a_disk_without_write_cache_is_durable(host: CopyHost, cache: bool) -> None:
    if not cache:
        host.path.send("15 10 00 00 18", 2, bytes(4) + b"\x08\x12" + bytes(18))
        assert not host.disk(2).mode.write_cache_enable
    host.good(*request(ONE + TWO, segment(1, 0, 0) + segment(1, 0, 1)))
    assert host.medium(2).flushes == (0 if cache else 1)


@pytest.mark.conformance("XCP-001", "SAM-009")
def test_a_copy_claims_what_it_reads_and_writes(host: CopyHost) -> None:
    plan = host.plan(*request(ONE + TWO, segment(4, 8, 16)))
    assert isinstance(plan, WorkOnBlocks)
    assert set(plan.extents) == {
        Extent(host.disk(1), 8 * 512, 2048, writing=False),
        Extent(host.disk(2), 16 * 512, 2048, writing=True),
    }


def test_a_disk_is_looked_for_once_however_many_segments_name_it(
    host: CopyHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def look(nexus: ITNexus, designator: bytes) -> Disk | None:
        asked.append(designator)
        return disk_by_naa(nexus, designator)

    monkeypatch.setattr(extended, "disk_by_naa", look)
    host.good(*request(ONE + TWO, b"".join(segment(1, lba, lba) for lba in range(64))))
    assert len(asked) == 2
    assert host.blocks(2, 0, 64) == host.blocks(1, 0, 64)
