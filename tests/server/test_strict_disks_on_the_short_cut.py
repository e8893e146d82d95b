"""A command that a strict disk does not offer is refused on the short cut as anywhere else."""

import pytest

from mpxtarget.array.models import MODELS
from mpxtarget.scsi.personality import EVERYTHING
from support.cdb import data, read_10, read_16, write_10, write_16
from support.fixtures import MakeWorld
from support.world import LUN, CommandDone, Host, World, calm

INVALID_OPERATION_CODE = b"\x20\x00"


def become(world: World, product: str | None) -> None:
    """Give the disk the personality of a model, or all that there is."""
    personality = EVERYTHING if product is None else MODELS[product].personality(strict=True)
    world.disk.become(world.disk.identity, personality)
    for host in world.hosts:
        calm(host.session.nexus)


def ask(host: Host, cdb: bytes) -> CommandDone:
    """Read or write one block."""
    if cdb[0] & 0x02:
        return host.scsi(LUN, cdb, data_out=data(512))
    return host.scsi(LUN, cdb, read_length=512)


@pytest.mark.conformance("MSC-006", "RSO-005")
@pytest.mark.parametrize("product", MODELS)
def test_long_cdbs_are_taken_where_they_are_offered(make_world: MakeWorld, product: str) -> None:
    world = make_world(fast=True)
    host = world.host()
    become(world, product)
    for short in (read_10(0, 1), write_10(0, 1)):
        assert ask(host, short).status == 0
    for long in (read_16(0, 1), write_16(0, 1)):
        done = ask(host, long)
        if MODELS[product].personality(strict=True).offers("READ(16)"):
            assert done.status == 0
        else:
            assert (done.status, done.sense[12:14]) == (2, INVALID_OPERATION_CODE)


def test_a_change_reaches_sessions_that_are_logged_in(make_world: MakeWorld) -> None:
    world = make_world(fast=True)
    host = world.host()
    for product, status in ((None, 0), ("HSV210", 2), ("HSV300", 0), ("HSV101", 2), (None, 0)):
        become(world, product)
        assert ask(host, read_16(0, 1)).status == status
        assert ask(host, write_16(0, 1)).status == status
        assert ask(host, read_10(0, 1)).status == 0
