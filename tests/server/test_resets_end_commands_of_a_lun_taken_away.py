"""TARGET WARM RESET ends every command of the nexus that asks for it, also those whose LUN was taken away."""

import pytest

from mpxtarget.pdu import TmfFunction
from support.cdb import read_10
from support.world import LUN, OTHER_HOST, World


@pytest.mark.conformance("TMF-014")
def test_a_command_that_a_target_reset_has_ended_is_not_answered(world: World) -> None:
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    gate = world.store.close_gate()
    own, foreign = (each.command(LUN, read_10(0, 1), read_length=512) for each in (host, other))
    gate.arrived(1)
    host.session.nexus.unmap(LUN)
    assert host.tmf(TmfFunction.TARGET_WARM_RESET) == 0
    world.store.open_gate()
    world.settle()
    assert not host.ended(own)
    assert own not in host.session.tasks
    assert other.ended(foreign), "its unit cannot be reached by the nexus any more"
