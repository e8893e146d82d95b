"""`apply` makes the array like the file, wholly or not at all; an export changes nothing."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpxtarget.server import configuration
from mpxtarget.server.errors import Invalid

from .arrays import HOST, Array

OTHER = "iqn.1994-05.com.redhat:other"
FILE = f"""
[array]
name = "lab"
policy = "masked"

[[portal]]
address = "127.0.0.1"
port = 3261
advertise = "san.example"

[[portal]]
address = "::1"
enabled = false

[[lun]]
name = "data"
size = "4M"

[[lun.present]]
initiator = "{HOST}"
lun = 5

[[lun]]
name = "logs"
size = "2M"
lun = "none"
preferred = "B-failback"

[[initiator]]
name = "{HOST}"
alias = "the host"
chap = "one-way"
chap_secret_file = "host.secret"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a bit of everything."""
    (tmp_path / "host.secret").write_text("correct horse 16\n")
    (tmp_path / "lab.toml").write_text(FILE)
    return tmp_path / "lab.toml"


def put(path: Path, text: str) -> str:
    """Write a file, and its name."""
    path.write_text(text)
    return str(path)


def test_apply_makes_the_array_like_the_file_and_says_each_step(array: Array, file: Path) -> None:
    assert array.ok("apply", str(file)).splitlines() == [
        "change array: name lab, policy masked"
        + (" (names and numbers count from the next start)" if array.live else ""),
        "add portal 127.0.0.1:3261",
        "add portal [::1]:3260",
        "create lun data of 4M",
        "create lun logs of 2M",
        f"add initiator {HOST}",
        f"present data to {HOST} at LUN 5",
        "left alone, not in the file: portal 127.0.0.1:3260",
    ]
    assert array.files() == {"data.img", "logs.img"}
    if array.target is not None:
        bridge = array.target.bridge
        nexus = array.in_loop(lambda: bridge.attach(HOST, 1, next(iter(bridge.targets))))
        assert sorted(nexus.by_number) == [0, 5]


def test_applying_twice_changes_nothing(array: Array, file: Path) -> None:
    array.ok("apply", str(file), "--prune")
    before = array.records()
    assert array.ok("apply", str(file), "--prune") == f"nothing to do: the array is like {file}\n"
    assert array.records() == before


def test_applying_an_export_changes_nothing(array: Array, file: Path) -> None:
    array.ok("apply", str(file))
    array.ok("lun", "create", "scratch", "--size", "1M", "--store", "memory:", "--read-only")
    text = array.ok("export")
    before = array.records()
    assert array.ok("apply", "-", "--prune", stdin=text) == "nothing to do: the array is like the input\n"
    assert array.records() == before
    assert array.ok("export") == text


def test_an_export_makes_the_same_disks_elsewhere(array: Array, file: Path, tmp_path: Path) -> None:
    array.ok("apply", str(file), "--prune")
    text = array.ok("export").replace(
        '\nchap = "one-way"', '\nchap = "one-way"\nchap_secret_file = "host.secret"'
    )
    other = Array(tmp_path / "other")
    other.ok("init")
    other.ok("apply", put(tmp_path / "copy.toml", text), "--prune")
    assert other.ok("lun", "list") == array.ok("lun", "list")
    assert tomllib.loads(other.ok("export"))["lun"] == tomllib.loads(array.ok("export"))["lun"]


def test_dry_run_says_what_would_be_and_changes_nothing(array: Array, file: Path) -> None:
    before = array.records()
    said = array.ok("apply", str(file), "--dry-run")
    assert "would create lun data of 4M\n" in said
    assert array.records() == before
    assert array.files() == set()


def test_only_prune_removes_and_data_stays(array: Array, file: Path, tmp_path: Path) -> None:
    array.ok("apply", str(file))
    empty = put(tmp_path / "empty.toml", "")
    said = array.ok("apply", empty)
    assert "nothing to do" in said
    assert "left alone, not in the file: lun data" in said
    said = array.ok("apply", empty, "--prune")
    assert "remove lun data (its data stays in file:vdisks/data.img)" in said
    records = array.records()
    assert (records["portals"], records["vdisks"], records["initiators"]) == ([], [], [])
    assert array.files() == {"data.img", "logs.img"}
    if array.target is not None:
        assert (array.target.open, array.target.stores) == ({}, {})


def test_disks_can_change_places(array: Array, tmp_path: Path) -> None:
    array.ok("lun", "create", "one", "--size", "1M")
    array.ok("lun", "create", "two", "--size", "1M")
    text = '[[lun]]\nname = "one"\nsize = "1M"\nlun = 2\n[[lun]]\nname = "two"\nsize = "1M"\nlun = 1\n'
    array.ok("apply", put(tmp_path / "swap.toml", text))
    assert [row.split()[:2] for row in array.ok("lun", "list").splitlines()[1:]] == [
        ["1", "two"],
        ["2", "one"],
    ]


def test_a_presentation_moves(array: Array, file: Path, tmp_path: Path) -> None:
    array.ok("apply", str(file))
    moved = put(tmp_path / "moved.toml", FILE.replace("lun = 5", "lun = 6"))
    assert f"present data to {HOST} at LUN 6" in array.ok("apply", moved)
    assert array.ok("initiator", "list").splitlines()[1].split()[5] == "6"


def test_sizes_grow_and_shrink_only_by_force(array: Array, file: Path, tmp_path: Path) -> None:
    array.ok("apply", str(file))
    larger = put(tmp_path / "larger.toml", FILE.replace('"4M"', '"8M"'))
    assert "grow lun data from 4M to 8M" in array.ok("apply", larger)
    assert array.refused("apply", str(file)) == "lun[0].size: data has 8M; 4M would cut data off at its end"
    assert "shrink lun data from 8M to 4M" in array.ok("apply", str(file), "--force")
    assert (array.folder / "vdisks" / "data.img").stat().st_size == 4 << 20


def test_what_the_state_refuses_is_refused_before_anything_changes(array: Array, tmp_path: Path) -> None:
    array.ok("lun", "create", "old", "--size", "1M")
    before = array.records()
    text = '[[portal]]\naddress = "127.0.0.1"\nport = 3299\n[[lun]]\nname = "new"\nsize = "1M"\nlun = 1\n'
    message = array.refused("apply", put(tmp_path / "x.toml", text))
    assert message == "create lun new of 1M: LUN 1 belongs to vdisk old; nothing was changed"
    assert array.records() == before
    assert array.files() == {"old.img"}


def test_a_step_that_fails_takes_the_others_back(array: Array, file: Path) -> None:
    (array.folder / "vdisks").mkdir()
    (array.folder / "vdisks" / "logs.img").write_bytes(b"precious")
    before = array.records()
    result = array.run("apply", str(file))
    assert result.exit_code == 1
    assert "create lun logs of 2M: " in result.stderr
    assert "the 4 step(s) before it were taken back, nothing has changed" in result.stderr
    assert "taken back: add portal 127.0.0.1:3261" in result.stdout
    after = array.records()
    for key in ("array", "vdisks", "initiators", "presentations"):
        assert after[key] == before[key]
    assert array.ok("portal", "list").count("127.0.0.1") == 1
    assert array.files() == {"logs.img"}


def test_a_portal_that_cannot_be_opened_takes_removals_back(live: Array, file: Path) -> None:
    assert live.target is not None
    live.ok("apply", str(file))
    live.target.taken.add(("127.0.0.1", 3999))
    before = live.records()
    other = put(file.parent / "other.toml", '[[portal]]\naddress = "127.0.0.1"\nport = 3999\n')
    result = live.run("apply", other, "--prune")
    assert "add portal 127.0.0.1:3999: cannot listen" in result.stderr
    after = live.records()
    assert after["initiators"] == before["initiators"]
    assert [v.name for v in after["vdisks"]] == [v.name for v in before["vdisks"]]  # type: ignore[attr-defined]
    assert len(after["presentations"]) == 1  # type: ignore[arg-type]
    assert sorted(live.target.open.values()) == [("127.0.0.1", 3260), ("127.0.0.1", 3261)]
    assert live.ok("apply", str(file)).startswith("nothing to do")


def test_chap_is_kept_changed_and_taken_away(array: Array, file: Path, tmp_path: Path) -> None:
    array.ok("apply", str(file))
    kept = put(
        tmp_path / "kept.toml", f'[[initiator]]\nname = "{HOST}"\nalias = "the host"\nchap = "one-way"\n'
    )
    assert "nothing to do" in array.ok("apply", kept)
    unsaid = put(tmp_path / "unsaid.toml", f'[[initiator]]\nname = "{HOST}"\n')
    assert f"change initiator {HOST}: alias ''" in array.ok("apply", unsaid)
    mutual = put(tmp_path / "mutual.toml", f'[[initiator]]\nname = "{HOST}"\nchap = "mutual"\n')
    assert "needs the secret of the target" in array.refused("apply", mutual)
    none = put(tmp_path / "none.toml", f'[[initiator]]\nname = "{HOST}"\nchap = "none"\n')
    assert f"change initiator {HOST}: chap none" in array.ok("apply", none)
    again = put(tmp_path / "again.toml", f'[[initiator]]\nname = "{HOST}"\nchap = "one-way"\n')
    assert 'initiator[0].chap: "one-way" needs a secret' in array.refused("apply", again)


def test_a_file_from_a_windows_editor_is_read(array: Array, tmp_path: Path) -> None:
    made = tmp_path / "windows.toml"
    made.write_text('[array]\r\npolicy = "masked"\r\n', encoding="utf-8-sig")
    assert "policy masked" in array.ok("apply", str(made))


def test_presenting_to_a_stranger_is_refused(array: Array, tmp_path: Path) -> None:
    text = f'[[lun]]\nname = "a"\nsize = "1M"\n[[lun.present]]\ninitiator = "{OTHER}"\nlun = 1\n'
    message = array.refused("apply", put(tmp_path / "x.toml", text))
    assert message == f"lun[0].present[0].initiator: {OTHER} is not known"


def test_a_disk_stays_what_it_is(array: Array, tmp_path: Path) -> None:
    array.ok("lun", "create", "a", "--size", "1M")
    for line in ("block_size = 4096", f'wwlun = "6{"0" * 31}"', 'store = "memory:"'):
        key = line.split()[0]
        text = f'[[lun]]\nname = "a"\nsize = "1M"\n{line}\n'
        assert array.refused("apply", put(tmp_path / "x.toml", text)).startswith(f"lun[0].{key}: lun a ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[lun]", "the file is not TOML: "),
        ('[[lun]]\nname = "a"', "lun[0]: missing required field size"),
        ('[[lun]]\nname = "a"\nsize = 1.5', "lun[0].size: Expected int | str, got float"),
        ('[[lun]]\nname = "a"\nsize = "1GB"', "lun[0].size: '1GB': decimal units are not used"),
        ('[[lun]]\nname = "a"\nsize = 1000', "lun[0].size: size 1000 is not a multiple"),
        ('[[lun]]\nname = "a"\nsize = "1M"\nblock_size = 520', "lun[0].block_size: a block size of 520"),
        ('[[lun]]\nname = "a"\nsize = "1M"\nlun = 256', "lun[0].lun: LUN 256 is not between 1 and 255"),
        ('[[lun]]\nname = "a"\nsize = "1M"\nwwlun = "60"', "lun[0].wwlun: '60' is not a World Wide LUN Name"),
        ('[[lun]]\nname = "a b"\nsize = "1M"', "lun[0].name: 'a b' cannot be the name of a vdisk"),
        ('[[lun]]\nname = "a"\nsize = "1M"\nsise = 1', "lun[0]: contains unknown field sise"),
        (
            '[[lun]]\nname = "a"\nsize = 512\n[[lun]]\nname = "A"\nsize = 512',
            "lun[1].name: a is in lun[0] already",
        ),
        ('[[portal]]\naddress = "x"', "portal[0]: 'x' is not an IPv4 or IPv6 address"),
        (
            '[[portal]]\naddress = "::1"\n[[portal]]\naddress = "0::1"',
            "portal[1].address: [::1]:3260 is in portal[0]",
        ),
        ('[[portal]]\naddress = "::1"\nport = 65536', "portal[0]: 65536 is not a TCP port"),
        ('[[initiator]]\nname = "x"', "initiator[0].name: "),
        (f'[[initiator]]\nname = "{HOST}"\nchap_user = "x"', "initiator[0]: a user or a secret is given"),
        (f'[[initiator]]\nname = "{HOST}"\nchap = "both"', "initiator[0].chap: Invalid enum value 'both'"),
        ('[array]\npolicy = "open"', "array.policy: Invalid enum value 'open'"),
        ('[array]\nmodel = "HSV999"', "change array: model HSV999"),
        ("lun = 1", "lun: Expected array, got int"),
        ("a = " + "[" * 500, "the file is not"),
    ],
)
def test_an_error_names_its_place_in_the_file(
    resting: Array, tmp_path: Path, text: str, message: str
) -> None:
    assert resting.refused("apply", put(tmp_path / "x.toml", text)).startswith(message)


def test_the_model_of_a_running_array_stays(array: Array, tmp_path: Path) -> None:
    file = put(tmp_path / "x.toml", '[array]\nmodel = "HSV210"\n')
    if array.live:
        assert array.refused("apply", file).startswith(
            "array.model: the model cannot change while the target runs"
        )
    else:
        assert array.ok("apply", file).startswith("change array: model HSV210\n")


@given(st.text())
def test_text_that_is_no_configuration_is_invalid_and_nothing_else(text: str) -> None:
    try:
        configuration.parse(text)
    except Invalid:
        pass
