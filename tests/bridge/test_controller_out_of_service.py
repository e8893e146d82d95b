"""The targets of a controller that is out of service are offline, and its return brings them back."""

import pytest

from bridge.factory import INITIATOR, ISID, bridge, login
from mpxtarget.bridge.bridge import Bridge, TargetOffline

REACHED = ("127.0.0.1", 3260)


def told(made: Bridge) -> set[str]:
    """The controllers whose targets discovery tells."""
    names = {name for name, _ in made.send_targets(INITIATOR, None, REACHED)}
    return {target.host_port.controller for target in made.targets.values() if target.name in names}


@pytest.mark.conformance("ALU-010")
@pytest.mark.parametrize(("failed", "survivor"), [("A", "B"), ("B", "A")])
def test_nobody_logs_in_at_a_failed_controller_and_everybody_at_the_other(failed: str, survivor: str) -> None:
    made = bridge()
    made.array.ownership.fail(failed)  # type: ignore[arg-type]
    for target in made.targets.values():
        if target.host_port.controller == failed:
            with pytest.raises(TargetOffline, match="not in service"):
                made.admit(INITIATOR, target.name)
            with pytest.raises(TargetOffline):
                made.attach(INITIATOR, ISID, target.name)
            assert made.send_targets(INITIATOR, target.name, REACHED) == []
        else:
            made.admit(INITIATOR, target.name)
    assert told(made) == {survivor}
    made.array.ownership.recover()
    assert told(made) == {"A", "B"}
    for number in range(4):
        login(made, target=number)


@pytest.mark.conformance("ALU-010")
def test_a_controller_that_restarts_is_offline_until_its_time_is_over() -> None:
    made = bridge()
    made.array.ownership.fail("A", 30.0)
    made.array.ownership.tick(0.0)
    assert told(made) == {"B"}
    made.array.ownership.tick(30.0)
    assert told(made) == {"A", "B"}


def test_a_target_that_was_taken_out_of_service_by_itself_stays_so() -> None:
    made = bridge()
    first = next(iter(made.targets))
    made.set_online(first, False)
    made.array.ownership.fail("A")
    made.array.ownership.recover()
    with pytest.raises(TargetOffline):
        made.admit(INITIATOR, first)
    made.set_online(first, True)
    made.admit(INITIATOR, first)
