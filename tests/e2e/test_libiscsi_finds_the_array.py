"""What libiscsi's tools see before the first read: targets, LUNs, inquiry data, capacities."""

import pytest

from tools import require_tool

from .harness import TargetUnderTest
from .libiscsi import discover, fields, inquire, list_luns
from .processes import run

pytestmark = require_tool("iscsi-ls", "iscsi-inq")

DECODED = {0x00, 0x80, 0x83, 0xB0, 0xB1, 0xB2}
"""The vital product data pages of ours that libiscsi can decode."""
BOTH = pytest.mark.parametrize("portal", [0, 1])


@BOTH
@pytest.mark.conformance("DSC-001", "DSC-006", "DSC-009", "DSC-010", "DSC-011")
def test_discovery_at_either_portal_names_every_target_with_both_portals(
    target: TargetUnderTest, portal: int
) -> None:
    portals = {f"{address},1" for address in target.portals}
    assert discover(target.portals[portal]) == dict.fromkeys(target.target_names, portals)


@BOTH
@pytest.mark.conformance("LUN-012")
def test_every_target_shows_the_console_and_both_disks(target: TargetUnderTest, portal: int) -> None:
    seen = list_luns(target.portals[portal])
    # libiscsi shortens sizes: the last block's address, in whole MiB
    disk = f"Type:DIRECT_ACCESS (Size:{(target.size - 512) >> 20}M)"
    expected = {0: "Type:STORAGE_ARRAY_CONTROLLER", 1: disk, 2: disk}
    assert seen == dict.fromkeys(target.target_names, expected)


@pytest.mark.parametrize(("lun", "device"), [(0, "STORAGE_ARRAY_CONTROLLER"), (1, "DIRECT_ACCESS")])
def test_standard_inquiry_data_are_those_of_an_eva4400(
    target: TargetUnderTest, lun: int, device: str
) -> None:
    said = fields(inquire(target.url(lun=lun)).text)
    assert said["Vendor"].strip() == "HP"
    assert said["Product"].strip() == "HSV300"
    assert said["Peripheral Qualifier"] == "CONNECTED"
    assert said["Peripheral Device Type"] == device
    assert said["CmdQue"] == "1"
    assert said["Removable"] == "0"


def test_the_vital_product_data_pages_that_a_disk_lists_can_be_decoded(target: TargetUnderTest) -> None:
    listed = [line for line in inquire(target.url(), 0x00).text.splitlines() if line.startswith("Page:")]
    pages = [int(line.split()[0].removeprefix("Page:"), 16) for line in listed]
    assert set(pages) >= DECODED
    for page in DECODED:
        assert inquire(target.url(), page).status == 0


def test_a_page_that_is_not_listed_is_refused(target: TargetUnderTest) -> None:
    answer = inquire(target.url(), 0xC0)
    assert answer.status != 0
    assert "ILLEGAL_REQUEST" in answer.text
    assert "INVALID_FIELD_IN_CDB" in answer.text


def names_of_the_disk(url: str) -> tuple[str, ...]:
    """The designators of a logical unit, as its page 83h tells them."""
    designators = inquire(url, 0x83).text.split("DEVICE DESIGNATOR")
    return tuple(text for text in designators if "LOGICAL_UNIT" in text)


def test_a_disk_has_the_same_names_by_every_path_and_no_other_disk_has_them(target: TargetUnderTest) -> None:
    paths = [
        (portal, index) for portal in range(len(target.portals)) for index in range(len(target.target_names))
    ]
    first = {names_of_the_disk(target.url(portal, target=index, lun=1)) for portal, index in paths}
    second = {names_of_the_disk(target.url(portal, target=index, lun=2)) for portal, index in paths}
    assert len(paths) == 8
    assert len(first) == len(second) == 1
    assert first != second
    assert all(first | second)


def test_capacity_is_that_of_the_disk(target: TargetUnderTest) -> None:
    said = fields(run(["iscsi-readcapacity16", target.url()], check=True).output)
    assert said["Total size"] == str(target.size)
    assert said["LOGICAL BLOCK LENGTH IN BYTES"] == "512"


def test_a_lun_that_is_not_there_is_connected_to_nothing(target: TargetUnderTest) -> None:
    answer = inquire(target.url(lun=9))
    assert "Peripheral Qualifier:CONNECTED" not in answer.text
