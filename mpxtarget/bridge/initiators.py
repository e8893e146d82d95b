"""The initiator database, and what an initiator has to prove at login.

Rules kept here:
- An initiator is known by its normalised iSCSI name, whatever address or ISID it comes from.
- An initiator with a secret has to authenticate (CHP-018); one without is let in without (CHP-019).
- CHAP is bound to the initiator: the CHAP name it must use is in its own record, and is its iSCSI name if
  nothing else is set (CHP-015).
- In mutual CHAP the target answers with the secret of the initiator's record, or else with the array's own.
- An initiator nobody knows becomes known by logging in. How many may do so is bounded.
"""

from dataclasses import dataclass, field
from typing import Final

from mpxtarget.bridge.records import InitiatorRecord

MAX_INITIATORS: Final = 4096
"""Beyond this, only those already known get in: names cost a peer nothing, and each is kept on disk."""


@dataclass(frozen=True, slots=True)
class ChapCredentials:
    """What CHAP with one initiator is done with. An empty target secret: one way only."""

    user: str
    secret: bytes = field(repr=False)
    target_user: str = ""
    target_secret: bytes = field(default=b"", repr=False)


class Initiators:
    """The initiators that the bridge knows. Names are normalised."""

    __slots__ = ("_records",)

    def __init__(self) -> None:
        self._records: dict[str, InitiatorRecord] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._records

    def __len__(self) -> int:
        return len(self._records)

    @property
    def full(self) -> bool:
        """No further initiator becomes known by logging in."""
        return len(self._records) >= MAX_INITIATORS

    def get(self, name: str) -> InitiatorRecord | None:
        return self._records.get(name)

    def put(self, record: InitiatorRecord) -> None:
        """Add or replace a record."""
        self._records[record.name] = record

    def remove(self, name: str) -> None:
        """KeyError: not known."""
        del self._records[name]

    def register(self, name: str) -> bool:
        """Make an initiator known. False: it was already."""
        if name in self._records:
            return False
        self._records[name] = InitiatorRecord(name)
        return True

    def credentials(self, name: str, target_user: str, target_secret: bytes) -> ChapCredentials | None:
        """What the initiator has to prove, None if nothing; the arguments are the array's own, for mutual
        CHAP."""
        record = self._records.get(name)
        if record is None or not record.chap_secret:
            return None
        return ChapCredentials(
            user=record.chap_user or name,
            secret=record.chap_secret,
            target_user=record.target_user or target_user,
            target_secret=record.target_secret or target_secret,
        )
