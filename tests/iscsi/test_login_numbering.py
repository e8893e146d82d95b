"""Login responses number what follows (RFC 7143 4.2.2, 11.12.8, 11.13.3, 11.13.4)."""

import pytest
from login_initiator import FULL_FEATURE, ISID, ITT, NAMES, OPERATIONAL, SECURITY, TSIH, Initiator

from mpxtarget.iscsi.negotiation import Limits


@pytest.mark.conformance("LGN-022")
def test_a_new_session_gets_its_handle_with_the_last_response_only() -> None:
    initiator = Initiator()
    replies = [
        initiator.send(NAMES, csg=SECURITY, nsg=OPERATIONAL),
        initiator.send(csg=OPERATIONAL),
        initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE),
    ]
    assert [reply.response.tsih for reply in replies] == [0, 0, TSIH]
    for reply in replies:
        assert (reply.response.isid, reply.response.itt) == (ISID, ITT)


@pytest.mark.conformance("LGN-022")
def test_a_further_connection_sees_the_handle_it_named() -> None:
    initiator = Initiator()
    initiator.header["tsih"] = TSIH
    assert initiator.send(NAMES, csg=SECURITY, nsg=OPERATIONAL).response.tsih == TSIH
    assert initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE).response.tsih == TSIH


@pytest.mark.conformance("LGN-023")
def test_each_response_takes_the_next_status_number() -> None:
    initiator = Initiator()
    initiator.phase.stat_sn = 0xFFFFFFFE
    numbers = [
        initiator.send(NAMES[:1], csg=SECURITY, more=True).response.stat_sn,
        initiator.send(NAMES[1:], csg=SECURITY, nsg=OPERATIONAL).response.stat_sn,
        initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE).response.stat_sn,
    ]
    assert numbers == [0xFFFFFFFE, 0xFFFFFFFF, 0]
    assert initiator.phase.stat_sn == 1


@pytest.mark.conformance("LGN-024")
@pytest.mark.conformance("LGN-025")
@pytest.mark.parametrize("cmd_sn", [0, 1, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF])
def test_the_first_command_has_the_number_of_the_login(cmd_sn: int) -> None:
    initiator = Initiator(limits=Limits(command_window=64), cmd_sn=cmd_sn)
    for reply in (
        initiator.send(NAMES, csg=SECURITY, nsg=OPERATIONAL),
        initiator.send(csg=OPERATIONAL, nsg=FULL_FEATURE),
    ):
        assert reply.response.exp_cmd_sn == cmd_sn
        assert reply.response.max_cmd_sn == (cmd_sn + 63) & 0xFFFFFFFF
    assert initiator.phase.exp_cmd_sn == initiator.outcomes[0].cmd_sn == cmd_sn


@pytest.mark.conformance("LGN-036")
def test_declared_lengths_are_for_later() -> None:
    initiator = Initiator()
    unknown = [(f"X-{n}", "") for n in range(600)]
    pairs = [*NAMES, ("MaxRecvDataSegmentLength", "16777215"), *unknown]
    assert len(initiator.send(pairs, csg=OPERATIONAL).data) == 8192
