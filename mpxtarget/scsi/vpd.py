"""Vital product data (SPC-4 7.8, SBC-3 6.6).

One table says which pages a logical unit has; page 00h is made from it.  What page 83h says about the
logical unit is the same bytes on every path and after every restart, for hosts build their multipath devices
from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from construct import (
    BitsInteger,
    BitStruct,
    Const,
    Default,
    Flag,
    GreedyBytes,
    GreedyRange,
    Int8ub,
    Int16ub,
    Int32ub,
    Int64ub,
    Nibble,
    Padding,
    Prefixed,
    Struct,
)

from mpxtarget.scsi.block_limits import block_limits
from mpxtarget.scsi.codes import PeripheralType
from mpxtarget.scsi.command import DISK, DISK_AND_CONSOLE
from mpxtarget.scsi.copy import vpd_page as third_party_copy

if TYPE_CHECKING:
    from mpxtarget.scsi.device import ScsiDevice
    from mpxtarget.scsi.logical_unit import Disk, LogicalUnit
    from mpxtarget.scsi.nexus import TargetPort

PAGE = Struct(
    "peripheral" / BitStruct("qualifier" / BitsInteger(3), "type" / BitsInteger(5)),
    "page_code" / Int8ub,
    "payload" / Prefixed(Int16ub, GreedyBytes),
)

_BINARY, _ASCII, _UTF_8 = 1, 2, 3
_LOGICAL_UNIT, _TARGET_PORT, _TARGET_DEVICE = 0, 1, 2
_T10, _NAA, _RELATIVE_TARGET_PORT, _TARGET_PORT_GROUP, _SCSI_NAME = 1, 3, 4, 5, 8
_ISCSI = 5

DESIGNATOR = Struct(
    "head"
    / BitStruct(
        "protocol" / Default(Nibble, 0),
        "code_set" / Nibble,
        "piv" / Default(Flag, False),
        Padding(1),
        "association" / BitsInteger(2),
        "type" / Nibble,
    ),
    Padding(1),
    "value" / Prefixed(Int8ub, GreedyBytes),
)

DESIGNATORS = GreedyRange(DESIGNATOR)

SCSI_PORTS = GreedyRange(
    Struct(
        Padding(2),
        "relative_id" / Int16ub,
        Padding(2),
        "initiator_transport_id" / Const(0, Int16ub),
        Padding(2),
        "designators" / Prefixed(Int16ub, DESIGNATORS),
    )
)

NUMBER_DESIGNATOR = Struct(Padding(2), "number" / Int16ub)

BLOCK_LIMITS = Struct(
    "flags" / BitStruct(Padding(7), "wsnz" / Default(Flag, False)),
    "maximum_compare_and_write_length" / Default(Int8ub, 0),
    "optimal_transfer_length_granularity" / Default(Int16ub, 0),
    "maximum_transfer_length" / Int32ub,
    "optimal_transfer_length" / Default(Int32ub, 0),
    "maximum_prefetch_length" / Default(Int32ub, 0),
    "maximum_unmap_lba_count" / Default(Int32ub, 0),
    "maximum_unmap_block_descriptor_count" / Default(Int32ub, 0),
    "optimal_unmap_granularity" / Default(Int32ub, 0),
    "unmap_granularity_alignment"
    / BitStruct("valid" / Default(Flag, False), "alignment" / Default(BitsInteger(31), 0)),
    "maximum_write_same_length" / Default(Int64ub, 0),
    "maximum_atomic_transfer_length" / Default(Int32ub, 0),
    "atomic_alignment" / Default(Int32ub, 0),
    "atomic_transfer_length_granularity" / Default(Int32ub, 0),
    "maximum_atomic_transfer_length_with_boundary" / Default(Int32ub, 0),
    "maximum_atomic_boundary_size" / Default(Int32ub, 0),
)

BLOCK_DEVICE_CHARACTERISTICS = Struct(
    "medium_rotation_rate" / Int16ub,
    "product_type" / Default(Int8ub, 0),
    "reads_after_erase"
    / BitStruct(
        "block" / Default(BitsInteger(2), 0), "cryptographic" / Default(BitsInteger(2), 0), Padding(4)
    ),
    "flags" / BitStruct(Padding(6), "fuab" / Default(Flag, False), "vbuls" / Default(Flag, False)),
    Padding(55),
)

_FULLY_PROVISIONED, _THIN_PROVISIONED = 0, 2

LOGICAL_BLOCK_PROVISIONING = Struct(
    "threshold_exponent" / Const(0, Int8ub),
    "flags"
    / BitStruct(
        "lbpu" / Flag,
        "lbpws" / Flag,
        "lbpws10" / Flag,
        "lbprz" / BitsInteger(3),
        "anc_sup" / Default(Flag, False),
        "dp" / Default(Flag, False),
    ),
    "provisioning" / BitStruct("minimum_percentage" / Default(BitsInteger(5), 0), "type" / BitsInteger(3)),
    Padding(1),
)

# Not said, because not so: unit attentions with more than their code, priorities, a nonvolatile cache
EXTENDED_INQUIRY = Struct(
    Padding(1),
    "tasks"
    / BitStruct(
        Padding(2),
        "uask_sup" / Default(Flag, False),
        "group_sup" / Default(Flag, False),
        "prior_sup" / Default(Flag, False),
        "headsup" / Default(Flag, True),
        "ordsup" / Default(Flag, True),
        "simpsup" / Default(Flag, True),
    ),
    "cache" / BitStruct(Padding(6), "nv_sup" / Default(Flag, False), "v_sup" / Default(Flag, False)),
    # REPORT LUNS clears REPORTED LUNS DATA HAS CHANGED on every logical unit
    "clearing" / BitStruct(Padding(7), "luiclr" / Default(Flag, True)),
    Padding(56),
)

_SHARED = 0b00

MODE_PAGE_POLICIES = GreedyRange(
    Struct(
        "page" / BitStruct(Padding(2), "code" / BitsInteger(6)),
        "subpage" / Int8ub,
        "policy" / BitStruct("mlus" / Default(Flag, False), Padding(5), "policy" / BitsInteger(2)),
        Padding(1),
    )
)


@dataclass(frozen=True, slots=True)
class VpdPage:
    """A row: page code, who has it, what makes its payload, and on which condition it is there."""

    code: int
    on: frozenset[int]
    payload: Callable[[LogicalUnit, ScsiDevice, TargetPort], bytes]
    offered: Callable[[LogicalUnit], bool] = lambda lu: True

    def is_on(self, lu: LogicalUnit) -> bool:
        """Whether a logical unit has the page."""
        return lu.peripheral_type in self.on and self.offered(lu)


def page(lu: LogicalUnit, device: ScsiDevice, port: TargetPort, code: int) -> bytes | None:
    """A whole page as read through `port`, or None if this logical unit does not have it."""
    for row in PAGES:
        if row.code == code and row.is_on(lu):
            return bytes(
                PAGE.build(
                    {
                        "peripheral": {"qualifier": lu.qualifier, "type": lu.peripheral_type},
                        "page_code": code,
                        "payload": row.payload(lu, device, port),
                    }
                )
            )
    return None


def scsi_name(name: str) -> bytes:
    """A SCSI name string: UTF-8, NUL-terminated, padded to a multiple of four (SPC-4 7.8.5.11)."""
    text = name.encode() + b"\0"
    return text.ljust(-(-len(text) // 4) * 4, b"\0")


def _supported_pages(lu: LogicalUnit, device: ScsiDevice, port: TargetPort) -> bytes:
    return bytes(row.code for row in PAGES if row.is_on(lu))


def _unit_serial_number(lu: LogicalUnit, device: ScsiDevice, port: TargetPort) -> bytes:
    return lu.identity.serial.encode()


def _device_identification(lu: LogicalUnit, device: ScsiDevice, port: TargetPort) -> bytes:
    identity = lu.identity
    if identity.naa is None:
        text = f"{identity.vendor:<8}{identity.product:<16}{identity.serial}"
        designators = [_designator(_LOGICAL_UNIT, _T10, _ASCII, text.encode())]
    else:
        name = scsi_name("naa." + identity.naa.hex().upper())
        designators = [
            _designator(_LOGICAL_UNIT, _NAA, _BINARY, identity.naa),
            _designator(_LOGICAL_UNIT, _SCSI_NAME, _UTF_8, name),
        ]
    designators.append(_designator(_TARGET_PORT, _RELATIVE_TARGET_PORT, _BINARY, _number(port.relative_id)))
    if lu.peripheral_type == PeripheralType.DISK:
        # the console LU has no asymmetric access, so it belongs to no target port group
        designators.append(_designator(_TARGET_PORT, _TARGET_PORT_GROUP, _BINARY, _number(port.group_id)))
    designators.append(_port_name(port))
    designators.append(_designator(_TARGET_DEVICE, _SCSI_NAME, _UTF_8, scsi_name(device.name)))
    return bytes(DESIGNATORS.build(designators))


def _designator(association: int, kind: int, code_set: int, value: bytes) -> dict[str, Any]:
    of_a_port = association != _LOGICAL_UNIT
    head = {"association": association, "type": kind, "code_set": code_set, "piv": of_a_port}
    return {"head": head | {"protocol": _ISCSI if of_a_port else 0}, "value": value}


def _number(number: int) -> bytes:
    return bytes(NUMBER_DESIGNATOR.build({"number": number}))


def _port_name(port: TargetPort) -> dict[str, Any]:
    name = scsi_name(f"{port.name},t,0x{port.portal_group_tag:04X}")
    return _designator(_TARGET_PORT, _SCSI_NAME, _UTF_8, name)


def _extended_inquiry(lu: LogicalUnit, device: ScsiDevice, port: TargetPort) -> bytes:
    is_disk = lu.peripheral_type == PeripheralType.DISK
    return bytes(EXTENDED_INQUIRY.build({"tasks": {}, "cache": {"v_sup": is_disk}, "clearing": {}}))


def _mode_page_policy(lu: LogicalUnit, device: ScsiDevice, port: TargetPort) -> bytes:
    # one descriptor for every page and subpage: all nexuses share them
    every_page = {"page": {"code": 0x3F}, "subpage": 0xFF, "policy": {"policy": _SHARED}}
    return bytes(MODE_PAGE_POLICIES.build([every_page]))


def _scsi_ports(lu: LogicalUnit, device: ScsiDevice, port: TargetPort) -> bytes:
    ports = [{"relative_id": each.relative_id, "designators": [_port_name(each)]} for each in device.ports]
    return bytes(SCSI_PORTS.build(ports))


def _block_limits(lu: LogicalUnit, device: ScsiDevice, port: TargetPort) -> bytes:
    disk = cast("Disk", lu)
    alignment = {"flags": {}, "unmap_granularity_alignment": {"valid": disk.is_thin}}
    limits = bytes(BLOCK_LIMITS.build(asdict(block_limits(disk)) | alignment))
    return limits if disk.follows_sbc_3 else limits[:_SBC_2_LIMITS]


_SBC_2_LIMITS = 12  # bytes of the page's payload: what SBC-2 6.4.2 has of it


def _follows_sbc_3(lu: LogicalUnit) -> bool:
    """Whether the unit has the pages that came with SBC-3."""
    return cast("Disk", lu).follows_sbc_3


_READS_SUCCEED = 0b01


def _block_device_characteristics(lu: LogicalUnit, device: ScsiDevice, port: TargetPort) -> bytes:
    disk = cast("Disk", lu)
    erases = disk.personality.offers("SANITIZE, BLOCK ERASE")
    return bytes(
        BLOCK_DEVICE_CHARACTERISTICS.build(
            {
                "medium_rotation_rate": disk.rotation_rate,
                "reads_after_erase": {"block": _READS_SUCCEED if erases else 0},
                "flags": {"fuab": True, "vbuls": disk.is_thin},
            }
        )
    )


def _logical_block_provisioning(lu: LogicalUnit, device: ScsiDevice, port: TargetPort) -> bytes:
    disk = cast("Disk", lu)
    thin, offers = disk.is_thin, disk.personality.offers
    return bytes(
        LOGICAL_BLOCK_PROVISIONING.build(
            {
                "flags": {
                    "lbpu": thin,
                    "lbpws": thin and offers("WRITE SAME(16)"),
                    "lbpws10": thin and offers("WRITE SAME(10)"),
                    "lbprz": 0b001 if thin else 0,
                },
                "provisioning": {"type": _THIN_PROVISIONED if thin else _FULLY_PROVISIONED},
            }
        )
    )


def _third_party_copy(lu: LogicalUnit, device: ScsiDevice, port: TargetPort) -> bytes:
    return third_party_copy.payload(lu)


PAGES = (
    VpdPage(0x00, DISK_AND_CONSOLE, _supported_pages),
    VpdPage(0x80, DISK_AND_CONSOLE, _unit_serial_number),
    VpdPage(0x83, DISK_AND_CONSOLE, _device_identification),
    VpdPage(0x86, DISK_AND_CONSOLE, _extended_inquiry),
    VpdPage(0x87, DISK, _mode_page_policy),
    VpdPage(0x88, DISK_AND_CONSOLE, _scsi_ports),
    VpdPage(0x8F, DISK, _third_party_copy, third_party_copy.offered),
    VpdPage(0xB0, DISK, _block_limits),
    VpdPage(0xB1, DISK, _block_device_characteristics, _follows_sbc_3),
    VpdPage(0xB2, DISK, _logical_block_provisioning, _follows_sbc_3),
)
