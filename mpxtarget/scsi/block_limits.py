"""What one command may span (SBC-3 6.6.3): the numbers of VPD page B0h, and those the commands keep to.

A limit of a command that is not offered is 0. Lengths are logical blocks.

- COMPARE AND WRITE: as many blocks as its one byte can say.
- UNMAP: any number of blocks; WRITE SAME: as many as its field can say. Holes are punched, and other work is
  done in pieces that can be abandoned, so there is no length that has to be refused.
- WRITE ATOMIC: whole pages of 4 KiB, up to 1 MiB; mpxtarget/server/whole_writes.py says how that is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mpxtarget.scsi.logical_unit import Disk

PAGE_BYTES: Final = 4096
"""In such pieces, and at such places, a store keeps its blocks and gives their space back."""

ATOMIC_BYTES: Final = 1 << 20

NO_LIMIT: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class BlockLimits:
    """The fields of the page, by their names in it."""

    maximum_compare_and_write_length: int
    maximum_transfer_length: int
    maximum_prefetch_length: int
    maximum_unmap_lba_count: int
    maximum_unmap_block_descriptor_count: int
    optimal_unmap_granularity: int
    maximum_write_same_length: int
    maximum_atomic_transfer_length: int
    atomic_alignment: int
    atomic_transfer_length_granularity: int


def block_limits(disk: Disk) -> BlockLimits:
    """The limits of a disk."""
    offers = disk.personality.offers
    page = PAGE_BYTES >> disk.shift
    transfer = disk.maximum_transfer_blocks
    prefetch = offers("PRE-FETCH(10)") or offers("PRE-FETCH(16)")
    write_same = offers("WRITE SAME(10)") or offers("WRITE SAME(16)")
    atomic = offers("WRITE ATOMIC(16)")
    return BlockLimits(
        maximum_compare_and_write_length=255 if offers("COMPARE AND WRITE") else 0,
        maximum_transfer_length=transfer,
        maximum_prefetch_length=transfer if prefetch else 0,
        maximum_unmap_lba_count=NO_LIMIT if disk.is_thin else 0,
        maximum_unmap_block_descriptor_count=256 if disk.is_thin else 0,
        optimal_unmap_granularity=page if disk.is_thin else 0,
        maximum_write_same_length=NO_LIMIT if write_same else 0,
        maximum_atomic_transfer_length=ATOMIC_BYTES >> disk.shift if atomic else 0,
        atomic_alignment=page if atomic else 0,
        atomic_transfer_length_granularity=page if atomic else 0,
    )
