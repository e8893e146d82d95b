"""The short cut for READ and WRITE (10) and (16): one pass from the receive buffer to the output.

It is a short cut *through* the rules, never around them. All that could make such a command different from a
plain transfer (unit attentions, reservations, access states, write protection, a stopped unit, threads
writing to the disk) is folded into `go_read` and `go_write` of the I_T_L nexus, which every change of state
recomputes. Whatever is not plain is left where it stands, untouched, for `Connection.receive_pdu` and the
full machinery to take. A command is plain when all of this holds:

- SCSI Command, not immediate, no AHS, SIMPLE or untagged, CmdSN exactly the one due, the window open, a fresh
  tag;
- READ or WRITE (10/16), byte 1 of the CDB and CONTROL 0, a range inside the disk, the expected length exactly
  right;
- a read: at most CHUNK bytes, all of them to be had without waiting; from SPLICE bytes on, without data
  digest and from a file that is cached, they go from the page cache to the socket and are never read here;
- a write: all of its data immediate, accepted by the store without waiting.

Per command there is one unpack, one system call for the store, one pack, and no object that outlives it. No
task, no lock, no log line. `run` keeps the numbers in locals and writes them back when it stops.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, cast

from backing_stores.linux import is_cached
from mpxtarget.iscsi import transfer
from mpxtarget.iscsi.session import MASK
from mpxtarget.iscsi.task import Task
from mpxtarget.pdu import DataIn, ScsiCommand, ScsiResponse, crc32c

if TYPE_CHECKING:
    from backing_stores import BackingStore
    from mpxtarget.iscsi.connection import Connection
    from mpxtarget.scsi.nexus import ITNexus

# A SCSI Command whose CDB is looked into: READ/WRITE(10) opcode, byte 1, LBA, group, length, control, and the
# six bytes of the field that a 10-byte CDB leaves unused.
_COMMAND_10 = struct.Struct(ScsiCommand.FORMAT.removesuffix("16s") + "BBIBHB6x").unpack_from
_CDB_16 = struct.Struct(">BBQIBB").unpack_from  # opcode, byte 1, LBA, length, group, control
_DIGEST = struct.Struct("<I")
_pack_data_in = DataIn.STRUCT.pack_into
_pack_response = ScsiResponse.STRUCT.pack_into

_TEN = frozenset({0x28, 0x2A})  # READ(10), WRITE(10)
_SIXTEEN = frozenset({0x88, 0x8A})  # READ(16), WRITE(16)
_WRITING = 0x02  # the bit of the operation code that tells a WRITE from a READ
_NO_TAG = 0xFFFFFFFF
_RESERVED = 0xE0  # of the byte with the GROUP NUMBER
_NO_PADDING = 3
SPLICE = 65536  # bytes from which on sendfile is cheaper than reading into the arena


def run(c: Connection, view: memoryview, pos: int, end: int) -> int:
    """Carry out plain commands that stand whole in `view[pos:end]`; the position of the first that is not
    plain.
    """
    session = c.session
    if session is None or session.nexus is None or session.held:
        return pos
    luns = cast("ITNexus", session.nexus).luns
    tasks = session.tasks
    out = c.output
    out.open()
    buffer, used, size = out.view, out.used, out.size
    header_digest, data_digest = c.header_digest, c.data_digest
    head = 52 if header_digest else 48
    tail = 4 if data_digest else 0
    max_send = c.max_send
    splice_from = SPLICE if out.splice is not None and not data_digest and max_send >= SPLICE else 1 << 32
    max_burst = session.parameters.max_burst_length
    immediate_limit = session.parameters.first_burst_length if session.parameters.immediate_data else 0
    max_receive = c.max_receive
    exp_cmd_sn, stat_sn = session.exp_cmd_sn, c.stat_sn
    room = session.window - session.outstanding  # of the window; fixed, as no command outlives this call
    if room <= 0:
        return pos
    try:
        while end - pos >= head:
            (
                opcode,
                flags,
                _,
                data_size,
                lun,
                itt,
                edtl,
                cmd_sn,
                _,
                cdb_opcode,
                cdb_1,
                lba,
                group,
                blocks,
                control,
            ) = _COMMAND_10(view, pos)
            if opcode != 0x01 or cmd_sn != exp_cmd_sn or itt == _NO_TAG or itt in tasks:
                break
            itl = luns.get(lun)
            if itl is None:
                break
            if cdb_opcode in _SIXTEEN:
                if not itl.go_sixteen:
                    break
                _, cdb_1, lba, blocks, group, control = _CDB_16(view, pos + 32)
            elif cdb_opcode not in _TEN:
                break
            if cdb_1 or group & _RESERVED or control:
                break
            if not blocks or lba + blocks > itl.blocks:
                break
            shift = itl.shift
            length = blocks << shift
            if length != edtl:
                break
            if header_digest and crc32c(view[pos : pos + 48]) != _DIGEST.unpack_from(view, pos + 48)[0]:
                break
            store = cast("BackingStore", itl.store)
            if flags & 0xFE == 0xC0:  # F and R, untagged or SIMPLE
                if data_size or not itl.go_read or cdb_opcode & _WRITING:
                    break
                if (
                    length >= splice_from
                    and length <= transfer.CHUNK
                    and store.fd >= 0
                    and is_cached(store.fd, lba << shift, length)
                ):
                    out.used = used
                    exp_cmd_sn = (exp_cmd_sn + 1) & MASK
                    session.exp_cmd_sn, c.stat_sn = exp_cmd_sn, stat_sn
                    _splice(c, itt, store.fd, lba << shift, length)
                    stat_sn = c.stat_sn
                    out.open()
                    buffer, used, size = out.view, out.used, out.size
                    itl.reads += 1
                    itl.read_bytes += length
                    pos += head
                    if out.backlog:
                        break
                    continue
                if length <= max_send and length <= max_burst and not length & _NO_PADDING:
                    need = head + length + tail
                    if used + need > size:
                        break
                    data_at = used + head
                    data_end = data_at + length
                    if not store.read_now((buffer[data_at:data_end],), lba << shift, length):
                        break
                    exp_cmd_sn = (exp_cmd_sn + 1) & MASK
                    _pack_data_in(
                        buffer, used, 0x25, 0x81, 0, length, 0, itt, _NO_TAG,
                        stat_sn, exp_cmd_sn, (exp_cmd_sn + room - 1) & MASK, 0, 0, 0,
                    )  # fmt: skip
                    stat_sn = (stat_sn + 1) & MASK
                    if header_digest:
                        _DIGEST.pack_into(buffer, used + 48, crc32c(buffer[used : used + 48]))
                    if data_digest:
                        _DIGEST.pack_into(buffer, data_end, crc32c(buffer[data_at:data_end]))
                    used += need
                else:
                    if length > transfer.CHUNK:
                        break
                    sizes = transfer.segments(c, 0, length)
                    if used + length + len(sizes) * (head + tail + _NO_PADDING) > size:
                        break  # it would go to another arena than `buffer`
                    task = Task(c, itt, lun, b"", attr=0, immediate=False, read=True, write=False, edtl=edtl)
                    out.used = used
                    at, places = transfer.lay_data_in(c, sizes)
                    if not store.read_now(places, lba << shift, length):
                        break
                    exp_cmd_sn = (exp_cmd_sn + 1) & MASK
                    session.exp_cmd_sn, c.stat_sn = exp_cmd_sn, stat_sn
                    transfer.seal_data_in(c, task, at, sizes, length)
                    stat_sn = c.stat_sn
                    used = out.used
                itl.reads += 1
                itl.read_bytes += length
                pos += head
            elif flags & 0xFE == 0xA0:  # F and W
                if data_size != length or not itl.go_write or not cdb_opcode & _WRITING:
                    break
                data_at = pos + head
                data_end = data_at + length
                after = data_end + tail
                need = 52 if header_digest else 48
                if (
                    after > end
                    or length > immediate_limit
                    or length > max_receive
                    or length & _NO_PADDING
                    or used + need > size
                ):
                    break
                data = view[data_at:data_end]
                if data_digest and crc32c(data) != _DIGEST.unpack_from(view, data_end)[0]:
                    break
                if not store.write_now((data,), lba << shift, length):
                    break
                exp_cmd_sn = (exp_cmd_sn + 1) & MASK
                _pack_response(
                    buffer, used, 0x21, 0x80, 0, 0, 0, itt, 0,
                    stat_sn, exp_cmd_sn, (exp_cmd_sn + room - 1) & MASK, 0, 0, 0,
                )  # fmt: skip
                stat_sn = (stat_sn + 1) & MASK
                if header_digest:
                    _DIGEST.pack_into(buffer, used + 48, crc32c(buffer[used : used + 48]))
                used += need
                itl.writes += 1
                itl.written_bytes += length
                pos = after
            else:
                break
    except Exception:  # of the store; the full machinery meets the same error again, and reports it
        pass
    out.used = used
    session.exp_cmd_sn, c.stat_sn = exp_cmd_sn, stat_sn
    return pos


def _splice(c: Connection, itt: int, fd: int, offset: int, length: int) -> None:
    """Answer a read with Data-In PDUs whose data the kernel takes from a file."""
    session, out, splice = c.session, c.output, c.output.splice
    assert session is not None and splice is not None
    max_burst = session.parameters.max_burst_length & ~3
    stat_sn = c.stat_sn
    c.stat_sn = (stat_sn + 1) & MASK
    sent = 0
    for data_sn, size in enumerate(transfer.segments(c, 0, length)):
        last = sent + size == length
        flags = 0x81 if last else 0x80 if (sent + size) % max_burst == 0 else 0
        at = out.reserve(52 if c.header_digest else 48)
        _pack_data_in(
            out.view, at, 0x25, flags, 0, size, 0, itt, _NO_TAG, stat_sn if last else 0,
            session.exp_cmd_sn, session.max_cmd_sn, data_sn, sent, 0,
        )  # fmt: skip
        c.seal(at, 0)
        splice(fd, offset + sent, size)
        sent += size
