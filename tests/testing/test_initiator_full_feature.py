"""The rest of full feature phase: the window, pings, text, task management, logout, injected PDUs."""

import pytest
from scripted_target import Connect, ScriptedTarget

from mpxtarget.pdu import (
    NO_TAG,
    R2T,
    AsyncEvent,
    AsyncMessage,
    DataOut,
    LogoutRequest,
    NopIn,
    NopOut,
    Pdu,
    Reject,
    RejectReason,
    ScsiCommand,
    ScsiResponse,
    TaskManagementRequest,
    TextRequest,
    TmfFunction,
)
from mpxtarget.testing import (
    AsyncReceived,
    CommandAborted,
    CommandDone,
    InitiatorConnection,
    LoggedOut,
    LoginOptions,
    PduFactory,
    PingAnswered,
    PingReceived,
    RawAnswered,
    Rejected,
    TextAnswered,
    TmfAnswered,
    lun_field,
)
from mpxtarget.testing.pair import Pair

READY = bytes(6)


@pytest.mark.conformance("CSN-001")
@pytest.mark.conformance("LGN-025")
def test_commands_are_numbered_from_that_of_the_login_and_around_the_end() -> None:
    target = ScriptedTarget()
    options = LoginOptions(target="iqn.2001-04.com.example:disk", cmd_sn=0xFFFFFFFD)
    initiator = InitiatorConnection(options)
    pair = Pair(initiator, target)
    target.bend = wrap
    pair.login()
    for _ in range(6):
        initiator.command(1, READY)
        target.exp_cmd_sn &= 0xFFFFFFFF
        pair.run()
    numbers = [pdu.cmd_sn for pdu, _ in target.got(ScsiCommand) if isinstance(pdu, ScsiCommand)]
    assert numbers == [0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF, 0, 1, 2]


def wrap(pdu: Pdu) -> None:
    for name in ("exp_cmd_sn", "max_cmd_sn"):
        setattr(pdu, name, getattr(pdu, name) & 0xFFFFFFFF)


@pytest.mark.conformance("CSN-002")
@pytest.mark.conformance("CSN-007")
def test_a_closed_window_holds_commands_and_lets_immediate_ones_pass(connect: Connect) -> None:
    initiator, target, pair = connect()
    target.window = 0
    target.bend = lambda pdu: setattr(pdu, "max_cmd_sn", max(32, getattr(pdu, "exp_cmd_sn", 0) - 1))
    for _ in range(40):
        initiator.command(1, READY)
    urgent = initiator.command(1, READY, immediate=True)
    events = pair.run()
    assert len(events) == 33
    sent = [pdu for pdu, _ in target.got(ScsiCommand) if isinstance(pdu, ScsiCommand)]
    assert [pdu.itt for pdu in sent if pdu.immediate] == [urgent]
    assert initiator.outstanding == 8
    target.bend = lambda pdu: setattr(pdu, "max_cmd_sn", 100)
    target.send(NopIn(), status=False)
    target.out[24:28] = target.stat_sn.to_bytes(4, "big")
    assert len(pair.run()) == 9
    assert initiator.outstanding == 0


def test_a_cdb_of_32_bytes_and_a_bidirectional_length_go_into_ahs(connect: Connect) -> None:
    initiator, _, _ = connect(ImmediateData="No")
    initiator.command(1, bytes(range(32)), data_out=bytes(512), read_length=1024)
    wire = initiator.to_send()
    assert wire[4] == 7
    assert wire[1] == 0x61
    assert wire[20:24] == (512).to_bytes(4, "big")
    assert wire[48:68] == bytes.fromhex("00110100") + bytes(range(16, 32))
    assert wire[68:76] == bytes.fromhex("0005020000000400")


@pytest.mark.parametrize(
    ("lun", "field"),
    [
        (0, 0),
        (1, 0x0001_0000_0000_0000),
        (255, 0x00FF << 48),
        (256, 0x4100 << 48),
        (0x4001 << 48, 0x4001 << 48),
    ],
)
def test_a_lun_is_a_number_or_a_field(lun: int, field: int) -> None:
    assert lun_field(lun) == field


def test_check_condition_brings_its_sense(connect: Connect) -> None:
    initiator, _, pair = connect()
    initiator.command(1, b"\xff", read_length=64)
    (done,) = pair.run()
    assert isinstance(done, CommandDone)
    assert (done.status, done.residual, done.underflow) == (2, 64, True)
    assert done.sense[2] == 5


def test_a_ping_comes_back_with_its_data(connect: Connect) -> None:
    initiator, _, pair = connect()
    itt = initiator.ping(b"are you there?")
    assert pair.run() == [PingAnswered(itt, b"are you there?")]


@pytest.mark.conformance("NOP-003")
def test_a_ping_of_the_target_is_answered_unless_told_not_to(connect: Connect) -> None:
    initiator, target, pair = connect()
    for answers in (True, False):
        initiator.answer_pings = answers
        target.received.clear()
        target.send(NopIn(ttt=5, lun=3 << 48))
        target.stat_sn -= 1  # 11.19.2: it only tells the next StatSN
        assert pair.run() == [PingReceived(5, 3 << 48)]
        nops = [pdu for pdu, _ in target.got(NopOut) if isinstance(pdu, NopOut)]
        assert [(pdu.itt, pdu.ttt, pdu.lun, pdu.immediate) for pdu in nops] == (
            [(NO_TAG, 5, 3 << 48, 1)] if answers else []
        )


@pytest.mark.conformance("TXT-002")
@pytest.mark.parametrize("ours", [8192, 5])
@pytest.mark.parametrize("theirs", [8192, 10])
def test_text_is_cut_and_joined_in_both_directions(connect: Connect, ours: int, theirs: int) -> None:
    initiator, target, pair = connect()
    target.text_segment = theirs
    itt = initiator.text([("SendTargets", "All")], segment_length=ours)
    (event,) = pair.run()
    assert event == TextAnswered(
        itt, (("TargetName", "iqn.2001-04.com.example:disk"), ("TargetAddress", "127.0.0.1:3260,1"))
    )
    asked = [pdu for pdu, _ in target.got(TextRequest) if isinstance(pdu, TextRequest)]
    assert asked[0].ttt == NO_TAG
    assert all(pdu.ttt == 77 for pdu in asked[1:])
    assert all(pdu.continue_ != pdu.final for pdu in asked)


def test_a_reset_ends_the_commands_before_it_and_no_others(connect: Connect) -> None:
    initiator, target, pair = connect(InitialR2T="Yes", ImmediateData="No")
    target.silent = True
    first = initiator.command(1, READY)
    other_lun = initiator.command(2, READY)
    pair.run()
    target.exp_cmd_sn += 2
    target.silent = False
    tmf = initiator.task_management(TmfFunction.LOGICAL_UNIT_RESET, lun=1)
    later = initiator.command(1, READY)
    assert pair.run() == [
        CommandAborted(first),
        TmfAnswered(tmf, 0),
        CommandDone(later, 0, 0, b"", b"", 0, False, False),
    ]
    target.send(ScsiResponse(itt=other_lun))
    assert len(pair.run()) == 1


def test_abort_task_names_its_task(connect: Connect) -> None:
    initiator, target, pair = connect()
    target.silent = True
    itt = initiator.command(1, READY)
    pair.run()
    target.exp_cmd_sn += 1
    target.silent = False
    initiator.task_management(TmfFunction.ABORT_TASK, referenced=itt)
    assert CommandAborted(itt) in pair.run()
    ((pdu, _),) = target.got(TaskManagementRequest)
    assert isinstance(pdu, TaskManagementRequest)
    assert (pdu.referenced_task_tag, pdu.ref_cmd_sn, pdu.lun, pdu.final) == (itt, 1, 1 << 48, 1)


def test_logout_ends_the_connection(connect: Connect) -> None:
    initiator, target, pair = connect()
    itt = initiator.logout()
    assert pair.run() == [LoggedOut(itt, 0, 2, 0)]
    assert initiator.state == "closed"
    ((pdu, _),) = target.got(LogoutRequest)
    assert isinstance(pdu, LogoutRequest)
    assert (pdu.reason, pdu.cid) == (0, 0)


def test_asynchronous_messages_are_told(connect: Connect) -> None:
    _, target, pair = connect()
    message = AsyncMessage(async_event=AsyncEvent.LOGOUT_REQUEST, parameter3=10)
    target.send(message)
    assert pair.run() == [AsyncReceived(message, b"")]


@pytest.mark.conformance("CSN-016")
def test_a_rejected_command_gives_its_number_back(connect: Connect) -> None:
    initiator, target, pair = connect()
    target.silent = True
    itt = initiator.command(1, READY)
    pair.run()
    header = target.received[-1][0].to_bytes()
    target.silent = False
    target.send(Reject(reason=RejectReason.DATA_DIGEST_ERROR), header)
    (event,) = pair.run()
    assert isinstance(event, Rejected)
    assert (event.itt, event.header) == (itt, header)
    assert initiator.outstanding == 0
    initiator.command(1, READY)
    (done,) = pair.run()
    assert isinstance(done, CommandDone)


def test_an_injected_command_is_numbered_and_its_answers_are_raw(connect: Connect) -> None:
    initiator, _, pair = connect()
    factory = PduFactory(initiator)
    command = factory.scsi_command(lun=1, cdb=bytes([0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0]), write=1, final=0)
    command.expected_data_transfer_length = 512
    initiator.inject(command)
    assert pair.run() == []  # F=0: the target waits for unsolicited data
    initiator.inject(factory.data_out(itt=command.itt, lun=1), bytes(512))
    (event,) = pair.run()
    assert isinstance(event, RawAnswered)
    assert isinstance(event.pdu, ScsiResponse)
    initiator.command(1, READY)
    assert isinstance(pair.run()[0], CommandDone)


def test_an_injected_command_may_get_an_r2t(connect: Connect) -> None:
    initiator, _, pair = connect(InitialR2T="Yes", ImmediateData="No")
    factory = PduFactory(initiator)
    command = factory.scsi_command(cdb=bytes([0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0]), write=1)
    command.expected_data_transfer_length = 512
    initiator.inject(command)
    (event,) = pair.run()
    assert isinstance(event, RawAnswered)
    assert isinstance(event.pdu, R2T)


def test_the_factory_makes_each_pdu_valid_and_bends_it_by_name(connect: Connect) -> None:
    initiator, _, _ = connect()
    initiator.command(1, READY)
    factory = PduFactory(initiator)
    made: list[Pdu] = [
        factory.nop_out(),
        factory.scsi_command(),
        factory.data_out(),
        factory.task_management_request(),
        factory.text_request(),
        factory.logout_request(),
        factory.snack_request(),
        factory.login_request(),
    ]
    for pdu in made:
        assert getattr(pdu, "cmd_sn", 2) == 2
        assert getattr(pdu, "exp_stat_sn", 7002) == 7002
    tags = [pdu.itt for pdu in made if not isinstance(pdu, DataOut) and pdu.itt != NO_TAG]
    assert len(set(tags)) == 6
    assert factory.scsi_command(attr=7, lun=2).lun == 2 << 48
    with pytest.raises(AttributeError):
        factory.nop_out(no_such_field=1)


def test_an_observer_sees_every_pdu() -> None:
    seen: list[str] = []
    options = LoginOptions(target="iqn.2001-04.com.example:disk")
    initiator = InitiatorConnection(options, observer=lambda pdu, data: seen.append(type(pdu).__name__))
    pair = Pair(initiator, ScriptedTarget())
    pair.login()
    initiator.command(1, READY)
    pair.run()
    assert seen == ["LoginResponse", "LoginResponse", "ScsiResponse"]
