"""The records of a folder become a running array, or a refusal that names the disk and the file."""

from dataclasses import replace
from pathlib import Path

import pytest

from backing_stores import open_store
from mpxtarget.bridge.records import InitiatorRecord, PresentationRecord
from mpxtarget.server.assemble import assemble, create_array
from mpxtarget.server.errors import Refusal
from mpxtarget.server.state import State, VdiskSpec

INITIATOR = "iqn.1991-05.com.microsoft:host"
ISID = 0x400001370000


def free(folder: Path, name: str) -> None:
    """Raises StoreError if somebody has the store open."""
    open_store(f"file:vdisks/{name}.img", base=folder).close()


def test_a_new_array_has_its_stores(tmp_path: Path) -> None:
    with create_array(tmp_path / "state") as state:
        files = sorted((tmp_path / "state" / "vdisks").iterdir())
        assert [(path.name, path.stat().st_size) for path in files] == [
            ("vdisk1.img", 1 << 30),
            ("vdisk2.img", 1 << 30),
        ]
        assert all(path.stat().st_blocks == 0 for path in files)
        assembly = assemble(state)
        assert {key: store.size for key, store in assembly.stores.items()} == {1: 1 << 30, 2: 1 << 30}
        assert list(assembly.bridge.array.vdisks) == [1, 2]
        assembly.close()
        free(state.folder, "vdisk1")


def test_a_store_that_cannot_be_made_leaves_no_array_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "vdisks").mkdir()
    (tmp_path / "vdisks" / "vdisk2.img").write_text("precious")
    with pytest.raises(Refusal, match=r"vdisk vdisk2: .*vdisk2\.img"):
        create_array(tmp_path)
    assert not State.exists(tmp_path)
    assert [path.name for path in (tmp_path / "vdisks").iterdir()] == ["vdisk2.img"]
    assert (tmp_path / "vdisks" / "vdisk2.img").read_text() == "precious"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: path.write_bytes(bytes(512)), "512"),
        (lambda path: (path.unlink(), path.mkdir()), "folder"),
    ],
)
def test_a_broken_store_is_a_refusal_that_names_it(tmp_path: Path, damage: object, message: str) -> None:
    with create_array(tmp_path) as state:
        damage(tmp_path / "vdisks" / "vdisk2.img")  # type: ignore[operator]
        with pytest.raises(Refusal, match=rf"vdisk vdisk2: .*vdisk2\.img.*{message}|{message}.*vdisk2\.img"):
            assemble(state)
        free(tmp_path, "vdisk1")  # nothing stays open


def test_a_store_that_somebody_serves_is_a_refusal(tmp_path: Path) -> None:
    with create_array(tmp_path) as state:
        assembly = assemble(state)
        with pytest.raises(Refusal, match=r"vdisk vdisk1: .*vdisk1\.img"):
            assemble(state)
        assembly.close()
        assemble(state).close()


def test_the_folder_can_be_moved(tmp_path: Path) -> None:
    create_array(tmp_path / "here").close()
    (tmp_path / "here").rename(tmp_path / "there")
    with State.open(tmp_path / "there") as state:
        assemble(state).close()


def test_masks_and_secrets_are_in_force_after_a_restart(tmp_path: Path) -> None:
    with create_array(
        tmp_path, policy="masked", vdisks=[VdiskSpec("m", 1 << 20, store_url="memory:")]
    ) as state:
        state.add_initiator(InitiatorRecord(INITIATOR, chap_secret=b"0123456789ab"))
        state.add_presentation(PresentationRecord(1, INITIATOR, 7))
    with State.open(tmp_path) as state:
        bridge = assemble(state).bridge
        assert not bridge.admit(INITIATOR, None).allow_none
        nexus = bridge.attach(INITIATOR, ISID, next(iter(bridge.targets)))
        assert sorted(nexus.by_number) == [0, 7]


def test_a_login_is_written_down(tmp_path: Path) -> None:
    now = 100.0
    with create_array(tmp_path, vdisks=()) as state:
        assembly = assemble(state, lambda: now)
        bridge = assembly.bridge
        target = next(iter(bridge.targets))
        bridge.detach(bridge.attach(INITIATOR, ISID, target))
        assert state.get_initiator(INITIATOR).first_seen == 100.0  # the first one at once
        now = 200.0
        bridge.detach(bridge.attach(INITIATOR, ISID, target))
        assembly.close()
        record = state.get_initiator(INITIATOR)
        assert (record.first_seen, record.last_seen) == (100.0, 200.0)


def test_a_login_that_cannot_be_written_down_is_a_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with create_array(tmp_path, vdisks=()) as state:
        assembly = assemble(state)

        def full(*_: object) -> None:
            raise Refusal("no space left")

        monkeypatch.setattr(state, "see_initiator", full)
        bridge = assembly.bridge
        bridge.attach(INITIATOR, ISID, next(iter(bridge.targets)))
        assembly.close()
        assert INITIATOR in caplog.text and "no space left" in caplog.text


def test_a_read_only_disk_is_opened_so(tmp_path: Path) -> None:
    with create_array(tmp_path) as state:
        state.update_vdisk(replace(state.get_vdisk(1), read_only=True))
        assembly = assemble(state)
        assert assembly.stores[1].read_only and not assembly.stores[2].read_only
        assert assembly.bridge.array.vdisks[1].disk.read_only
        assembly.close()
