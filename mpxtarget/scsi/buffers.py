"""READ BUFFER and WRITE BUFFER (SPC-4 6.16, 6.39): memory of a logical unit to test a path with.

There are two. The data buffer belongs to the logical unit: whoever writes it, everybody reads the same. The
echo buffer belongs to whoever wrote it last (EBOS): another nexus is never given those bytes, and one whose
bytes were overwritten is told so. Microcode cannot be downloaded, so its modes do not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from construct import BitsInteger, BitStruct, Const, Default, Flag, Int8ub, Int24ub, Padding, Struct

from mpxtarget.scsi.codes import Asc, SenseKey
from mpxtarget.scsi.plan import GOOD, Plan, data_in
from mpxtarget.scsi.sense import CheckCondition, SenseData, illegal_request, invalid_field_in_cdb

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call
    from mpxtarget.scsi.nexus import ITLNexus

DATA_CAPACITY: Final = 65536
ECHO_CAPACITY: Final = 4096

_MODE = 0x1F
_DATA, _DESCRIPTOR, _ECHO, _ECHO_DESCRIPTOR = 0x02, 0x03, 0x0A, 0x0B

BUFFER_DESCRIPTOR = Struct(
    # a power of two that BUFFER OFFSET has to be a multiple of; 0: any byte
    "offset_boundary" / Default(Int8ub, 0),
    "capacity" / Int24ub,
)

ECHO_BUFFER_DESCRIPTOR = Struct(
    "flags" / BitStruct(Padding(7), "ebos" / Const(True, Flag)),
    Padding(1),
    "capacity" / BitStruct(Padding(3), "bytes" / BitsInteger(13)),
)


class Buffers:
    """The buffers of a logical unit, empty until they are written."""

    __slots__ = ("_data", "_echo", "_overwritten", "_owner")

    def __init__(self) -> None:
        self._data = bytearray()
        self._echo = b""
        self._owner: ITLNexus | None = None
        self._overwritten: set[ITLNexus] = set()

    def write(self, offset: int, data: bytes) -> None:
        """Change a part of the data buffer."""
        if not self._data:
            self._data = bytearray(DATA_CAPACITY)
        self._data[offset : offset + len(data)] = data

    def read(self, offset: int, length: int) -> bytes:
        """A part of the data buffer, no further than its end."""
        return bytes(self._data[offset : offset + length]).ljust(min(length, DATA_CAPACITY - offset), b"\0")

    def write_echo(self, itl: ITLNexus, data: bytes) -> None:
        """Fill the echo buffer; it is this nexus's now."""
        if self._owner not in (None, itl):
            self._overwritten.add(self._owner)
        self._overwritten.discard(itl)
        self._owner, self._echo = itl, data

    def read_echo(self, itl: ITLNexus) -> bytes:
        """What this nexus wrote last to the echo buffer. Raises CheckCondition if that is not to be had."""
        if itl is self._owner:
            return self._echo
        if itl in self._overwritten:
            raise CheckCondition(SenseData(SenseKey.ABORTED_COMMAND, Asc.ECHO_BUFFER_OVERWRITTEN))
        raise illegal_request(Asc.COMMAND_SEQUENCE_ERROR)

    def leave(self, itl: ITLNexus) -> None:
        """A nexus is gone, and what it echoed with it."""
        self._overwritten.discard(itl)
        if itl is self._owner:
            self._owner, self._echo = None, b""


def echoes(cdb: bytes) -> bool:
    """Whether a READ BUFFER or WRITE BUFFER is about the echo buffer."""
    return cdb[1] & _MODE in (_ECHO, _ECHO_DESCRIPTOR)


def read_buffer(call: Call) -> Plan:
    """READ BUFFER: data, descriptor, echo buffer, echo buffer descriptor."""
    assert call.itl is not None
    mode = _mode(call.cdb)
    buffer_id, offset, length = _fields(call.cdb)
    buffers = call.disk.buffers
    if mode == _DATA:
        _check_place(buffer_id, offset)
        return data_in(buffers.read(offset, length), length)
    if mode == _DESCRIPTOR:  # of a buffer that is not there: all zeros (SPC-4 6.16.5)
        capacity = 0 if buffer_id else DATA_CAPACITY
        return data_in(BUFFER_DESCRIPTOR.build({"capacity": capacity}), length)
    if mode == _ECHO:
        return data_in(buffers.read_echo(call.itl), length)
    if mode == _ECHO_DESCRIPTOR:
        echo = {"flags": {}, "capacity": {"bytes": ECHO_CAPACITY}}
        return data_in(ECHO_BUFFER_DESCRIPTOR.build(echo), length)
    raise invalid_field_in_cdb(1, 4)


def write_buffer(call: Call) -> Plan:
    """WRITE BUFFER: data and echo buffer."""
    mode = _mode(call.cdb)
    buffer_id, offset, length = _fields(call.cdb)
    if mode == _DATA:
        _check_place(buffer_id, offset)
        if offset + length > DATA_CAPACITY:
            raise invalid_field_in_cdb(6)
        return call.take(length, _take_data) if length else GOOD
    if mode == _ECHO:
        if length > ECHO_CAPACITY:
            raise invalid_field_in_cdb(6)
        return call.take(length, _take_echo) if length else GOOD
    raise invalid_field_in_cdb(1, 4)


def _mode(cdb: bytes) -> int:
    if cdb[1] & ~_MODE:  # MODE SPECIFIC: nothing in these modes
        raise invalid_field_in_cdb(1, 7)
    return cdb[1]


def _fields(cdb: bytes) -> tuple[int, int, int]:
    return cdb[2], int.from_bytes(cdb[3:6], "big"), int.from_bytes(cdb[6:9], "big")


def _check_place(buffer_id: int, offset: int) -> None:
    if buffer_id:
        raise invalid_field_in_cdb(2)
    if offset > DATA_CAPACITY:
        raise invalid_field_in_cdb(3)


def _take_data(call: Call, data: bytes) -> Plan:
    call.disk.buffers.write(int.from_bytes(call.cdb[3:6], "big"), data)
    return GOOD


def _take_echo(call: Call, data: bytes) -> Plan:
    assert call.itl is not None
    call.disk.buffers.write_echo(call.itl, data)
    return GOOD
