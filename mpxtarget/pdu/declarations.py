"""Every iSCSI PDU, declared once, as a scapy packet (RFC 7143 11.3 to 11.19).

This is the one place that says where a field is. `mpxtarget.pdu.generate` walks these `fields_desc` and
writes the struct codec that the target runs on; captures, traces and raw test traffic are taken apart with
the packets themselves. A server does not import this module: scapy costs a quarter second and 40 MiB.

Rules: `fields_desc` covers exactly the 48 bytes of the BHS, reserved bits included; a reserved field has a
name that begins with `reserved`; a default is what RFC 7143 fixes for the field, else zero. What follows
the BHS (AHS, digests, data segment) are the layers `dissect` puts on top of it.
"""

from __future__ import annotations

from typing import ClassVar, Final

from scapy.fields import (
    BitField,
    ByteEnumField,
    ByteField,
    Field,
    IntField,
    ShortField,
    StrField,
    StrFixedLenField,
    StrLenField,
    XIntField,
    XLEIntField,
    XLongField,
    XShortField,
)
from scapy.packet import Packet

from mpxtarget.pdu.base import UnknownOpcode
from mpxtarget.pdu.constants import BHS_LENGTH, DIGEST_LENGTH, NO_TAG, AhsType, Opcode
from mpxtarget.pdu.framing import padded


class Declaration(Packet):  # type: ignore[misc]
    """A Basic Header Segment."""

    OPCODE: ClassVar[int]

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        return b"", s


def _reserved(offset: int, bits: int) -> Field:
    """Bits that are sent as zero and ignored on receipt; `offset` is the byte they begin in (11)."""
    return BitField(f"reserved_{offset}", 0, bits)


def _request(opcode: int, immediate: int = 0) -> list[Field]:
    return [_reserved(0, 1), BitField("immediate", immediate, 1), BitField("opcode", opcode, 6)]


def _response(opcode: int) -> list[Field]:
    return [_reserved(0, 2), BitField("opcode", opcode, 6)]


def _flag(name: str, default: int = 0) -> Field:
    return BitField(name, default, 1)


def _final_only() -> list[Field]:
    """Byte 1 of the PDUs in which it is 80h and bytes 2 and 3 in which they are nothing."""
    return [_flag("final", 1), _reserved(1, 7), _reserved(2, 16)]


def _lengths() -> list[Field]:
    return [ByteField("total_ahs_length", 0), BitField("data_segment_length", 0, 24)]


def _target_numbers() -> list[Field]:
    return [IntField("stat_sn", 0), IntField("exp_cmd_sn", 0), IntField("max_cmd_sn", 0)]


def _initiator_numbers() -> list[Field]:
    return [IntField("cmd_sn", 0), IntField("exp_stat_sn", 0)]


def _stages() -> list[Field]:
    """Byte 1 of the login PDUs (11.12)."""
    return [
        _flag("transit"),
        _flag("continue_"),
        _reserved(1, 2),
        BitField("csg", 0, 2),
        BitField("nsg", 0, 2),
    ]


class NopOut(Declaration):
    """NOP-Out (RFC 7143 11.18)."""

    OPCODE: ClassVar[int] = Opcode.NOP_OUT
    fields_desc: ClassVar[list[Field]] = [
        *_request(OPCODE),
        *_final_only(),
        *_lengths(),
        XLongField("lun", 0),
        XIntField("itt", 0),
        XIntField("ttt", NO_TAG),
        *_initiator_numbers(),
        _reserved(32, 128),
    ]


class ScsiCommand(Declaration):
    """SCSI Command (RFC 7143 11.3; the priority field is of RFC 7144 5.1.1)."""

    OPCODE: ClassVar[int] = Opcode.SCSI_COMMAND
    fields_desc: ClassVar[list[Field]] = [
        *_request(OPCODE),
        _flag("final"),
        _flag("read"),
        _flag("write"),
        _reserved(1, 2),
        BitField("attr", 0, 3),
        _reserved(2, 4),
        BitField("priority", 0, 4),
        _reserved(3, 8),
        *_lengths(),
        XLongField("lun", 0),
        XIntField("itt", 0),
        IntField("expected_data_transfer_length", 0),
        *_initiator_numbers(),
        StrFixedLenField("cdb", bytes(16), 16),
    ]


class TaskManagementRequest(Declaration):
    """Task Management Function Request (RFC 7143 11.5)."""

    OPCODE: ClassVar[int] = Opcode.TASK_MANAGEMENT_REQUEST
    fields_desc: ClassVar[list[Field]] = [
        *_request(OPCODE),
        _flag("final", 1),
        BitField("function", 0, 7),
        _reserved(2, 16),
        *_lengths(),
        XLongField("lun", 0),
        XIntField("itt", 0),
        XIntField("referenced_task_tag", NO_TAG),
        *_initiator_numbers(),
        IntField("ref_cmd_sn", 0),
        IntField("exp_data_sn", 0),
        _reserved(40, 64),
    ]


class LoginRequest(Declaration):
    """Login Request (RFC 7143 11.12)."""

    OPCODE: ClassVar[int] = Opcode.LOGIN_REQUEST
    fields_desc: ClassVar[list[Field]] = [
        *_request(OPCODE, immediate=1),
        *_stages(),
        ByteField("version_max", 0),
        ByteField("version_min", 0),
        *_lengths(),
        BitField("isid", 0, 48),
        XShortField("tsih", 0),
        XIntField("itt", 0),
        XShortField("cid", 0),
        _reserved(22, 16),
        *_initiator_numbers(),
        _reserved(32, 128),
    ]


class TextRequest(Declaration):
    """Text Request (RFC 7143 11.10)."""

    OPCODE: ClassVar[int] = Opcode.TEXT_REQUEST
    fields_desc: ClassVar[list[Field]] = [
        *_request(OPCODE),
        _flag("final"),
        _flag("continue_"),
        _reserved(1, 6),
        _reserved(2, 16),
        *_lengths(),
        XLongField("lun", 0),
        XIntField("itt", 0),
        XIntField("ttt", NO_TAG),
        *_initiator_numbers(),
        _reserved(32, 128),
    ]


class DataOut(Declaration):
    """SCSI Data-Out (RFC 7143 11.7)."""

    OPCODE: ClassVar[int] = Opcode.DATA_OUT
    fields_desc: ClassVar[list[Field]] = [
        *_request(OPCODE),
        _flag("final"),
        _reserved(1, 7),
        _reserved(2, 16),
        *_lengths(),
        XLongField("lun", 0),
        XIntField("itt", 0),
        XIntField("ttt", NO_TAG),
        _reserved(24, 32),
        IntField("exp_stat_sn", 0),
        _reserved(32, 32),
        IntField("data_sn", 0),
        IntField("buffer_offset", 0),
        _reserved(44, 32),
    ]


class LogoutRequest(Declaration):
    """Logout Request (RFC 7143 11.14)."""

    OPCODE: ClassVar[int] = Opcode.LOGOUT_REQUEST
    fields_desc: ClassVar[list[Field]] = [
        *_request(OPCODE),
        _flag("final", 1),
        BitField("reason", 0, 7),
        _reserved(2, 16),
        *_lengths(),
        _reserved(8, 64),
        XIntField("itt", 0),
        XShortField("cid", 0),
        _reserved(22, 16),
        *_initiator_numbers(),
        _reserved(32, 128),
    ]


class SnackRequest(Declaration):
    """SNACK Request (RFC 7143 11.16); its tag field is a TTT or a SNACK Tag, by the type."""

    OPCODE: ClassVar[int] = Opcode.SNACK_REQUEST
    fields_desc: ClassVar[list[Field]] = [
        *_request(OPCODE),
        _flag("final", 1),
        _reserved(1, 3),
        BitField("type", 0, 4),
        _reserved(2, 16),
        *_lengths(),
        XLongField("lun", 0),
        XIntField("itt", NO_TAG),
        XIntField("ttt", NO_TAG),
        _reserved(24, 32),
        IntField("exp_stat_sn", 0),
        _reserved(32, 64),
        IntField("beg_run", 0),
        IntField("run_length", 0),
    ]


class NopIn(Declaration):
    """NOP-In (RFC 7143 11.19)."""

    OPCODE: ClassVar[int] = Opcode.NOP_IN
    fields_desc: ClassVar[list[Field]] = [
        *_response(OPCODE),
        *_final_only(),
        *_lengths(),
        XLongField("lun", 0),
        XIntField("itt", NO_TAG),
        XIntField("ttt", NO_TAG),
        *_target_numbers(),
        _reserved(36, 96),
    ]


class ScsiResponse(Declaration):
    """SCSI Response (RFC 7143 11.4)."""

    OPCODE: ClassVar[int] = Opcode.SCSI_RESPONSE
    fields_desc: ClassVar[list[Field]] = [
        *_response(OPCODE),
        _flag("final", 1),
        _reserved(1, 2),
        _flag("bidi_overflow"),
        _flag("bidi_underflow"),
        _flag("overflow"),
        _flag("underflow"),
        BitField("reserved_1b", 0, 1),
        ByteField("response", 0),
        ByteField("status", 0),
        *_lengths(),
        _reserved(8, 64),
        XIntField("itt", 0),
        XIntField("snack_tag", 0),
        *_target_numbers(),
        IntField("exp_data_sn", 0),
        IntField("bidi_residual_count", 0),
        IntField("residual_count", 0),
    ]


class TaskManagementResponse(Declaration):
    """Task Management Function Response (RFC 7143 11.6)."""

    OPCODE: ClassVar[int] = Opcode.TASK_MANAGEMENT_RESPONSE
    fields_desc: ClassVar[list[Field]] = [
        *_response(OPCODE),
        _flag("final", 1),
        _reserved(1, 7),
        ByteField("response", 0),
        _reserved(3, 8),
        *_lengths(),
        _reserved(8, 64),
        XIntField("itt", 0),
        _reserved(20, 32),
        *_target_numbers(),
        _reserved(36, 96),
    ]


class LoginResponse(Declaration):
    """Login Response (RFC 7143 11.13)."""

    OPCODE: ClassVar[int] = Opcode.LOGIN_RESPONSE
    fields_desc: ClassVar[list[Field]] = [
        *_response(OPCODE),
        *_stages(),
        ByteField("version_max", 0),
        ByteField("version_active", 0),
        *_lengths(),
        BitField("isid", 0, 48),
        XShortField("tsih", 0),
        XIntField("itt", 0),
        _reserved(20, 32),
        *_target_numbers(),
        ByteField("status_class", 0),
        ByteField("status_detail", 0),
        _reserved(38, 80),
    ]


class TextResponse(Declaration):
    """Text Response (RFC 7143 11.11)."""

    OPCODE: ClassVar[int] = Opcode.TEXT_RESPONSE
    fields_desc: ClassVar[list[Field]] = [
        *_response(OPCODE),
        _flag("final"),
        _flag("continue_"),
        _reserved(1, 6),
        _reserved(2, 16),
        *_lengths(),
        XLongField("lun", 0),
        XIntField("itt", 0),
        XIntField("ttt", NO_TAG),
        *_target_numbers(),
        _reserved(36, 96),
    ]


class DataIn(Declaration):
    """SCSI Data-In (RFC 7143 11.7)."""

    OPCODE: ClassVar[int] = Opcode.DATA_IN
    fields_desc: ClassVar[list[Field]] = [
        *_response(OPCODE),
        _flag("final"),
        _flag("acknowledge"),
        _reserved(1, 3),
        _flag("overflow"),
        _flag("underflow"),
        _flag("status_flag"),
        _reserved(2, 8),
        ByteField("status", 0),
        *_lengths(),
        XLongField("lun", 0),
        XIntField("itt", 0),
        XIntField("ttt", NO_TAG),
        *_target_numbers(),
        IntField("data_sn", 0),
        IntField("buffer_offset", 0),
        IntField("residual_count", 0),
    ]


class LogoutResponse(Declaration):
    """Logout Response (RFC 7143 11.15)."""

    OPCODE: ClassVar[int] = Opcode.LOGOUT_RESPONSE
    fields_desc: ClassVar[list[Field]] = [
        *_response(OPCODE),
        _flag("final", 1),
        _reserved(1, 7),
        ByteField("response", 0),
        _reserved(3, 8),
        *_lengths(),
        _reserved(8, 64),
        XIntField("itt", 0),
        _reserved(20, 32),
        *_target_numbers(),
        _reserved(36, 32),
        ShortField("time2wait", 0),
        ShortField("time2retain", 0),
        _reserved(44, 32),
    ]


class R2T(Declaration):
    """Ready To Transfer (RFC 7143 11.8)."""

    OPCODE: ClassVar[int] = Opcode.R2T
    fields_desc: ClassVar[list[Field]] = [
        *_response(OPCODE),
        *_final_only(),
        *_lengths(),
        XLongField("lun", 0),
        XIntField("itt", 0),
        XIntField("ttt", 0),
        *_target_numbers(),
        IntField("r2t_sn", 0),
        IntField("buffer_offset", 0),
        IntField("desired_data_transfer_length", 0),
    ]


class AsyncMessage(Declaration):
    """Asynchronous Message (RFC 7143 11.9)."""

    OPCODE: ClassVar[int] = Opcode.ASYNC_MESSAGE
    fields_desc: ClassVar[list[Field]] = [
        *_response(OPCODE),
        *_final_only(),
        *_lengths(),
        XLongField("lun", 0),
        XIntField("itt", NO_TAG),
        _reserved(20, 32),
        *_target_numbers(),
        ByteField("async_event", 0),
        ByteField("async_vcode", 0),
        ShortField("parameter1", 0),
        ShortField("parameter2", 0),
        ShortField("parameter3", 0),
        _reserved(44, 32),
    ]


class Reject(Declaration):
    """Reject (RFC 7143 11.17)."""

    OPCODE: ClassVar[int] = Opcode.REJECT
    fields_desc: ClassVar[list[Field]] = [
        *_response(OPCODE),
        _flag("final", 1),
        _reserved(1, 7),
        ByteField("reason", 0),
        _reserved(3, 8),
        *_lengths(),
        _reserved(8, 64),
        XIntField("itt", NO_TAG),
        _reserved(20, 32),
        *_target_numbers(),
        IntField("data_sn", 0),
        _reserved(40, 64),
    ]


DECLARATIONS: Final[tuple[type[Declaration], ...]] = (
    NopOut,
    ScsiCommand,
    TaskManagementRequest,
    LoginRequest,
    TextRequest,
    DataOut,
    LogoutRequest,
    SnackRequest,
    NopIn,
    ScsiResponse,
    TaskManagementResponse,
    LoginResponse,
    TextResponse,
    DataIn,
    LogoutResponse,
    R2T,
    AsyncMessage,
    Reject,
)
"""All of them, by opcode."""


class _PairsField(StrField):  # type: ignore[misc]
    """A text segment, kept byte for byte and shown as its key=value pairs."""

    def i2repr(self, pkt: Packet, x: bytes) -> str:
        return " ".join(item.decode("utf-8", "backslashreplace") for item in x.split(b"\0") if item)


class Layer(Packet):  # type: ignore[misc]
    """Something that follows the BHS in a PDU."""

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        return b"", s


class AdditionalHeader(Layer):
    """One AHS (11.2.2); its content begins with the AHS-Specific byte."""

    fields_desc: ClassVar[list[Field]] = [
        ShortField("ahs_length", 0),
        ByteEnumField(
            "ahs_type",
            0,
            {AhsType.EXTENDED_CDB: "extended CDB", AhsType.BIDIRECTIONAL_READ_LENGTH: "bidirectional read"},
        ),
        StrLenField("content", b"", length_from=lambda ahs: padded(ahs.ahs_length + 3) - 3),
    ]


class Digest(Layer):
    """CRC32C of the header or of the padded data segment, least significant byte first (13.1)."""

    fields_desc: ClassVar[list[Field]] = [XLEIntField("crc32c", 0)]


class HeaderDigest(Digest):
    """The digest of BHS and AHS."""


class DataDigest(Digest):
    """The digest of the data segment and its padding."""


class DataSegment(Layer):
    """The data of a PDU, with its padding."""

    fields_desc: ClassVar[list[Field]] = [StrField("data", b""), StrField("padding", b"")]


class TextSegment(Layer):
    """The data of a login or text PDU; a pair may be cut short by the end of the PDU."""

    fields_desc: ClassVar[list[Field]] = [_PairsField("data", b""), StrField("padding", b"")]


_BY_OPCODE: Final[dict[int, type[Declaration]]] = {item.OPCODE: item for item in DECLARATIONS}
_TEXT: Final = (LoginRequest, LoginResponse, TextRequest, TextResponse)


def dissect(pdu: bytes, *, header_digest: bool = False, data_digest: bool = False) -> Declaration:
    """One whole PDU as the packet of its header with all that follows as layers on it.

    The bytes of the packet are the bytes of the PDU. Raises UnknownOpcode, and ValueError if `pdu` is not
    exactly as long as its header says.
    """
    if len(pdu) < BHS_LENGTH:
        raise ValueError(f"{len(pdu)} bytes are less than a header")
    declaration = _BY_OPCODE.get(pdu[0] & 0x3F)
    if declaration is None:
        raise UnknownOpcode(pdu[0] & 0x3F)
    packet = declaration(pdu[:BHS_LENGTH])
    position = BHS_LENGTH
    headers_end = position + 4 * packet.total_ahs_length
    while position < headers_end:
        ahs_end = position + padded(3 + int.from_bytes(pdu[position : position + 2], "big"))
        packet /= AdditionalHeader(pdu[position : min(ahs_end, headers_end)])
        position = min(ahs_end, headers_end)
    if header_digest:
        packet /= HeaderDigest(pdu[position : position + DIGEST_LENGTH])
        position += DIGEST_LENGTH
    length = packet.data_segment_length
    if length:
        data_end, position = position + length, position + padded(length)
        segment = TextSegment if declaration in _TEXT else DataSegment
        packet /= segment(data=pdu[data_end - length : data_end], padding=pdu[data_end:position])
        if data_digest:
            packet /= DataDigest(pdu[position : position + DIGEST_LENGTH])
            position += DIGEST_LENGTH
    if position != len(pdu):
        raise ValueError(f"a PDU of {position} bytes in {len(pdu)} bytes")
    return packet
