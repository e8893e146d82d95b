"""What the initiator says when the target breaks a rule."""

from __future__ import annotations


class TargetMistake(AssertionError):  # noqa: N818  (it is the target's, and it fails a test)
    """The target did what RFC 7143 does not allow; the text says what was seen and what was due."""


def require(condition: object, text: str) -> None:
    """Raise TargetMistake with `text` unless `condition` holds."""
    if not condition:
        raise TargetMistake(text)
