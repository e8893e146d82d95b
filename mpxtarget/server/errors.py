"""Refusals: what the product says when it will not do what was asked.

Rules kept here:
- A refusal has two parts: what is wrong, and what the reader can do about it. Both are written for somebody
  who has never seen the source.
- A refusal never holds a secret.
- The class says which sort it is, so that the command line, the control API and a test can tell them apart
  without reading the text. Every refusal makes the command line leave with exit code 1.
"""

from typing import ClassVar


class Refusal(Exception):  # noqa: N818 - it says no, nothing went wrong
    """Something that was asked for is refused. `message` says what is wrong, `hint` what to do about it."""

    kind: ClassVar[str] = "refused"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class Invalid(Refusal):
    """A value breaks a rule, whatever else there is in the array."""

    kind = "invalid"


class NotFound(Refusal):
    """The thing named is not there."""

    kind = "not-found"


class Conflict(Refusal):
    """The value is fine by itself and contradicts something that is already there."""

    kind = "conflict"


class Busy(Refusal):
    """Somebody else holds what is needed; the same request may succeed later."""

    kind = "busy"
