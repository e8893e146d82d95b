"""An array is strict or not, and tells the controller's serial number or the disks' own."""

import json
import tomllib
from pathlib import Path

import pytest

from mpxtarget.array.models import MODELS
from mpxtarget.scsi.codes import Asc
from mpxtarget.server.verbs.sizes import parse_size

from .arrays import HOST, Array


def shown(array: Array) -> dict[str, object]:
    """What `array show --json` tells."""
    row: dict[str, object] = json.loads(array.ok("array", "show", "--json"))
    return row


def test_a_new_array_offers_everything_and_tells_the_controllers_serial(array: Array) -> None:
    row = shown(array)
    assert (row["strict"], row["firmware"], row["largest_disk"]) == (False, "everything", None)
    assert row["serial_numbers"] == "controller"


@pytest.mark.parametrize("model", MODELS)
def test_init_makes_a_strict_array_of_any_model(tmp_path: Path, model: str) -> None:
    array = Array(tmp_path / "state")
    array.ok("init", "--model", model, "--strict", "--serial-numbers", "disk")
    row = shown(array)
    assert (row["model"], row["strict"], row["serial_numbers"]) == (model, True, "disk")
    assert row["firmware"] == MODELS[model].firmware.personality.name
    assert row["largest_disk"] == MODELS[model].firmware.largest_disk
    said = array.ok("array", "show")
    assert f"{model} revision {MODELS[model].revision}" in said
    assert f"yes: what {row['firmware']} offered" in said
    assert parse_size(said.partition("disks of at most ")[2].split()[0]) == row["largest_disk"]
    assert f"strict {model} ({MODELS[model].marketing})" in array.ok("status")


def test_changes_stay(array: Array) -> None:
    assert "strict          yes" in array.ok("array", "set", "--strict")
    assert "one for each disk" in array.ok("array", "set", "--serial-numbers", "disk")
    row = shown(array)
    assert (row["strict"], row["serial_numbers"]) == (True, "disk")
    array.ok("array", "set", "--no-strict", "--serial-numbers", "controller")
    row = shown(array)
    assert (row["strict"], row["serial_numbers"]) == (False, "controller")


def test_nothing_to_set_is_wrong_usage(array: Array) -> None:
    assert array.refused("array", "set", code=2) == "nothing to set"
    assert "'mine' is not one of 'controller', 'disk'" in array.refused(
        "array", "set", "--serial-numbers", "mine", code=2
    )


def test_hosts_that_are_logged_in_learn_of_it(live: Array) -> None:
    assert live.target is not None
    bridge = live.target.bridge
    live.ok("lun", "create", "data", "--size", "1M")
    nexus = live.in_loop(lambda: bridge.attach(HOST, 1, next(iter(bridge.targets))))
    for itl in nexus.by_number.values():
        while itl.attentions:
            itl.take_unit_attention()
    live.ok("array", "set", "--strict")
    assert [list(itl.attentions) for itl in nexus.by_number.values()] == [[Asc.INQUIRY_DATA_HAS_CHANGED]] * 2
    assert bridge.array.vdisks[1].disk.personality is MODELS["HSV300"].firmware.personality


def test_a_disk_that_the_model_could_not_have_is_refused(tmp_path: Path) -> None:
    array = Array(tmp_path / "state")
    array.ok("init", "--model", "HSV210")
    array.ok("lun", "create", "large", "--size", "3T")
    message = array.refused("array", "set", "--strict")
    assert message == f"large has {3 << 40} bytes, a strict HSV210 allows {(2 << 40) - 512}"
    array.ok("lun", "resize", "large", "1T", "--force")
    array.ok("array", "set", "--strict")
    before = array.records(), array.files()
    assert "a strict HSV210 allows" in array.refused("lun", "resize", "large", "2T")
    assert "a strict HSV210 allows" in array.refused("lun", "create", "larger", "--size", "2T")
    assert (array.records(), array.files()) == before


def test_apply_and_export_carry_it(array: Array, tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text('[array]\nstrict = true\nserial_numbers = "disk"\n')
    assert array.ok("apply", str(file)).splitlines()[0] == ("change array: strict true, serial_numbers disk")
    exported = tomllib.loads(array.ok("export"))["array"]
    assert (exported["strict"], exported["serial_numbers"]) == (True, "disk")
    again = array.ok("apply", "-", stdin=array.ok("export"))
    assert again.startswith("nothing to do")
    file.write_text("[array]\nstrict = false\n")
    assert "change array: strict false\n" in array.ok("apply", str(file))
    assert shown(array)["serial_numbers"] == "disk"


def test_serve_makes_a_strict_array_only_where_it_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = Array(tmp_path / "state")
    message = array.refused("serve", "--strict", code=2)
    assert message == "--model and --strict are for the new array that --demo makes"
    monkeypatch.setattr("mpxtarget.cli.serve._run", lambda state: None)
    array.ok("serve", "--demo", "--model", "HSV450", "--strict")
    assert (shown(array)["model"], shown(array)["strict"]) == ("HSV450", True)
