"""The command table: every command this target knows, one row each.

Dispatch, reserved-bit checks, access-state and reservation rules and REPORT SUPPORTED OPERATION CODES all
read this table.  A command that is not in it does not exist.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial

from mpxtarget.scsi import (
    block,
    buffers,
    compare,
    defects,
    diagnostics,
    identifying_information,
    inquiry,
    log,
    mode,
    persistent,
    primary,
    provisioning,
    report,
    reserve,
    sanitize,
    target_port_groups,
    timestamp,
)
from mpxtarget.scsi.codes import AccessState
from mpxtarget.scsi.command import (
    ACTIVE,
    ANY_STATE,
    DISK_AND_CONSOLE,
    EVERYWHERE,
    STANDBY,
    Command,
    CommandSet,
    Direction,
)
from mpxtarget.scsi.copy import extended, results, token_commands
from mpxtarget.scsi.personality import Personality
from mpxtarget.scsi.reservations import Reserved

IN, OUT = Direction.IN, Direction.OUT
READS, WRITES = Reserved.READS, Reserved.WRITES

# bits of byte 1 that older standards defined and hosts may still set
_RELADR = "00 01"
_FUA_NV = "00 02"
_FUA_NV_RELADR = "00 03"
_SYNC_NV = "00 04"
_SYNC_NV_RELADR = "00 05"


def _start_stop(cdb: bytes) -> Reserved:
    # starting is harmless to whoever holds a reservation, all else is not (SPC-4 table 67)
    return Reserved.ALLOWED if cdb[4] & 0xF1 == 0x01 else WRITES


def _prevent_allow(cdb: bytes) -> Reserved:
    return WRITES if cdb[4] & 0x03 else Reserved.ALLOWED


def _buffer_access(cdb: bytes) -> frozenset[int]:
    # an echo tests the path, whatever state the unit is in (SPC-4 5.15.2.4)
    return STANDBY | {AccessState.UNAVAILABLE} if buffers.echoes(cdb) else ACTIVE


_PERSISTENT_RESERVE_OUT = "5F 1F FF 00 00 4*FF 04"

# fmt: off
COMMANDS = (
    Command("TEST UNIT READY", 0x00, "00 4*00 04", primary.test_unit_ready,
            on=DISK_AND_CONSOLE, reserved=Reserved.TESTS, needs_medium=True),
    Command("REQUEST SENSE", 0x03, "03 01 00 00 FF 04", primary.request_sense,
            direction=IN, on=EVERYWHERE, access=ANY_STATE, preempts_attention=True),
    Command("READ(6)", 0x08, "08 1F FF FF FF 04", partial(block.read, block.CDB_6),
            direction=IN, reserved=READS, needs_medium=True),
    Command("WRITE(6)", 0x0A, "0A 1F FF FF FF 04", partial(block.write, block.CDB_6),
            direction=OUT, reserved=WRITES, needs_medium=True),
    Command("INQUIRY", 0x12, "12 01 FF FF FF 04", inquiry.inquiry,
            direction=IN, on=EVERYWHERE, access=ANY_STATE, preempts_attention=True),
    Command("MODE SELECT(6)", 0x15, "15 11 00 00 FF 04", mode.mode_select_6,
            direction=OUT, access=STANDBY, reserved=WRITES),
    Command("RESERVE(6)", 0x16, "16 4*00 04", reserve.reserve,
            reserved=Reserved.TESTS),
    Command("RELEASE(6)", 0x17, "17 4*00 04", reserve.release),
    Command("MODE SENSE(6)", 0x1A, "1A 08 FF FF FF 04", mode.mode_sense_6,
            direction=IN, access=STANDBY, reserved=READS),
    Command("START STOP UNIT", 0x1B, "1B 01 00 0F F7 04", block.start_stop_unit,
            reserved=_start_stop),
    Command("RECEIVE DIAGNOSTIC RESULTS", 0x1C, "1C 01 FF FF FF 04", diagnostics.receive_diagnostic_results,
            direction=IN, on=DISK_AND_CONSOLE, access=STANDBY, reserved=READS),
    Command("SEND DIAGNOSTIC", 0x1D, "1D F7 00 FF FF 04", diagnostics.send_diagnostic,
            direction=OUT, on=DISK_AND_CONSOLE, access=STANDBY, reserved=WRITES),
    Command("PREVENT ALLOW MEDIUM REMOVAL", 0x1E, "1E 00 00 00 03 04", primary.prevent_allow_medium_removal,
            reserved=_prevent_allow),
    Command("READ CAPACITY(10)", 0x25, "25 00 4*FF 00 00 01 04", block.read_capacity_10,
            direction=IN, ignored_text="00 01"),
    Command("READ(10)", 0x28, "28 FC 4*FF 1F FF FF 04", partial(block.read, block.CDB_10),
            direction=IN, reserved=READS, needs_medium=True, ignored_text=_FUA_NV_RELADR),
    Command("WRITE(10)", 0x2A, "2A F8 4*FF 1F FF FF 04", partial(block.write, block.CDB_10),
            direction=OUT, reserved=WRITES, needs_medium=True, ignored_text=_FUA_NV_RELADR),
    Command("WRITE AND VERIFY(10)", 0x2E, "2E F6 4*FF 1F FF FF 04",
            partial(compare.write_and_verify, block.CDB_10),
            direction=OUT, reserved=WRITES, needs_medium=True, ignored_text=_RELADR),
    Command("VERIFY(10)", 0x2F, "2F F6 4*FF 1F FF FF 04", partial(block.verify, block.CDB_10),
            direction=OUT, reserved=READS, needs_medium=True, ignored_text=_RELADR),
    Command("PRE-FETCH(10)", 0x34, "34 02 4*FF 1F FF FF 04", partial(block.prefetch, block.CDB_10),
            reserved=READS, needs_medium=True, ignored_text=_RELADR),
    Command("SYNCHRONIZE CACHE(10)", 0x35, "35 02 4*FF 1F FF FF 04",
            partial(block.synchronize_cache, block.CDB_10),
            reserved=WRITES, needs_medium=True, ignored_text=_SYNC_NV_RELADR),
    Command("WRITE BUFFER", 0x3B, "3B FF FF 6*FF 04", buffers.write_buffer,
            direction=OUT, access=_buffer_access, reserved=WRITES),
    Command("READ BUFFER", 0x3C, "3C FF FF 6*FF 04", buffers.read_buffer,
            direction=IN, access=_buffer_access, reserved=READS),
    Command("READ DEFECT DATA(10)", 0x37, "37 00 1F 4*00 FF FF 04", defects.read_defect_data_10,
            direction=IN, reserved=READS, needs_medium=True),
    Command("WRITE SAME(10)", 0x41, "41 F8 4*FF 1F FF FF 04", partial(provisioning.write_same, block.CDB_10),
            direction=OUT, reserved=WRITES, needs_medium=True),
    Command("UNMAP", 0x42, "42 01 4*00 1F FF FF 04", provisioning.unmap,
            direction=OUT, reserved=WRITES, needs_medium=True),
    Command("SANITIZE, OVERWRITE", 0x48, "48 BF 5*00 FF FF 04", sanitize.overwrite,
            service_action=0x01, direction=OUT, reserved=WRITES, needs_medium=True),
    Command("SANITIZE, BLOCK ERASE", 0x48, "48 BF 5*00 FF FF 04", sanitize.block_erase,
            service_action=0x02, reserved=WRITES, needs_medium=True),
    Command("SANITIZE, EXIT FAILURE MODE", 0x48, "48 BF 5*00 FF FF 04", sanitize.exit_failure_mode,
            service_action=0x1F, reserved=WRITES),
    Command("LOG SELECT", 0x4C, "4C 03 FF FF 00 00 00 FF FF 04", log.log_select,
            direction=OUT, access=STANDBY, reserved=WRITES),
    Command("LOG SENSE", 0x4D, "4D 01 FF FF 00 FF FF FF FF 04", log.log_sense,
            direction=IN, access=STANDBY),
    Command("MODE SELECT(10)", 0x55, "55 11 5*00 FF FF 04", mode.mode_select_10,
            direction=OUT, access=STANDBY, reserved=WRITES),
    Command("RESERVE(10)", 0x56, "56 8*00 04", reserve.reserve,
            reserved=Reserved.TESTS),
    Command("RELEASE(10)", 0x57, "57 8*00 04", reserve.release),
    Command("MODE SENSE(10)", 0x5A, "5A 18 FF FF 00 00 00 FF FF 04", mode.mode_sense_10,
            direction=IN, access=STANDBY, reserved=READS),
    Command("PERSISTENT RESERVE IN, READ KEYS", 0x5E, "5E 1F 5*00 FF FF 04", persistent.read_keys,
            service_action=0x00, direction=IN, access=STANDBY, reserved=Reserved.TESTS),
    Command("PERSISTENT RESERVE IN, READ RESERVATION", 0x5E, "5E 1F 5*00 FF FF 04",
            persistent.read_reservation, service_action=0x01, direction=IN, access=STANDBY,
            reserved=Reserved.TESTS),
    Command("PERSISTENT RESERVE IN, REPORT CAPABILITIES", 0x5E, "5E 1F 5*00 FF FF 04",
            persistent.report_capabilities, service_action=0x02, direction=IN, access=STANDBY,
            reserved=Reserved.TESTS),
    Command("PERSISTENT RESERVE IN, READ FULL STATUS", 0x5E, "5E 1F 5*00 FF FF 04",
            persistent.read_full_status, service_action=0x03, direction=IN, access=STANDBY,
            reserved=Reserved.TESTS),
    Command("PERSISTENT RESERVE OUT, REGISTER", 0x5F, _PERSISTENT_RESERVE_OUT,
            persistent.register, service_action=0x00, direction=OUT, access=STANDBY,
            reserved=Reserved.TESTS),
    Command("PERSISTENT RESERVE OUT, RESERVE", 0x5F, _PERSISTENT_RESERVE_OUT,
            persistent.reserve, service_action=0x01, direction=OUT, access=STANDBY,
            reserved=Reserved.TESTS),
    Command("PERSISTENT RESERVE OUT, RELEASE", 0x5F, _PERSISTENT_RESERVE_OUT,
            persistent.release, service_action=0x02, direction=OUT, access=STANDBY,
            reserved=Reserved.TESTS),
    Command("PERSISTENT RESERVE OUT, CLEAR", 0x5F, _PERSISTENT_RESERVE_OUT,
            persistent.clear, service_action=0x03, direction=OUT, access=STANDBY,
            reserved=Reserved.TESTS),
    Command("PERSISTENT RESERVE OUT, PREEMPT", 0x5F, _PERSISTENT_RESERVE_OUT,
            persistent.preempt, service_action=0x04, direction=OUT, access=STANDBY,
            reserved=Reserved.TESTS),
    Command("PERSISTENT RESERVE OUT, PREEMPT AND ABORT", 0x5F, _PERSISTENT_RESERVE_OUT,
            persistent.preempt_and_abort, service_action=0x05, direction=OUT, access=STANDBY,
            reserved=Reserved.TESTS),
    Command("PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY", 0x5F, _PERSISTENT_RESERVE_OUT,
            persistent.register_and_ignore_existing_key, service_action=0x06, direction=OUT, access=STANDBY,
            reserved=Reserved.TESTS),
    Command("PERSISTENT RESERVE OUT, REGISTER AND MOVE", 0x5F, _PERSISTENT_RESERVE_OUT,
            persistent.register_and_move, service_action=0x07, direction=OUT, access=STANDBY,
            reserved=Reserved.TESTS),
    Command("EXTENDED COPY(LID1)", 0x83, "83 1F 8*00 4*FF 00 04", extended.extended_copy_lid1,
            service_action=0x00, direction=OUT, reserved=WRITES, needs_medium=True),
    Command("EXTENDED COPY(LID4)", 0x83, "83 1F 8*00 4*FF 00 04", extended.extended_copy_lid4,
            service_action=0x01, direction=OUT, reserved=WRITES, needs_medium=True),
    Command("POPULATE TOKEN", 0x83, "83 1F 4*00 4*FF 4*FF 00 04", token_commands.populate_token,
            service_action=0x10, direction=OUT, reserved=WRITES, needs_medium=True),
    Command("WRITE USING TOKEN", 0x83, "83 1F 4*00 4*FF 4*FF 00 04", token_commands.write_using_token,
            service_action=0x11, direction=OUT, reserved=WRITES, needs_medium=True),
    Command("COPY OPERATION ABORT", 0x83, "83 1F 4*FF 9*00 04", results.copy_operation_abort,
            service_action=0x1C, reserved=WRITES),
    Command("RECEIVE COPY STATUS(LID1)", 0x84, "84 1F FF 7*00 4*FF 00 04", results.receive_copy_status_lid1,
            service_action=0x00, direction=IN),
    Command("RECEIVE COPY DATA(LID1)", 0x84, "84 1F FF 7*00 4*FF 00 04", results.receive_copy_data,
            service_action=0x01, direction=IN),
    Command("RECEIVE COPY OPERATING PARAMETERS", 0x84, "84 1F FF 7*00 4*FF 00 04",
            results.receive_copy_operating_parameters, service_action=0x03, direction=IN),
    Command("RECEIVE COPY FAILURE DETAILS(LID1)", 0x84, "84 1F FF 7*00 4*FF 00 04",
            results.receive_copy_failure_details, service_action=0x04, direction=IN),
    Command("RECEIVE COPY STATUS(LID4)", 0x84, "84 1F 4*FF 4*00 4*FF 00 04",
            results.receive_copy_status_lid4, service_action=0x05, direction=IN),
    Command("RECEIVE ROD TOKEN INFORMATION", 0x84, "84 1F 4*FF 4*00 4*FF 00 04",
            results.receive_rod_token_information, service_action=0x07, direction=IN),
    Command("REPORT ALL ROD TOKENS", 0x84, "84 1F 8*00 4*FF 00 04", token_commands.report_all_rod_tokens,
            service_action=0x08, direction=IN),
    Command("READ(16)", 0x88, "88 FC 8*FF 4*FF 1F 04", partial(block.read, block.CDB_16),
            direction=IN, reserved=READS, needs_medium=True, ignored_text=_FUA_NV),
    Command("COMPARE AND WRITE", 0x89, "89 F8 8*FF 3*00 FF 1F 04", compare.compare_and_write,
            direction=OUT, reserved=WRITES, needs_medium=True, ignored_text=_FUA_NV),
    Command("WRITE(16)", 0x8A, "8A F8 8*FF 4*FF 1F 04", partial(block.write, block.CDB_16),
            direction=OUT, reserved=WRITES, needs_medium=True, ignored_text=_FUA_NV),
    Command("ORWRITE(16)", 0x8B, "8B F8 8*FF 4*FF 1F 04", compare.orwrite,
            direction=OUT, reserved=WRITES, needs_medium=True, ignored_text=_FUA_NV),
    Command("WRITE AND VERIFY(16)", 0x8E, "8E F6 8*FF 4*FF 1F 04",
            partial(compare.write_and_verify, block.CDB_16),
            direction=OUT, reserved=WRITES, needs_medium=True),
    Command("VERIFY(16)", 0x8F, "8F F6 8*FF 4*FF 1F 04", partial(block.verify, block.CDB_16),
            direction=OUT, reserved=READS, needs_medium=True),
    Command("PRE-FETCH(16)", 0x90, "90 02 8*FF 4*FF 1F 04", partial(block.prefetch, block.CDB_16),
            reserved=READS, needs_medium=True),
    Command("SYNCHRONIZE CACHE(16)", 0x91, "91 02 8*FF 4*FF 1F 04",
            partial(block.synchronize_cache, block.CDB_16),
            reserved=WRITES, needs_medium=True, ignored_text=_SYNC_NV),
    Command("WRITE SAME(16)", 0x93, "93 F9 8*FF 4*FF 1F 04", partial(provisioning.write_same, block.CDB_16),
            direction=OUT, reserved=WRITES, needs_medium=True),
    Command("WRITE ATOMIC(16)", 0x9C, "9C F8 8*FF 4*FF 1F 04", block.write_atomic,
            direction=OUT, reserved=WRITES, needs_medium=True),
    Command("READ CAPACITY(16)", 0x9E, "9E 1F 8*FF 4*FF 01 04", block.read_capacity_16,
            service_action=0x10, direction=IN),
    Command("GET LBA STATUS", 0x9E, "9E 1F 8*FF 4*FF FF 04", provisioning.get_lba_status,
            service_action=0x12, direction=IN, reserved=READS, needs_medium=True),
    Command("REPORT LUNS", 0xA0, "A0 00 FF 00 00 00 4*FF 00 04", report.report_luns,
            direction=IN, on=EVERYWHERE, access=ANY_STATE, preempts_attention=True),
    Command("REPORT IDENTIFYING INFORMATION", 0xA3, "A3 1F 4*00 4*FF FE 04",
            identifying_information.report_identifying_information, service_action=0x05, direction=IN),
    Command("REPORT TARGET PORT GROUPS", 0xA3, "A3 FF 4*00 4*FF 00 04", target_port_groups.report,
            service_action=0x0A, direction=IN, access=ANY_STATE),
    Command("REPORT SUPPORTED OPERATION CODES", 0xA3, "A3 1F 87 FF FF FF 4*FF 00 04",
            report.report_supported_operation_codes, service_action=0x0C, direction=IN, reserved=READS),
    Command("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", 0xA3, "A3 1F 80 3*00 4*FF 00 04",
            report.report_supported_task_management_functions, service_action=0x0D, direction=IN,
            reserved=READS),
    Command("REPORT PRIORITY", 0xA3, "A3 1F C0 3*00 4*FF 00 04", report.report_priority,
            service_action=0x0E, direction=IN),
    Command("REPORT TIMESTAMP", 0xA3, "A3 1F 4*00 4*FF 00 04", timestamp.report_timestamp,
            service_action=0x0F, direction=IN),
    Command("SET IDENTIFYING INFORMATION", 0xA4, "A4 1F 4*00 4*FF FE 04",
            identifying_information.set_identifying_information, service_action=0x06, direction=OUT,
            reserved=WRITES),
    Command("SET TIMESTAMP", 0xA4, "A4 1F 4*00 4*FF 00 04", timestamp.set_timestamp,
            service_action=0x0F, direction=OUT, reserved=WRITES),
    Command("SET TARGET PORT GROUPS", 0xA4, "A4 1F 4*00 4*FF 00 04", target_port_groups.set_states,
            service_action=0x0A, direction=OUT, access=STANDBY | {AccessState.UNAVAILABLE}, reserved=WRITES),
    Command("READ(12)", 0xA8, "A8 FC 4*FF 4*FF 1F 04", partial(block.read, block.CDB_12),
            direction=IN, reserved=READS, needs_medium=True, ignored_text=_FUA_NV_RELADR),
    Command("WRITE(12)", 0xAA, "AA F8 4*FF 4*FF 1F 04", partial(block.write, block.CDB_12),
            direction=OUT, reserved=WRITES, needs_medium=True, ignored_text=_FUA_NV_RELADR),
    Command("WRITE AND VERIFY(12)", 0xAE, "AE F6 4*FF 4*FF 1F 04",
            partial(compare.write_and_verify, block.CDB_12),
            direction=OUT, reserved=WRITES, needs_medium=True, ignored_text=_RELADR),
    Command("VERIFY(12)", 0xAF, "AF F6 4*FF 4*FF 1F 04", partial(block.verify, block.CDB_12),
            direction=OUT, reserved=READS, needs_medium=True, ignored_text=_RELADR),
    Command("READ DEFECT DATA(12)", 0xB7, "B7 1F 4*FF 4*FF 00 04", defects.read_defect_data_12,
            direction=IN, reserved=READS, needs_medium=True),
)
# fmt: on


@lru_cache(maxsize=64)
def command_set(personality: Personality, peripheral_type: int, durable: bool = True) -> CommandSet:
    """The commands that a logical unit of this type offers; `durable`: its store can be."""
    offered = [row for row in COMMANDS if peripheral_type in row.on and personality.offers(row.name)]
    return CommandSet(offered if durable else map(_without_cache_control, offered))


# DPO and FUA in byte 1, or DPO alone
_CACHE_CONTROL = dict.fromkeys((0x28, 0x2A, 0x88, 0x89, 0x8A, 0x8B, 0x9C, 0xA8, 0xAA), 0x18) | dict.fromkeys(
    (0x2E, 0x2F, 0x8E, 0x8F, 0xAE, 0xAF), 0x10
)


def _without_cache_control(row: Command) -> Command:
    """The row for a disk whose mode data has DPOFUA 0: DPO and FUA do not exist (SBC-3 6.4.1)."""
    usage = bytearray(row.usage)
    usage[1] &= ~_CACHE_CONTROL.get(row.opcode, 0) & 0xFF
    return replace(row, usage_text=usage.hex(" "))
