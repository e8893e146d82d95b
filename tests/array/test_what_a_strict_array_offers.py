"""What a model offers stands in one place: a command is in the list of its firmware, or the host finds no
trace of it.

Every model is looked at twice, strict and not, through the eyes of a host: what REPORT SUPPORTED OPERATION
CODES lists, what the dispatcher takes, and what INQUIRY, the vital product data and READ CAPACITY(16)
announce have to say the same.
"""

import itertools
import re

import pytest

from bridge.factory import INITIATOR, array_record, bridge, found, login, pending, settled
from mpxtarget.array.array import Array
from mpxtarget.array.models import MODELS
from mpxtarget.scsi.codes import Asc, PeripheralType
from mpxtarget.scsi.command import Command
from mpxtarget.scsi.commands import COMMANDS, command_set
from mpxtarget.scsi.personality import EVERYTHING, Personality
from scsi.scsi_initiator import Path

MULTIPATH_TOOLS = re.compile(r"(HSV1[01]1|HSV2[01]0|HSV3[046]0|HSV4[05]0)")
"""The product of the entry for EVAs in multipath-tools' table of hardware, whose vendor is (COMPAQ|HP)."""

NOT_OFFERED = (5, Asc.INVALID_COMMAND_OPERATION_CODE)
NO_SERVICE_ACTION = (5, Asc.INVALID_FIELD_IN_CDB)

COPIES = ("EXTENDED COPY(LID1)", "EXTENDED COPY(LID4)", "POPULATE TOKEN", "WRITE USING TOKEN")

arrays = pytest.mark.parametrize("strict", [False, True], ids=["all", "strict"])
models = pytest.mark.parametrize("product", MODELS)


def host(product: str, strict: bool) -> tuple[Path, Personality]:
    """A host on a path to the first disk, and what the disk offers."""
    nexus = login(bridge(1, model=product, strict=strict))
    return Path(nexus), nexus.by_number[1].lu.personality


def vpd(path: Path, code: int) -> bytes:
    """What follows the header of a vital product data page."""
    return path.read(f"12 01 {code:02X} 0400")[4:]


@models
def test_every_name_in_a_list_is_a_row_of_the_table(product: str) -> None:
    commands = MODELS[product].personality(strict=True).commands
    assert commands is not None
    assert commands - {command.name for command in COMMANDS} == set()


@models
def test_an_array_that_is_not_strict_offers_everything(product: str) -> None:
    assert MODELS[product].personality(strict=False) is EVERYTHING
    assert MODELS[product].largest_disk(strict=False) is None


def test_a_newer_firmware_forgets_nothing() -> None:
    lists = [
        MODELS[product].personality(strict=True).commands
        for product in ("HSV210", "HSV300", "HSV450", "HSV360")
    ]
    for older, newer in itertools.pairwise(lists):
        assert older is not None and newer is not None
        assert older < newer
    assert "COMPARE AND WRITE" not in (lists[1] or ()) and "COMPARE AND WRITE" in (lists[2] or ())
    assert "UNMAP" not in (lists[2] or ()) and "UNMAP" in (lists[3] or ())


@models
def test_multipath_tools_takes_its_built_in_entry(product: str) -> None:
    assert MULTIPATH_TOOLS.match(product)
    data = Path(login(bridge(1, model=product))).read("12 00 00 0060")
    assert data[8:16] == b"HP      "
    assert MULTIPATH_TOOLS.match(data[16:32].decode())
    assert data[16:32] == product.ljust(16).encode()
    assert data[32:36] == MODELS[product].revision.encode()


@models
def test_every_model_has_alua_and_persistent_reservations(product: str) -> None:
    personality = MODELS[product].personality(strict=True)
    for name in ("REPORT TARGET PORT GROUPS", "SET TARGET PORT GROUPS", "REPORT LUNS", "RESERVE(6)"):
        assert personality.offers(name)
    reservations = [row.name for row in COMMANDS if row.opcode == 0x5E]
    assert all(personality.offers(name) for name in reservations)


@pytest.mark.conformance("RSO-005", "MSC-006")
@models
@arrays
def test_the_dispatcher_takes_what_is_offered_and_nothing_else(product: str, strict: bool) -> None:
    path, personality = host(product, strict)
    commands = command_set(personality, PeripheralType.DISK)
    opcodes = {row.opcode for row in commands}
    for row in COMMANDS:
        if PeripheralType.DISK not in row.on:
            continue
        cdb = bytes((row.opcode, row.service_action or 0)).ljust(16, b"\0")
        taken = isinstance(commands.find(cdb), Command)
        assert taken is personality.offers(row.name), row.name
        if not taken:
            code = path.sense(cdb.hex()).code
            assert code == (NO_SERVICE_ACTION if row.opcode in opcodes else NOT_OFFERED), row.name


@pytest.mark.conformance("RSO-005", "MSC-006")
@models
@arrays
def test_the_list_of_operation_codes_is_what_is_offered(product: str, strict: bool) -> None:
    path, personality = host(product, strict)
    if not personality.offers("REPORT SUPPORTED OPERATION CODES"):
        assert path.sense("A3 0C 00 000000 00004000").code[0] == 5
        return
    data = path.read("A3 0C 00 000000 00004000")
    listed = set()
    for at in range(4, len(data), 8):
        with_action = data[at + 5] & 0x01
        listed.add((data[at], int.from_bytes(data[at + 2 : at + 4], "big") if with_action else None))
    offered = {
        (row.opcode, row.service_action)
        for row in COMMANDS
        if PeripheralType.DISK in row.on and personality.offers(row.name)
    }
    assert listed == offered


@pytest.mark.conformance("INQ-003", "INQ-004", "VPD-012")
@models
@arrays
def test_standard_inquiry_data_announces_what_is_offered(product: str, strict: bool) -> None:
    path, personality = host(product, strict)
    byte_5 = path.read("12 00 00 0060")[5]
    explicit = personality.offers("SET TARGET PORT GROUPS")
    assert byte_5 >> 4 & 0b11 == (0b11 if explicit else 0b01)
    third_party_copy = any(personality.offers(name) for name in COPIES)
    assert bool(byte_5 & 0x08) is third_party_copy
    assert (0x8F in vpd(path, 0x00)) is third_party_copy


@pytest.mark.conformance("VPD-013", "VPD-015", "SBC-002")
@models
@arrays
def test_block_limits_and_provisioning_announce_what_is_offered(product: str, strict: bool) -> None:
    path, personality = host(product, strict)
    pages = vpd(path, 0x00)
    limits = vpd(path, 0xB0)
    assert len(limits) == (60 if personality.offers("READ CAPACITY(16)") else 12)
    limits = limits.ljust(60, b"\0")
    assert bool(limits[1]) is personality.offers("COMPARE AND WRITE")
    assert any(limits[16:24]) is personality.offers("UNMAP")
    same = personality.offers("WRITE SAME(16)") or personality.offers("WRITE SAME(10)")
    assert any(limits[32:40]) is same
    assert any(limits[40:44]) is personality.offers("WRITE ATOMIC(16)")
    provisioning = vpd(path, 0xB2)[1] if 0xB2 in pages else 0
    assert bool(provisioning & 0x80) is personality.offers("UNMAP")
    deallocates = bool(provisioning & 0xE0)
    if personality.offers("READ CAPACITY(16)"):
        assert bool(path.read("9E 10 0000000000000000 00000020")[14] & 0x80) is deallocates
    if not personality.offers("UNMAP"):
        assert not deallocates


@pytest.mark.conformance("INQ-005", "VPD-001", "SBC-002")
@models
@arrays
def test_a_disk_without_read_capacity_16_is_one_of_sbc_2(product: str, strict: bool) -> None:
    path, personality = host(product, strict)
    data = path.read("12 00 00 0060")
    versions = {int.from_bytes(data[at : at + 2], "big") for at in range(58, 74, 2)}
    sbc_3 = personality.offers("READ CAPACITY(16)")
    assert (0x04C0 in versions, 0x0320 in versions) == (sbc_3, not sbc_3)
    pages = vpd(path, 0x00)
    assert (0xB1 in pages, 0xB2 in pages) == (sbc_3, sbc_3)
    for page in (0xB1, 0xB2):
        if not sbc_3:
            assert path.sense(f"12 01 {page:02X} 0100").code == NO_SERVICE_ACTION


@pytest.mark.conformance("VPD-003", "VPD-007")
def test_a_serial_number_is_the_controllers_or_the_disks_own() -> None:
    controller = bridge(2)
    nexus = login(controller)
    assert {Path(nexus).read("12 01 80 0100", lun)[4:] for lun in (0, 1, 2)} == {b"ZG20400315"}
    own = login(bridge(2, serial_numbers="disk"))
    serials = [Path(own).read("12 01 80 0100", lun)[4:] for lun in (0, 1, 2)]
    assert serials[0] == b"ZG20400315"  # the console has no name of its own
    for lun, serial in ((1, serials[1]), (2, serials[2])):
        naa = own.by_number[lun].lu.identity.naa
        assert naa is not None
        assert serial == naa.hex().upper().encode()
        # what hosts know the disk by is the same
        assert Path(own).read("12 01 83 0100", lun) == Path(nexus).read("12 01 83 0100", lun)


@pytest.mark.conformance("UAT-001", "UAT-007")
@pytest.mark.parametrize("change", [{"strict": True}, {"serial_numbers": "disk"}])
def test_every_path_learns_that_inquiry_data_has_changed(change: dict[str, object]) -> None:
    made = bridge(2)
    nexuses = [login(made, target=target) for target in range(4)]
    made.set_array(array_record(**change))
    changed = [Asc.INQUIRY_DATA_HAS_CHANGED]
    expected = {1: changed, 2: changed} | ({0: changed} if "strict" in change else {})
    for nexus in nexuses:
        assert pending(nexus) == expected
        settled(nexus)
    made.set_array(array_record(**change))
    assert [pending(nexus) for nexus in nexuses] == [{}] * 4


def test_a_change_is_seen_in_what_was_read_before() -> None:
    made = bridge(1)
    nexus = login(made)
    path = Path(nexus)
    everything = (path.read("A3 0C 00 000000 00004000"), path.read("12 00 00 0060"), vpd(path, 0xB0))
    serial = vpd(path, 0x80)
    made.set_array(array_record(strict=True, serial_numbers="disk"))
    settled(nexus)
    assert path.read("A3 0C 00 000000 00004000") != everything[0]
    assert vpd(path, 0x80) != serial
    assert path.sense("A8").code == NOT_OFFERED
    made.set_array(array_record())
    settled(nexus)
    assert (path.read("A3 0C 00 000000 00004000"), path.read("12 00 00 0060"), vpd(path, 0xB0)) == everything
    assert vpd(path, 0x80) == serial


def test_disks_made_later_are_like_the_others() -> None:
    array = Array(array_record(strict=True, serial_numbers="disk"))
    assert array.console.personality.name == "XCS 9"
    made = bridge(2, strict=True)
    personalities = {itl.lu.personality for itl in login(made).by_number.values()}
    assert personalities == {MODELS["HSV300"].firmware.personality}
    assert found(made.nexuses(INITIATOR)[0]) == {0: None, 1: 1, 2: 2}
