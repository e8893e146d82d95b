"""Third-party copy as a host writes it: CDBs and parameter lists, byte by byte, and what it reads back.

Nothing here knows the declarations under test.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

COPIED = (0x83, 0x84)
EXTENDED_COPY_LID1, EXTENDED_COPY_LID4, POPULATE_TOKEN, WRITE_USING_TOKEN = 0x00, 0x01, 0x10, 0x11
HOLD, DISCARD, NO_LIST_IDENTIFIER = 0, 2, 3

ZERO_TOKEN = bytes.fromhex("FFFF0001 0000 01F8") + bytes(504)
POINT_IN_TIME_CHANGE_VULNERABLE = 0x00800001


def copy_out(action: int, length: int, list_identifier: int = 0) -> bytes:
    """A CDB of operation code 83h. The list identifier of token commands stands in it."""
    return struct.pack(">BB4xII2x", 0x83, action, list_identifier, length)


def copy_abort(list_identifier: int) -> bytes:
    """COPY OPERATION ABORT."""
    return struct.pack(">BBI10x", 0x83, 0x1C, list_identifier)


def copy_in_lid1(action: int, list_identifier: int = 0, length: int = 4096) -> bytes:
    """A CDB of operation code 84h with a one-byte list identifier."""
    return struct.pack(">BBB7xI2x", 0x84, action, list_identifier, length)


def copy_in_lid4(action: int, list_identifier: int, length: int = 4096) -> bytes:
    """A CDB of operation code 84h with a four-byte list identifier."""
    return struct.pack(">BBI4xI2x", 0x84, action, list_identifier, length)


def cscd(naa: bytes, *, byte_1: int = 0, kind: bytes = b"\x01\x03\x00", block_length: int = 0) -> bytes:
    """An identification descriptor (E4h). `kind`: code set, association and designator type, reserved."""
    head = bytes((0xE4, byte_1, 0, 0)) + kind + bytes([len(naa)])
    return head + naa.ljust(20, b"\0") + block_length.to_bytes(4, "big")


def segment(
    blocks: int,
    source_lba: int,
    destination_lba: int,
    *,
    source: int = 0,
    destination: int = 1,
    flags: int = 0,
) -> bytes:
    """A block to block segment descriptor (02h)."""
    return struct.pack(
        ">BBHHHxxHQQ", 0x02, flags, 0x18, source, destination, blocks, source_lba, destination_lba
    )


def lid1(
    cscds: bytes, segments: bytes, *, list_identifier: int = 1, usage: int = HOLD, inline: bytes = b""
) -> bytes:
    """A parameter list of EXTENDED COPY(LID1)."""
    head = struct.pack(">BBH4xII", list_identifier, usage << 3, len(cscds), len(segments), len(inline))
    return head + cscds + segments + inline


def lid4(
    cscds: bytes, segments: bytes, *, list_identifier: int = 1, usage: int = HOLD, byte_15: int = 0
) -> bytes:
    """A parameter list of EXTENDED COPY(LID4)."""
    head = struct.pack(
        ">BBH11xBB3xI18xHHH",
        0x01, usage << 3, 0x20, byte_15, 0xFF, list_identifier, len(cscds), len(segments), 0,
    )  # fmt: skip
    return head + cscds + segments


def ranges(*pairs: tuple[int, int]) -> bytes:
    """Block device range descriptors: LBA and number of blocks."""
    return b"".join(struct.pack(">QI4x", lba, blocks) for lba, blocks in pairs)


def populate(*pairs: tuple[int, int], flags: int = 0, timeout: int = 0, rod_type: int = 0) -> bytes:
    """A parameter list of POPULATE TOKEN."""
    tail = ranges(*pairs)
    return struct.pack(">HBxII2xH", 14 + len(tail), flags, timeout, rod_type, len(tail)) + tail


def write_using(token: bytes, *pairs: tuple[int, int], flags: int = 0, offset: int = 0) -> bytes:
    """A parameter list of WRITE USING TOKEN."""
    tail = ranges(*pairs)
    return struct.pack(">HB5xQ512s6xH", 534 + len(tail), flags, offset, token, len(tail)) + tail


@dataclass(frozen=True)
class Status:
    """What RECEIVE COPY STATUS(LID4) and RECEIVE ROD TOKEN INFORMATION tell."""

    service_action: int
    status: int
    completion: int
    units: int
    count: int
    segments: int
    sense: bytes
    tokens: tuple[bytes, ...]


def parse_status(data: bytes) -> Status:
    """Take it apart."""
    available, action, status, _, _, completion, field, length, units, count, segments = struct.unpack_from(
        ">IBBHIBBBBQH", data
    )
    assert available == len(data) - 4
    sense = data[32 : 32 + length]
    tail = data[32 + field :]
    tokens = []
    if tail:
        assert int.from_bytes(tail[:4], "big") == len(tail) - 4
        descriptors = tail[4:]
        assert len(descriptors) % 514 == 0
        tokens = [descriptors[at + 2 : at + 514] for at in range(0, len(descriptors), 514)]
    return Status(action, status, completion, units, count, segments, sense, tuple(tokens))
