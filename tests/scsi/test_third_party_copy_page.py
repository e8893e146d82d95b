"""VPD page 8Fh and the 3PC bit say which third-party copy commands there are, and their limits: no more."""

from __future__ import annotations

import pytest
from scsi_initiator import Array, Path, make_disk

from mpxtarget.scsi.personality import EVERYTHING, Personality
from support.copies import copy_in_lid1

ROD_LIMITS, COMMANDS, PARAMETER_DATA, DESCRIPTORS, CSCD_IDS = 0x0000, 0x0001, 0x0004, 0x0008, 0x000C
ROD_TOKEN_FEATURES, RODS, GENERAL = 0x0106, 0x0108, 0x8001

XCS_10 = Personality(
    "before tokens",
    frozenset({
        "INQUIRY", "TEST UNIT READY", "EXTENDED COPY(LID1)", "RECEIVE COPY STATUS(LID1)",
        "RECEIVE COPY OPERATING PARAMETERS",
    }),
)  # fmt: skip
NO_COPY = Personality("no copies", frozenset({"INQUIRY", "TEST UNIT READY", "RECEIVE COPY STATUS(LID1)"}))


def path_to(personality: Personality) -> Path:
    """A path to an array whose only disk offers this."""
    return Array({1: make_disk(personality=personality)}).path()


def descriptors(path: Path) -> dict[int, bytes]:
    """Page 8Fh, taken apart by hand: payloads by descriptor type."""
    data = path.read("12 01 8F 10 00")
    assert data[1] == 0x8F
    assert int.from_bytes(data[2:4], "big") == len(data) - 4
    found: dict[int, bytes] = {}
    order = []
    at = 4
    while at < len(data):
        kind, length = int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big")
        assert length % 4 == 0
        found[kind] = data[at + 4 : at + 4 + length]
        order.append(kind)
        at += 4 + length
    assert at == len(data)
    assert order == sorted(found)
    return found


def commands_of(payload: bytes) -> dict[int, list[int]]:
    """The commands supported descriptor: service actions by operation code."""
    found = {}
    at, end = 1, 1 + payload[0]
    while at < end:
        count = payload[at + 1]
        found[payload[at]] = list(payload[at + 2 : at + 2 + count])
        at += 2 + count
    assert not any(payload[end:])
    return found


def reported(path: Path) -> dict[int, list[int]]:
    """The same by REPORT SUPPORTED OPERATION CODES."""
    data = path.read("A3 0C 00 00 0000 00010000")
    found: dict[int, list[int]] = {}
    for at in range(4, len(data), 8):
        if data[at] in (0x83, 0x84):
            found.setdefault(data[at], []).append(int.from_bytes(data[at + 2 : at + 4], "big"))
    return found


@pytest.mark.conformance("VPD-012", "ODX-001", "RSO-005", "VPD-001")
def test_commands_are_those_that_are_offered() -> None:
    path = path_to(EVERYTHING)
    expected = {0x83: [0x00, 0x01, 0x10, 0x11, 0x1C], 0x84: [0x00, 0x01, 0x03, 0x04, 0x05, 0x07, 0x08]}
    assert commands_of(descriptors(path)[COMMANDS]) == reported(path) == expected
    assert commands_of(descriptors(path_to(XCS_10))[COMMANDS]) == {0x83: [0x00], 0x84: [0x00, 0x03]}


@pytest.mark.conformance("VPD-012", "ODX-004")
@pytest.mark.parametrize(("personality", "offered"), [(EVERYTHING, True), (XCS_10, True), (NO_COPY, False)])
def test_3pc_and_the_page_are_there_with_the_commands(personality: Personality, offered: bool) -> None:
    path = path_to(personality)
    assert bool(path.read("12 00 00 00 60")[5] & 0x08) == offered
    assert (0x8F in path.read("12 01 00 00 FF")[4:]) == offered
    if not offered:
        assert path.sense("12 01 8F 00 FF").code == (5, 0x2400)
    assert not path.read("12 00 00 00 60", lun=0)[5] & 0x08


@pytest.mark.conformance("VPD-012")
def test_tokens_are_spoken_of_where_they_are_offered() -> None:
    assert set(descriptors(path_to(XCS_10))) == {COMMANDS, PARAMETER_DATA, DESCRIPTORS, CSCD_IDS, GENERAL}
    assert set(descriptors(path_to(EVERYTHING))) == {
        ROD_LIMITS, COMMANDS, PARAMETER_DATA, DESCRIPTORS, CSCD_IDS, ROD_TOKEN_FEATURES, RODS, GENERAL,
    }  # fmt: skip


@pytest.mark.conformance("VPD-012", "XCP-001")
def test_limits_of_copies_are_those_of_operating_parameters() -> None:
    path = path_to(EVERYTHING)
    found = descriptors(path)
    parameters = path.read(copy_in_lid1(0x03).hex())
    assert found[PARAMETER_DATA][4:16] == parameters[8:16] + parameters[20:24]
    assert found[GENERAL][8:12] == parameters[16:20]
    assert found[GENERAL][2:4] == parameters[34:36]
    assert found[DESCRIPTORS][: 1 + found[DESCRIPTORS][0]] == parameters[43:]
    assert found[CSCD_IDS] == bytes.fromhex("0002 FFFF")


@pytest.mark.conformance("VPD-012", "ODX-001")
@pytest.mark.parametrize(
    ("block_size", "transfer", "optimal"), [(512, 1 << 19, 1 << 17), (4096, 1 << 16, 1 << 14)]
)
def test_limits_of_tokens(block_size: int, transfer: int, optimal: int) -> None:
    found = descriptors(Array({1: make_disk(block_size=block_size)}).path())
    limits = found[ROD_LIMITS]
    assert limits[6:16] == bytes.fromhex("0040 00000258 0000003C"), "64 ranges, 600 s at most, 60 s"
    assert limits[16:32] == transfer.to_bytes(8, "big") + optimal.to_bytes(8, "big")
    features = found[ROD_TOKEN_FEATURES]
    assert features[0] == 0, "no remote tokens"
    assert features[20:24] == limits[8:12]
    assert features[42:48] == bytes.fromhex("0030 00 00 002C")
    assert features[52:60] == (256 << 20).to_bytes(8, "big")
    assert found[RODS][2:4] == bytes.fromhex("0080")
    assert found[RODS][4:10] == bytes.fromhex("00800001 03 00"), (
        "point in time, change vulnerable: in and out"
    )
    assert found[RODS][68:74] == bytes.fromhex("FFFF0001 02 00"), "zeros: in only"
