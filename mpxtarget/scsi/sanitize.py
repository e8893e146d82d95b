"""SANITIZE (SBC-3 4.11, 5.24): the whole medium is overwritten or erased, and its data is gone.

- While it goes on, every command that needs the medium or changes the unit ends with NOT READY, SANITIZE IN
  PROGRESS, and says how far it is. It goes on when its command is aborted, its session lost, the unit reset.
- That it began is written down before the first block is touched, and that it is over before it is answered.
  One that fails, or that the target's end interrupts, leaves the unit in a state in which only another
  SANITIZE is processed, or EXIT FAILURE MODE if AUSE allowed that: MEDIUM ERROR, SANITIZE COMMAND FAILED.
- OVERWRITE writes over what has space; where there is none, zeros are read already. BLOCK ERASE gives all
  space back. There is nothing encrypted, so there is no CRYPTOGRAPHIC ERASE. What snapshots of the disk show
  is theirs, and stays.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from mpxtarget.scsi.codes import Asc, SenseKey
from mpxtarget.scsi.pieces import fill, pieces
from mpxtarget.scsi.plan import GOOD, Extent, Keep, Medium, Plan, Reply, WorkOnBlocks
from mpxtarget.scsi.sense import (
    SANITIZE_FAILED,
    CheckCondition,
    SenseData,
    invalid_field_in_cdb,
    invalid_field_in_parameter_list,
    write_protected,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpxtarget.scsi.command import Call
    from mpxtarget.scsi.logical_unit import Disk

_IMMED = 0x80
_AUSE = 0x20

_ERASED_AT_ONCE: Final = 64 << 20

_HEADER: Final = struct.Struct(">BxH")
_INVERT = 0x80
_TEST = 0x60
_COUNT = 0x1F

_PROCESSED_MEANWHILE: Final = frozenset(
    {
        "INQUIRY",
        "REPORT LUNS",
        "REPORT SUPPORTED OPERATION CODES",
        "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
        "REPORT TARGET PORT GROUPS",
        "REQUEST SENSE",
    }
)


class Progress:
    """How far a sanitize operation is. Counted by a thread, read by the event loop."""

    __slots__ = ("_total", "done")

    def __init__(self, total: int) -> None:
        self._total = total
        self.done = 0

    @property
    def sense(self) -> SenseData:
        """NOT READY, with the progress in 65536ths (SPC-4 4.5.2.4.4)."""
        return SenseData(
            SenseKey.NOT_READY,
            Asc.LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS,
            progress=min(0x1_0000 * self.done // self._total, 0xFFFF),
        )


def check(disk: Disk, command_name: str) -> None:
    """Raise what a command gets from a disk that is being sanitized, or could not be."""
    sense = state(disk)
    if sense is None or command_name in _PROCESSED_MEANWHILE:
        return
    if disk.sanitizing is None and command_name.startswith("SANITIZE"):
        return
    raise CheckCondition(sense)


def state(disk: Disk) -> SenseData | None:
    """What REQUEST SENSE tells of it; None for a disk that is as it should be."""
    if disk.sanitizing is not None:
        return disk.sanitizing.sense
    return None if disk.unsanitized is None else SANITIZE_FAILED


def overwrite(call: Call) -> Plan:
    """SANITIZE, OVERWRITE: up to 31 times, with a pattern that fills every block, every second time inverted
    if that is asked for.
    """
    _check(call)
    length = int.from_bytes(call.cdb[7:9], "big")
    if not _HEADER.size < length <= _HEADER.size + call.disk.block_size:
        raise invalid_field_in_cdb(7)
    return call.take(length, _overwrite)


def _overwrite(call: Call, data: bytes) -> Plan:
    disk = call.disk
    check(disk, call.command.name)  # another SANITIZE may have begun, or failed, while the data came
    _check(call)
    flags, pattern_length = _HEADER.unpack_from(data)
    if flags & _TEST:
        raise invalid_field_in_parameter_list(0, 6)
    times = flags & _COUNT
    if times == 0:
        raise invalid_field_in_parameter_list(0, 4)
    if pattern_length == 0 or _HEADER.size + pattern_length > len(data):
        raise invalid_field_in_parameter_list(2)
    pattern = data[_HEADER.size : _HEADER.size + pattern_length]
    block = (pattern * (disk.block_size // pattern_length + 1))[: disk.block_size]
    inverted = bytes(each ^ 0xFF for each in block) if flags & _INVERT else block
    size = disk.blocks << disk.shift

    def work(progress: Progress, medium: Medium) -> None:
        for each in range(times):
            contents = inverted if each % 2 else block
            only_allocated = not any(contents)
            for start, length, allocated in medium.runs(0, size):
                for at, piece in pieces(start, length):
                    if allocated or not only_allocated:
                        fill(medium, at, piece, contents)
                    progress.done += piece
            medium.flush()

    return _plan(call, Progress(size * times), work)


def block_erase(call: Call) -> Plan:
    """SANITIZE, BLOCK ERASE: all blocks read as zeros, and take no space where the store can do without."""
    _check(call)
    _has_no_parameters(call)
    size = call.disk.blocks << call.disk.shift

    def work(progress: Progress, medium: Medium) -> None:
        for at, piece in pieces(0, size, _ERASED_AT_ONCE):
            medium.zero(at, piece)
            progress.done += piece
        medium.flush()

    return _plan(call, Progress(size), work)


def exit_failure_mode(call: Call) -> Plan:
    """SANITIZE, EXIT FAILURE MODE: the medium may be used again, if the SANITIZE that failed had AUSE set."""
    _has_no_parameters(call)
    disk = call.disk
    if disk.unsanitized is None:
        return GOOD
    if not disk.unsanitized:
        raise invalid_field_in_cdb(1, 4)
    disk.end_sanitize(succeeded=True)
    return Keep(disk, GOOD)


def _check(call: Call) -> None:
    disk = call.disk
    if disk.write_protected:
        raise write_protected()
    if disk.unsanitized is False and call.cdb[1] & _AUSE:
        raise invalid_field_in_cdb(1, 5)  # what is restricted stays restricted (SBC-3 4.11.4)


def _has_no_parameters(call: Call) -> None:
    if any(call.cdb[7:9]):
        raise invalid_field_in_cdb(7)


def _plan(call: Call, progress: Progress, work: Callable[[Progress, Medium], None]) -> Plan:
    disk = call.disk
    disk.begin_sanitize(progress, may_exit=bool(call.cdb[1] & _AUSE))

    def run(media: Mapping[Disk, Medium]) -> Reply:
        work(progress, media[disk])
        return GOOD

    return WorkOnBlocks(
        (Extent(disk, 0, disk.blocks << disk.shift, writing=True),),
        run,
        partial(_finished, disk),
        immediate=bool(call.cdb[1] & _IMMED),
        enduring=True,
    )


def _finished(disk: Disk, reply: Reply | None) -> Reply | Keep | None:
    succeeded = reply == GOOD
    disk.end_sanitize(succeeded=succeeded)
    if succeeded:
        return Keep(disk, GOOD)
    return None if reply is None else SANITIZE_FAILED.reply(disk.descriptor_sense)
