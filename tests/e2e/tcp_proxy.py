"""A TCP relay between an initiator and a portal: it can be cut, and it can record.

`cut()` resets: both ends of every relayed connection get a RST, and what was under way is lost. `freeze()`
pulls the cable: nothing comes any more, and nobody is told. `capture` holds what was relayed and writes it as
a file that tshark reads, without the privileges, the losses and the timing of a capture from a network
interface: the packets are made here, one segment for each chunk relayed, in the order of relaying.
"""

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from .harness import Portal

CHUNK = 16384
"""Bytes relayed at a time: with its headers it has to fit into one IPv4 packet."""


class TcpProxy:
    """Relays connections to `upstream`. Use it as an asynchronous context manager."""

    def __init__(self, upstream: Portal) -> None:
        self.upstream = upstream
        self.portal = Portal("127.0.0.1", 0)
        self.accepted = 0
        self.capture = Capture()
        self._pairs: set[_Pair] = set()
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.portal = Portal("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.thaw()
        self.cut()
        await self._server.wait_closed()
        await asyncio.gather(*(pair.ended.wait() for pair in self._pairs))

    @property
    def live(self) -> int:
        """Connections relayed just now."""
        return len(self._pairs)

    def cut(self) -> int:
        """Reset every connection, on both sides; returns how many there were."""
        pairs = list(self._pairs)
        for pair in pairs:
            pair.reset()
        return len(pairs)

    def freeze(self) -> None:
        """Relay nothing any more, in no direction, and say nothing: a cable that was pulled."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Relay again, what was held back first."""
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            up_reader, up_writer = await asyncio.open_connection(self.upstream.host, self.upstream.port)
        except OSError:
            writer.transport.abort()
            return
        conversation = self.capture.open(40000 + self.accepted)
        pair = _Pair(writer, up_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._relay(reader, up_writer, conversation, to_target=True),
                self._relay(up_reader, writer, conversation, to_target=False),
            )
        finally:
            self._pairs.discard(pair)
            pair.ended.set()
            for end in (writer, up_writer):
                end.close()

    async def _relay(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        conversation: "Conversation",
        *,
        to_target: bool,
    ) -> None:
        try:
            while chunk := await source.read(CHUNK):
                await self._flowing.wait()
                conversation.add(chunk, to_target=to_target)
                sink.write(chunk)
                await sink.drain()
            await self._flowing.wait()
            if sink.can_write_eof():
                sink.write_eof()
        except OSError:
            sink.transport.abort()


@dataclass(eq=False, slots=True)
class _Pair:
    """The two sides of one relayed connection."""

    initiator: asyncio.StreamWriter
    target: asyncio.StreamWriter
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def reset(self) -> None:
        """Close both sides with a RST: closing a socket that lingers for 0 seconds sends one."""
        for writer in (self.initiator, self.target):
            connection = writer.get_extra_info("socket")
            if connection.fileno() >= 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Capture:
    """Packets in the order in which they were relayed; `write` makes a pcap file of them."""

    PORT = 3260
    """The port that the capture shows for the target: tshark takes it for iSCSI without being told."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def open(self, port: int) -> "Conversation":
        """Begin a connection; `port` is the initiator's in the capture."""
        return Conversation(self.packets, port, self.PORT)

    def write(self, path: Path) -> Path:
        """Write the file: packets of type LINKTYPE_RAW (101), a microsecond apart."""
        with path.open("wb") as out:
            out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 16, 101))
            for number, packet in enumerate(self.packets):
                out.write(struct.pack("<IIII", *divmod(number, 1_000_000), len(packet), len(packet)))
                out.write(packet)
        return path


class Conversation:
    """One TCP connection of a capture: the handshake, then segments with the sequence numbers due."""

    SYN, PUSH_ACK, ACK, SYN_ACK = 0x02, 0x18, 0x10, 0x12

    def __init__(self, packets: list[bytes], initiator_port: int, target_port: int) -> None:
        self._packets = packets
        self._ports = (initiator_port, target_port)
        self._next = [0, 0]  # the next sequence number of the initiator, of the target
        self._segment(0, self.SYN)
        self._segment(1, self.SYN_ACK)
        self._segment(0, self.ACK)

    def add(self, data: bytes, *, to_target: bool) -> None:
        """Append one segment."""
        self._segment(0 if to_target else 1, self.PUSH_ACK, data)

    def _segment(self, sender: int, flags: int, data: bytes = b"") -> None:
        receiver = 1 - sender
        acknowledged = self._next[receiver] if flags & self.ACK else 0
        # A window of 1 GiB: tshark would wonder at more bytes on their way than the receiver has room for.
        options = bytes((3, 3, 14, 0)) if flags & self.SYN else b""
        tcp = (
            struct.pack(
                ">HHIIBBHHH",
                self._ports[sender],
                self._ports[receiver],
                self._next[sender] & 0xFFFFFFFF,
                acknowledged & 0xFFFFFFFF,
                (20 + len(options)) << 2,
                flags,
                0xFFFF,
                0,
                0,
            )
            + options
        )
        addresses = [bytes((127, 0, 0, 1)), bytes((127, 0, 0, 2))]
        ip = struct.pack(
            ">BBHHHBBH4s4s",
            0x45,
            0,
            20 + len(tcp) + len(data),
            0,
            0,
            64,
            6,
            0,
            addresses[sender],
            addresses[receiver],
        )
        self._packets.append(ip + tcp + data)
        self._next[sender] += len(data) + (1 if flags & self.SYN else 0)
