"""Third-party copy over real sockets and files: clones as ESXi makes them, tokens, and their end."""

from __future__ import annotations

import random

import pytest

from mpxtarget.testing.client import Initiator, Result
from support.copies import (
    EXTENDED_COPY_LID1,
    POPULATE_TOKEN,
    WRITE_USING_TOKEN,
    copy_in_lid4,
    copy_out,
    cscd,
    lid1,
    parse_status,
    populate,
    segment,
    write_using,
)

from .harness import MIB, TargetUnderTest
from .scsi import GOOD, sense_of, settle

CHUNK = 2048
"""Blocks of one READ or WRITE of the test."""
TOKEN_INFORMATION = 0x07


async def log_in(target: TargetUnderTest, portal: int, name: str) -> Initiator:
    """A session by one of the portals, its unit attentions taken."""
    where = target.portals[portal]
    session = await Initiator.connect(
        where.host,
        where.port,
        target=target.target_names[portal],
        initiator=f"iqn.2004-09.com.example:{name}",
    )
    for lun in (1, 2):
        await settle(session, lun)
    return session


async def naa_of(session: Initiator, lun: int) -> bytes:
    """The NAA designator that VPD page 83h tells of a disk."""
    page = (await session.scsi(lun, bytes.fromhex("12 01 83 00 FF 00"), read_length=255)).data
    assert page[4:8] == bytes.fromhex("01 03 00 10")
    return bytes(page[8:24])


async def send(session: Initiator, lun: int, action: int, parameters: bytes) -> Result:
    """A copy command with list identifier 1, which stands in the CDB of token commands only."""
    list_identifier = 0 if action == EXTENDED_COPY_LID1 else 1
    return await session.scsi(lun, copy_out(action, len(parameters), list_identifier), parameters)


async def fill(session: Initiator, lun: int, blocks: int) -> bytes:
    """Write something else to every block of the beginning of a disk."""
    content = random.Random(lun).randbytes(blocks * 512)
    for lba in range(0, blocks, CHUNK):
        await session.write(lun, lba, content[lba * 512 : (lba + CHUNK) * 512])
    return content


async def read(session: Initiator, lun: int, lba: int, blocks: int) -> bytes:
    """What is in some blocks."""
    parts = [await session.read(lun, at, CHUNK) for at in range(lba, lba + blocks, CHUNK)]
    return b"".join(parts)


@pytest.mark.conformance("XCP-001", "XCP-005", "CLI-005")
async def test_a_clone_in_segments_of_4_mib(target: TargetUnderTest) -> None:
    session = await log_in(target, 0, "esx")
    blocks = 32 * MIB // 512
    content = await fill(session, 1, blocks)
    cscds = cscd(await naa_of(session, 1)) + cscd(await naa_of(session, 2))
    segments = b"".join(segment(8192, lba, lba + 8192) for lba in range(0, blocks, 8192))
    assert (await send(session, 1, EXTENDED_COPY_LID1, lid1(cscds, segments))).status == GOOD
    assert await read(session, 2, 8192, blocks) == content
    status = parse_status((await session.scsi(1, copy_in_lid4(0x05, 1), read_length=4096)).data)
    assert (status.status, status.count, status.segments) == (0x01, 32 * MIB, 8)
    await session.close()


@pytest.mark.conformance("ODX-001", "ODX-002", "ODX-003")
async def test_a_token_goes_from_host_to_host_and_not_over_a_restart(fresh_target: TargetUnderTest) -> None:
    first = await log_in(fresh_target, 0, "first")
    second = await log_in(fresh_target, 1, "second")
    content = await fill(first, 1, 8192)
    assert (await send(first, 1, POPULATE_TOKEN, populate((100, 4096)))).status == GOOD
    answer = await first.scsi(1, copy_in_lid4(TOKEN_INFORMATION, 1), read_length=4096)
    (token,) = parse_status(answer.data).tokens
    assert (await send(second, 2, WRITE_USING_TOKEN, write_using(token, (0, 4096)))).status == GOOD
    assert await read(second, 2, 0, 4096) == content[100 * 512 : 4196 * 512]

    await first.write(1, 4195, bytes(512))
    refused = await send(second, 2, WRITE_USING_TOKEN, write_using(token, (0, 4096)))
    assert sense_of(refused) == (5, 0x23, 0x08), "a block it stood for has changed"

    assert (await send(first, 1, POPULATE_TOKEN, populate((0, 8)))).status == GOOD
    answer = await first.scsi(1, copy_in_lid4(TOKEN_INFORMATION, 1), read_length=4096)
    (token,) = parse_status(answer.data).tokens
    await first.close()
    await second.close()
    fresh_target.stop()
    fresh_target.start()
    third = await log_in(fresh_target, 0, "first")
    refused = await send(third, 2, WRITE_USING_TOKEN, write_using(token, (0, 8)))
    assert sense_of(refused) == (5, 0x23, 0x04), "a target that was restarted knows no tokens"
    await third.close()
