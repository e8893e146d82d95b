"""StatSN, DataSN and R2TSN (RFC 7143 4.2.2.2, 4.2.2.4).

The hosts of these tests check StatSN by themselves: a gap or a repeat raises TargetMistake.
"""

from __future__ import annotations

import pytest

from mpxtarget.pdu import (
    NO_TAG,
    R2T,
    DataIn,
    LogoutResponse,
    NopIn,
    Pdu,
    Reject,
    ScsiResponse,
    TaskManagementResponse,
    TextResponse,
    TmfFunction,
)
from support.cdb import TEST_UNIT_READY, data, inquiry, read_10, write_10
from support.fixtures import MakeWorld
from support.world import LUN, World

TAKES_A_NUMBER = (ScsiResponse, TaskManagementResponse, TextResponse, Reject, LogoutResponse)


def takes_a_number(pdu: Pdu) -> bool:
    """STS-001 and STS-002, written down once more and apart from the initiator's own check."""
    if isinstance(pdu, DataIn):
        return bool(pdu.status_flag)
    if isinstance(pdu, NopIn):
        return pdu.itt != NO_TAG
    return isinstance(pdu, TAKES_A_NUMBER)


@pytest.mark.conformance("STS-001", "STS-002", "TXT-008", "LGN-023", "NOP-003")
@pytest.mark.parametrize("fast", [False, True])
def test_one_session_with_every_kind_of_answer_has_neither_gap_nor_repeat(
    make_world: MakeWorld, fast: bool
) -> None:
    world = make_world(fast=fast)
    host = world.host(keys={"InitialR2T": "Yes", "ImmediateData": "No", "MaxRecvDataSegmentLength": "512"})
    host.scsi(LUN, TEST_UNIT_READY)
    host.scsi(LUN, write_10(0, 16), data_out=data(8192))
    host.scsi(LUN, read_10(0, 16), read_length=8192)
    host.scsi(LUN, inquiry(), read_length=36)
    host.say(host.make.nop_out(immediate=1), b"ping")
    host.machine.text([("SendTargets", "")])
    host.run()
    host.tmf(TmfFunction.LOGICAL_UNIT_RESET, lun=LUN)
    host.say(host.make.snack_request())
    host.scsi(LUN, read_10(0, 1), read_length=512)  # a unit attention: CHECK CONDITION
    world.pass_time(31)  # the target's own ping
    host.machine.logout()
    host.run()
    kinds = {type(pdu) for pdu, _ in host.seen}
    assert kinds >= {*TAKES_A_NUMBER, R2T, NopIn, DataIn}
    due = None
    for pdu, _ in host.seen:
        if isinstance(pdu, DataIn) and not pdu.status_flag:
            assert pdu.stat_sn == 0
            continue
        stat_sn: int = getattr(pdu, "stat_sn")  # noqa: B009  (each class here has it)
        assert due is None or stat_sn == due, pdu
        due = stat_sn + takes_a_number(pdu)
        if type(pdu).__name__ == "LoginResponse":
            due = stat_sn + 1
    assert isinstance(host.seen[-1][0], LogoutResponse)


@pytest.mark.conformance("STS-005")
def test_data_sn_counts_through_a_command_and_over_its_sequences(world: World) -> None:
    host = world.host(keys={"MaxRecvDataSegmentLength": "512", "MaxBurstLength": "1024"})
    itt = host.command(LUN, read_10(0, 16), read_length=8192)
    assert [pdu.data_sn for pdu in host.pdus(DataIn, itt)] == list(range(16))
    again = host.command(LUN, read_10(0, 2), read_length=1024)
    assert [pdu.data_sn for pdu in host.pdus(DataIn, again)] == [0, 1]


@pytest.mark.conformance("STS-007", "WRT-008")
def test_r2t_sn_counts_through_a_command(world: World) -> None:
    keys = {"ImmediateData": "No", "InitialR2T": "Yes", "MaxBurstLength": "512", "FirstBurstLength": "512"}
    host = world.host(keys=keys)
    for _ in range(2):
        itt = host.command(LUN, write_10(0, 8), data_out=data(4096))
        assert [pdu.r2t_sn for pdu in host.pdus(R2T, itt)] == list(range(8))


@pytest.mark.conformance("STS-008")
def test_exp_data_sn_tells_how_many_data_in_came(world: World) -> None:
    host = world.host(keys={"MaxRecvDataSegmentLength": "512"})
    world.store.at_once = False
    host.scsi(LUN, read_10(0, 1024), read_length=1 << 19)
    assert host.pdus(ScsiResponse) == [], "phase collapse"
    write = host.command(LUN, write_10(0, 1), data_out=data(512))
    world.settle()
    assert host.pdus(ScsiResponse, write)[0].exp_data_sn == 0


@pytest.mark.conformance("STS-002")
def test_an_r2t_tells_the_next_stat_sn_and_does_not_take_it(world: World) -> None:
    host = world.host(keys={"ImmediateData": "No", "InitialR2T": "Yes"})
    itt = host.command(LUN, write_10(0, 1), data_out=data(512))
    assert host.pdus(R2T, itt)[0].stat_sn == host.pdus(ScsiResponse, itt)[0].stat_sn


@pytest.mark.conformance("STS-002", "NOP-003")
def test_a_ping_of_the_target_tells_the_next_stat_sn_and_does_not_take_it(world: World) -> None:
    host = world.host()
    world.pass_time(31)
    ping = host.pdus(NopIn)[0]
    answer = host.scsi(LUN, TEST_UNIT_READY)
    assert answer.status == 0
    assert host.pdus(ScsiResponse)[-1].stat_sn == ping.stat_sn
