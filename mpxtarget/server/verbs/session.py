"""Sessions: who is logged in now."""

from __future__ import annotations

from mpxtarget.server.errors import NotFound
from mpxtarget.server.verbs.base import Arguments, Context, NoArguments, Number, Row, Verb


class SessionRow(Row, frozen=True):
    """A session as it is listed.  `since` is its login, in seconds since the epoch; `target` is null in a
    discovery session."""

    tsih: int
    initiator: str
    isid: str
    target: str | None
    portal: str
    peer: str
    since: float
    reads: int
    writes: int
    read_bytes: int
    written_bytes: int


class KillSession(Arguments, frozen=True):
    """`tsih` is the handle of the session, as it is listed."""

    tsih: Number


def rows(context: Context) -> list[SessionRow]:
    """All sessions; none while nobody serves."""
    if context.live is None:
        return []
    return [
        SessionRow(
            tsih=session.tsih,
            initiator=session.initiator,
            isid=f"{session.isid:012x}",
            target=session.target,
            portal=session.portal,
            peer=session.peer,
            since=session.since,
            reads=session.reads,
            writes=session.writes,
            read_bytes=session.read_bytes,
            written_bytes=session.written_bytes,
        )
        for session in context.live.sessions()
    ]


def list_sessions(context: Context, _: NoArguments) -> list[SessionRow]:
    """List the sessions."""
    return rows(context)


def kill_session(context: Context, arguments: KillSession) -> SessionRow:
    """Cut a session off; its initiator will probably log in again."""
    if context.live is None:
        raise NotFound(
            f"there is no session {arguments.tsih}: nobody serves {context.folder}", "`mpxtarget serve` does"
        )
    for row in rows(context):
        if row.tsih == arguments.tsih and context.live.kill_session(row.tsih):
            return row
    raise NotFound(f"there is no session {arguments.tsih}", "`mpxtarget session list` shows them")


VERBS = (
    Verb("session/list", NoArguments, list_sessions, writes=False),
    Verb("session/kill", KillSession, kill_session, writes=True),
)
