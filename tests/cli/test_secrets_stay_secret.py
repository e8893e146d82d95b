"""A secret goes in by a file, standard input, the environment or a prompt, and never comes out."""

import logging
from pathlib import Path

import pytest

from mpxtarget.server.state import InitiatorRecord, State

from .arrays import HOST, Array

SECRET = "correct horse 16"
TARGET_SECRET = "battery staple 1"
NAMES = ("MPXTARGET_CHAP_SECRET", "MPXTARGET_CHAP_TARGET_SECRET")


@pytest.fixture(autouse=True)
def _known(array: Array) -> None:
    array.ok("initiator", "add", HOST)


def fails(state: State, record: InitiatorRecord) -> InitiatorRecord:
    """An error with a secret in its text."""
    raise ValueError(record.chap_secret)


def stored(array: Array) -> tuple[bytes, bytes]:
    """What is in the database, and what the running bridge asks for."""
    with State.open(array.folder) as state:
        record = state.get_initiator(HOST)
    if array.target is not None:
        assert array.target.bridge.initiators.get(HOST) == record
    return record.chap_secret, record.target_secret


def test_secrets_come_from_files(array: Array, tmp_path: Path) -> None:
    (tmp_path / "one").write_text(SECRET + "\nsecond line\n")
    (tmp_path / "two").write_text(TARGET_SECRET)
    said = array.ok(
        "initiator", "set-chap", HOST, "--user", "me",
        "--secret-file", str(tmp_path / "one"), "--target-secret-file", str(tmp_path / "two"),
    )  # fmt: skip
    assert said == f"{HOST} logs in with mutual CHAP as me\n"
    assert stored(array) == (SECRET.encode(), TARGET_SECRET.encode())


def test_a_byte_order_mark_is_no_part_of_a_secret(array: Array, tmp_path: Path) -> None:
    (tmp_path / "one").write_text(SECRET + "\r\n", encoding="utf-8-sig")
    array.ok("initiator", "set-chap", HOST, "--secret-file", str(tmp_path / "one"))
    assert stored(array) == (SECRET.encode(), b"")


def test_both_secrets_come_from_standard_input_line_by_line(array: Array) -> None:
    words = ["initiator", "set-chap", HOST, "--secret-file", "-", "--target-secret-file", "-"]
    array.ok(*words, stdin=f"{SECRET}\r\n{TARGET_SECRET}\n")
    assert stored(array) == (SECRET.encode(), TARGET_SECRET.encode())


def test_secrets_come_from_the_environment(array: Array) -> None:
    env = dict(zip(NAMES, (SECRET, TARGET_SECRET), strict=True))
    array.ok("initiator", "set-chap", HOST, env=env)
    assert stored(array) == (SECRET.encode(), b"")
    array.ok("initiator", "set-chap", HOST, "--mutual", env=env)
    assert stored(array) == (SECRET.encode(), TARGET_SECRET.encode())


def test_a_terminal_is_asked_without_echo(array: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    from mpxtarget.cli import secrets

    monkeypatch.setattr(secrets, "_somebody_is_there", lambda: True)
    result = array.run("initiator", "set-chap", HOST, stdin=f"{SECRET}\n{SECRET}\n")
    assert result.exit_code == 0
    assert f"Secret of {HOST}" in result.stderr
    assert SECRET not in result.output
    assert stored(array) == (SECRET.encode(), b"")


def test_a_missing_secret_says_where_it_could_come_from(array: Array) -> None:
    result = array.run("initiator", "set-chap", HOST, stdin="")
    assert result.exit_code == 2
    assert "--secret-file FILE" in result.stderr
    assert "MPXTARGET_CHAP_SECRET" in result.stderr


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe"])
def test_a_file_without_a_secret_is_refused(array: Array, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "one").write_bytes(content)
    array.refused("initiator", "set-chap", HOST, "--secret-file", str(tmp_path / "one"), code=2)


@pytest.mark.parametrize("secret", ["short", "x" * 256])
def test_a_secret_that_breaks_the_rules_is_refused_without_quoting_it(array: Array, secret: str) -> None:
    result = array.run("initiator", "set-chap", HOST, "--secret-file", "-", stdin=secret)
    assert result.exit_code == 1
    assert secret not in result.output


def test_no_verb_and_no_log_says_a_secret(
    array: Array, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    env = dict(zip(NAMES, (SECRET, TARGET_SECRET), strict=True))
    said = [
        array.run("initiator", "set-chap", HOST, "--mutual", env=env).output,
        array.run("initiator", "list").output,
        array.run("initiator", "list", "--json").output,
        array.run("status", "--json").output,
        array.run("export").output,
        array.run("initiator", "set-chap", "nobody", "--mutual", env=env).output,
    ]
    (tmp_path / "host.secret").write_text(SECRET[::-1])
    (tmp_path / "a.toml").write_text(
        f'[[initiator]]\nname = "{HOST}"\nchap = "one-way"\nchap_secret_file = "host.secret"\n'
    )
    said.append(array.run("apply", str(tmp_path / "a.toml"), "--json").output)
    assert stored(array) == (SECRET[::-1].encode(), b"")
    with monkeypatch.context() as patch:
        # An unexpected error may quote anything.
        patch.setattr(State, "update_initiator", fails)
        message = array.refused("initiator", "set-chap", HOST, "--secret-file", "-", stdin=SECRET)
        assert "ValueError" in message
        said.append(message)
    said.append(array.run("initiator", "remove", HOST).output)
    said.append(caplog.text)
    for text in said:
        for secret in (SECRET, TARGET_SECRET, SECRET[::-1]):
            assert secret not in text


def test_no_file_of_the_array_is_for_others(array: Array) -> None:
    for path in [array.folder, *array.folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0 or path.name == "vdisks", path


def test_help_offers_no_secret_on_the_command_line(array: Array) -> None:
    words = array.ok("initiator", "set-chap", "--help").split()
    assert "--secret" not in words
    assert "--target-secret" not in words
