"""Whatever is found in the folder, opening it works or says what to do."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mpxtarget.server.errors import Busy, NotFound, Refusal
from mpxtarget.server.state import State


def refusal(folder: Path) -> Refusal:
    with pytest.raises(Refusal) as caught:
        State.open(folder)
    assert str(folder) in caught.value.message
    return caught.value


def change(folder: Path, sql: str) -> None:
    with closing(sqlite3.connect(folder / "array.db")) as database:
        database.execute(sql)
        database.commit()


def test_no_array(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        error = refusal(folder)
        assert isinstance(error, NotFound)
        assert str(error) == f"no array in {folder}; run `mpxtarget init --state {folder}`"
    assert not (tmp_path / "missing").exists()


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    State.create(tmp_path).close()

    def denied(path: object, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.open", denied)  # a test that runs as root would be let in
    error = refusal(tmp_path)
    assert "Permission denied" in error.message and "as the user that owns" in error.hint


def test_a_newer_schema(tmp_path: Path) -> None:
    State.create(tmp_path).close()
    change(tmp_path, "PRAGMA user_version = 99")
    error = refusal(tmp_path)
    assert "newer" in error.message and "99" in error.message


def test_another_programs_database(tmp_path: Path) -> None:
    change(tmp_path, "CREATE TABLE theirs (x)")
    assert "not the database of an array" in refusal(tmp_path).message


def test_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "array.db").write_text("this is no database, but long enough to be looked at by one\n" * 40)
    assert "damaged" in refusal(tmp_path).message


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "array.db").touch()
    assert "not the database of an array" in refusal(tmp_path).message


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "array.db").mkdir()
    assert "Is a directory" in refusal(tmp_path).message


@pytest.mark.parametrize("page", [1, 3, 5])
def test_a_damaged_page(tmp_path: Path, page: int) -> None:
    State.create(tmp_path).close()
    path = tmp_path / "array.db"
    content = bytearray(path.read_bytes())
    content[page * 4096 : (page + 1) * 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    error = refusal(tmp_path)
    assert "damaged" in error.message and "copy" in error.hint


def test_a_truncated_file(tmp_path: Path) -> None:
    State.create(tmp_path).close()
    path = tmp_path / "array.db"
    path.write_bytes(path.read_bytes()[: 3 * 4096])
    assert "damaged" in refusal(tmp_path).message


@pytest.mark.parametrize("lost", ["DELETE FROM array", "DROP TABLE portal"])
def test_records_that_are_missing(tmp_path: Path, lost: str) -> None:
    State.create(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "array.db")) as other:
        other.execute(lost)
        other.commit()
    with State.open(tmp_path) as state, pytest.raises(Refusal, match="damaged") as caught:
        state.array()
        state.list_portals()
    assert "copy" in caught.value.hint


def test_a_database_somebody_is_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpxtarget.server.database._BUSY_TIMEOUT", 0.0)
    with State.create(tmp_path) as state, closing(sqlite3.connect(tmp_path / "array.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy, match="another process"):
            state.remove_portal(1)
        other.execute("ROLLBACK")
        state.remove_portal(1)


def test_a_repr_tells_the_folder_and_no_more(tmp_path: Path) -> None:
    with State.create(tmp_path) as state:
        assert repr(state) == f"<State of {tmp_path}>"
