"""The command table: every command this target knows, one row each.

Dispatch, reserved-bit checks, access-state and reservation rules and REPORT SUPPORTED OPERATION CODES all
read this table.  A command that is not in it does not exist.
"""

from __future__ import annotations

from functools import partial

from mpxtarget.scsi import block, primary
from mpxtarget.scsi.codes import PeripheralType
from mpxtarget.scsi.command import (
    ANY_STATE,
    DISK_AND_CONSOLE,
    EVERYWHERE,
    STANDBY,
    Command,
    CommandSet,
    Direction,
    Reserved,
)

IN, OUT = Direction.IN, Direction.OUT
READS, WRITES = Reserved.READS, Reserved.WRITES

# FUA_NV and RELADR of older standards in byte 1; a host may still set them
_OBSOLETE_RW_10 = "00 03"
_OBSOLETE_RW_16 = "00 02"
# RELADR and SYNC_NV
_OBSOLETE_SYNC = "00 05"


def _start_stop(cdb: bytes) -> Reserved:
    # starting is harmless to whoever holds a reservation, all else is not (SPC-4 table 67)
    return Reserved.ALLOWED if cdb[4] & 0xF1 == 0x01 else WRITES


def _prevent_allow(cdb: bytes) -> Reserved:
    return WRITES if cdb[4] & 0x03 else Reserved.ALLOWED


# fmt: off
COMMANDS = (
    Command("TEST UNIT READY", 0x00, "00 4*00 04", primary.test_unit_ready, on=DISK_AND_CONSOLE,
            needs_medium=True),
    Command("REQUEST SENSE", 0x03, "03 01 00 00 FF 04", primary.request_sense, direction=IN, on=EVERYWHERE,
            access=ANY_STATE, preempts_attention=True),
    Command("READ(6)", 0x08, "08 1F FF FF FF 04", partial(block.read, block.CDB_6), direction=IN,
            reserved=READS, needs_medium=True),
    Command("WRITE(6)", 0x0A, "0A 1F FF FF FF 04", partial(block.write, block.CDB_6), direction=OUT,
            reserved=WRITES, needs_medium=True),
    Command("START STOP UNIT", 0x1B, "1B 01 00 0F F7 04", block.start_stop_unit, reserved=_start_stop),
    Command("SEND DIAGNOSTIC", 0x1D, "1D F7 00 FF FF 04", primary.send_diagnostic, on=DISK_AND_CONSOLE,
            access=STANDBY, reserved=WRITES),
    Command("PREVENT ALLOW MEDIUM REMOVAL", 0x1E, "1E 00 00 00 03 04", primary.prevent_allow_medium_removal,
            reserved=_prevent_allow),
    Command("READ CAPACITY(10)", 0x25, "25 00 4*FF 00 00 01 04", block.read_capacity_10, direction=IN,
            ignored_text="00 01"),
    Command("READ(10)", 0x28, "28 FC 4*FF 1F FF FF 04", partial(block.read, block.CDB_10), direction=IN,
            reserved=READS, needs_medium=True, ignored_text=_OBSOLETE_RW_10),
    Command("WRITE(10)", 0x2A, "2A F8 4*FF 1F FF FF 04", partial(block.write, block.CDB_10), direction=OUT,
            reserved=WRITES, needs_medium=True, ignored_text=_OBSOLETE_RW_10),
    Command("VERIFY(10)", 0x2F, "2F F6 4*FF 1F FF FF 04", partial(block.verify, block.CDB_10), direction=OUT,
            reserved=READS, needs_medium=True, ignored_text="00 01"),
    Command("SYNCHRONIZE CACHE(10)", 0x35, "35 02 4*FF 1F FF FF 04",
            partial(block.synchronize_cache, block.CDB_10), reserved=WRITES, needs_medium=True, ignored_text=_OBSOLETE_SYNC),
    Command("READ(16)", 0x88, "88 FC 8*FF 4*FF 1F 04", partial(block.read, block.CDB_16), direction=IN,
            reserved=READS, needs_medium=True, ignored_text=_OBSOLETE_RW_16),
    Command("WRITE(16)", 0x8A, "8A F8 8*FF 4*FF 1F 04", partial(block.write, block.CDB_16), direction=OUT,
            reserved=WRITES, needs_medium=True, ignored_text=_OBSOLETE_RW_16),
    Command("VERIFY(16)", 0x8F, "8F F6 8*FF 4*FF 1F 04", partial(block.verify, block.CDB_16), direction=OUT,
            reserved=READS, needs_medium=True),
    Command("SYNCHRONIZE CACHE(16)", 0x91, "91 02 8*FF 4*FF 1F 04",
            partial(block.synchronize_cache, block.CDB_16), reserved=WRITES, needs_medium=True, ignored_text="00 04"),
    Command("READ CAPACITY(16)", 0x9E, "9E 1F 8*FF 4*FF 01 04", block.read_capacity_16, service_action=0x10,
            direction=IN),
    Command("READ(12)", 0xA8, "A8 FC 4*FF 4*FF 1F 04", partial(block.read, block.CDB_12), direction=IN,
            reserved=READS, needs_medium=True, ignored_text=_OBSOLETE_RW_10),
    Command("WRITE(12)", 0xAA, "AA F8 4*FF 4*FF 1F 04", partial(block.write, block.CDB_12), direction=OUT,
            reserved=WRITES, needs_medium=True, ignored_text=_OBSOLETE_RW_10),
    Command("VERIFY(12)", 0xAF, "AF F6 4*FF 4*FF 1F 04", partial(block.verify, block.CDB_12), direction=OUT,
            reserved=READS, needs_medium=True, ignored_text="00 01"),
)
# fmt: on

COMMAND_SETS = {
    peripheral_type: CommandSet(command for command in COMMANDS if peripheral_type in command.on)
    for peripheral_type in (
        PeripheralType.DISK,
        PeripheralType.STORAGE_ARRAY_CONTROLLER,
        PeripheralType.UNKNOWN,
    )
}
