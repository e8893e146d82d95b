"""The mode pages, one row each (SPC-4 7.5, SBC-3 6.5).

A row declares the body of its page, that is, what follows PAGE CODE, SUBPAGE CODE and PAGE LENGTH; where its
values come from; which of them MODE SELECT can change, and how the changed body turns into mode parameters.

A store that cannot bring anything to stable storage says so: its write cache is on and cannot be turned off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from construct import (
    BitsInteger,
    BitStruct,
    Default,
    Flag,
    Int8ub,
    Int16ub,
    Int24ub,
    Int32ub,
    Nibble,
    Padding,
    Struct,
)

if TYPE_CHECKING:
    from mpxtarget.scsi.logical_unit import Disk, ModeParameters

HEADS: Final = 128
SECTORS_PER_TRACK: Final = 128

_ALL_ONES_24 = 0xFF_FFFF

Values = dict[str, Any]


def _bits(*fields: Any) -> Any:
    return Default(BitStruct(*fields), {})


def _flag(name: str) -> Any:
    return name / Default(Flag, False)


_FIRST = BitStruct(Padding(1), "spf" / Flag, "code" / BitsInteger(6))

SHORT_HEADER = Struct("first" / _FIRST, "length" / Int8ub)

LONG_HEADER = Struct("first" / _FIRST, "subpage" / Int8ub, "length" / Int16ub)


@dataclass(frozen=True, slots=True)
class ModePage:
    """A row: `values` fills the body, `mask` is what MODE SELECT can change of it, `adopt` takes over a
    selected body. A subpage other than 0 has the long header (SPC-4 7.5.7).
    """

    code: int
    body: Struct
    values: Callable[[Disk, ModeParameters], Values]
    mask: Callable[[Disk], Values]
    adopt: Callable[[ModeParameters, Any], ModeParameters]
    subpage: int = 0

    @property
    def header_length(self) -> int:
        """Bytes before the body."""
        return 4 if self.subpage else 2

    def build(self, disk: Disk, mode: ModeParameters) -> bytes:
        """The page with its values under these mode parameters."""
        return self._with_header(self.values(disk, mode))

    def changeable(self, disk: Disk) -> bytes:
        """The page as a mask of what MODE SELECT can change."""
        return self._with_header(self.mask(disk))

    def _with_header(self, values: Values) -> bytes:
        header = {"first": {"spf": bool(self.subpage), "code": self.code}, "length": self.body.sizeof()}
        if self.subpage:
            return bytes(LONG_HEADER.build(header | {"subpage": self.subpage}) + self.body.build(values))
        return bytes(SHORT_HEADER.build(header) + self.body.build(values))


def _nothing(disk: Disk) -> Values:
    return {}


def _unchanged(mode: ModeParameters, body: Any) -> ModeParameters:
    return mode


READ_WRITE_ERROR_RECOVERY = Struct(
    "flags" / _bits(_flag("awre"), _flag("arre"), Padding(6)),
    "read_retry_count" / Default(Int8ub, 0),
    Padding(4),
    "write_retry_count" / Default(Int8ub, 0),
    Padding(1),
    "recovery_time_limit" / Default(Int16ub, 0),
)

DISCONNECT_RECONNECT = Struct(
    "buffer_full_ratio" / Default(Int8ub, 0),
    "buffer_empty_ratio" / Default(Int8ub, 0),
    "bus_inactivity_limit" / Default(Int16ub, 0),
    "disconnect_time_limit" / Default(Int16ub, 0),
    "connect_time_limit" / Default(Int16ub, 0),
    "maximum_burst_size" / Default(Int16ub, 0),
    Padding(2),
    "first_burst_size" / Default(Int16ub, 0),
)

FORMAT_DEVICE = Struct(
    "tracks_per_zone" / Default(Int16ub, 0),
    Padding(6),
    "sectors_per_track" / Default(Int16ub, 0),
    "bytes_per_sector" / Default(Int16ub, 0),
    "interleave" / Default(Int16ub, 0),
    Padding(4),
    "flags" / _bits(_flag("ssec"), _flag("hsec"), Padding(6)),
    Padding(3),
)

RIGID_DISK_GEOMETRY = Struct(
    "cylinders" / Default(Int24ub, 0),
    "heads" / Default(Int8ub, 0),
    Padding(14),
    "medium_rotation_rate" / Default(Int16ub, 0),
    Padding(2),
)

CACHING = Struct(
    "flags" / _bits(_flag("ic"), Padding(4), _flag("wce"), _flag("mf"), _flag("rcd")),
    Padding(9),
    "more" / _bits(_flag("fsw"), Padding(1), _flag("dra"), Padding(5)),
    Padding(7),
)

CONTROL = Struct(
    "byte_2"
    / _bits("tst" / Default(BitsInteger(3), 0), Padding(2), _flag("d_sense"), _flag("gltsd"), Padding(1)),
    "byte_3"
    / _bits(
        "queue_algorithm_modifier" / Default(Nibble, 0),
        Padding(1),
        "qerr" / Default(BitsInteger(2), 0),
        Padding(1),
    ),
    "byte_4" / _bits(Padding(2), "ua_intlck_ctrl" / Default(BitsInteger(2), 0), _flag("swp"), Padding(3)),
    "byte_5" / _bits(_flag("ato"), _flag("tas"), Padding(6)),
    Padding(2),
    "busy_timeout_period" / Default(Int16ub, 0),
    "extended_self_test_completion_time" / Default(Int16ub, 0),
)

CONTROL_EXTENSION = Struct(
    "flags" / _bits(Padding(5), _flag("tcmos"), _flag("scsip"), _flag("ialuae")),
    "priority" / _bits(Padding(4), "initial_command_priority" / Default(Nibble, 0)),
    "maximum_sense_data_length" / Default(Int8ub, 0),
    Padding(25),
)

POWER_CONDITION = Struct(
    Padding(1),
    "timers" / _bits(Padding(6), _flag("idle_a"), _flag("standby_z")),
    "idle_a_timer" / Default(Int32ub, 0),
    "standby_z_timer" / Default(Int32ub, 0),
    Padding(28),
)

INFORMATIONAL_EXCEPTIONS = Struct(
    "flags"
    / _bits(
        _flag("perf"), Padding(1), _flag("ebf"), _flag("ewasc"), _flag("dexcpt"), _flag("test"), Padding(2)
    ),
    "method" / _bits(Padding(4), "mrie" / Default(Nibble, 0)),
    "interval_timer" / Default(Int32ub, 0),
    "report_count" / Default(Int32ub, 0),
)


def _error_recovery(disk: Disk, mode: ModeParameters) -> Values:
    # the array reallocates bad blocks by itself
    return {"flags": {"awre": True, "arre": True}}


def _no_values(disk: Disk, mode: ModeParameters) -> Values:
    return {}


def _format_device(disk: Disk, mode: ModeParameters) -> Values:
    return {
        "sectors_per_track": SECTORS_PER_TRACK,
        "bytes_per_sector": disk.block_size,
        "interleave": 1,
        "flags": {"hsec": True},
    }


def _rigid_disk_geometry(disk: Disk, mode: ModeParameters) -> Values:
    return {
        "cylinders": min(disk.blocks // (HEADS * SECTORS_PER_TRACK), _ALL_ONES_24),
        "heads": HEADS,
        "medium_rotation_rate": disk.rotation_rate,
    }


def _caching(disk: Disk, mode: ModeParameters) -> Values:
    return {"flags": {"wce": mode.write_cache_enable}}


def _caching_mask(disk: Disk) -> Values:
    return {"flags": {"wce": disk.durable}}


def _adopt_caching(mode: ModeParameters, body: Any) -> ModeParameters:
    return replace(mode, write_cache_enable=body.flags.wce)


def _control(disk: Disk, mode: ModeParameters) -> Values:
    return {
        "byte_2": {"d_sense": mode.descriptor_sense},
        # unrestricted reordering
        "byte_3": {"queue_algorithm_modifier": 1},
        "byte_4": {"swp": mode.software_write_protect},
        "byte_5": {"tas": mode.task_aborted_status},
        # no limit
        "busy_timeout_period": 0xFFFF,
    }


def _adopt_control(mode: ModeParameters, body: Any) -> ModeParameters:
    return replace(
        mode,
        descriptor_sense=body.byte_2.d_sense,
        software_write_protect=body.byte_4.swp,
        task_aborted_status=body.byte_5.tas,
    )


def _control_mask(disk: Disk) -> Values:
    return {"byte_2": {"d_sense": True}, "byte_4": {"swp": True}, "byte_5": {"tas": True}}


def _control_extension(disk: Disk, mode: ModeParameters) -> Values:
    offers = disk.personality.offers
    # access states change without a SET TARGET PORT GROUPS, too
    flags = {"tcmos": offers("REPORT TIMESTAMP"), "scsip": offers("SET TIMESTAMP"), "ialuae": True}
    return {"flags": flags}


def _informational_exceptions(disk: Disk, mode: ModeParameters) -> Values:
    # there is nothing this disk would predict
    return {"flags": {"dexcpt": True}}


_ROWS = (
    ModePage(0x01, READ_WRITE_ERROR_RECOVERY, _error_recovery, _nothing, _unchanged),
    ModePage(0x02, DISCONNECT_RECONNECT, _no_values, _nothing, _unchanged),
    ModePage(0x03, FORMAT_DEVICE, _format_device, _nothing, _unchanged),
    ModePage(0x04, RIGID_DISK_GEOMETRY, _rigid_disk_geometry, _nothing, _unchanged),
    ModePage(0x08, CACHING, _caching, _caching_mask, _adopt_caching),
    ModePage(0x0A, CONTROL, _control, _control_mask, _adopt_control),
    ModePage(0x0A, CONTROL_EXTENSION, _control_extension, _nothing, _unchanged, subpage=0x01),
    ModePage(0x1A, POWER_CONDITION, _no_values, _nothing, _unchanged),
    ModePage(0x1C, INFORMATIONAL_EXCEPTIONS, _informational_exceptions, _nothing, _unchanged),
)

PAGES = {(row.code, row.subpage): row for row in _ROWS}
"""By page code and subpage code, ascending."""
