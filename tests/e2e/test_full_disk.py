"""A backing file that cannot grow: sense data says so, and nothing is acknowledged that is not stored."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mpxtarget.testing.client import Initiator

from .harness import MIB, TargetUnderTest
from .processes import run
from .scsi import BLOCK, CHECK_CONDITION, GOOD, Sense, sense_of, settle

SPACE_ALLOCATION_FAILED = (7, 0x27, 0x07)
INTERNAL_TARGET_FAILURE = (4, 0x44, 0x00)
ROOM = 4 * MIB
SIZE = 64 * MIB
CHUNK = 128
"""Blocks in one write."""
LUN = 1

MOUNT_A_SMALL_ONE = (
    f'mount -t tmpfs -o size={ROOM} tmpfs "$0" && truncate -s {SIZE} "$0/disk.img" && exec "$@"'
)
UNSHARE = (("unshare", "--mount"), ("unshare", "--user", "--map-root-user", "--mount"))


@dataclass(frozen=True, slots=True)
class Limited:
    """A target whose disk has no room for all its blocks, and the sense data that this calls for."""

    target: TargetUnderTest
    sense: Sense


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Limited]:
    """A 64 MiB disk with room for 4 MiB: on a small file system that only the target sees, or, where this
    process may not mount one, below a limit for the size of files."""
    small = tmp_path / "small"
    small.mkdir()
    for unshare in UNSHARE:
        if run([*unshare, "mount", "-t", "tmpfs", "tmpfs", small]).status == 0:
            wrapper, sense = (*unshare, "sh", "-c", MOUNT_A_SMALL_ONE, str(small)), SPACE_ALLOCATION_FAILED
            break
    else:
        run(["truncate", "-s", str(SIZE), small / "disk.img"], check=True)
        wrapper, sense = ("prlimit", f"--fsize={ROOM}"), INTERNAL_TARGET_FAILURE
    with TargetUnderTest(tmp_path / "array", disks=0, wrapper=wrapper) as target:
        target.cli(
            "lun", "create", "full", "--existing", "--store", f"file:{small}/disk.img", "--size", str(SIZE)
        )
        target.cli("lun", "create", "other", "--store", "memory:", "--size", "1M")
        yield Limited(target, sense)


@pytest.mark.conformance("SBC-023")
async def test_a_full_disk_is_sense_data_and_what_was_acknowledged_is_stored(limited: Limited) -> None:
    target = limited.target
    portal = target.portals[0]
    async with await Initiator.connect(portal.host, portal.port, target=target.target_names[0]) as initiator:
        await settle(initiator, LUN)
        await settle(initiator, LUN + 1)
        chunks = {
            lba: lba.to_bytes(8, "big") * (CHUNK * BLOCK // 8) for lba in range(0, 4 * ROOM // BLOCK, CHUNK)
        }
        stored, refused = [], []
        for lbas in _batches(list(chunks), 16):
            commands = [initiator.submit(LUN, _write10(lba), chunks[lba]) for lba in lbas]
            for lba, command in zip(lbas, commands, strict=True):
                result = await command.result()
                if result.status == GOOD:
                    stored.append(lba)
                else:
                    assert (result.status, sense_of(result)) == (CHECK_CONDITION, limited.sense)
                    refused.append(lba)
        assert 0 < len(stored) * CHUNK * BLOCK <= ROOM
        assert len(refused) > 100
        for lba in stored:
            assert await initiator.read(LUN, lba, CHUNK) == chunks[lba]
        await initiator.write(LUN, stored[0], chunks[stored[0]])  # needs no more room
        await initiator.write(LUN + 1, 0, bytes(range(256)) * 2)
        flushed = await initiator.scsi(LUN, b"\x35" + bytes(9))
        assert flushed.status == GOOD
    assert await asyncio.to_thread(target.session_count) == 0


def _batches(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _write10(lba: int) -> bytes:
    return b"\x2a\0" + lba.to_bytes(4, "big") + b"\0" + CHUNK.to_bytes(2, "big") + b"\0"
