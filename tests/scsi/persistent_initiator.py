"""What a host sends to make and read persistent reservations, taken apart by hand."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from scsi_initiator import GOOD, RESERVATION_CONFLICT, Path, Sense, parse_sense

from mpxtarget.scsi.plan import Fence, Keep, Plan, Reply, TakeData

REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, IGNORE, MOVE = range(8)
WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = TYPES = (1, 3, 5, 6, 7, 8)
ALL_REGISTRANTS = (WE_AR, EA_AR)
FOR_REGISTRANTS = (WE_RO, EA_RO, WE_AR, EA_AR)

APTPL, ALL_TG_PT, SPEC_I_PT = 0x01, 0x04, 0x08
UNREG = 0x02

RESERVATIONS_PREEMPTED, RESERVATIONS_RELEASED, REGISTRATIONS_PREEMPTED = 0x2A03, 0x2A04, 0x2A05
INVALID_FIELD_IN_CDB, INVALID_FIELD_IN_LIST = (5, 0x2400), (5, 0x2600)
INVALID_RELEASE, LIST_LENGTH_ERROR, NO_ROOM = (5, 0x2604), (5, 0x1A00), (5, 0x5504)

A, B, C = 0xA1A1_0000_0000_0001, 0xB2B2_0000_0000_0002, 0xC3C3_0000_0000_0003


def out_cdb(action: int, type_: int = 0, length: int = 24) -> str:
    """The CDB of PERSISTENT RESERVE OUT."""
    return bytes((0x5F, action, type_, 0, 0, *length.to_bytes(4, "big"), 0)).hex()


def basic_list(key: int = 0, new_key: int = 0, flags: int = 0) -> bytes:
    """The parameter list of all service actions but REGISTER AND MOVE."""
    return struct.pack(">QQ4xB3x", key, new_key, flags)


def listing(*transport_ids: bytes) -> bytes:
    """What follows the basic parameter list with SPEC_I_PT."""
    joined = b"".join(transport_ids)
    return len(joined).to_bytes(4, "big") + joined


def move_list(key: int, new_key: int, transport_id: bytes, *, flags: int = 0, port: int = 1) -> bytes:
    """The parameter list of REGISTER AND MOVE."""
    return struct.pack(">QQxBHI", key, new_key, flags, port, len(transport_id)) + transport_id


def device_id(name: str) -> bytes:
    """The TransportID of an initiator device."""
    return _transport_id(0x05, name)


def port_id(name: str, isid: str = "000000000001") -> bytes:
    """The TransportID of an initiator port."""
    return _transport_id(0x45, f"{name},i,0x{isid}")


def _transport_id(first: int, text: str) -> bytes:
    field = text.encode() + b"\0"
    field = field.ljust(max(20, -(-len(field) // 4) * 4), b"\0")
    return bytes((first, 0, *len(field).to_bytes(2, "big"))) + field


def carry_out(path: Path, action: int, type_: int, data: bytes) -> Plan:
    """Send PERSISTENT RESERVE OUT and its parameter list; what has to happen then."""
    plan = path.plan(out_cdb(action, type_, len(data)))
    return plan.then(data) if isinstance(plan, TakeData) else plan


def reply_of(plan: Plan) -> Reply:
    """How a plan that touches no blocks ends."""
    if isinstance(plan, Fence):
        plan = plan.then
    if isinstance(plan, Keep):
        plan = plan.reply
    assert isinstance(plan, Reply), plan
    return plan


def out(
    path: Path,
    action: int,
    key: int = 0,
    new_key: int = 0,
    *,
    type_: int = 0,
    flags: int = 0,
    more: bytes = b"",
) -> int | tuple[int, int]:
    """PERSISTENT RESERVE OUT with a basic parameter list; its status, or sense key and ASC."""
    return outcome(reply_of(carry_out(path, action, type_, basic_list(key, new_key, flags) + more)))


def move(path: Path, data: bytes) -> int | tuple[int, int]:
    """REGISTER AND MOVE; its status, or sense key and ASC."""
    return outcome(reply_of(carry_out(path, MOVE, 0, data)))


def outcome(reply: Reply) -> int | tuple[int, int]:
    """The status of a reply, or sense key and ASC if it has any."""
    return parse_sense(reply.sense).code if reply.sense else reply.status


def sense_of(path: Path, action: int, data: bytes, type_: int = 0) -> Sense:
    """PERSISTENT RESERVE OUT that has to end with CHECK CONDITION; its sense data."""
    return parse_sense(reply_of(carry_out(path, action, type_, data)).sense)


def good(
    path: Path,
    action: int,
    key: int = 0,
    new_key: int = 0,
    *,
    type_: int = 0,
    flags: int = 0,
    more: bytes = b"",
) -> None:
    """PERSISTENT RESERVE OUT that has to end with GOOD."""
    assert out(path, action, key, new_key, type_=type_, flags=flags, more=more) == GOOD


def refused(path: Path, action: int, key: int = 0, new_key: int = 0, *, type_: int = 0) -> None:
    """PERSISTENT RESERVE OUT that has to end with RESERVATION CONFLICT."""
    assert out(path, action, key, new_key, type_=type_) == RESERVATION_CONFLICT


def register(*paths_and_keys: tuple[Path, int]) -> None:
    """Register each path with its key."""
    for path, key in paths_and_keys:
        good(path, IGNORE, 0, key)


def _read(path: Path, action: int) -> bytes:
    data = path.read(f"5E {action:02X} 00 00 00 00 00 FFFF 00")
    assert int.from_bytes(data[4:8], "big") == len(data) - 8
    return data


def keys(path: Path) -> list[int]:
    """READ KEYS."""
    data = _read(path, 0)
    return [key for (key,) in struct.iter_unpack(">Q", data[8:])]


def generation(path: Path) -> int:
    """PRGENERATION."""
    return int.from_bytes(_read(path, 0)[:4], "big")


def reservation(path: Path) -> tuple[int, int] | None:
    """READ RESERVATION: the key of the holder, and scope and type; None if there is no reservation."""
    data = _read(path, 1)
    if len(data) == 8:
        return None
    assert len(data) == 24
    assert data[16:21] == bytes(5)
    return int.from_bytes(data[8:16], "big"), data[21]


@dataclass(frozen=True)
class Status:
    """A full status descriptor."""

    key: int
    all_ports: bool
    holds: bool
    scope_and_type: int
    port: int
    format: int
    name: str


def full_status(path: Path) -> list[Status]:
    """READ FULL STATUS."""
    data, at, found = _read(path, 3), 8, []
    while at < len(data):
        key, flags, kind, port, length = struct.unpack_from(">Q4xBB4xHI", data, at)
        transport_id = data[at + 24 : at + 24 + length]
        assert transport_id[0] & 0x3F == 0x05
        assert int.from_bytes(transport_id[2:4], "big") == length - 4 >= 20
        assert length % 4 == 0
        name, null, padding = transport_id[4:].partition(b"\0")
        assert null
        assert not padding.strip(b"\0")
        found.append(
            Status(key, bool(flags & 2), bool(flags & 1), kind, port, transport_id[0] >> 6, name.decode())
        )
        at += 24 + length
    assert at == len(data)
    return found
