"""REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS, and REPORT PRIORITY."""

import pytest
from scsi_initiator import Path

from mpxtarget.pdu import TmfFunction, TmfResponse
from support.world import LUN, World

# bit of byte 0 -> the function of RFC 7143 11.5.1 that it tells of
FUNCTIONS = {
    7: TmfFunction.ABORT_TASK,
    6: TmfFunction.ABORT_TASK_SET,
    5: TmfFunction.CLEAR_ACA,
    4: TmfFunction.CLEAR_TASK_SET,
    3: TmfFunction.LOGICAL_UNIT_RESET,
    1: TmfFunction.TARGET_WARM_RESET,
}


@pytest.mark.conformance("RSO-006", "LAY-001")
def test_both_forms(path: Path) -> None:
    assert path.read("A3 0D 00 000000 00000100") == bytes.fromhex("DA 00 00 00")
    assert path.read("A3 0D 80 000000 00000100") == bytes.fromhex("DA 00 00 0C") + bytes(12)
    assert path.read("A3 0D 80 000000 00000008") == bytes.fromhex("DA 00 00 0C") + bytes(4)


@pytest.mark.conformance("RSO-006", "TMF-001")
def test_what_is_told_is_what_the_target_does(path: Path) -> None:
    told = path.read("A3 0D 00 000000 00000100")[0]
    world = World()
    try:
        host = world.host()
        for bit, function in FUNCTIONS.items():
            response = host.tmf(function, lun=LUN)
            assert bool(told >> bit & 1) is (response != TmfResponse.FUNCTION_NOT_SUPPORTED), function
    finally:
        world.close()
    assert not told & 0x05  # QUERY TASK and WAKEUP are no functions of iSCSI


@pytest.mark.conformance("RSO-006", "OPC-001")
@pytest.mark.parametrize("length", range(4))
def test_allocation_length_below_four_is_refused(path: Path, length: int) -> None:
    sense = path.sense(f"A3 0D 00 000000 {length:08X}")
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 6, None)


@pytest.mark.conformance("MSC-005", "OPC-001")
def test_no_nexus_has_a_priority(path: Path) -> None:
    for reported in ("00", "40"):
        assert path.read(f"A3 0E {reported} 000000 00000100") == bytes(4)
    for reported in ("80", "C0"):
        sense = path.sense(f"A3 0E {reported} 000000 00000100")
        assert sense.code == (5, 0x2400)
        assert sense.pointer == ("CDB", 2, 7)
