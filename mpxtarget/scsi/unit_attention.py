"""The unit attention conditions pending for one I_T_L nexus (SAM-5 5.14).

The rules: a condition is reported once, then gone (UA_INTLCK_CTRL 00b).  The same condition is not queued
twice, so the queue can never hold more than one of each code this target knows.  Power on, resets and nexus
loss (ASC 29h) come before all else and only the weightiest of them stays: the lower the qualifier the more
it says.  The others are reported in the order in which they were raised.
"""

from collections.abc import Iterator

_RESET_ASC = 0x29


class UnitAttentions:
    """A queue of additional sense codes, `ASC << 8 | ASCQ`."""

    __slots__ = ("_pending",)

    def __init__(self, asc: int) -> None:
        self._pending = [asc]

    def __bool__(self) -> bool:
        return bool(self._pending)

    def __iter__(self) -> Iterator[int]:
        return iter(self._pending)

    def establish(self, asc: int) -> None:
        """Queue a condition by the rules above."""
        pending = self._pending
        if asc >> 8 == _RESET_ASC:
            if pending and pending[0] >> 8 == _RESET_ASC:
                pending[0] = min(pending[0], asc)
            else:
                pending.insert(0, asc)
        elif asc not in pending:
            pending.append(asc)

    def take(self) -> int:
        """Remove and return the condition to report next.  Raises IndexError if none is pending."""
        return self._pending.pop(0)

    def clear(self, asc: int) -> None:
        """Forget one condition, if it is pending."""
        if asc in self._pending:
            self._pending.remove(asc)
