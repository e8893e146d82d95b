"""Whole PDUs to bytes and back, for everything that is not the target's data path.

`PduStream` takes bytes as they come, one at a time or many PDUs at once, and hands out whole PDUs. A length
is checked as soon as the header is there, before anything is waited for or stored (RFC 7143 7.7), and the
header digest before a length is believed (7.8). What is left when a connection ends is part of a PDU and
is forgotten with the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mpxtarget.pdu import digest
from mpxtarget.pdu._codec import parse_bhs
from mpxtarget.pdu.base import Pdu
from mpxtarget.pdu.constants import BHS_LENGTH, DEFAULT_DATA_SEGMENT_LENGTH, DIGEST_LENGTH, MAX_AHS_LENGTH
from mpxtarget.pdu.framing import PADDING, Buffer, padded


class FramingError(ValueError):
    """The stream cannot be followed any further: the connection is lost."""


@dataclass(frozen=True, slots=True)
class WholePdu:
    """One PDU as it came; `header` are its 48 bytes, `padding` what followed the data in its segment.

    A wrong data digest does not end the stream (RFC 7143 7.8), so it is told by `data_intact`.
    """

    header: bytes
    ahs: bytes
    data: bytes
    padding: bytes
    data_intact: bool = True

    def parse(self) -> Pdu:
        """The header as an object. Raises UnknownOpcode."""
        return parse_bhs(self.header)


class PduStream:
    """The receiving half of a connection. The digests and the limit may be changed between two PDUs."""

    __slots__ = ("_buffer", "data_digest", "header_digest", "max_data_segment_length")

    def __init__(self, max_data_segment_length: int = DEFAULT_DATA_SEGMENT_LENGTH) -> None:
        self._buffer: Final = bytearray()
        self.max_data_segment_length = max_data_segment_length
        self.header_digest = False
        self.data_digest = False

    def receive(self, data: Buffer) -> None:
        """Take in the next bytes of the stream."""
        self._buffer.extend(data)

    @property
    def pending(self) -> int:
        """Bytes received and not yet handed out."""
        return len(self._buffer)

    def next(self) -> WholePdu | None:
        """The next PDU; None if it is not all there. Raises FramingError."""
        buffer = self._buffer
        if len(buffer) < BHS_LENGTH:
            return None
        lengths = int.from_bytes(buffer[4:8], "big")
        headers_end = BHS_LENGTH + 4 * (lengths >> 24)
        length = lengths & 0xFFFFFF
        data_start = headers_end + (DIGEST_LENGTH if self.header_digest else 0)
        if self.header_digest:
            if len(buffer) < data_start:
                return None
            if digest.header_digest(buffer[:headers_end]) != buffer[headers_end:data_start]:
                raise FramingError("header digest error")
        if length > self.max_data_segment_length:
            raise FramingError(
                f"a data segment of {length} bytes where at most {self.max_data_segment_length} may come"
            )
        data_end = data_start + length
        segment_end = data_start + padded(length)
        digested = self.data_digest and length > 0
        end = segment_end + (DIGEST_LENGTH if digested else 0)
        if len(buffer) < end:
            return None
        intact = not digested or digest.data_digest(buffer[data_start:segment_end]) == buffer[segment_end:end]
        pdu = WholePdu(
            header=bytes(buffer[:BHS_LENGTH]),
            ahs=bytes(buffer[BHS_LENGTH:headers_end]),
            data=bytes(buffer[data_start:data_end]),
            padding=bytes(buffer[data_end:segment_end]),
            data_intact=intact,
        )
        del buffer[:end]
        return pdu


def assemble(
    pdu: Pdu, data: Buffer = b"", ahs: bytes = b"", *, header_digest: bool = False, data_digest: bool = False
) -> bytes:
    """The bytes of a PDU with its AHS and data segment; the two lengths in `pdu` are set to fit."""
    if len(ahs) % 4 or len(ahs) > MAX_AHS_LENGTH:
        raise ValueError(f"{len(ahs)} bytes of AHS are not a number of words below 256")
    pdu.total_ahs_length = len(ahs) // 4
    pdu.data_segment_length = len(data)
    header = pdu.to_bytes() + ahs
    return enclose(header, data, header_digest=header_digest, data_digest=data_digest)


def enclose(
    header: bytes, data: Buffer = b"", *, header_digest: bool = False, data_digest: bool = False
) -> bytes:
    """`header` and `data` with their digests and padding, whatever the lengths in the header say."""
    parts: list[Buffer] = [header]
    if header_digest:
        parts.append(digest.header_digest(header))
    if data:
        parts += [data, PADDING[len(data) & 3]]
        if data_digest:
            parts.append(digest.data_digest(data))
    return b"".join(parts)
