"""A valid PDU of each kind an initiator sends, for a test to bend.

    pdu = factory.scsi_command(lun=1, cdb=bytes(6), attr=7)
    connection.inject(pdu)

Numbers and tags are those the connection would use next; every field can be given another value by name.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from mpxtarget.pdu import (
    NO_TAG,
    DataOut,
    LoginRequest,
    LogoutRequest,
    NopOut,
    Pdu,
    ScsiCommand,
    SnackRequest,
    SnackType,
    Stage,
    TaskAttribute,
    TaskManagementRequest,
    TextRequest,
    TmfFunction,
)
from mpxtarget.testing.initiator import InitiatorConnection, lun_field

_P = TypeVar("_P", bound=Pdu)


class PduFactory:
    """Makes PDUs for the state `connection` is in."""

    def __init__(self, connection: InitiatorConnection) -> None:
        self._connection: Final = connection

    def login_request(self, **changes: int) -> LoginRequest:
        """The one request of a login that needs no authentication and takes all defaults."""
        options = self._connection.options
        pdu = LoginRequest(
            transit=1,
            csg=Stage.OPERATIONAL_NEGOTIATION,
            nsg=Stage.FULL_FEATURE_PHASE,
            isid=options.isid,
            tsih=options.tsih,
            cid=options.cid,
        )
        pdu.itt = options.itt
        return self._numbered(pdu, changes)

    def nop_out(self, **changes: int) -> NopOut:
        """A ping."""
        return self._numbered(NopOut(itt=self._connection.new_itt()), changes)

    def scsi_command(self, **changes: int | bytes) -> ScsiCommand:
        """TEST UNIT READY for LUN 0; `lun` is a number or a LUN field, `cdb` is padded to 16 bytes."""
        pdu = ScsiCommand(final=1, attr=TaskAttribute.SIMPLE, itt=self._connection.new_itt())
        cdb = changes.get("cdb")
        if isinstance(cdb, bytes):
            changes["cdb"] = cdb.ljust(16, b"\0")
        return self._numbered(pdu, changes)

    def data_out(self, **changes: int) -> DataOut:
        """The last Data-Out of an unsolicited burst; give it the ITT of its command."""
        return self._numbered(DataOut(final=1), changes)

    def task_management_request(self, **changes: int) -> TaskManagementRequest:
        """An immediate LOGICAL UNIT RESET of LUN 0."""
        pdu = TaskManagementRequest(
            immediate=1,
            function=TmfFunction.LOGICAL_UNIT_RESET,
            referenced_task_tag=NO_TAG,
            itt=self._connection.new_itt(),
        )
        return self._numbered(pdu, changes)

    def text_request(self, **changes: int) -> TextRequest:
        """A text that is complete with this request."""
        return self._numbered(TextRequest(immediate=1, final=1, itt=self._connection.new_itt()), changes)

    def logout_request(self, **changes: int) -> LogoutRequest:
        """The session is to be closed."""
        return self._numbered(LogoutRequest(immediate=1, itt=self._connection.new_itt()), changes)

    def snack_request(self, **changes: int) -> SnackRequest:
        """A request for all status that was not acknowledged."""
        pdu = SnackRequest(type=SnackType.STATUS, beg_run=self._connection.exp_stat_sn)
        return self._numbered(pdu, changes)

    def _numbered(self, pdu: _P, changes: dict[str, Any]) -> _P:
        connection = self._connection
        for name, value in (("cmd_sn", connection.cmd_sn), ("exp_stat_sn", connection.exp_stat_sn)):
            if name in pdu.FIELDS:
                setattr(pdu, name, value)
        if "lun" in changes:
            changes["lun"] = lun_field(changes["lun"])
        for name, value in changes.items():
            setattr(pdu, name, value)
        return pdu
