"""Hosts that lock by COMPARE AND WRITE of one block, as ESXi does: one of them wins, and nobody is told of a
difference that was not there.
"""

import pytest

from support.cdb import data
from support.world import BLOCK, LUN, OTHER_TARGET, TARGET, Host, World

COMPARE_AND_WRITE = b"\x89" + bytes(12) + b"\x01\0\0"
FREE = bytes(BLOCK)
GOOD, CHECK_CONDITION, MISCOMPARE = 0x00, 0x02, 0xE


def swap(host: Host, old: bytes, new: bytes) -> int:
    """Ask for the block to become `new` if it is `old`; the tag of the command."""
    return host.command(LUN, COMPARE_AND_WRITE, data_out=old + new)


@pytest.mark.conformance("SBC-012", "SBC-011", "SAM-009")
def test_exactly_one_of_many_hosts_gets_a_free_block(world: World) -> None:
    hosts = [
        world.host(
            initiator=f"iqn.2001-04.com.example:host{number}", target=(TARGET, OTHER_TARGET)[number % 2]
        )
        for number in range(6)
    ]
    marks = [data(BLOCK, number + 1) for number in range(len(hosts))]
    for _ in range(25):
        for host, mark in zip(hosts, marks, strict=True):
            swap(host, FREE, mark)
        world.settle()
        answers = [host.done() for host in hosts]
        winners = [number for number, done in enumerate(answers) if done.status == GOOD]
        assert len(winners) == 1
        for number, done in enumerate(answers):
            if number not in winners:
                assert (done.status, done.sense[2] & 0x0F) == (CHECK_CONDITION, MISCOMPARE)
                assert bytes(world.store.content[:BLOCK]) == marks[winners[0]]
        swap(hosts[winners[0]], marks[winners[0]], FREE)
        world.settle()
        assert hosts[winners[0]].done().status == GOOD


@pytest.mark.conformance("SBC-012")
def test_a_lock_that_is_held_is_renewed_under_contention(world: World) -> None:
    holder = world.host()
    other = world.host(initiator="iqn.2001-04.com.example:other", target=OTHER_TARGET)
    mark = data(BLOCK, 1)
    swap(holder, FREE, mark)
    world.settle()
    assert holder.done().status == GOOD
    for beat in range(2, 50):
        renewed = data(BLOCK, beat)
        swap(holder, mark, renewed)
        swap(other, FREE, data(BLOCK, 1000 + beat))
        world.settle()
        assert holder.done().status == GOOD
        assert other.done().status == CHECK_CONDITION
        mark = renewed
