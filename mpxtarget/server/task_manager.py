"""Task management functions (RFC 7143 11.5.1): which tasks they end, and how others hear of it.

What they do to logical units besides is `mpxtarget.scsi.task_management`'s to know; ABORT TASK ends one task
of its own connection and is dealt with there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

from mpxtarget.iscsi import transfer
from mpxtarget.iscsi.full_feature import announce_window
from mpxtarget.pdu import TmfFunction, TmfResponse
from mpxtarget.scsi import task_management
from mpxtarget.scsi.codes import Status
from mpxtarget.server.work import refuse, unit_of

if TYPE_CHECKING:
    from mpxtarget.iscsi.connection import Connection
    from mpxtarget.iscsi.session import Session
    from mpxtarget.iscsi.task import Task
    from mpxtarget.scsi.nexus import ITNexus


class TaskManager:
    """Ends tasks of all sessions.

    `touch` is told of connections that have something to send, `wake` that they are not the caller's own.
    """

    def __init__(
        self,
        sessions: Callable[[], Iterable[Session]],
        touch: Callable[[Connection], None],
        wake: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._touch = touch
        self._wake = wake

    def manage(self, session: Session, function: int, lun: int) -> int:
        """Task management but for ABORT TASK (RFC 7143 11.5.1): ends the tasks, then tells the SCSI layer."""
        nexus = cast("ITNexus", session.nexus)
        if function in (
            TmfFunction.ABORT_TASK_SET,
            TmfFunction.CLEAR_TASK_SET,
            TmfFunction.LOGICAL_UNIT_RESET,
        ):
            itl = nexus.luns.get(lun)
            if itl is None:
                return TmfResponse.LUN_DOES_NOT_EXIST
            own = function == TmfFunction.ABORT_TASK_SET
            cleared = self.abort(session, lambda s, t: (s is session or not own) and unit_of(s, t) is itl.lu)
            if function == TmfFunction.CLEAR_TASK_SET and not itl.lu.reports_aborted_tasks:
                others = (s.nexus.by_number.values() for s in cleared if s is not session)
                task_management.commands_cleared(
                    each for itls in others for each in itls if each.lu is itl.lu
                )
            elif function == TmfFunction.LOGICAL_UNIT_RESET:
                task_management.lun_reset(nexus, lun)
            self.announce_windows(cleared - {session})
            return TmfResponse.FUNCTION_COMPLETE
        if function in (TmfFunction.TARGET_WARM_RESET, TmfFunction.TARGET_COLD_RESET):
            units = {id(itl.lu) for itl in nexus.by_number.values()}
            cleared = self.abort(session, lambda s, t: s is session or id(unit_of(s, t)) in units)
            if function == TmfFunction.TARGET_WARM_RESET:
                task_management.target_reset(nexus)
            else:  # whoever sends the answer ends these sessions
                ended = (s.nexus for s in self._sessions() if s.target == session.target)
                task_management.target_power_on(nexus, [each for each in ended if each is not None])
            self.announce_windows(cleared - {session})
            return TmfResponse.FUNCTION_COMPLETE
        return TmfResponse.FUNCTION_NOT_SUPPORTED

    def abort(self, by: Session, chosen: Callable[[Session, Task], bool]) -> set[Session]:
        """Abort the chosen tasks of all sessions, as `by` wants it; the sessions that lost one.

        Whether the others are told TASK ABORTED, or nothing, is a mode parameter of the unit (TAS, SAM-5
        5.6.2).
        """
        affected = set()
        for session in self._sessions():
            for task in [task for task in session.tasks.values() if chosen(session, task)]:
                unit = unit_of(session, task)
                if session is by or unit is None or not unit.reports_aborted_tasks:
                    task.connection.abort(task)
                elif task.owed and task.expecting:
                    refuse(task, Status.TASK_ABORTED)  # status waits for the data (RFC 7143 11.4.2)
                elif task.owed and task.answer is None:  # it has not even begun
                    transfer.respond(task, Status.TASK_ABORTED)
                elif not task.owed:
                    task.connection.abort(task)
                    transfer.respond_to_aborted(task)
                affected.add(session)
        return affected

    def announce_windows(self, sessions: set[Session]) -> None:
        """These lost tasks to another initiator, and no answer will tell them that their window opened."""
        for session in sessions:
            for connection in session.connections.values():
                announce_window(connection)
                self._touch(connection)
        if sessions:
            self._wake()
