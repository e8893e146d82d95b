"""A ROD token stands for blocks as they were, for as long as they are so; whoever has it may write them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from copy_host import CopyHost
from scsi_initiator import NAA, parse_sense

from mpxtarget.scsi.plan import Extent, WorkOnBlocks
from mpxtarget.scsi.sense import CheckCondition
from support.copies import (
    POINT_IN_TIME_CHANGE_VULNERABLE,
    POPULATE_TOKEN,
    WRITE_USING_TOKEN,
    ZERO_TOKEN,
    Status,
    copy_abort,
    copy_in_lid1,
    copy_in_lid4,
    copy_out,
    cscd,
    lid1,
    populate,
    ranges,
    segment,
    write_using,
)

TOKEN_INFORMATION, ALL_TOKENS = 0x07, 0x08
IMMED, RTV, DEL_TKN = 0x01, 0x02, 0x02
UNKNOWN, CORRUPT, EXPIRED, CANCELLED, DELETED, WRONG_LENGTH = 0x2304, 0x2305, 0x2307, 0x2308, 0x2309, 0x230A
UNSUPPORTED_TYPE, NOT_REPORTABLE, NO_RESOURCES = 0x2301, 0x2300, 0x550D


@pytest.fixture
def host() -> CopyHost:
    return CopyHost()


def token_of(host: CopyHost, *pairs: tuple[int, int], lun: int = 1, timeout: int = 0) -> bytes:
    """POPULATE TOKEN, and the token."""
    data = populate(*pairs, timeout=timeout)
    host.good(copy_out(POPULATE_TOKEN, len(data), 1), data, lun)
    (token,) = host.status(1, TOKEN_INFORMATION, lun).tokens
    return token


def using(token: bytes, *pairs: tuple[int, int], flags: int = 0, offset: int = 0) -> tuple[bytes, bytes]:
    """WRITE USING TOKEN: CDB and parameter list."""
    data = write_using(token, *pairs, flags=flags, offset=offset)
    return copy_out(WRITE_USING_TOKEN, len(data), 2), data


@pytest.mark.conformance("ODX-001", "OPC-001")
def test_blocks_go_by_token_from_disk_to_disk(host: CopyHost) -> None:
    before = host.blocks(1, 10, 3000) + host.blocks(1, 0, 5)
    token = token_of(host, (10, 3000), (0, 5))
    host.good(*using(token, (1000, 2), (7, 900), (2000, 2000)), lun=2)
    assert before.startswith(host.blocks(2, 1000, 2) + host.blocks(2, 7, 900) + host.blocks(2, 2000, 2000))
    status = host.status(2, TOKEN_INFORMATION, lun=2)
    assert status == Status(WRITE_USING_TOKEN, 0x01, 0, 0xF1, 2902, 0, b"", ())


@pytest.mark.conformance("ODX-001")
@pytest.mark.parametrize("offset", [0, 1, 4, 5, 12])
def test_offset_into_rod_counts_from_the_first_range(host: CopyHost, offset: int) -> None:
    before = host.blocks(1, 50, 5) + host.blocks(1, 20, 10)
    token = token_of(host, (50, 5), (99, 0), (20, 10))
    host.good(*using(token, (0, 3), offset=offset), lun=2)
    assert host.blocks(2, 0, 3) == before[offset * 512 :][: 3 * 512]


@pytest.mark.conformance("ODX-001")
def test_a_token_may_be_used_on_its_own_disk(host: CopyHost) -> None:
    before = host.blocks(1, 0, 2100)
    token = token_of(host, (0, 2100))
    host.good(*using(token, (100, 2000)))
    assert host.blocks(1, 100, 2000) == before[: 2000 * 512]


@pytest.mark.conformance("ODX-001")
def test_ranges_that_overwrite_each_others_sources_are_refused(host: CopyHost) -> None:
    token = token_of(host, (0, 10), (100, 10))
    assert host.refused(*using(token, (100, 10), (0, 10))).code == (5, 0x2600)


@pytest.mark.conformance("ODX-001", "ODX-003")
def test_what_a_token_looks_like(host: CopyHost) -> None:
    token = token_of(host, (10, 20), (100, 5))
    assert len(token) == 512
    assert int.from_bytes(token[:4], "big") == POINT_IN_TIME_CHANGE_VULNERABLE
    assert token[4:8] == bytes.fromhex("0000 01F8")
    assert token[16:48] == cscd(NAA, block_length=512)
    assert int.from_bytes(token[48:64], "big") == 25 * 512
    assert token[96:100] == (512).to_bytes(4, "big")
    name = host.array.device.name.encode() + b"\0"
    assert token[128:131] == bytes.fromhex("53 A8 00"), "a SCSI name string of the target device"
    assert token[131] % 4 == 0
    assert token[132:256] == name.ljust(124, b"\0")
    another = token_of(host, (10, 20))
    differing = sum((a ^ b).bit_count() for a, b in zip(token[256:], another[256:], strict=True))
    assert 800 < differing < 1250, "256 random bytes"


@pytest.mark.conformance("ODX-001")
def test_token_information_of_populate_token(host: CopyHost) -> None:
    data = populate((10, 20), (100, 5))
    host.good(copy_out(POPULATE_TOKEN, len(data), 1), data)
    without = Status(POPULATE_TOKEN, 0x01, 0, 0xF1, 25, 0, b"", ())
    assert host.status(1) == without
    whole = len(host.good(copy_in_lid4(TOKEN_INFORMATION, 1, 40)))
    assert whole == 40, "a host may ask how long it is first"
    status = host.status(1, TOKEN_INFORMATION)
    (token,) = status.tokens
    assert replace(status, tokens=()) == without
    assert host.status(1, TOKEN_INFORMATION) == without, "the token is told once"
    host.good(*using(token, (0, 25)), lun=2)


@pytest.mark.conformance("ODX-001")
def test_zeros_need_no_token_made(host: CopyHost) -> None:
    host.good(*using(ZERO_TOKEN, (5, 3000)), lun=2)
    assert host.blocks(2, 5, 3000) == bytes(3000 * 512)
    assert any(host.blocks(2, 4, 1)) and any(host.blocks(2, 3005, 1))


@pytest.mark.conformance("ODX-002")
@pytest.mark.parametrize(
    ("start", "end", "cancelled"),
    [
        (0, 10, False),
        (10, 11, True),
        (9, 10, False),
        (29, 30, True),
        (30, 99, False),
        (99, 101, True),
        (0, 4096, True),
    ],
)
def test_a_change_of_its_blocks_cancels_a_token(
    host: CopyHost, start: int, end: int, cancelled: bool
) -> None:
    token = token_of(host, (100, 1), (10, 20))
    host.disk(1).changing(start * 512, end * 512)
    if cancelled:
        assert host.refused(*using(token, (0, 1)), lun=2).code == (5, CANCELLED)
    else:
        host.good(*using(token, (0, 1)), lun=2)


@pytest.mark.conformance("ODX-001", "ODX-002")
def test_a_change_that_begins_before_the_token_is_told_cancels_it(host: CopyHost) -> None:
    data = populate((0, 8))
    plan = host.plan(copy_out(POPULATE_TOKEN, len(data), 1), data)
    assert isinstance(plan, WorkOnBlocks)
    assert plan.extents == (Extent(host.disk(1), 0, 4096, writing=False),)
    host.disk(1).changing(0, 512)
    host.carry_out(plan)
    (token,) = host.status(1, TOKEN_INFORMATION).tokens
    assert host.refused(*using(token, (0, 1)), lun=2).code == (5, CANCELLED)


@pytest.mark.conformance("ODX-002")
def test_a_copy_over_its_blocks_cancels_a_token(host: CopyHost) -> None:
    token = token_of(host, (0, 8))
    other = token_of(host, (8, 8))
    data = lid1(cscd(NAA), segment(1, 100, 7, destination=0), list_identifier=7)
    host.good(copy_out(0, len(data)), data)
    assert host.refused(*using(token, (0, 1)), lun=2).code == (5, CANCELLED)
    host.good(*using(other, (0, 1)), lun=2)


@pytest.mark.conformance("ODX-002")
def test_blocks_that_are_no_more_cancel_a_token(host: CopyHost) -> None:
    token, other = token_of(host, (4000, 90)), token_of(host, (0, 90))
    host.disk(1).resize(4050)
    for lun in (1, 2):
        host.path.attentions(lun)
    assert host.refused(*using(token, (0, 1)), lun=2).code == (5, CANCELLED)
    host.good(*using(other, (0, 1)), lun=2)


@pytest.mark.conformance("ODX-001")
def test_the_short_cut_for_writes_is_closed_while_there_are_tokens(host: CopyHost) -> None:
    itl = host.path.itl(1)
    assert itl.go_write
    token_of(host, (0, 8), timeout=10)
    assert itl.go_read and not itl.go_write
    assert host.path.itl(2).go_write
    host.disk(1).changing(512 * 100, 512 * 101)
    assert not itl.go_write
    host.time += 10
    host.disk(1).changing(512 * 100, 512 * 101)
    assert itl.go_write, "a write finds out that the token has expired"


@pytest.mark.conformance("ODX-001", "ODX-002")
@pytest.mark.parametrize(("timeout", "seconds"), [(0, 60), (1, 1), (600, 600)])
def test_a_token_that_nobody_uses_expires(host: CopyHost, timeout: int, seconds: int) -> None:
    token = token_of(host, (0, 8), timeout=timeout)
    host.time += seconds - 0.5
    host.good(*using(token, (0, 1)), lun=2)
    host.time += seconds - 0.5
    host.good(*using(token, (0, 1)), lun=2)
    host.time += seconds
    assert host.refused(*using(token, (0, 1)), lun=2).code == (5, EXPIRED)


@pytest.mark.conformance("ODX-002")
def test_a_token_in_use_does_not_expire(host: CopyHost) -> None:
    token = token_of(host, (0, 8), timeout=1)
    plan = host.plan(*using(token, (0, 1)), lun=2)
    host.time += 100
    host.disk(1).changing(512 * 100, 512 * 101)
    host.carry_out(plan)
    host.good(*using(token, (0, 1)), lun=2)


@pytest.mark.conformance("ODX-002")
def test_a_token_is_deleted_when_the_command_that_uses_it_says_so(host: CopyHost) -> None:
    token = token_of(host, (0, 8))
    host.good(*using(token, (0, 1), flags=DEL_TKN), lun=2)
    assert host.refused(*using(token, (0, 1)), lun=2).code == (5, DELETED)
    assert host.path.itl(1).go_write


@pytest.mark.conformance("ODX-002", "ODX-003")
def test_what_is_no_token_of_ours_is_refused(host: CopyHost) -> None:
    token = token_of(host, (0, 8))
    for changed, code in (
        (bytes(512), WRONG_LENGTH),
        (token[:6] + b"\0\x08" + token[8:], WRONG_LENGTH),
        (ZERO_TOKEN[:7] + b"\0" + ZERO_TOKEN[8:], WRONG_LENGTH),
        (b"\0\x01\0\0" + token[4:], UNSUPPORTED_TYPE),
        (token[:8] + bytes(7) + b"\x09" + token[16:], UNKNOWN),
        (token[:-1] + bytes([token[-1] ^ 1]), CORRUPT),
        (token[:63] + b"\xff" + token[64:], CORRUPT),
    ):
        assert host.refused(*using(changed, (0, 1)), lun=2).code == (5, code)
    restarted = CopyHost()
    assert restarted.refused(*using(token, (0, 1)), lun=2).code == (5, UNKNOWN)
    host.good(*using(token, (0, 1)), lun=2)


@pytest.mark.conformance("ODX-002", "SEC-004")
def test_tokens_are_bounded(host: CopyHost) -> None:
    registry, disk = host.array.device.tokens, host.array.disk
    for number in range(64):
        token_of(host, (number, 1))
    for others in range(64):
        registry.create(disk, (), 60, f"iqn.2001-04.com.example:other{others % 2}")
    with pytest.raises(CheckCondition):
        registry.create(disk, (), 60, "iqn.2001-04.com.example:third")
    host.time += 60
    tokens = [token_of(host, (number, 1)) for number in range(64)]
    assert registry.create(disk, (), 60, "iqn.2001-04.com.example:third"), "one leaves enough to the others"
    data = populate((0, 1))
    assert host.refused(copy_out(POPULATE_TOKEN, len(data), 5), data).code == (5, NO_RESOURCES)
    assert host.status(5).status == 0x02
    host.good(*using(tokens[0], (0, 1), flags=DEL_TKN), lun=2)
    token_of(host, (0, 1))
    host.time += 60
    token_of(host, (0, 1))


@pytest.mark.conformance("ODX-003")
def test_without_entropy_there_are_no_tokens(host: CopyHost) -> None:
    host.array.device.entropy = lambda count: b""
    data = populate((0, 1))
    assert host.refused(copy_out(POPULATE_TOKEN, len(data)), data).code == (5, NO_RESOURCES)


@pytest.mark.conformance("XCP-003", "ODX-003")
def test_a_token_gives_nothing_that_the_host_could_not_read(host: CopyHost) -> None:
    token = token_of(host, (0, 8))
    other = host.array.path("iqn.1994-05.com.redhat:host", port=2)
    host.good(*using(token, (0, 1)), lun=2, path=other)
    host.path.send("16", lun=1)
    assert host.refused(*using(token, (0, 1)), lun=2, path=other).code == (5, NOT_REPORTABLE)
    host.path.send("17", lun=1)
    other.nexus.unmap(1)
    other.attentions(2)
    assert host.refused(*using(token, (0, 1)), lun=2, path=other).code == (5, NOT_REPORTABLE)
    assert host.refused(copy_in_lid4(TOKEN_INFORMATION, 1), path=other, lun=2).code == (5, 0x2400)


@pytest.mark.conformance("XCP-003", "SBC-006", "OPC-001")
def test_reservations_and_write_protection_hold_for_tokens(host: CopyHost) -> None:
    token = token_of(host, (0, 8))
    other = host.array.path("iqn.1994-05.com.redhat:host", port=2)
    other.send("16", lun=2)
    assert host.send(*using(token, (0, 1)), lun=2).status == 0x18
    data = populate((0, 8))
    assert host.send(copy_out(POPULATE_TOKEN, len(data)), data, lun=2).status == 0x18
    other.send("17", lun=2)
    host.disk(2).set_read_only(True)
    host.path.attentions(2)
    assert host.refused(*using(token, (0, 1)), lun=2).code == (7, 0x2700)
    assert host.refused(*using(ZERO_TOKEN, (0, 1)), lun=2).code == (7, 0x2700)


@pytest.mark.conformance("ODX-001", "SNS-004", "CDB-003")
@pytest.mark.parametrize("action", [POPULATE_TOKEN, WRITE_USING_TOKEN])
def test_wrong_parameter_lists_are_refused(host: CopyHost, action: int) -> None:
    token = token_of(host, (0, 8))
    make = populate if action == POPULATE_TOKEN else lambda *pairs: write_using(token, *pairs)
    header = 16 if action == POPULATE_TOKEN else 536
    good = make((0, 4))

    def refused(data: bytes, length: int | None = None) -> tuple[tuple[int, int], object]:
        sense = host.refused(copy_out(action, len(data) if length is None else length, 3), data)
        return sense.code, sense.pointer

    host.good(copy_out(action, 0))
    for length in (1, header - 1, header, header + 15):
        assert refused(good, length)[0] == (5, 0x1A00), length
    assert refused(b"\0\0" + good[2:]) == ((5, 0x2600), ("data", 0, None))
    for wrong in (0, 8, 15):
        at = header - 2
        data = good[:at] + wrong.to_bytes(2, "big") + good[header:]
        assert refused(data) == ((5, 0x2600), ("data", at, None)), wrong
    assert refused(make(*[(number, 1) for number in range(65)]))[0] == (5, 0x2608)
    for pair in ((4096, 0), (4095, 2), ((1 << 64) - 1, 1), (0, 0xFFFFFFFF)):
        assert refused(make(pair))[0] == (5, 0x2100), pair
    assert refused(make((0, 4), (3, 4))) == ((5, 0x2600), ("data", header, None))
    assert ranges((0, 4), (4, 4)) in make((0, 4), (4, 4))
    host.good(copy_out(action, len(make((0, 4), (4, 4))), 3), make((0, 4), (4, 4)))


@pytest.mark.conformance("ODX-001", "SNS-004")
def test_wrong_fields_of_populate_token_are_pointed_at(host: CopyHost) -> None:
    for data, byte in (
        (populate((0, 4), timeout=601), 4),
        (populate((0, 4), flags=RTV, rod_type=0x00010000), 8),
        (populate((0, 4), flags=RTV, rod_type=0), 8),
    ):
        sense = host.refused(copy_out(POPULATE_TOKEN, len(data)), data)
        assert (sense.code, sense.pointer) == ((5, 0x2600), ("data", byte, None))
    data = populate((0, 4), flags=RTV, rod_type=POINT_IN_TIME_CHANGE_VULNERABLE)
    host.good(copy_out(POPULATE_TOKEN, len(data)), data)


@pytest.mark.conformance("ODX-001", "SNS-004")
@pytest.mark.parametrize("offset", [8, 9, (1 << 64) - 1])
def test_nothing_is_beyond_what_the_token_stands_for(host: CopyHost, offset: int) -> None:
    token = token_of(host, (0, 8))
    sense = host.refused(*using(token, (0, 1), offset=offset), lun=2)
    assert (sense.code, sense.pointer) == ((5, 0x2600), ("data", 8, None))


@pytest.mark.conformance("ODX-001")
@pytest.mark.parametrize(
    ("offset", "pairs"), [(0, [(0, 9)]), (1, [(0, 3), (100, 3000)]), (7, [(0, 1), (50, 1)])]
)
def test_as_much_is_written_as_the_token_stands_for(
    host: CopyHost, offset: int, pairs: list[tuple[int, int]]
) -> None:
    before, content = host.blocks(1, 0, 8), host.blocks(2, 0, 4096)
    token = token_of(host, (0, 8))
    host.good(*using(token, *pairs, offset=offset), lun=2)
    status = host.status(2, TOKEN_INFORMATION, lun=2)
    assert (status.status, status.count) == (0x03, 8 - offset)
    wanted, at = bytearray(content), offset
    for lba, blocks in pairs:
        count = min(blocks, 8 - at)
        wanted[lba * 512 : (lba + count) * 512] = before[at * 512 : (at + count) * 512]
        at += count
    assert host.blocks(2, 0, 4096) == wanted


@pytest.mark.conformance("ODX-001")
def test_offsets_and_lengths_count_the_blocks_of_the_disk_that_is_written(host: CopyHost) -> None:
    before = host.blocks(1, 15, 6) + host.blocks(1, 40, 58)
    token = token_of(host, (15, 6), (40, 58))
    host.good(*using(token, (3, 2), offset=1), lun=3)
    assert host.blocks(3, 3, 2) == before[4096 : 3 * 4096]
    before = host.blocks(3, 4, 2)
    token = token_of(host, (4, 2), lun=3)
    host.good(*using(token, (0, 8), offset=8), lun=2)
    assert host.blocks(2, 0, 8) == before[4096:]
    assert host.refused(*using(token, (0, 4), offset=8), lun=2).code == (5, NOT_REPORTABLE)


@pytest.mark.conformance("ODX-001")
@pytest.mark.parametrize("cut", [1, 15, 16])
def test_descriptors_that_are_not_whole_are_ignored(host: CopyHost, cut: int) -> None:
    data = populate((0, 4), (10, 4))
    host.good(copy_out(POPULATE_TOKEN, len(data) - cut, 1), data)
    assert host.status(1).count == 4
    data = data[:14] + (32 - cut).to_bytes(2, "big") + data[16:]
    host.good(copy_out(POPULATE_TOKEN, len(data), 1), data)
    assert host.status(1).count == 4


@pytest.mark.conformance("ODX-001")
def test_token_commands_in_the_background_are_polled(host: CopyHost) -> None:
    data = populate((0, 8), flags=IMMED)
    plan = host.plan(copy_out(POPULATE_TOKEN, len(data), 1), data)
    assert isinstance(plan, WorkOnBlocks) and plan.immediate
    status = host.status(1, TOKEN_INFORMATION)
    assert (status.status, status.tokens) == (0x12, ())
    host.carry_out(plan)
    (token,) = host.status(1, TOKEN_INFORMATION).tokens
    plan = host.plan(*using(token, (0, 8), flags=IMMED), lun=2)
    assert isinstance(plan, WorkOnBlocks) and plan.immediate
    assert host.status(2, TOKEN_INFORMATION, lun=2).status == 0x12
    host.carry_out(plan)
    assert host.status(2, TOKEN_INFORMATION, lun=2).status == 0x01
    assert host.blocks(2, 0, 8) == host.blocks(1, 0, 8)


@pytest.mark.conformance("ODX-001", "XCP-004")
def test_token_commands_can_be_aborted(host: CopyHost) -> None:
    data = populate((0, 8))
    plan = host.plan(copy_out(POPULATE_TOKEN, len(data), 1), data)
    host.good(copy_abort(1))
    reply = host.carry_out(plan)
    assert parse_sense(reply.sense).code == (0xA, 0x2F02)
    status = host.status(1, TOKEN_INFORMATION)
    assert (status.status, status.completion, status.tokens) == (0x60, 0x40, ())
    assert host.path.itl(1).go_write, "there is no token left"


@pytest.mark.conformance("SBC-023")
@pytest.mark.parametrize(("bad", "code"), [(1, 0x1100), (2, 0x0C00)])
def test_a_disk_that_fails_ends_the_command_as_it_would_a_write(host: CopyHost, bad: int, code: int) -> None:
    token = token_of(host, (0, 4000))
    host.medium(bad).bad = 512 * 2050
    sense = host.refused(*using(token, (0, 4000)), lun=2)
    assert (sense.code, sense.information) == ((3, code), 2048)
    status = host.status(2, TOKEN_INFORMATION, lun=2)
    assert (status.status, status.count) == (0x02, 2048)


@pytest.mark.conformance("ODX-001", "ODX-003")
def test_all_tokens_are_reported_without_their_secrets(host: CopyHost) -> None:
    tokens = [token_of(host, (0, 8)), token_of(host, (8, 8), lun=2)]
    data = host.good(copy_in_lid1(ALL_TOKENS))
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    assert data[8:] == b"".join(token[:96] for token in tokens)
    host.disk(2).changing(0, 1 << 20)
    assert host.good(copy_in_lid1(ALL_TOKENS))[8:] == tokens[0][:96]
