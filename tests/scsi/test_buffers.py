"""READ BUFFER and WRITE BUFFER."""

import pytest
from scsi_initiator import CONTROLLER_A, GOOD, Array, Path

from mpxtarget.scsi.codes import AccessState
from mpxtarget.scsi.plan import Reply

DATA_BYTES, ECHO_BYTES = 65536, 4096


def write(path: Path, data: bytes, mode: int = 0x02, offset: int = 0) -> Reply:
    """WRITE BUFFER."""
    return path.send(f"3B {mode:02X} 00 {offset:06X} {len(data):06X}", data=data)


def read(path: Path, length: int, mode: int = 0x02, offset: int = 0) -> bytes:
    """READ BUFFER."""
    return path.read(f"3C {mode:02X} 00 {offset:06X} {length:06X}")


@pytest.mark.conformance("MSC-002", "LAY-001")
def test_data_buffer_gives_back_what_was_written_on_any_path(path: Path, other: Path) -> None:
    assert write(path, b"hello", offset=10) == Reply(GOOD)
    assert read(path, 7, offset=9) == b"\0hello\0"
    assert read(other, 5, offset=10) == b"hello"


@pytest.mark.conformance("MSC-002")
def test_data_buffer_is_empty_at_first_and_ends_where_the_descriptor_says(path: Path) -> None:
    assert read(path, 4, mode=0x03) == b"\0" + DATA_BYTES.to_bytes(3, "big")
    assert path.read("3C 03 01 000000 000004") == bytes(4)  # there is no other buffer
    assert read(path, 0xFFFFFF) == bytes(DATA_BYTES)
    assert read(path, 100, offset=DATA_BYTES - 4) == bytes(4)
    assert read(path, 100, offset=DATA_BYTES) == b""
    write(path, b"end!", offset=DATA_BYTES - 4)
    assert read(path, 100, offset=DATA_BYTES - 4) == b"end!"
    assert len(read(path, 0xFFFFFF)) == DATA_BYTES


@pytest.mark.conformance("MSC-002", "LAY-001")
def test_echo_buffer_gives_back_what_the_same_nexus_wrote(path: Path) -> None:
    assert read(path, 4, mode=0x0B) == b"\x01\0" + ECHO_BYTES.to_bytes(2, "big")
    pattern = bytes(range(256)) * 16
    assert write(path, pattern, mode=0x0A) == Reply(GOOD)
    assert read(path, ECHO_BYTES, mode=0x0A) == pattern
    assert read(path, 3, mode=0x0A) == pattern[:3]
    write(path, b"short", mode=0x0A)
    assert read(path, ECHO_BYTES, mode=0x0A) == b"short"


@pytest.mark.conformance("MSC-002")
def test_echo_of_nothing_is_a_command_sequence_error(path: Path, other: Path) -> None:
    assert path.sense("3C 0A 00 000000 000010").code == (5, 0x2C00)
    write(other, b"secret", mode=0x0A)
    assert path.sense("3C 0A 00 000000 000010").code == (5, 0x2C00)


@pytest.mark.conformance("MSC-002")
def test_echo_that_another_nexus_overwrote_is_not_given_back(path: Path, other: Path) -> None:
    write(path, b"mine", mode=0x0A)
    write(other, b"theirs", mode=0x0A)
    assert path.sense("3C 0A 00 000000 000010").code == (0xB, 0x3F0F)
    assert read(other, 16, mode=0x0A) == b"theirs"
    write(path, b"again", mode=0x0A)
    assert read(path, 16, mode=0x0A) == b"again"


@pytest.mark.conformance("MSC-002")
def test_echo_is_gone_with_its_nexus(array: Array, path: Path) -> None:
    write(path, b"mine", mode=0x0A)
    path.nexus.lose()
    assert array.path().sense("3C 0A 00 000000 000010").code == (5, 0x2C00)


@pytest.mark.conformance("MSC-002", "CDB-002", "CDB-003")
@pytest.mark.parametrize("cdb", ["3B 02", "3B 0A", "3C 02", "3C 03", "3C 0B"])
def test_nothing_to_transfer_is_good(path: Path, cdb: str) -> None:
    assert path.send(cdb) == Reply(GOOD)


@pytest.mark.conformance("MSC-002", "OPC-001", "SNS-004")
@pytest.mark.parametrize(
    ("cdb", "pointer"),
    [
        *((f"3B {mode:02X} 00 000000 000004", (1, 4)) for mode in range(0x20) if mode not in (0x02, 0x0A)),
        *((f"3C {mode:02X}", (1, 4)) for mode in range(0x20) if mode not in (0x02, 0x03, 0x0A, 0x0B)),
        ("3B 22 00 000000 000004", (1, 7)),
        ("3C E3 00 000000 000004", (1, 7)),
        ("3B 02 01 000000 000004", (2, None)),
        ("3C 02 01 000000 000004", (2, None)),
        ("3B 02 00 010001 000000", (3, None)),
        ("3C 02 00 010001 000004", (3, None)),
        ("3B 02 00 00FFFD 000004", (6, None)),
        ("3B 02 00 000000 FFFFFF", (6, None)),
        ("3B 0A 00 000000 001001", (6, None)),
    ],
)
def test_wrong_field_is_pointed_at(path: Path, cdb: str, pointer: tuple[int, int | None]) -> None:
    sense = path.sense(cdb)
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", *pointer)


@pytest.mark.conformance("OPC-001", "ALU-005")
@pytest.mark.parametrize("state", [AccessState.STANDBY, AccessState.UNAVAILABLE])
def test_only_an_echo_passes_a_path_that_is_not_active(state: int) -> None:
    array = Array()
    array.disk.states = frozenset({*array.disk.states, AccessState.STANDBY})
    path = array.path()
    array.disk.limit_access(CONTROLLER_A, state)
    assert path.sense("3C 0B").key == 6
    for cdb in ("3B 02", "3C 02", "3C 03"):
        assert path.sense(cdb).key == 2
    for cdb in ("3B 0A", "3C 0B"):
        assert path.send(cdb).status == GOOD
