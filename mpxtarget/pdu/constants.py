"""The numbers of RFC 7143, by the names the RFC gives them.

Plain integers in plain classes: these are compared in the busiest loops of the target, where an
enum member costs more than the comparison. `name_of` turns a number back into its name for messages.
"""

from __future__ import annotations

from typing import Final

BHS_LENGTH: Final = 48
"""Bytes in a Basic Header Segment (11.2.1)."""
DIGEST_LENGTH: Final = 4
MAX_AHS_LENGTH: Final = 255 * 4
"""TotalAHSLength is one byte that counts four-byte words (11.2.1.5)."""
NO_TAG: Final = 0xFFFFFFFF
"""The tag that names no task and no transfer (11.2.1.8, 11.7.4)."""
DEFAULT_DATA_SEGMENT_LENGTH: Final = 8192
"""MaxRecvDataSegmentLength while nothing else is declared, and in all of login (13.12)."""
ISCSI_PORT: Final = 3260


class Opcode:
    """11.2.1.2."""

    NOP_OUT: Final = 0x00
    SCSI_COMMAND: Final = 0x01
    TASK_MANAGEMENT_REQUEST: Final = 0x02
    LOGIN_REQUEST: Final = 0x03
    TEXT_REQUEST: Final = 0x04
    DATA_OUT: Final = 0x05
    LOGOUT_REQUEST: Final = 0x06
    SNACK_REQUEST: Final = 0x10
    NOP_IN: Final = 0x20
    SCSI_RESPONSE: Final = 0x21
    TASK_MANAGEMENT_RESPONSE: Final = 0x22
    LOGIN_RESPONSE: Final = 0x23
    TEXT_RESPONSE: Final = 0x24
    DATA_IN: Final = 0x25
    LOGOUT_RESPONSE: Final = 0x26
    R2T: Final = 0x31
    ASYNC_MESSAGE: Final = 0x32
    REJECT: Final = 0x3F


class AhsType:
    """11.2.2.1."""

    EXTENDED_CDB: Final = 1
    BIDIRECTIONAL_READ_LENGTH: Final = 2


class TaskAttribute:
    """ATTR of a SCSI Command (11.3.1)."""

    UNTAGGED: Final = 0
    SIMPLE: Final = 1
    ORDERED: Final = 2
    HEAD_OF_QUEUE: Final = 3
    ACA: Final = 4


class ScsiResponseCode:
    """Response of a SCSI Response (11.4.3)."""

    COMMAND_COMPLETED: Final = 0x00
    TARGET_FAILURE: Final = 0x01


class TmfFunction:
    """Function of a Task Management Function Request (11.5.1)."""

    ABORT_TASK: Final = 1
    ABORT_TASK_SET: Final = 2
    CLEAR_ACA: Final = 3
    CLEAR_TASK_SET: Final = 4
    LOGICAL_UNIT_RESET: Final = 5
    TARGET_WARM_RESET: Final = 6
    TARGET_COLD_RESET: Final = 7
    TASK_REASSIGN: Final = 8
    QUERY_TASK: Final = 9  # RFC 7144
    QUERY_TASK_SET: Final = 10
    I_T_NEXUS_RESET: Final = 11
    QUERY_ASYNCHRONOUS_EVENT: Final = 12


class TmfResponse:
    """Response of a Task Management Function Response (11.6.1)."""

    FUNCTION_COMPLETE: Final = 0
    TASK_DOES_NOT_EXIST: Final = 1
    LUN_DOES_NOT_EXIST: Final = 2
    TASK_STILL_ALLEGIANT: Final = 3
    REASSIGNMENT_NOT_SUPPORTED: Final = 4
    FUNCTION_NOT_SUPPORTED: Final = 5
    AUTHORIZATION_FAILED: Final = 6
    FUNCTION_SUCCEEDED: Final = 7  # RFC 7144
    FUNCTION_REJECTED: Final = 255


class AsyncEvent:
    """11.9.1."""

    SCSI: Final = 0
    LOGOUT_REQUEST: Final = 1
    CONNECTION_DROP: Final = 2
    SESSION_DROP: Final = 3
    NEGOTIATION_REQUEST: Final = 4
    TASKS_TERMINATED: Final = 5  # RFC 7143: all active tasks of the LU are terminated (FastAbort)
    VENDOR_SPECIFIC: Final = 255


class Stage:
    """CSG and NSG of the login PDUs (11.12.3)."""

    SECURITY_NEGOTIATION: Final = 0
    OPERATIONAL_NEGOTIATION: Final = 1
    FULL_FEATURE_PHASE: Final = 3


class LoginStatus:
    """Status-Class (high byte) and Status-Detail (low byte) of a Login Response (11.13.5)."""

    SUCCESS: Final = 0x0000
    TARGET_MOVED_TEMPORARILY: Final = 0x0101
    TARGET_MOVED_PERMANENTLY: Final = 0x0102
    INITIATOR_ERROR: Final = 0x0200
    AUTHENTICATION_FAILURE: Final = 0x0201
    AUTHORIZATION_FAILURE: Final = 0x0202
    NOT_FOUND: Final = 0x0203
    TARGET_REMOVED: Final = 0x0204
    UNSUPPORTED_VERSION: Final = 0x0205
    TOO_MANY_CONNECTIONS: Final = 0x0206
    MISSING_PARAMETER: Final = 0x0207
    CANT_INCLUDE_IN_SESSION: Final = 0x0208
    SESSION_TYPE_NOT_SUPPORTED: Final = 0x0209
    SESSION_DOES_NOT_EXIST: Final = 0x020A
    INVALID_DURING_LOGIN: Final = 0x020B
    TARGET_ERROR: Final = 0x0300
    SERVICE_UNAVAILABLE: Final = 0x0301
    OUT_OF_RESOURCES: Final = 0x0302


class LogoutReason:
    """11.14.1."""

    CLOSE_SESSION: Final = 0
    CLOSE_CONNECTION: Final = 1
    REMOVE_CONNECTION_FOR_RECOVERY: Final = 2


class LogoutResponseCode:
    """11.15.1."""

    CLOSED: Final = 0
    CID_NOT_FOUND: Final = 1
    RECOVERY_NOT_SUPPORTED: Final = 2
    CLEANUP_FAILED: Final = 3


class SnackType:
    """11.16.1."""

    DATA_R2T: Final = 0
    STATUS: Final = 1
    DATA_ACK: Final = 2
    R_DATA: Final = 3


class RejectReason:
    """11.17.1."""

    DATA_DIGEST_ERROR: Final = 0x02
    SNACK_REJECT: Final = 0x03
    PROTOCOL_ERROR: Final = 0x04
    COMMAND_NOT_SUPPORTED: Final = 0x05
    IMMEDIATE_COMMAND_REJECT: Final = 0x06
    TASK_IN_PROGRESS: Final = 0x07
    INVALID_DATA_ACK: Final = 0x08
    INVALID_PDU_FIELD: Final = 0x09
    LONG_OPERATION_REJECT: Final = 0x0A
    WAITING_FOR_LOGOUT: Final = 0x0C


def name_of(names: type, value: int) -> str:
    """The name `value` has in one of the classes above, in plain words; its hex form if it has none."""
    for name, number in vars(names).items():
        if name.isupper() and number == value:
            return name.lower().replace("_", " ")
    return f"{value:#04x}"
