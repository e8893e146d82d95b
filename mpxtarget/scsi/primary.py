"""Small primary commands (SPC-4 clause 6): TEST UNIT READY, REQUEST SENSE, PREVENT ALLOW."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpxtarget.scsi import sanitize
from mpxtarget.scsi.logical_unit import Absent, Disk
from mpxtarget.scsi.plan import GOOD, Plan, data_in
from mpxtarget.scsi.sense import (
    LOGICAL_UNIT_NOT_SUPPORTED,
    NO_SENSE,
    NOT_STARTED,
    SenseData,
    unit_attention,
)

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call

_DESC = 0x01


def test_unit_ready(call: Call) -> Plan:
    """TEST UNIT READY: what could stand in the way has been checked."""
    return GOOD


test_unit_ready.__test__ = False  # type: ignore[attr-defined]


def request_sense(call: Call) -> Plan:
    """REQUEST SENSE: a pending unit attention, taken off the queue, else the state of the LU, as
    parameter data.
    """
    return data_in(_current_sense(call).pack(descriptor=bool(call.cdb[1] & _DESC)), call.cdb[4])


def _current_sense(call: Call) -> SenseData:
    if isinstance(call.lu, Absent):
        return LOGICAL_UNIT_NOT_SUPPORTED
    if call.itl is not None and call.itl.attentions:
        return unit_attention(call.itl.take_unit_attention())
    if isinstance(call.lu, Disk):
        unsanitized = sanitize.state(call.lu)
        if unsanitized is not None:
            return unsanitized
        if call.lu.stopped:
            return NOT_STARTED
    return NO_SENSE


def prevent_allow_medium_removal(call: Call) -> Plan:
    """PREVENT ALLOW MEDIUM REMOVAL: the medium never can be removed, so either way there is nothing to do."""
    return GOOD
