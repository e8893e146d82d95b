"""Initiators: which the bridge knows, and how they prove who they are.

Secrets come in as text and leave only towards the database and the login; no answer has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from mpxtarget.server import validation
from mpxtarget.server.errors import NotFound
from mpxtarget.server.state import InitiatorRecord
from mpxtarget.server.verbs.base import Arguments, Context, NoArguments, Row, UsageError, Verb, together

Chap = Literal["none", "one-way", "mutual"]


class InitiatorRow(Row, frozen=True):
    """An initiator as it is listed.  Times are seconds since the epoch."""

    name: str
    alias: str
    chap: Chap
    chap_user: str
    target_user: str
    first_seen: float | None
    last_seen: float | None
    sessions: int
    luns: list[int]
    warnings: Sequence[str] = ()


class AddInitiator(Arguments, frozen=True):
    """An initiator that is to be known before its first login."""

    name: str
    alias: str = ""


class SetChap(Arguments, frozen=True):
    """`off` takes CHAP away; otherwise `secret` is needed, and `target_secret` makes it mutual.

    An empty `user` is the initiator's own iSCSI name, an empty `target_user` the array's.
    """

    name: str
    user: str = ""
    secret: str = ""
    target_user: str = ""
    target_secret: str = ""
    off: bool = False

    def __repr__(self) -> str:
        return f"SetChap(name={self.name!r})"


class NameInitiator(Arguments, frozen=True):
    """One initiator."""

    name: str


def rows(context: Context) -> list[InitiatorRow]:
    """All initiators."""
    sessions: dict[str, int] = {}
    if context.live is not None:
        for session in context.live.sessions():
            sessions[session.initiator] = sessions.get(session.initiator, 0) + 1
    luns: dict[str, list[int]] = {}
    for presentation in context.state.list_presentations():
        luns.setdefault(presentation.initiator, []).append(presentation.lun)
    return [
        row(record, sessions.get(record.name, 0), luns.get(record.name))
        for record in context.state.list_initiators()
    ]


def row(
    record: InitiatorRecord,
    sessions: int = 0,
    luns: list[int] | None = None,
    warnings: list[str] | None = None,
) -> InitiatorRow:
    """An initiator as it is listed, without its secrets."""
    return InitiatorRow(
        name=record.name,
        alias=record.alias,
        chap=chap_of(record),
        chap_user=record.chap_user,
        target_user=record.target_user,
        first_seen=record.first_seen,
        last_seen=record.last_seen,
        sessions=sessions,
        luns=luns or [],
        warnings=warnings or [],
    )


def chap_of(record: InitiatorRecord) -> Chap:
    """Which CHAP an initiator has to do."""
    if not record.chap_secret:
        return "none"
    return "mutual" if record.target_secret else "one-way"


def list_initiators(context: Context, _: NoArguments) -> list[InitiatorRow]:
    """List the initiators."""
    return rows(context)


def add_initiator(context: Context, arguments: AddInitiator) -> InitiatorRow:
    """Make an initiator known before it logs in for the first time."""
    return row(add(context, InitiatorRecord(arguments.name, arguments.alias)))


def set_chap(context: Context, arguments: SetChap) -> InitiatorRow:
    """Set or remove the CHAP secrets of an initiator; they count from its next login."""
    given = (arguments.user, arguments.secret, arguments.target_user, arguments.target_secret)
    if arguments.off and any(given):
        raise UsageError("CHAP is to be off, and a user or secret is given", "give one or the other")
    if not arguments.off and not arguments.secret:
        raise UsageError("CHAP needs the secret of the initiator", "or turn it off with --off")
    try:
        old = context.state.get_initiator(arguments.name)
    except NotFound as error:
        raise NotFound(error.message, f"`mpxtarget initiator add {arguments.name}` makes it known") from None
    new = replace(
        old,
        chap_user=arguments.user,
        chap_secret=arguments.secret.encode(),
        target_user=arguments.target_user,
        target_secret=arguments.target_secret.encode(),
    )
    record = change(context, new)
    others = [other for other in context.state.list_initiators() if other.name != record.name]
    return row(record, warnings=validation.initiator_warnings(record, others))


def remove_initiator(context: Context, arguments: NameInitiator) -> InitiatorRow:
    """Forget an initiator, its secrets and what is presented to it."""
    return row(remove(context, arguments.name))


# The changes themselves, database and running target together; `apply` makes them too.


def add(context: Context, record: InitiatorRecord) -> InitiatorRecord:
    """Add an initiator."""
    with together(context.state) as undo:
        record = context.state.add_initiator(record)
        if context.live is not None:
            context.live.bridge.set_initiator(record)
            undo.callback(context.live.bridge.remove_initiator, record.name)
    return record


def change(context: Context, record: InitiatorRecord) -> InitiatorRecord:
    """Change alias or secrets of an initiator."""
    with together(context.state) as undo:
        old = context.state.get_initiator(record.name)
        record = context.state.update_initiator(record)
        if context.live is not None:
            context.live.bridge.set_initiator(record)
            undo.callback(context.live.bridge.set_initiator, old)
    return record


def remove(context: Context, name: str) -> InitiatorRecord:
    """Remove an initiator and its presentations."""
    presentations = context.state.list_presentations(name)
    with together(context.state) as undo:
        record = context.state.remove_initiator(name)
        if context.live is not None:
            for presentation in presentations:
                undo.callback(context.live.bridge.present, presentation)
            undo.callback(context.live.bridge.set_initiator, record)
            context.live.bridge.remove_initiator(record.name)
    return record


VERBS = (
    Verb("initiator/list", NoArguments, list_initiators, writes=False),
    Verb("initiator/add", AddInitiator, add_initiator, writes=True),
    Verb("initiator/set-chap", SetChap, set_chap, writes=True, secrets=True),
    Verb("initiator/remove", NameInitiator, remove_initiator, writes=True),
)
