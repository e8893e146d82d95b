"""The CDBs that the tests of the data path send."""

from __future__ import annotations

TEST_UNIT_READY = bytes(6)
SYNCHRONIZE_CACHE = b"\x35" + bytes(9)
REQUEST_SENSE = b"\x03\0\0\0\xfc\0"


def read_10(lba: int, blocks: int, *, flags: int = 0, group: int = 0, control: int = 0) -> bytes:
    """READ(10)."""
    return bytes((0x28, flags, *lba.to_bytes(4, "big"), group, *blocks.to_bytes(2, "big"), control))


def write_10(lba: int, blocks: int, *, flags: int = 0, group: int = 0, control: int = 0) -> bytes:
    """WRITE(10)."""
    return bytes((0x2A, flags, *lba.to_bytes(4, "big"), group, *blocks.to_bytes(2, "big"), control))


def read_16(lba: int, blocks: int, *, flags: int = 0, group: int = 0, control: int = 0) -> bytes:
    """READ(16)."""
    return bytes((0x88, flags, *lba.to_bytes(8, "big"), *blocks.to_bytes(4, "big"), group, control))


def write_16(lba: int, blocks: int, *, flags: int = 0, group: int = 0, control: int = 0) -> bytes:
    """WRITE(16)."""
    return bytes((0x8A, flags, *lba.to_bytes(8, "big"), *blocks.to_bytes(4, "big"), group, control))


def verify_10(lba: int, blocks: int, *, bytchk: int = 0) -> bytes:
    """VERIFY(10)."""
    return bytes((0x2F, bytchk << 1, *lba.to_bytes(4, "big"), 0, *blocks.to_bytes(2, "big"), 0))


def inquiry(length: int = 36) -> bytes:
    """INQUIRY for the standard data."""
    return bytes((0x12, 0, 0, *length.to_bytes(2, "big"), 0))


def report_luns(length: int) -> bytes:
    """REPORT LUNS."""
    return bytes((0xA0, 0, 0, 0, 0, 0, *length.to_bytes(4, "big"), 0, 0))


def mode_select_6(length: int) -> bytes:
    """MODE SELECT(6), page format."""
    return bytes((0x15, 0x10, 0, 0, length, 0))


def mode_sense_6(page: int, *, length: int = 255) -> bytes:
    """MODE SENSE(6) for one page, without block descriptors."""
    return bytes((0x1A, 0x08, page, 0, length, 0))


def data(length: int, seed: int = 1) -> bytes:
    """Bytes of which no two neighbouring blocks are equal."""
    word = b"".join(((i * 2654435761 + seed) & 0xFFFFFFFF).to_bytes(4, "big") for i in range(length // 4 + 1))
    return word[:length]
