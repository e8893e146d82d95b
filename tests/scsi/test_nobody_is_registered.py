"""Without PERSISTENT RESERVE OUT nobody can register, and PERSISTENT RESERVE IN says so."""

import pytest
from scsi_initiator import Path


@pytest.mark.parametrize("service_action", ["00", "01", "03"])
def test_there_are_no_keys_and_no_reservation(path: Path, service_action: str) -> None:
    assert path.read(f"5E {service_action} 00 00 00 00 00 01 00 00") == bytes(8)


@pytest.mark.conformance("PRS-020")
def test_capabilities_have_no_type_to_reserve_with(path: Path) -> None:
    data = path.read("5E 02 00 00 00 00 00 01 00 00")
    assert int.from_bytes(data[:2], "big") == len(data) == 8
    assert data[3] == 0x80  # the type mask is valid
    assert data[4:6] == bytes(2)


@pytest.mark.conformance("PRS-004", "PRS-021")
def test_allocation_length_cuts_and_other_service_actions_are_refused(path: Path) -> None:
    assert path.read("5E 00 00 00 00 00 00 00 04 00") == bytes(4)
    assert path.sense("5E 04 00 00 00 00 00 01 00 00").code == (5, 0x2400)
    assert path.sense("5F 00 00 00 00 00 00 00 18 00").code == (5, 0x2000)
