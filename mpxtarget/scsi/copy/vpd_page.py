"""VPD page 8Fh, third-party copy (SPC-4 7.8.17, SBC-3 6.6.6): which commands there are, and their limits.

The page, and the 3PC bit of INQUIRY data, are there when the logical unit offers one of the commands. What is
said of tokens is said only when tokens are offered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from construct import (
    BitStruct,
    Const,
    Default,
    Flag,
    GreedyBytes,
    GreedyRange,
    Int8ub,
    Int16ub,
    Int32ub,
    Int64ub,
    Padding,
    Prefixed,
    Struct,
)

from mpxtarget.scsi.copy import layouts, limits
from mpxtarget.scsi.copy.tokens import BLOCK_DEVICE_ZERO, POINT_IN_TIME_CHANGE_VULNERABLE

if TYPE_CHECKING:
    from mpxtarget.scsi.logical_unit import Disk, LogicalUnit

COMMANDS: Final = {
    0x83: {
        0x00: "EXTENDED COPY(LID1)",
        0x01: "EXTENDED COPY(LID4)",
        0x10: "POPULATE TOKEN",
        0x11: "WRITE USING TOKEN",
        0x1C: "COPY OPERATION ABORT",
    },
    0x84: {
        0x00: "RECEIVE COPY STATUS(LID1)",
        0x01: "RECEIVE COPY DATA(LID1)",
        0x03: "RECEIVE COPY OPERATING PARAMETERS",
        0x04: "RECEIVE COPY FAILURE DETAILS(LID1)",
        0x05: "RECEIVE COPY STATUS(LID4)",
        0x07: "RECEIVE ROD TOKEN INFORMATION",
        0x08: "REPORT ALL ROD TOKENS",
    },
}
"""Operation codes and service actions, and the names of their rows in the command table."""

DESCRIPTORS = GreedyRange(Struct("type" / Int16ub, "payload" / Prefixed(Int16ub, GreedyBytes)))

BLOCK_DEVICE_ROD_LIMITS = Struct(
    Padding(6),
    "maximum_range_descriptors" / Int16ub,
    "maximum_inactivity_timeout" / Int32ub,
    "default_inactivity_timeout" / Int32ub,
    "maximum_token_transfer_size" / Int64ub,
    "optimal_transfer_count" / Int64ub,
)

SUPPORTED_COMMANDS = Prefixed(
    Int8ub, GreedyRange(Struct("operation_code" / Int8ub, "service_actions" / Prefixed(Int8ub, GreedyBytes)))
)

PARAMETER_DATA = Struct(
    Padding(4),
    "maximum_cscd_descriptors" / Int16ub,
    "maximum_segment_descriptors" / Int16ub,
    "maximum_descriptor_list_length" / Int32ub,
    "maximum_inline_data_length" / Default(Int32ub, 0),
    Padding(12),
)

SUPPORTED_DESCRIPTORS = Prefixed(Int8ub, GreedyBytes)
SUPPORTED_CSCD_IDS = Prefixed(Int16ub, GreedyRange(Int16ub))

ROD_TOKEN_FEATURES = Struct(
    "remote_tokens" / Default(Int8ub, 0),
    Padding(11),
    "minimum_token_lifetime" / Default(Int32ub, 0),
    "maximum_token_lifetime" / Default(Int32ub, 0xFFFF_FFFF),
    "maximum_token_inactivity_timeout" / Int32ub,
    Padding(18),
    "features_length" / Const(48, Int16ub),
    "block_rod" / Const(0x00, Int8ub),
    Padding(1),
    "block_rod_length" / Const(44, Int16ub),
    Padding(2),
    "optimal_length_granularity" / Default(Int16ub, 0),
    "maximum_bytes" / Int64ub,
    "optimal_bytes" / Int64ub,
    "optimal_bytes_to_token" / Int64ub,
    "optimal_bytes_from_token" / Int64ub,
    Padding(8),
)

SUPPORTED_RODS = Struct(
    Padding(2),
    "rods"
    / Prefixed(
        Int16ub,
        GreedyRange(
            Struct(
                "rod_type" / Int32ub,
                "flags"
                / BitStruct(
                    "ecpy_int" / Default(Flag, False), Padding(5), "token_in" / Flag, "token_out" / Flag
                ),
                Padding(1),
                "preference" / Default(Int16ub, 0),
                Padding(56),
            )
        ),
    ),
)

GENERAL_COPY_OPERATIONS = Struct(
    "total_concurrent_copies" / Int32ub,
    "maximum_identified_concurrent_copies" / Int32ub,
    "maximum_segment_length" / Int32ub,
    "data_segment_granularity" / Default(Int8ub, 0),
    "inline_data_granularity" / Default(Int8ub, 0),
    Padding(18),
)

# third-party copy descriptor types
_BLOCK_DEVICE_ROD_LIMITS = 0x0000
_SUPPORTED_COMMANDS = 0x0001
_PARAMETER_DATA = 0x0004
_SUPPORTED_DESCRIPTORS = 0x0008
_SUPPORTED_CSCD_IDS = 0x000C
_ROD_TOKEN_FEATURES = 0x0106
_SUPPORTED_RODS = 0x0108
_GENERAL_COPY_OPERATIONS = 0x8001

_RODS = [
    {"rod_type": POINT_IN_TIME_CHANGE_VULNERABLE, "flags": {"token_in": True, "token_out": True}},
    {"rod_type": BLOCK_DEVICE_ZERO, "flags": {"token_in": True, "token_out": False}},
]


def offered(lu: LogicalUnit) -> bool:
    """Whether the logical unit offers third-party copy commands."""
    return bool(_actions(lu, 0x83))


def payload(lu: LogicalUnit) -> bytes:
    """The page without its header: descriptors, by their type, each padded to a multiple of four bytes."""
    payloads = _of_all(lu)
    if _offers(lu, "EXTENDED COPY(LID1)", "EXTENDED COPY(LID4)"):
        payloads |= _of_copies()
    if _offers(lu, "POPULATE TOKEN", "WRITE USING TOKEN"):
        payloads |= _of_tokens(cast("Disk", lu))
    return bytes(
        DESCRIPTORS.build(
            {"type": kind, "payload": payload.ljust(-(-len(payload) // 4) * 4, b"\0")}
            for kind, payload in sorted(payloads.items())
        )
    )


def _of_all(lu: LogicalUnit) -> dict[int, bytes]:
    commands = [
        {"operation_code": code, "service_actions": bytes(actions)}
        for code in COMMANDS
        if (actions := _actions(lu, code))
    ]
    general = {
        "total_concurrent_copies": limits.CONCURRENT_COPIES,
        "maximum_identified_concurrent_copies": limits.CONCURRENT_COPIES,
        "maximum_segment_length": limits.MAXIMUM_SEGMENT_LENGTH,
    }
    return {
        _SUPPORTED_COMMANDS: SUPPORTED_COMMANDS.build(commands),
        _GENERAL_COPY_OPERATIONS: GENERAL_COPY_OPERATIONS.build(general),
    }


def _of_copies() -> dict[int, bytes]:
    parameter_data = {
        "maximum_cscd_descriptors": limits.MAXIMUM_CSCD_DESCRIPTORS,
        "maximum_segment_descriptors": limits.MAXIMUM_SEGMENT_DESCRIPTORS,
        "maximum_descriptor_list_length": limits.MAXIMUM_DESCRIPTOR_LIST_LENGTH,
    }
    codes = bytes([layouts.BLOCK_TO_BLOCK, layouts.IDENTIFICATION_DESCRIPTOR])
    return {
        _PARAMETER_DATA: PARAMETER_DATA.build(parameter_data),
        _SUPPORTED_DESCRIPTORS: SUPPORTED_DESCRIPTORS.build(codes),
        _SUPPORTED_CSCD_IDS: SUPPORTED_CSCD_IDS.build([layouts.THIS_LOGICAL_UNIT]),
    }


def _of_tokens(disk: Disk) -> dict[int, bytes]:
    rod_limits = {
        "maximum_range_descriptors": limits.MAXIMUM_RANGES,
        "maximum_inactivity_timeout": limits.MAXIMUM_INACTIVITY_TIMEOUT,
        "default_inactivity_timeout": limits.DEFAULT_INACTIVITY_TIMEOUT,
        "maximum_token_transfer_size": limits.MAXIMUM_TOKEN_BYTES >> disk.shift,
        "optimal_transfer_count": limits.OPTIMAL_TOKEN_BYTES >> disk.shift,
    }
    features = {
        "maximum_token_inactivity_timeout": limits.MAXIMUM_INACTIVITY_TIMEOUT,
        "maximum_bytes": limits.MAXIMUM_TOKEN_BYTES,
        "optimal_bytes": limits.OPTIMAL_TOKEN_BYTES,
        "optimal_bytes_to_token": limits.OPTIMAL_TOKEN_BYTES,
        "optimal_bytes_from_token": limits.OPTIMAL_TOKEN_BYTES,
    }
    return {
        _BLOCK_DEVICE_ROD_LIMITS: BLOCK_DEVICE_ROD_LIMITS.build(rod_limits),
        _ROD_TOKEN_FEATURES: ROD_TOKEN_FEATURES.build(features),
        _SUPPORTED_RODS: SUPPORTED_RODS.build({"rods": _RODS}),
    }


def _actions(lu: LogicalUnit, operation_code: int) -> list[int]:
    """The service actions that the logical unit offers."""
    return [action for action, name in COMMANDS[operation_code].items() if lu.personality.offers(name)]


def _offers(lu: LogicalUnit, *names: str) -> bool:
    return any(lu.personality.offers(name) for name in names)
