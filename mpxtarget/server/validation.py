"""The door to the state: what a record has to be before it is kept.

Rules kept here:
- Everything that enters the database passes one of these functions, whichever verb or file it came from;
  what is in the database can be trusted by the rest of the product.
- Each function returns the value in the form in which it is stored, or raises `Invalid` with a message that
  names the value, the rule and what to do.
- Secrets are checked and never quoted.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from mpxtarget.array.models import MAX_LUN, MIN_LUN, MODELS
from mpxtarget.array.ownership import MAX_TRANSITION_TIME, ImplicitTransition
from mpxtarget.array.records import ArrayRecord, VdiskRecord
from mpxtarget.bridge.portals import InvalidAddress, normalise_address, parse_advertise, shown
from mpxtarget.bridge.records import InitiatorRecord, PortalRecord
from mpxtarget.iscsi.names import InvalidName, normalize_name
from mpxtarget.server.errors import Invalid

BLOCK_SIZES: Final = (512, 4096)
MAX_BLOCKS: Final = 1 << 48
"""Far beyond any EVA, and small enough that a byte offset always fits in 63 bits."""
MIN_SECRET: Final = 12
"""Bytes; 96 bits. RFC 7143 9.2.1"""
MAX_SECRET: Final = 255
WINDOWS_MAX_SECRET: Final = 16
"""The Microsoft initiator takes secrets of 12 to 16 bytes."""
POLICIES: Final = ("present-all", "masked")
PREFERRED: Final = ("none", "A", "B", "A-failback", "B-failback")
CONTROLLERS: Final = ("A", "B")
SERIAL_NUMBERS: Final = ("controller", "disk")

_OBJECT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_ARRAY_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,30}[A-Za-z0-9._-])?")
_BRIDGE_SERIAL: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_CONTROLLER_SERIAL: Final = re.compile(r"[A-Za-z0-9-]{1,16}")
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*:.*")


def lun(value: int) -> int:
    if not MIN_LUN <= value <= MAX_LUN:
        raise Invalid(
            f"LUN {value} is not between {MIN_LUN} and {MAX_LUN}",
            "LUN 0 is the array's own console" if value == 0 else "",
        )
    return value


def vdisk_name(name: str) -> str:
    if _OBJECT_NAME.fullmatch(name) is None:
        raise Invalid(
            f"{shown(name)} cannot be the name of a vdisk",
            "use 1 to 32 letters, digits, '.', '_' and '-', the first a letter or a digit",
        )
    if name.isdigit():
        raise Invalid(
            f"{name!r} cannot be the name of a vdisk: commands would take it for a LUN",
            f"put a letter in it, for example vdisk{name[:27]}",
        )
    return name


def size(value: int, block_size: int) -> int:
    """A capacity in bytes."""
    if block_size not in BLOCK_SIZES:
        raise Invalid(f"a block size of {block_size} is not supported", "use 512 or 4096 bytes")
    if value <= 0 or value % block_size:
        raise Invalid(f"a size of {value} bytes is not a positive multiple of the block size {block_size}")
    if value // block_size > MAX_BLOCKS:
        raise Invalid(f"a size of {value} bytes is more than a vdisk can have ({MAX_BLOCKS * block_size})")
    return value


def initiator_name(name: str) -> str:
    """An iSCSI name in the form in which names are compared."""
    try:
        return normalize_name(name)
    except InvalidName as error:
        raise Invalid(
            f"{name[:80]!a} is not the name of an initiator: {error}",
            "Windows shows it in the iSCSI initiator's settings, Linux in /etc/iscsi/initiatorname.iscsi",
        ) from None


def vdisk(record: VdiskRecord) -> VdiskRecord:
    vdisk_name(record.name)
    if record.lun is not None:
        lun(record.lun)
    size(record.size, record.block_size)
    if len(record.wwlun) != 16 or record.wwlun[0] >> 4 != 6:
        raise Invalid(
            f"{record.wwlun.hex()} is not a World Wide LUN Name",
            "it has 32 hexadecimal digits, the first a 6",
        )
    if _URL.fullmatch(record.store_url) is None or "\n" in record.store_url or "\0" in record.store_url:
        raise Invalid(
            f"{record.store_url!r} does not say where the blocks of a vdisk live",
            "use file:PATH, memory: or block:/dev/NAME",
        )
    if record.preferred not in PREFERRED:
        raise Invalid(f"{record.preferred!r} is not a preferred path", f"use one of {', '.join(PREFERRED)}")
    if record.controller not in CONTROLLERS:
        raise Invalid(f"there is no controller {record.controller!r}", "use A or B")
    return record


def portal(record: PortalRecord) -> PortalRecord:
    """The record with its address in the form in which addresses are compared."""
    try:
        address = normalise_address(record.address)
    except InvalidAddress as error:
        raise Invalid(
            str(error),
            "name an address of this machine, or 0.0.0.0 for all its IPv4, :: for all its IPv6 ones",
        ) from None
    if not 0 <= record.port <= 65535:
        raise Invalid(
            f"{record.port} is not a TCP port", "iSCSI targets listen on 3260; 0 lets the system choose"
        )
    if record.advertise is not None:
        try:
            parse_advertise(record.advertise)
        except InvalidAddress as error:
            raise Invalid(
                f"advertise: {error}", "say what a host connects to: HOST or HOST:PORT, [IPV6]:PORT"
            ) from None
    return PortalRecord(record.id, address, record.port, record.advertise, record.enabled)


def array(record: ArrayRecord) -> ArrayRecord:
    if _ARRAY_NAME.fullmatch(record.name) is None:
        raise Invalid(
            f"{record.name!r} cannot be the name of an array",
            "use 1 to 32 letters, digits, spaces, '.', '_' and '-'",
        )
    if record.model not in MODELS:
        raise Invalid(f"{record.model!r} is not a model", f"use one of {', '.join(MODELS)}")
    if record.node_wwn >> 60 != 5 or record.node_wwn & 0xF:
        raise Invalid(
            f"{record.node_wwn:016x} is not the node WWN of an EVA", "it begins with 5 and ends with 0"
        )
    if len(record.wwlun_base) != 16 or record.wwlun_base[0] >> 4 != 6 or any(record.wwlun_base[8:]):
        raise Invalid(
            "the base of the World Wide LUN Names is not 16 bytes, the first digit 6, the last eight zero"
        )
    if _CONTROLLER_SERIAL.fullmatch(record.controller_serial) is None:
        raise Invalid(
            f"{record.controller_serial!r} is not a serial number", "use 1 to 16 letters, digits and '-'"
        )
    if _BRIDGE_SERIAL.fullmatch(record.bridge_serial) is None:
        raise Invalid(
            f"{record.bridge_serial!r} is not a serial number of a bridge",
            "it becomes part of the target names: use 1 to 32 small letters, digits and '-'",
        )
    if record.policy not in POLICIES:
        raise Invalid(f"{record.policy!r} is not a policy", f"use one of {', '.join(POLICIES)}")
    if record.serial_numbers not in SERIAL_NUMBERS:
        raise Invalid(
            f"serial numbers are not those of a {record.serial_numbers!r}",
            f"use one of {', '.join(SERIAL_NUMBERS)}",
        )
    transition_time(record.transition_time)
    record = replace(record, implicit_transition=implicit_transition(record.implicit_transition))
    name_template(record.name_template, record.bridge_serial)
    _user(record.target_user)
    if record.target_secret:
        secret(record.target_secret)
    return record


def transition_time(seconds: int) -> int:
    """How long a disk that moves is in transition."""
    if not 0 <= seconds <= MAX_TRANSITION_TIME:
        raise Invalid(
            f"a transition time of {seconds} seconds is not between 0 and {MAX_TRANSITION_TIME}",
            "hosts are told it in one byte",
        )
    return seconds


def implicit_transition(text: str) -> str:
    """When reads move a disk to the other controller, in its full form."""
    try:
        parsed = ImplicitTransition.parse(text)
    except ValueError as error:
        raise Invalid(
            f"implicit transition: {error}",
            "for example 3600:60 for more than 60 % of the reads of an hour, or off",
        ) from None
    return "off" if parsed is None else str(parsed)


def name_template(template: str, serial: str) -> str:
    """A template of target names; `{serial}`, `{nn}` and `{wwn}` stand for what differs."""
    hint = "for example iqn.2004-09.com.hp:fcgw.mpx100.{serial}.b1.{nn}.{wwn}"
    try:
        first = template.format(serial=serial, nn="01", wwn=f"{0x5001438000000008:016x}")
        second = template.format(serial=serial, nn="02", wwn=f"{0x5001438000000009:016x}")
        normal = normalize_name(first)
    except InvalidName as error:
        raise Invalid(f"target names made from {template!r} are not iSCSI names: {error}", hint) from None
    except (KeyError, IndexError, ValueError, AttributeError):
        raise Invalid(
            f"{template!r} has a placeholder that is not {{serial}}, {{nn}} or {{wwn}}", hint
        ) from None
    if first != normal:
        raise Invalid(f"{template!r} is not in the form in which names are compared", "use small letters")
    if first == second:
        raise Invalid(
            f"{template!r} gives every target the same name: {{nn}} or {{wwn}} has to be in it", hint
        )
    return template


def initiator(record: InitiatorRecord, array_target_secret: bytes) -> InitiatorRecord:
    """The record with its name normalised. `array_target_secret` is what mutual CHAP falls back to."""
    name = initiator_name(record.name)
    if len(record.alias.encode()) > 255 or not record.alias.isprintable():
        raise Invalid("an alias is at most 255 bytes of printable text")
    _user(record.chap_user)
    _user(record.target_user)
    if not record.chap_secret:
        if record.chap_user or record.target_user or record.target_secret:
            raise Invalid(
                f"CHAP for {name} needs the initiator's secret",
                "mutual CHAP comes on top of it, and a user name alone proves nothing",
            )
    else:
        secret(record.chap_secret)
        if record.target_secret:
            secret(record.target_secret)
        if record.chap_secret in (record.target_secret, array_target_secret):
            raise Invalid(
                f"the secret of {name} is the same as the target's",
                "mutual CHAP proves nothing then: choose another",
            )
    return InitiatorRecord(
        name,
        record.alias,
        record.chap_user,
        record.chap_secret,
        record.target_user,
        record.target_secret,
        record.first_seen,
        record.last_seen,
    )


def secret(value: bytes) -> bytes:
    """A CHAP secret. Never quoted in a message."""
    if len(value) < MIN_SECRET:
        raise Invalid(
            f"a CHAP secret has at least {MIN_SECRET} bytes, this one has {len(value)}",
            f"Windows takes {MIN_SECRET} to {WINDOWS_MAX_SECRET}",
        )
    if len(value) > MAX_SECRET:
        raise Invalid(f"a CHAP secret has at most {MAX_SECRET} bytes, this one has {len(value)}")
    return value


def initiator_warnings(record: InitiatorRecord, others: Iterable[InitiatorRecord]) -> list[str]:
    """What is allowed and still likely to be a mistake about an initiator's secrets."""
    warnings = []
    if record.chap_secret:
        sharing = [o.name for o in others if o.chap_secret == record.chap_secret and o.name != record.name]
        if sharing:
            warnings.append(f"{record.name} has the same CHAP secret as {', '.join(sharing[:3])}")
    if max(len(record.chap_secret), len(record.target_secret)) > WINDOWS_MAX_SECRET:
        warnings.append(
            f"the Windows initiator takes CHAP secrets of {MIN_SECRET} to {WINDOWS_MAX_SECRET} bytes only"
        )
    return warnings


def _user(name: str) -> None:
    if len(name.encode()) > 255 or not name.isprintable() or name != name.strip():
        raise Invalid("a CHAP user name is at most 255 bytes of printable text without blanks around it")
