"""tshark as an oracle: what an independent dissector makes of a capture.

It finds data digests by looking at the first PDU with a data segment after the login; a large Data-In there
makes it lose the stream. So a session to be captured with data digests begins with a ping that carries data.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .processes import run

_WARNING = 0x600000
_UNDECODED = 0x05000000
"""The group of "I do not know this mode page": tshark's limits, not the target's faults."""


@dataclass(frozen=True, slots=True)
class DissectedPdu:
    """One iSCSI PDU. `fields` holds the values of each field, by tshark's names (`iscsi.opcode`, ...)."""

    frame: int
    to_target: bool
    title: str
    fields: dict[str, list[str]]
    header_digest: str | None
    data_digest: str | None
    """tshark's words: `Good CRC32`, `Bad CRC32...`, None where there is no digest."""

    @property
    def opcode(self) -> int:
        """The opcode, without the immediate bit."""
        return int(self.fields["iscsi.opcode"][0], 16)

    @property
    def data_length(self) -> int:
        """DataSegmentLength; tshark leaves it out where it is always 0."""
        return int(self.fields.get("iscsi.datasegmentlength", ["0"])[0], 0)

    def __str__(self) -> str:
        return f"frame {self.frame}: {self.title}, digests {self.header_digest}, {self.data_digest}"


@dataclass(slots=True)
class Dissection:
    """All PDUs of a capture in order, and everything that tshark complained about."""

    pdus: list[DissectedPdu] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def dissect(capture: Path) -> Dissection:
    """Dissect a capture whose target is at port 3260."""
    done = run(["tshark", "-n", "-r", capture, "-T", "pdml"], timeout=60)
    assert done.status == 0, done.errors
    result = Dissection()
    for packet in ET.fromstring(done.output).iter("packet"):
        _read_packet(packet, result)
    return result


def _read_packet(packet: ET.Element, result: Dissection) -> None:
    number = int(_values(packet, "frame.number")[0])
    to_target = _values(packet, "tcp.dstport") == ["3260"]
    for proto in packet.findall("proto"):
        name, title = proto.get("name", ""), proto.get("showname", "")
        if name == "iscsi":
            result.pdus.append(_read_pdu(proto, number, to_target, title))
        elif name in {"_ws.malformed", "_ws.short"} or "Malformed" in title:
            result.complaints.append(f"frame {number}: {title or name}")
    for expert in packet.iter("field"):
        if expert.get("name") == "_ws.expert":
            severity = int(_values(expert, "_ws.expert.severity")[0])
            group = int(_values(expert, "_ws.expert.group")[0])
            if severity >= _WARNING and group != _UNDECODED:
                result.complaints.append(f"frame {number}: {expert.get('showname')}")


def _read_pdu(proto: ET.Element, frame: int, to_target: bool, title: str) -> DissectedPdu:
    fields: dict[str, list[str]] = {}
    digests: dict[str, str] = {}
    for element in _own_fields(proto):
        name = element.get("name", "")
        fields.setdefault(name, []).append(element.get("show", ""))
        if name in {"iscsi.headerdigest32", "iscsi.datadigest32"}:
            digests[name] = element.get("showname", "").partition("(")[2].rstrip(")")
    return DissectedPdu(
        frame,
        to_target,
        title,
        fields,
        digests.get("iscsi.headerdigest32"),
        digests.get("iscsi.datadigest32"),
    )


def _own_fields(element: ET.Element) -> Iterator[ET.Element]:
    """The fields of a PDU, not those of the PDU that a Reject carries in its data."""
    for child in element:
        if child.tag == "field":
            yield child
            yield from _own_fields(child)


def _values(element: ET.Element, name: str) -> list[str]:
    return [found.get("show", "") for found in element.iter("field") if found.get("name") == name]
