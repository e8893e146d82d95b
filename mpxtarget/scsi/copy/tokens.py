"""ROD tokens: what POPULATE TOKEN makes, and how they come to their end (SPC-4 5.16.6, SBC-3 4.28).

A token stands for the blocks of some ranges of a disk as they were when it was made (point in time copy,
change vulnerable): it keeps no copy of them, so it is cancelled as soon as one of them changes. Whoever
changes blocks therefore tells the disk before (`Disk.changing`), and as long as a disk has tokens the data
path's short cut is closed for writes to it.

A token is known to this device, until it restarts, and to whom it was handed out: it holds 256 random bytes.
It ends when it is deleted, when it is cancelled, and after a time in which nobody used it. Only so many can
be alive; of those that are not any more is known for a while what ended them.
"""

from __future__ import annotations

import hmac
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mpxtarget.scsi.codes import Asc
from mpxtarget.scsi.copy import limits
from mpxtarget.scsi.copy.layouts import ROD_TOKEN, TARGET_DEVICE
from mpxtarget.scsi.sense import illegal_request

if TYPE_CHECKING:
    from mpxtarget.scsi.device import ScsiDevice
    from mpxtarget.scsi.logical_unit import Disk

POINT_IN_TIME_CHANGE_VULNERABLE: Final = 0x0080_0001
BLOCK_DEVICE_ZERO: Final = 0xFFFF_0001

TOKEN_LENGTH: Final = 512
LENGTH_FIELD: Final = TOKEN_LENGTH - 8
_SECRET_LENGTH: Final = 256
_TARGET_DEVICE_LENGTH: Final = 128
_TYPE, _LENGTH, _IDENTIFIER = slice(0, 4), slice(6, 8), slice(8, 16)


@dataclass(frozen=True, slots=True)
class BlockRange:
    """Bytes of a disk, whole blocks."""

    offset: int
    length: int


class RodToken:
    """A token that is alive: what it looks like, and what it stands for. Its ranges do not overlap."""

    __slots__ = (
        "_ends",
        "_registry",
        "_starts",
        "cancelled",
        "data",
        "disk",
        "initiator",
        "ranges",
        "timeout",
        "touched",
        "users",
    )

    def __init__(
        self,
        registry: RodTokens,
        data: bytes,
        disk: Disk,
        ranges: Sequence[BlockRange],
        timeout: int,
        initiator: str,
    ) -> None:
        self._registry = registry
        self.data = data
        self.disk = disk
        self.ranges = tuple(each for each in ranges if each.length)
        self.timeout = timeout
        self.initiator = initiator
        self.touched = 0.0
        self.users = 0
        self.cancelled = False
        """Whether blocks that it stood for have changed, or are about to."""
        ordered = sorted(self.ranges, key=lambda each: each.offset)
        self._starts = [each.offset for each in ordered]
        self._ends = [each.offset + each.length for each in ordered]

    @property
    def identifier(self) -> bytes:
        """COPY MANAGER ROD TOKEN IDENTIFIER."""
        return self.data[_IDENTIFIER]

    @property
    def length(self) -> int:
        """How many bytes it stands for."""
        return sum(each.length for each in self.ranges)

    def changing(self, start: int, end: int) -> None:
        """Blocks of the disk are about to change: a token that stands for one of them is no more."""
        index = bisect_left(self._starts, end) - 1
        if index >= 0 and self._ends[index] > start:
            self.cancelled = True
            self._registry.end(self, Asc.INVALID_TOKEN_OPERATION_TOKEN_CANCELLED)
        else:
            self._registry.look_at(self)


class RodTokens:
    """The tokens of a device."""

    __slots__ = ("_alive", "_device", "_ended", "_made")

    def __init__(self, device: ScsiDevice) -> None:
        self._device = device
        self._alive: dict[bytes, RodToken] = {}
        self._ended: dict[bytes, int] = {}
        self._made = 0

    def __iter__(self) -> Iterator[RodToken]:
        for token in tuple(self._alive.values()):
            if self.look_at(token):
                yield token

    def create(self, disk: Disk, ranges: Sequence[BlockRange], timeout: int, initiator: str) -> RodToken:
        """Make a token for an initiator, which watches its disk from now on.

        Raises CheckCondition if there are too many, of all or of this one, or if there is no entropy to make
        one that nobody can guess.
        """
        secret = self._device.entropy(_SECRET_LENGTH)
        makers = [token.initiator for token in self]
        if (
            len(makers) >= limits.LIVE_TOKENS
            or makers.count(initiator) >= limits.LIVE_TOKENS_OF_ONE_INITIATOR
            or len(secret) != _SECRET_LENGTH
        ):
            raise illegal_request(Asc.INSUFFICIENT_RESOURCES_TO_CREATE_ROD_TOKEN)
        self._made += 1
        data = ROD_TOKEN.build(
            {
                "rod_type": POINT_IN_TIME_CHANGE_VULNERABLE,
                "identifier": self._made,
                "creator": {
                    "byte_1": {},
                    "byte_4": {},
                    "byte_5": {},
                    "designator": (disk.identity.naa or b"").ljust(20, b"\0"),
                    "byte_28": {},
                    "block_length": disk.block_size,
                },
                "bytes_represented": sum(each.length for each in ranges),
                "block_length": disk.block_size,
                "target_device": TARGET_DEVICE.build({"name": self._device.name}).ljust(
                    _TARGET_DEVICE_LENGTH, b"\0"
                ),
                "secret": secret,
            }
        )
        token = RodToken(self, bytes(data), disk, ranges, timeout, initiator)
        token.touched = self._device.clock()
        self._alive[token.identifier] = token
        disk.watch(token)
        return token

    def find(self, data: bytes) -> RodToken:
        """The token that these bytes are; CheckCondition says why they are none (SPC-4 5.16.6.5)."""
        if int.from_bytes(data[_LENGTH], "big") != LENGTH_FIELD:
            raise illegal_request(Asc.INVALID_TOKEN_OPERATION_INVALID_TOKEN_LENGTH)
        if int.from_bytes(data[_TYPE], "big") != POINT_IN_TIME_CHANGE_VULNERABLE:
            raise illegal_request(Asc.INVALID_TOKEN_OPERATION_UNSUPPORTED_TOKEN_TYPE)
        identifier = data[_IDENTIFIER]
        token = self._alive.get(identifier)
        if token is None or not self.look_at(token):
            raise illegal_request(self._ended.get(identifier, Asc.INVALID_TOKEN_OPERATION_TOKEN_UNKNOWN))
        if not hmac.compare_digest(token.data, data):
            raise illegal_request(Asc.INVALID_TOKEN_OPERATION_TOKEN_CORRUPT)
        return token

    def use(self, token: RodToken) -> None:
        """A command begins to use a token: until `leave` it does not expire."""
        token.users += 1

    def leave(self, token: RodToken) -> None:
        """A command is done with a token: its inactivity timeout begins again."""
        token.users -= 1
        token.touched = self._device.clock()

    def look_at(self, token: RodToken) -> bool:
        """Whether a token is still alive; it is not when nobody used it for too long."""
        if not token.users and self._device.clock() - token.touched >= token.timeout:
            self.end(token, Asc.INVALID_TOKEN_OPERATION_TOKEN_EXPIRED)
        return token.identifier in self._alive

    def end(self, token: RodToken, why: int) -> None:
        """A token is no more; `why` is what whoever uses it will be told."""
        if self._alive.pop(token.identifier, None) is None:
            return
        token.disk.unwatch(token)
        self._ended[token.identifier] = why
        if len(self._ended) > limits.REMEMBERED_TOKENS:
            del self._ended[next(iter(self._ended))]
