"""Unit attention conditions: what raises them, on whom, and how they are reported."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from scsi_initiator import (
    ACCESS_CHANGED,
    BUS_RESET,
    CAPACITY_CHANGED,
    COMMANDS_CLEARED,
    CONTROLLER_B,
    INQUIRY,
    LU_RESET,
    LUNS_CHANGED,
    MODE_CHANGED,
    NEXUS_LOSS,
    POWER_ON,
    REPORT_LUNS,
    REQUEST_SENSE,
    Array,
    Path,
    make_disk,
    parse_sense,
)

from mpxtarget.scsi import task_management
from mpxtarget.scsi.codes import AccessState
from mpxtarget.scsi.personality import EVERYTHING
from mpxtarget.scsi.unit_attention import UnitAttentions

SELECT_NO_WRITE_CACHE = "15 10 00 00 18"
NO_WRITE_CACHE = bytes.fromhex("00000000 0812").ljust(24, b"\0")

LOG_CHANGED, TIMESTAMP_CHANGED, INQUIRY_CHANGED, IDENTIFIER_CHANGED = 0x2A02, 0x2A10, 0x3F03, 0x3F05

Event = Callable[[Array, Path], object]


def log_select(path: Path) -> None:
    """Let counters that have counted begin at zero again."""
    path.itl().reads += 1
    path.send("4C 02 40")


EVENTS: dict[str, tuple[Event, int, bool]] = {
    "logical unit reset": (
        lambda array, path: task_management.lun_reset(path.nexus, 1 << 48),
        LU_RESET,
        True,
    ),
    "target warm reset": (lambda array, path: task_management.target_reset(path.nexus), BUS_RESET, True),
    "mode select": (
        lambda array, path: path.send(SELECT_NO_WRITE_CACHE, data=NO_WRITE_CACHE),
        MODE_CHANGED,
        False,
    ),
    "read-only": (lambda array, path: array.disk.set_read_only(True), MODE_CHANGED, True),
    "controller by itself": (lambda array, path: array.disk.manage(CONTROLLER_B), ACCESS_CHANGED, True),
    "controller on demand": (
        lambda array, path: array.disk.manage(CONTROLLER_B, path.nexus),
        ACCESS_CHANGED,
        False,
    ),
    "controller fails": (
        lambda array, path: array.disk.limit_access(CONTROLLER_B, AccessState.UNAVAILABLE),
        ACCESS_CHANGED,
        True,
    ),
    "resize": (lambda array, path: array.disk.resize(1 << 22), CAPACITY_CHANGED, True),
    "log select": (lambda array, path: log_select(path), LOG_CHANGED, False),
    "set timestamp": (
        lambda array, path: path.send("A4 0F 00000000 0000000C", data=bytes(12)),
        TIMESTAMP_CHANGED,
        False,
    ),
    "set identifying information": (
        lambda array, path: array.disk.identify(b"rack 7", b"", path.nexus),
        IDENTIFIER_CHANGED,
        False,
    ),
    "other INQUIRY data": (
        lambda array, path: array.disk.become(replace(array.disk.identity, serial="P1"), EVERYTHING),
        INQUIRY_CHANGED,
        True,
    ),
}


@pytest.mark.conformance("UAT-001", "UAT-006", "UAT-007", "SBC-005", "MOD-009", "ALU-007", "TMF-014")
@pytest.mark.parametrize("event", EVENTS)
def test_event_reaches_those_it_concerns(event: str) -> None:
    array = Array({1: make_disk(), 2: make_disk()})
    causer = array.path()
    same_host = array.path(isid=2)
    other_host = array.path("iqn.1994-05.com.redhat:host", port=1)
    act, asc, causer_too = EVENTS[event]
    act(array, causer)
    assert causer.attentions() == ([asc] if causer_too else [])
    assert same_host.attentions() == [asc]
    assert other_host.attentions() == [asc]
    elsewhere = [asc] if event == "target warm reset" else []
    assert same_host.attentions(2) == elsewhere
    assert same_host.attentions(0) == elsewhere


@pytest.mark.conformance("UAT-001", "SAM-005", "TMF-014")
def test_cleared_commands_concern_their_owners_only(path: Path, other: Path) -> None:
    task_management.commands_cleared([other.itl()])
    assert path.attentions() == []
    assert other.attentions() == [COMMANDS_CLEARED]


@pytest.mark.conformance("UAT-001", "UAT-009")
def test_new_nexus_reports_power_on_once_for_each_lun(array: Array) -> None:
    path = array.login()
    assert path.attentions(0) == [POWER_ON]
    assert path.attentions(1) == [POWER_ON]


@pytest.mark.conformance("UAT-009", "CLR-003", "UAT-001")
def test_nexus_that_comes_back_reports_its_loss_once_and_no_chain(array: Array) -> None:
    first = array.login()
    first.nexus.map(2, make_disk())
    array.disk.reset()
    array.disk.resize(1 << 22)
    first.nexus.lose()
    again = array.login()
    assert again.attentions(0) == [NEXUS_LOSS]
    assert again.attentions(1) == [NEXUS_LOSS]


@pytest.mark.conformance("UAT-009", "NAM-005")
def test_loss_is_remembered_for_this_initiator_port_and_target_port(array: Array) -> None:
    array.path().nexus.lose()
    assert array.login(isid=2).attentions() == [POWER_ON]
    assert array.login(port=1).attentions() == [POWER_ON]
    assert array.login().attentions() == [NEXUS_LOSS]


def test_memory_of_losses_is_bounded(array: Array) -> None:
    for isid in range(5000):
        array.device.remember_loss(f"iqn.a,i,0x{isid:012x}", array.device.ports[0])
    assert not array.device.recall_loss("iqn.a,i,0x000000000000", array.device.ports[0])
    assert array.device.recall_loss(f"iqn.a,i,0x{4999:012x}", array.device.ports[0])


@pytest.mark.conformance("UAT-002")
def test_condition_is_reported_once_to_each_nexus(array: Array, path: Path, other: Path) -> None:
    array.disk.resize(1 << 22)
    assert path.attentions() == [CAPACITY_CHANGED]
    assert path.attentions() == []
    assert other.attentions() == [CAPACITY_CHANGED]


@pytest.mark.conformance("UAT-003", "INQ-007")
def test_inquiry_runs_and_leaves_the_condition(array: Array) -> None:
    path = array.login()
    assert path.read(INQUIRY)[0] == 0
    assert path.read("12 01 83 00 FF")[1] == 0x83
    assert path.attentions() == [POWER_ON]


@pytest.mark.conformance("UAT-003")
def test_report_luns_runs_and_leaves_other_conditions(array: Array) -> None:
    path = array.login()
    assert path.read(REPORT_LUNS)
    assert path.attentions() == [POWER_ON]


@pytest.mark.conformance("UAT-003")
@pytest.mark.parametrize("cdb", [REQUEST_SENSE, "03 01 00 00 FC"])
def test_request_sense_reports_the_condition_as_data_and_removes_it(array: Array, cdb: str) -> None:
    path = array.login()
    assert parse_sense(path.read(cdb)).code == (6, POWER_ON)
    assert parse_sense(path.read(cdb)).code == (0, 0x0000)
    assert path.attentions() == []


@pytest.mark.conformance("UAT-005", "UAT-008")
def test_conditions_queue_in_order_and_none_twice(array: Array, path: Path) -> None:
    array.disk.resize(1 << 22)
    path.nexus.map(2, make_disk())
    array.disk.resize(1 << 23)
    assert path.attentions() == [CAPACITY_CHANGED, LUNS_CHANGED]


@pytest.mark.conformance("UAT-005")
def test_reset_comes_first(array: Array, path: Path) -> None:
    array.disk.resize(1 << 22)
    array.disk.reset()
    assert path.attentions() == [LU_RESET, CAPACITY_CHANGED]


@pytest.mark.conformance("UAT-005")
@pytest.mark.parametrize(
    ("raised", "reported"),
    [
        ([POWER_ON, LU_RESET], POWER_ON),
        ([LU_RESET, BUS_RESET], BUS_RESET),
        ([NEXUS_LOSS, LU_RESET], LU_RESET),
        ([LU_RESET, NEXUS_LOSS], LU_RESET),
        ([LU_RESET, LU_RESET], LU_RESET),
    ],
)
def test_only_the_weightiest_reset_is_reported(raised: list[int], reported: int) -> None:
    queue = UnitAttentions(raised[0])
    for asc in raised[1:]:
        queue.establish(asc)
    assert list(queue) == [reported]


@pytest.mark.conformance("UAT-010")
def test_test_unit_ready_reports_the_condition_and_then_readiness(array: Array, path: Path) -> None:
    array.disk.reset()
    array.disk.stop()
    assert path.sense("00").code == (6, LU_RESET)
    assert path.sense("00").code == (2, 0x0402)
    array.disk.start()
    assert path.read("00") == b""


@pytest.mark.conformance("UAT-006")
def test_nothing_changed_is_no_event(array: Array, path: Path) -> None:
    disk = array.disk
    disk.resize(disk.blocks)
    disk.manage(disk.managing_group)
    disk.set_read_only(False)
    disk.select_mode(disk.mode)
    disk.limit_access(CONTROLLER_B, None)
    assert path.attentions() == []
