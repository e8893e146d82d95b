"""An initiator and a target machine coupled in memory, over a wire that can be made to misbehave.

    pair = Pair(initiator, target)
    events = pair.run()

A `Wire` carries the bytes of one direction. It may cut them into pieces anywhere, as TCP does, break off
after a number of bytes, as a pulled cable does, and it can be given whole PDUs to drop, to change, to
double or to deliver in another order, which TCP never does and a broken peer may.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol, TypeAlias

from mpxtarget.pdu import BHS_LENGTH, DIGEST_LENGTH, Opcode, padded
from mpxtarget.testing.events import Event
from mpxtarget.testing.initiator import InitiatorConnection

_MOST_ROUNDS: Final = 100_000
"""After so many exchanges two machines do not answer each other any more: they loop."""


class Machine(Protocol):
    """A target without I/O."""

    @property
    def closed(self) -> bool:
        """True when it wants the connection closed."""

    def receive(self, data: bytes, now: float) -> None:
        """Take in bytes of the initiator."""

    def to_send(self) -> bytes:
        """Bytes for the initiator that were not handed out yet."""


Cutter: TypeAlias = Callable[[bytes], Iterable[bytes]]
PduFilter: TypeAlias = Callable[[bytes], Iterable[bytes]]


def whole(data: bytes) -> Iterator[bytes]:
    """Everything at once."""
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    """One byte in each segment."""
    for position in range(len(data)):
        yield data[position : position + 1]


def in_pieces(seed: int, largest: int) -> Cutter:
    """Segments of 1 to `largest` bytes, the same ones for the same seed."""
    source = random.Random(seed)

    def cut(data: bytes) -> Iterator[bytes]:
        position = 0
        while position < len(data):
            step = source.randint(1, largest)
            yield data[position : position + step]
            position += step

    return cut


class DropNth:
    """Loses the PDUs of one opcode whose number, from 0, is in `numbers`."""

    def __init__(self, opcode: int, *numbers: int) -> None:
        self._opcode: Final = opcode
        self._numbers: Final = numbers
        self._seen = 0

    def __call__(self, pdu: bytes) -> Iterator[bytes]:
        if pdu[0] & 0x3F == self._opcode:
            self._seen += 1
            if self._seen - 1 in self._numbers:
                return
        yield pdu


class SwapNth:
    """Delivers the PDU of one opcode with this number, from 0, after the PDU that follows it."""

    def __init__(self, opcode: int, number: int) -> None:
        self._opcode: Final = opcode
        self._left = number
        self._held: bytes | None = None

    def __call__(self, pdu: bytes) -> Iterator[bytes]:
        if self._held is not None:
            held, self._held = self._held, None
            yield pdu
            yield held
            return
        if pdu[0] & 0x3F == self._opcode:
            self._left -= 1
            if self._left == -1:
                self._held = pdu
                return
        yield pdu


class Wire:
    """One direction of a connection. Its settings may be changed at any time."""

    def __init__(self, initiator: InitiatorConnection) -> None:
        self._initiator: Final = initiator
        self.cutter: Cutter = whole
        self.filter: PduFilter | None = None
        """Sees whole PDUs, digests included, and says what is delivered in the place of each."""
        self.breaks_after: int | None = None
        """Bytes that still get through before the wire is cut."""
        self._partial = b""

    @property
    def broken(self) -> bool:
        """Whether the wire is cut."""
        return self.breaks_after == 0

    def carry(self, data: bytes) -> Iterator[bytes]:
        """What arrives, segment by segment, when `data` is sent."""
        if self.filter is not None:
            data = b"".join(part for pdu in self._pdus(data) for part in self.filter(pdu))
        for segment in self.cutter(data):
            if self.breaks_after is not None:
                segment = segment[: self.breaks_after]
                self.breaks_after -= len(segment)
            if segment:
                yield segment

    def _pdus(self, data: bytes) -> Iterator[bytes]:
        data = self._partial + data
        while len(data) >= BHS_LENGTH and len(data) >= (end := self._length(data)):
            yield data[:end]
            data = data[end:]
        self._partial = data

    def _length(self, header: bytes) -> int:
        """Length of the whole PDU. Login PDUs have no digests (RFC 7143 13.1)."""
        login = header[0] & 0x3F in (Opcode.LOGIN_REQUEST, Opcode.LOGIN_RESPONSE)
        parameters = self._initiator.parameters
        length = BHS_LENGTH + 4 * header[4]
        if parameters.header_digest and not login:
            length += DIGEST_LENGTH
        data_length = int.from_bytes(header[5:8], "big")
        if data_length:
            length += padded(data_length)
            if parameters.data_digest and not login:
                length += DIGEST_LENGTH
        return length


class Pair:
    """Both machines and the two wires between them."""

    def __init__(self, initiator: InitiatorConnection, target: Machine) -> None:
        self.initiator: Final = initiator
        self.target: Final = target
        self.to_target: Final = Wire(initiator)
        self.to_initiator: Final = Wire(initiator)
        self.now = 0.0
        """Seconds, told to the target with every byte; it moves only when a test moves it."""

    def run(self) -> list[Event]:
        """Carry bytes both ways until neither machine has any left, or the wire or the target is done."""
        events: list[Event] = []
        for _ in range(_MOST_ROUNDS):
            requests = self.initiator.to_send()
            for segment in self.to_target.carry(requests):
                if not self.target.closed:
                    self.target.receive(segment, self.now)
            answers = self.target.to_send()
            for segment in self.to_initiator.carry(answers):
                events += self.initiator.receive(segment)
            if not requests and not answers:
                return events
        raise AssertionError(f"the two machines are not done after {_MOST_ROUNDS} rounds")

    def login(self) -> list[Event]:
        """Start the initiator and run."""
        self.initiator.start()
        return self.run()
