"""Parameter lists and parameter data of third-party copy (SPC-4 6.4 to 6.27, SBC-3 5.7, 5.46)."""

from __future__ import annotations

from construct import (
    Aligned,
    BitsInteger,
    BitStruct,
    Bytes,
    BytesInteger,
    Const,
    CString,
    Default,
    Flag,
    GreedyBytes,
    Int8ub,
    Int16ub,
    Int32ub,
    Int64ub,
    Nibble,
    Padding,
    Prefixed,
    Rebuild,
    Struct,
)

CSCD_LENGTH = 32
IDENTIFICATION_DESCRIPTOR = 0xE4

SEGMENT_HEADER_LENGTH = 4
BLOCK_TO_BLOCK = 0x02
BLOCK_TO_BLOCK_LENGTH = 0x18

THIS_LOGICAL_UNIT = 0xFFFF
"""The CSCD descriptor ID of the logical unit that the command was sent to."""

_FLAGS = BitStruct(
    Padding(2),
    "str" / Default(Flag, False),
    "list_id_usage" / Default(BitsInteger(2), 0),
    "priority" / Default(BitsInteger(3), 0),
)

LID1_HEADER = Struct(
    "list_identifier" / Int8ub,
    "flags" / _FLAGS,
    "cscd_list_length" / Int16ub,
    Padding(4),
    "segment_list_length" / Int32ub,
    "inline_data_length" / Default(Int32ub, 0),
)

LID4_HEADER = Struct(
    "format" / Default(Int8ub, 0x01),
    "flags" / _FLAGS,
    "header_cscd_list_length" / Default(Int16ub, CSCD_LENGTH),
    Padding(11),
    "byte_15" / BitStruct(Padding(6), "g_sense" / Default(Flag, False), "immed" / Default(Flag, False)),
    "header_cscd_type_code" / Default(Int8ub, 0xFF),
    Padding(3),
    "list_identifier" / Int32ub,
    Padding(18),
    "cscd_list_length" / Int16ub,
    "segment_list_length" / Int16ub,
    "inline_data_length" / Default(Int16ub, 0),
)

# SPC-4 6.4.5.2: 32 bytes
CSCD = Struct(
    "type_code" / Default(Int8ub, IDENTIFICATION_DESCRIPTOR),
    "byte_1"
    / BitStruct(
        "lu_id_type" / Default(BitsInteger(2), 0),
        "nul" / Default(Flag, False),
        "peripheral_type" / Default(BitsInteger(5), 0),
    ),
    "relative_initiator_port" / Default(Int16ub, 0),
    "byte_4" / BitStruct(Padding(4), "code_set" / Default(Nibble, 1)),
    "byte_5"
    / BitStruct(
        Padding(2),
        "association" / Default(BitsInteger(2), 0),
        "designator_type" / Default(Nibble, 3),
    ),
    Padding(1),
    "designator_length" / Default(Int8ub, 16),
    "designator" / Bytes(20),
    "byte_28" / BitStruct(Padding(5), "pad" / Default(Flag, False), Padding(2)),
    "block_length" / Default(BytesInteger(3), 0),
)

# SPC-4 6.4.6.4
SEGMENT = Struct(
    "type_code" / Const(BLOCK_TO_BLOCK, Int8ub),
    "byte_1" / BitStruct(Padding(6), "dc" / Default(Flag, False), "cat" / Default(Flag, False)),
    "length" / Const(BLOCK_TO_BLOCK_LENGTH, Int16ub),
    "source" / Int16ub,
    "destination" / Int16ub,
    Padding(2),
    "blocks" / Int16ub,
    "source_lba" / Int64ub,
    "destination_lba" / Int64ub,
)

# SPC-4 6.24
STATUS_LID1 = Struct(
    "available_data" / Const(8, Int32ub),
    "status" / BitStruct("hdd" / Default(Flag, False), "status" / BitsInteger(7)),
    "segments_processed" / Int16ub,
    "transfer_count_units" / Int8ub,
    "transfer_count" / Int32ub,
)

# SPC-4 6.20: nothing is ever held
HELD_DATA = Struct("available_data" / Const(0, Int32ub))

# SPC-4 6.21
OPERATING_PARAMETERS = Struct(
    "available_data" / Rebuild(Int32ub, lambda ctx: 40 + len(ctx.descriptor_type_codes)),
    "flags" / BitStruct(Padding(7), "snlid" / Default(Flag, True)),
    Padding(3),
    "maximum_cscd_descriptors" / Int16ub,
    "maximum_segment_descriptors" / Int16ub,
    "maximum_descriptor_list_length" / Int32ub,
    "maximum_segment_length" / Int32ub,
    "maximum_inline_data_length" / Default(Int32ub, 0),
    "held_data_limit" / Default(Int32ub, 0),
    "maximum_stream_device_transfer_size" / Default(Int32ub, 0),
    Padding(2),
    "total_concurrent_copies" / Int16ub,
    "maximum_concurrent_copies" / Int8ub,
    "data_segment_granularity" / Default(Int8ub, 0),
    "inline_data_granularity" / Default(Int8ub, 0),
    "held_data_granularity" / Default(Int8ub, 0),
    Padding(3),
    "descriptor_type_codes" / Prefixed(Int8ub, GreedyBytes),
)

# SPC-4 6.22
FAILURE_DETAILS = Struct(
    "available_data" / Rebuild(Int32ub, lambda ctx: 56 + len(ctx.sense)),
    Padding(52),
    "status" / Int8ub,
    Padding(1),
    "sense" / Prefixed(Int16ub, GreedyBytes),
)
NO_FAILURE = Struct("available_data" / Const(0, Int32ub))

# SPC-4 6.25; RECEIVE ROD TOKEN INFORMATION continues it
STATUS_LID4 = Struct(
    "available_data" / Int32ub,
    "byte_4" / BitStruct(Padding(3), "service_action" / BitsInteger(5)),
    "byte_5" / BitStruct(Padding(1), "status" / BitsInteger(7)),
    "operation_counter" / Default(Int16ub, 0),
    "estimated_status_update_delay" / Int32ub,
    "completion_status" / Int8ub,
    "sense_field_length" / Int8ub,
    "sense_length" / Int8ub,
    "transfer_count_units" / Int8ub,
    "transfer_count" / Int64ub,
    "segments_processed" / Int16ub,
    Padding(6),
    "sense" / Bytes(lambda ctx: ctx.sense_field_length),
)

# SPC-4 6.27
ROD_TOKEN_DESCRIPTORS = Prefixed(Int32ub, GreedyBytes)
ROD_TOKEN_DESCRIPTOR = Struct("cscd_id" / Const(0, Int16ub), "token" / GreedyBytes)

# SPC-4 6.31
ALL_ROD_TOKENS = Struct(
    "available_data" / Rebuild(Int32ub, lambda ctx: 4 + len(ctx.tokens)),
    Padding(4),
    "tokens" / GreedyBytes,
)

# SBC-3 5.7.2
POPULATE_TOKEN = Struct(
    "data_length" / Int16ub,
    "flags" / BitStruct(Padding(6), "rtv" / Default(Flag, False), "immed" / Default(Flag, False)),
    Padding(1),
    "inactivity_timeout" / Default(Int32ub, 0),
    "rod_type" / Default(Int32ub, 0),
    Padding(2),
    "ranges_length" / Int16ub,
)

# SBC-3 5.46.2
WRITE_USING_TOKEN = Struct(
    "data_length" / Int16ub,
    "flags" / BitStruct(Padding(6), "del_tkn" / Default(Flag, False), "immed" / Default(Flag, False)),
    Padding(5),
    "offset_into_rod" / Default(Int64ub, 0),
    "token" / Bytes(512),
    Padding(6),
    "ranges_length" / Int16ub,
)

RANGE = Struct("lba" / Int64ub, "blocks" / Int32ub, Padding(4))

# SPC-4 5.16.6.5.3, and SBC-3 4.28.4 for what is specific to block devices
ROD_TOKEN = Struct(
    "rod_type" / Int32ub,
    Padding(2),
    "length" / Const(0x01F8, Int16ub),
    "identifier" / Int64ub,
    "creator" / CSCD,
    "bytes_represented" / BytesInteger(16),
    Padding(32),
    "block_length" / Int32ub,
    Padding(28),
    "target_device" / Bytes(128),
    "secret" / Bytes(256),
)
ROD_MANAGEMENT_TOKEN_LENGTH = 96

# a designation descriptor: the SCSI name string of the target device, by iSCSI (SPC-4 7.8.6.11)
TARGET_DEVICE = Struct(
    "head" / Const(bytes.fromhex("53 A8 00")), "name" / Prefixed(Int8ub, Aligned(4, CString("utf8")))
)
