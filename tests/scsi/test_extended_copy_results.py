"""What can be asked about copies: by whom, for how long, and what is answered."""

from __future__ import annotations

import pytest
from copy_host import SECOND_NAA, CopyHost
from scsi_initiator import NAA, parse_sense

from mpxtarget.scsi.plan import Reply, WorkOnBlocks
from support.copies import (
    DISCARD,
    EXTENDED_COPY_LID1,
    EXTENDED_COPY_LID4,
    HOLD,
    NO_LIST_IDENTIFIER,
    copy_abort,
    copy_in_lid1,
    copy_in_lid4,
    copy_out,
    cscd,
    lid1,
    lid4,
    segment,
)

STATUS_LID1, COPY_DATA, OPERATING_PARAMETERS, FAILURE_DETAILS, STATUS_LID4 = 0, 1, 3, 4, 5
BOTH = cscd(NAA) + cscd(SECOND_NAA)
IMMED = 0x01


@pytest.fixture
def host() -> CopyHost:
    return CopyHost()


def start(
    host: CopyHost, *, list_identifier: int = 1, usage: int = HOLD, blocks: int = 4, lun: int = 1
) -> WorkOnBlocks:
    """Begin a copy, and leave it under way."""
    data = lid1(BOTH, segment(blocks, 0, 0), list_identifier=list_identifier, usage=usage)
    plan = host.plan(copy_out(EXTENDED_COPY_LID1, len(data)), data, lun)
    assert isinstance(plan, WorkOnBlocks), plan
    return plan


@pytest.mark.conformance("XCP-004")
def test_status_of_a_copy_under_way_and_over(host: CopyHost) -> None:
    plan = start(host)
    assert host.good(copy_in_lid1(STATUS_LID1, 1)) == bytes.fromhex("00000008 00 0000 00 00000000")
    assert host.status(1).status == 0x11
    host.carry_out(plan)
    assert host.good(copy_in_lid1(STATUS_LID1, 1)) == bytes.fromhex("00000008 01 0001 00 00000800")
    assert host.refused(copy_in_lid1(STATUS_LID1, 1)).code == (5, 0x2400), "it is told once"
    status = host.status(1)
    assert (status.service_action, status.status, status.completion) == (EXTENDED_COPY_LID1, 0x01, 0)
    assert (status.units, status.count, status.segments, status.sense) == (0, 2048, 1, b"")


@pytest.mark.conformance("XCP-004")
def test_status_of_a_copy_that_failed(host: CopyHost) -> None:
    plan = start(host)
    host.medium(2).bad = 0
    reply = host.carry_out(plan)
    assert host.good(copy_in_lid1(STATUS_LID1, 1)) == bytes.fromhex("00000008 02 0001 00 00000000")
    status = host.status(1)
    assert (status.status, status.completion, status.sense) == (0x02, 0x02, reply.sense)
    details = host.good(copy_in_lid1(FAILURE_DETAILS, 1))
    assert int.from_bytes(details[:4], "big") == len(details) - 4
    assert details[56:60] == bytes([0x02, 0]) + len(reply.sense).to_bytes(2, "big")
    assert details[60:] == reply.sense
    assert host.good(copy_in_lid1(FAILURE_DETAILS, 1)) == bytes(4), "they are told once"


@pytest.mark.conformance("XCP-004")
def test_a_list_that_was_refused_has_a_status_too(host: CopyHost) -> None:
    data = lid1(BOTH, segment(1, 0, 0) + segment(1, 0, 5000), list_identifier=3)
    sense = host.send(copy_out(EXTENDED_COPY_LID1, len(data)), data).sense
    assert host.status(3).sense == sense


@pytest.mark.conformance("XCP-004")
def test_no_failure_details_and_no_data_of_a_copy_that_went_well(host: CopyHost) -> None:
    host.carry_out(start(host))
    assert host.good(copy_in_lid1(FAILURE_DETAILS, 1)) == bytes(4)
    assert host.good(copy_in_lid1(COPY_DATA, 1)) == bytes(4)


@pytest.mark.conformance("XCP-004")
@pytest.mark.parametrize("action", [FAILURE_DETAILS, COPY_DATA])
def test_what_is_told_at_the_end_is_not_told_before(host: CopyHost, action: int) -> None:
    start(host)
    sense = host.refused(copy_in_lid1(action, 1))
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 2, None)


@pytest.mark.conformance("XCP-004", "OPC-001")
@pytest.mark.parametrize("cdb", [
    copy_in_lid1(STATUS_LID1, 9), copy_in_lid1(COPY_DATA, 9), copy_in_lid1(FAILURE_DETAILS, 9),
    copy_in_lid4(STATUS_LID4, 9), copy_in_lid4(0x07, 9), copy_abort(9),
])  # fmt: skip
def test_an_unknown_list_identifier_is_an_invalid_field(host: CopyHost, cdb: bytes) -> None:
    host.carry_out(start(host))
    sense = host.refused(cdb)
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 2, None)


@pytest.mark.conformance("XCP-004", "NAM-004")
def test_list_identifiers_are_those_of_a_nexus_and_a_disk(host: CopyHost) -> None:
    host.carry_out(start(host))
    other = host.array.path("iqn.1994-05.com.redhat:host", port=2)
    same_host = host.array.path(port=2)
    for path in (other, same_host):
        assert host.refused(copy_in_lid1(STATUS_LID1, 1), path=path).code == (5, 0x2400)
    assert host.refused(copy_in_lid1(STATUS_LID1, 1), lun=2).code == (5, 0x2400)


@pytest.mark.conformance("XCP-004")
def test_a_list_identifier_in_use_is_refused_and_one_that_is_over_taken_again(host: CopyHost) -> None:
    plan = start(host)
    data = lid1(BOTH, segment(1, 0, 0))
    assert host.refused(copy_out(EXTENDED_COPY_LID1, len(data)), data).code == (5, 0x0016)
    host.carry_out(plan)
    host.good(copy_out(EXTENDED_COPY_LID1, len(data)), data)
    assert host.status(1).count == 512


@pytest.mark.conformance("XCP-004")
def test_copies_without_a_list_identifier_cannot_be_asked_for(host: CopyHost) -> None:
    first = start(host, list_identifier=0, usage=NO_LIST_IDENTIFIER)
    second = start(host, list_identifier=0, usage=NO_LIST_IDENTIFIER)
    assert host.refused(copy_in_lid1(STATUS_LID1, 0)).code == (5, 0x2400)
    assert host.carry_out(first).status == host.carry_out(second).status == 0
    host.carry_out(start(host, list_identifier=0, usage=DISCARD))
    host.good(copy_in_lid1(STATUS_LID1, 0))


@pytest.mark.conformance("XCP-001")
def test_a_lid4_copy_in_the_background_is_polled(host: CopyHost) -> None:
    before = host.blocks(1, 0, 8)
    data = lid4(BOTH, segment(8, 0, 0), list_identifier=0xCAFE0001, byte_15=IMMED)
    plan = host.plan(copy_out(EXTENDED_COPY_LID4, len(data)), data)
    assert isinstance(plan, WorkOnBlocks)
    assert plan.immediate
    assert host.status(0xCAFE0001).status == 0x12
    host.carry_out(plan)
    status = host.status(0xCAFE0001)
    assert (status.service_action, status.status, status.count) == (EXTENDED_COPY_LID4, 0x01, 4096)
    assert host.blocks(2, 0, 8) == before


@pytest.mark.conformance("XCP-004")
def test_an_aborted_copy_stops_between_two_pieces(host: CopyHost) -> None:
    for lun in (1, 2):
        assert len(host.medium(lun).content) == 4 * (1 << 19)
    plan = start(host, blocks=4096)
    write = host.medium(2).write

    def abort_then_write(offset: int, data: bytes | memoryview) -> None:
        host.good(copy_abort(1))
        write(offset, data)

    host.medium(2).write = abort_then_write  # type: ignore[method-assign]
    assert parse_sense(host.carry_out(plan).sense).code == (0xA, 0x2F02)
    status = host.status(1)
    assert (status.status, status.completion, status.sense) == (0x60, 0x40, b"")
    assert status.count == 1 << 20
    assert host.good(copy_in_lid1(STATUS_LID1, 1))[4] == 0x02
    assert host.blocks(2, 0, 2048) == host.blocks(1, 0, 2048)
    assert host.blocks(2, 2048, 2048) != host.blocks(1, 2048, 2048)


@pytest.mark.conformance("XCP-004")
def test_a_copy_that_is_over_cannot_be_aborted(host: CopyHost) -> None:
    host.carry_out(start(host))
    assert host.refused(copy_abort(1)).code == (5, 0x2400)
    assert host.status(1).status == 0x01


@pytest.mark.conformance("XCP-004")
def test_an_abort_that_comes_too_late_changes_nothing(host: CopyHost) -> None:
    plan = start(host)
    reply = plan.work(host.media)
    host.good(copy_abort(1))
    assert plan.finished(reply) == Reply(0)
    assert host.status(1).status == 0x01


@pytest.mark.conformance("XCP-004")
def test_failure_details_are_those_of_lid1_copies(host: CopyHost) -> None:
    data = lid4(BOTH, segment(1, 0, 5000))
    host.refused(copy_out(EXTENDED_COPY_LID4, len(data)), data)
    assert host.refused(copy_in_lid1(FAILURE_DETAILS, 1)).code == (5, 0x2400)


@pytest.mark.conformance("XCP-004", "TMF-014")
def test_a_reset_ends_copies(host: CopyHost) -> None:
    plan = start(host)
    before = host.blocks(2, 0, 4)
    host.disk(1).reset()
    host.path.attentions(1)
    assert parse_sense(host.carry_out(plan).sense).code == (0xA, 0x2F02)
    assert host.blocks(2, 0, 4) == before
    assert host.refused(copy_in_lid1(STATUS_LID1, 1)).code == (5, 0x2400)


@pytest.mark.conformance("XCP-004")
def test_a_copy_in_the_background_outlasts_its_nexus(host: CopyHost) -> None:
    before = host.blocks(1, 0, 8)
    data = lid4(BOTH, segment(8, 0, 0), byte_15=IMMED)
    plan = host.plan(copy_out(EXTENDED_COPY_LID4, len(data)), data)
    host.path.nexus.lose()
    host.carry_out(plan)
    assert host.blocks(2, 0, 8) == before


def test_a_copy_whose_command_was_aborted_is_terminated(host: CopyHost) -> None:
    plan = start(host)
    assert plan.finished(None) is None
    assert host.status(1).status == 0x60


@pytest.mark.conformance("XCP-001", "XCP-004")
def test_operating_parameters_tell_the_limits(host: CopyHost) -> None:
    data = host.good(copy_in_lid1(OPERATING_PARAMETERS))
    assert int.from_bytes(data[:4], "big") == len(data) - 4 == 42
    assert data[4] == 0x01, "SNLID: LIST ID USAGE 11b is supported"
    assert data[8:16] == bytes.fromhex("0020 0040 00000B00")
    assert data[16:20] == (32 << 20).to_bytes(4, "big")
    assert data[20:32] == bytes(12), "no inline data, no held data, no streams"
    assert data[34:37] == bytes.fromhex("0020 20")
    assert data[43:] == bytes.fromhex("02 02 E4")


@pytest.mark.conformance("XCP-004", "CDB-002")
@pytest.mark.parametrize("length", [0, 3, 11, 44])
def test_results_are_cut_to_the_allocation_length(host: CopyHost, length: int) -> None:
    start(host)
    for cdb, short in (
        (copy_in_lid1(STATUS_LID1, 1), copy_in_lid1(STATUS_LID1, 1, length)),
        (copy_in_lid1(OPERATING_PARAMETERS), copy_in_lid1(OPERATING_PARAMETERS, 0, length)),
        (copy_in_lid4(STATUS_LID4, 1), copy_in_lid4(STATUS_LID4, 1, length)),
    ):
        assert host.good(short) == host.good(cdb)[:length]


def test_copies_under_way_and_what_is_remembered_are_bounded(host: CopyHost) -> None:
    for list_identifier in range(32):
        start(host, list_identifier=list_identifier)
    data = lid1(BOTH, segment(1, 0, 0), list_identifier=99)
    assert host.refused(copy_out(EXTENDED_COPY_LID1, len(data)), data).code == (5, 0x5503)
    fresh = CopyHost()
    for list_identifier in range(100):
        fresh.carry_out(start(fresh, list_identifier=list_identifier))
    assert parse_sense(fresh.send(copy_in_lid1(STATUS_LID1, 35)).sense).code == (5, 0x2400)
    assert all(fresh.good(copy_in_lid1(STATUS_LID1, known)) for known in range(36, 100))
