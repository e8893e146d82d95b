"""The numbers of SAM-5 and SPC-4 that several modules share: status, sense keys, additional sense codes.

Additional sense codes are one 16-bit number, ASC in the high byte and ASCQ in the low one.  Only codes this
target can report are named here.
"""

from typing import Final


class Status:
    """Status codes (SAM-5 5.3.1)."""

    GOOD: Final = 0x00
    CHECK_CONDITION: Final = 0x02
    CONDITION_MET: Final = 0x04
    BUSY: Final = 0x08
    RESERVATION_CONFLICT: Final = 0x18
    TASK_SET_FULL: Final = 0x28
    TASK_ABORTED: Final = 0x40


class SenseKey:
    """Sense keys (SPC-4 4.5.6)."""

    NO_SENSE: Final = 0x0
    NOT_READY: Final = 0x2
    MEDIUM_ERROR: Final = 0x3
    HARDWARE_ERROR: Final = 0x4
    ILLEGAL_REQUEST: Final = 0x5
    UNIT_ATTENTION: Final = 0x6
    DATA_PROTECT: Final = 0x7
    ABORTED_COMMAND: Final = 0xB
    MISCOMPARE: Final = 0xE


class Asc:
    """Additional sense code and qualifier, `ASC << 8 | ASCQ` (SPC-4 4.5.6, annex F)."""

    NO_ADDITIONAL_SENSE_INFORMATION: Final = 0x0000
    LOGICAL_UNIT_NOT_READY_INITIALIZING_COMMAND_REQUIRED: Final = 0x0402
    LOGICAL_UNIT_NOT_ACCESSIBLE_ASYMMETRIC_ACCESS_STATE_TRANSITION: Final = 0x040A
    LOGICAL_UNIT_NOT_ACCESSIBLE_TARGET_PORT_IN_STANDBY_STATE: Final = 0x040B
    LOGICAL_UNIT_NOT_ACCESSIBLE_TARGET_PORT_IN_UNAVAILABLE_STATE: Final = 0x040C
    WRITE_ERROR: Final = 0x0C00
    UNRECOVERED_READ_ERROR: Final = 0x1100
    PARAMETER_LIST_LENGTH_ERROR: Final = 0x1A00
    MISCOMPARE_DURING_VERIFY_OPERATION: Final = 0x1D00
    INVALID_COMMAND_OPERATION_CODE: Final = 0x2000
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE: Final = 0x2100
    INVALID_FIELD_IN_CDB: Final = 0x2400
    LOGICAL_UNIT_NOT_SUPPORTED: Final = 0x2500
    INVALID_FIELD_IN_PARAMETER_LIST: Final = 0x2600
    WRITE_PROTECTED: Final = 0x2700
    SPACE_ALLOCATION_FAILED_WRITE_PROTECT: Final = 0x2707
    POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED: Final = 0x2900
    SCSI_BUS_RESET_OCCURRED: Final = 0x2902
    BUS_DEVICE_RESET_FUNCTION_OCCURRED: Final = 0x2903
    I_T_NEXUS_LOSS_OCCURRED: Final = 0x2907
    MODE_PARAMETERS_CHANGED: Final = 0x2A01
    ASYMMETRIC_ACCESS_STATE_CHANGED: Final = 0x2A06
    CAPACITY_DATA_HAS_CHANGED: Final = 0x2A09
    COMMANDS_CLEARED_BY_ANOTHER_INITIATOR: Final = 0x2F00
    SAVING_PARAMETERS_NOT_SUPPORTED: Final = 0x3900
    INQUIRY_DATA_HAS_CHANGED: Final = 0x3F03
    REPORTED_LUNS_DATA_HAS_CHANGED: Final = 0x3F0E
    INTERNAL_TARGET_FAILURE: Final = 0x4400


class PeripheralType:
    """PERIPHERAL DEVICE TYPE (SPC-4 6.4.2)."""

    DISK: Final = 0x00
    STORAGE_ARRAY_CONTROLLER: Final = 0x0C
    UNKNOWN: Final = 0x1F


class AccessState:
    """ASYMMETRIC ACCESS STATE of a target port group (SPC-4 6.34)."""

    ACTIVE_OPTIMIZED: Final = 0x0
    ACTIVE_NON_OPTIMIZED: Final = 0x1
    STANDBY: Final = 0x2
    UNAVAILABLE: Final = 0x3
    TRANSITIONING: Final = 0xF
