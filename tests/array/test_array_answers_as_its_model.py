"""Every model in the table makes an array that INQUIRY and the target port groups can be built from."""

import pytest

from bridge.factory import NODE_WWN, array_record, eva
from mpxtarget.array.array import Array
from mpxtarget.array.models import MODELS
from mpxtarget.scsi.codes import PeripheralType


@pytest.mark.conformance("ALU-011")
@pytest.mark.parametrize("product", MODELS)
def test_two_controllers_two_groups_each_with_its_ports(product: str) -> None:
    array = Array(array_record(model=product))
    model = MODELS[product]
    assert array.console.identity.product == product
    assert len(array.console.identity.revision) == 4
    assert [c.group_id for c in array.controllers.values()] == [1, 2]
    for controller in array.controllers.values():
        assert len(controller.ports) == model.host_ports
        assert {port.group_id for port in controller.ports} == {controller.group_id}


@pytest.mark.parametrize("product", MODELS)
def test_relative_port_identifiers_run_from_1_over_the_whole_array(product: str) -> None:
    array = Array(array_record(model=product))
    assert [port.relative_id for port in array.ports] == list(range(1, len(array.ports) + 1))
    assert len({port.wwn for port in array.ports}) == len(array.ports)


def test_the_default_eva4400_has_two_ports_on_each_controller() -> None:
    array = eva()
    assert [port.label for port in array.ports] == ["Ctl-A/FP-1", "Ctl-A/FP-2", "Ctl-B/FP-1", "Ctl-B/FP-2"]
    assert [port.wwn - NODE_WWN for port in array.ports] == [0x8, 0x9, 0xC, 0xD]


@pytest.mark.conformance("LUN-006")
def test_the_console_is_a_storage_array_controller_with_the_identity_of_the_disks() -> None:
    array = eva()
    assert array.console.peripheral_type == PeripheralType.STORAGE_ARRAY_CONTROLLER == 0x0C
    assert array.console.identity.naa is None
    disk = array.vdisks[1].disk.identity
    console = array.console.identity
    assert (disk.vendor, disk.product, disk.revision, disk.serial) == (
        console.vendor,
        console.product,
        console.revision,
        console.serial,
    )
    assert console.vendor == "HP"


def test_all_disks_share_the_controllers_serial_and_differ_in_wwlun() -> None:
    identities = [vdisk.disk.identity for vdisk in eva(5).vdisks.values()]
    assert {each.serial for each in identities} == {"ZG20400315"}
    assert len({each.naa for each in identities}) == 5


def test_the_device_name_is_the_node_wwn() -> None:
    assert eva().device_name == "naa.5001438004c8a250"


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ValueError, match="HSV999"):
        Array(array_record(model="HSV999"))
