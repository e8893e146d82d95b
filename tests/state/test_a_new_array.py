"""`State.create` makes a whole array or none, and the defaults are the demo."""

import os
import stat
from pathlib import Path

import pytest

from mpxtarget.array import identity
from mpxtarget.array.models import MODELS
from mpxtarget.server.errors import Conflict, Invalid, Refusal
from mpxtarget.server.state import PortalSpec, State, VdiskSpec


def test_the_default_is_the_demo(tmp_path: Path) -> None:
    with State.create(tmp_path) as state:
        array = state.array()
        assert (array.name, array.model, array.policy) == ("EVA4400", "HSV300", "present-all")
        assert [(p.address, p.port, p.enabled) for p in state.list_portals()] == [
            ("127.0.0.1", 3260, True),
            ("127.0.0.1", 3261, True),
        ]
        assert [(v.lun, v.size, v.controller, v.store_url) for v in state.list_vdisks()] == [
            (1, 1 << 30, "A", "file:vdisks/vdisk1.img"),
            (2, 1 << 30, "B", "file:vdisks/vdisk2.img"),
        ]
        assert not state.list_initiators() and not state.list_presentations()


@pytest.mark.parametrize("model", MODELS)
def test_names_are_made_from_the_random_bytes_given(tmp_path: Path, model: str) -> None:
    def make(folder: str, seed: int) -> tuple[object, list[bytes]]:
        with State.create(tmp_path / folder, model=model, entropy=lambda n: bytes([seed] * n)) as state:
            return state.array(), [vdisk.wwlun for vdisk in state.list_vdisks()]

    assert make("a", 1) == make("b", 1) != make("c", 2)


def test_the_folder_and_what_is_above_it_are_made(tmp_path: Path) -> None:
    folder = tmp_path / "one" / "two"
    State.create(folder).close()
    assert State.exists(folder) and not State.exists(tmp_path)


def test_only_the_owner_can_read_the_database(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    old = os.umask(0)
    try:
        State.create(folder).close()
    finally:
        os.umask(old)
    assert stat.S_IMODE((folder / "array.db").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_array_is_never_overwritten(tmp_path: Path) -> None:
    with State.create(tmp_path, name="first") as state:
        before = state.array()
    with pytest.raises(Conflict, match="already an array") as caught:
        State.create(tmp_path)
    assert "--state" in caught.value.hint
    with State.open(tmp_path) as state:
        assert state.array() == before


def test_of_two_that_make_an_array_at_once_one_is_refused(tmp_path: Path) -> None:
    def somebody_is_faster(_: State) -> None:
        State.create(tmp_path, name="faster").close()

    # The same process makes both, so the unfinished files would have one name; another process has another.
    with pytest.MonkeyPatch.context() as patch:
        pids = iter((1, 2, 2, 2))
        patch.setattr(os, "getpid", lambda: next(pids))
        with pytest.raises(Conflict, match="already an array"):
            State.create(tmp_path, name="slower", prepare=somebody_is_faster)
    with State.open(tmp_path) as state:
        assert state.array().name == "faster"
    assert {path.name for path in tmp_path.iterdir()} == {"array.db", "array.db-journal"}


@pytest.mark.parametrize(
    "defaults",
    [
        {"model": "HSV999"},
        {"name": ""},
        {"policy": "open"},
        {"name_template": "iqn.2004-09.com.hp:same"},
        {"portals": [PortalSpec("nowhere")]},
        {"portals": [PortalSpec("127.0.0.1"), PortalSpec("127.0.0.1")]},
        {"vdisks": [VdiskSpec("a", 512), VdiskSpec("A", 512)]},
        {"vdisks": [VdiskSpec("a", 511)]},
    ],
)
def test_a_refused_default_leaves_nothing(tmp_path: Path, defaults: dict[str, object]) -> None:
    with pytest.raises(Refusal):
        State.create(tmp_path, **defaults)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_prepared_leaves_no_array(tmp_path: Path) -> None:
    def fails(state: State) -> None:
        assert len(state.list_vdisks()) == 2
        raise Invalid("no")

    with pytest.raises(Invalid, match="no"):
        State.create(tmp_path, prepare=fails)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refusal, match=r"file/state.*Not a directory") as caught:
        State.create(tmp_path / "file" / "state")
    assert caught.value.hint


def test_every_disk_ever_made_has_another_wwlun(tmp_path: Path) -> None:
    with State.create(tmp_path, vdisks=()) as state:
        base = state.array().wwlun_base
        made = []
        for _ in range(3):
            record = state.add_vdisk(VdiskSpec("again", 512))
            made.append(record.wwlun)
            state.remove_vdisk(record.id)
        assert made == [identity.wwlun(base, ordinal) for ordinal in (1, 2, 3)]
