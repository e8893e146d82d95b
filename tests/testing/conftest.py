"""An initiator that is logged in to a scripted target."""

import pytest
from scripted_target import Connect, ScriptedTarget

from mpxtarget.testing import InitiatorConnection, LoggedIn, LoginOptions
from mpxtarget.testing.pair import Pair


@pytest.fixture
def connect() -> Connect:
    """Log in with these keys offered."""

    def log_in(**keys: str) -> tuple[InitiatorConnection, ScriptedTarget, Pair]:
        target = ScriptedTarget()
        initiator = InitiatorConnection(LoginOptions(target="iqn.2001-04.com.example:disk", keys=keys))
        pair = Pair(initiator, target)
        (event,) = pair.login()
        assert isinstance(event, LoggedIn)
        return initiator, target, pair

    return log_in
