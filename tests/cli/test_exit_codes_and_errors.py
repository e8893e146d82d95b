"""An error is a line what was wrong and a line what to do, and 2 for wrong usage, 1 for a refusal."""

import errno
import os
import socket
import threading
from pathlib import Path

import click
import pytest

from mpxtarget.cli import calls, client

from .arrays import HOST, Array, served


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense"], "No such command 'nonsense'."),
        (["lun", "list", "--nonsense"], "No such option '--nonsense'."),
        (["lun", "create"], "Missing argument 'NAME'."),
        (["lun", "create", "data"], "how large is data to be?"),
        (["lun", "create", "data", "--size", "10GB"], "'10GB': decimal units are not used"),
        (["lun", "create", "data", "--size", "0"], "size '0' is not above zero"),
        (["lun", "create", "data", "--size", "1G", "--lun", "x"], "'x' is not a LUN"),
        (["portal", "add", "127.0.0.1:iscsi"], "'127.0.0.1:iscsi': 'iscsi' is not a TCP port"),
        (["portal", "add", "127.0.0.1:"], "'127.0.0.1:': '' is not a TCP port"),
        (["portal", "add", "127.0.0.1:3261", "--port", "3262"], "'127.0.0.1:3261' says port 3261"),
        (["portal", "advertise", "1"], "give either HOST[:PORT] or --off"),
        (["initiator", "set-chap", HOST, "--off", "--mutual"], "--off takes CHAP away"),
        (["apply", "no-such-file.toml"], "cannot read no-such-file.toml: No such file or directory"),
        (["init", "--demo", "--portal", "127.0.0.1"], "--demo has portals of its own"),
        (["serve", "--log-level", "loud"], "Invalid value for '--log-level'"),
        (["--state", "", "status"], "Invalid value for '--state': the name of the folder is empty."),
        (["init", "--state", ""], "Invalid value for '--state': the name of the folder is empty."),
    ],
)
def test_wrong_usage_leaves_with_2(array: Array, words: list[str], message: str) -> None:
    assert array.refused(*words, code=2).startswith(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lun", "remove", "data"], "there is no vdisk data"),
        (["lun", "create", "data", "--size", "1M", "--lun", "0"], "LUN 0 is not between 1 and 255"),
        (
            ["lun", "create", "data", "--size", "1M", "--store", "ftp:x"],
            "ftp:x: there is no kind of store called 'ftp'",
        ),
        (
            ["lun", "create", "data", "--size", "1M", "--store", "file:/no/such/x"],
            "/no/such/x cannot be made",
        ),
        (["lun", "create", "data", "--existing"], "data.img does not exist"),
        (["lun", "create", "7", "--size", "1M"], "commands would take it for a LUN"),
        (["portal", "add", "[::1"], "'[::1' is not an IPv4 or IPv6 address"),
        (["portal", "add", "127.0.0.1", "--advertise", "0.0.0.0"], "a host has to be told one"),
        (["portal", "remove", "9"], "there is no portal 9"),
        (["portal", "remove", "127.0.0.1:9"], "there is no portal 127.0.0.1:9"),
        (["initiator", "remove", HOST], f"there is no initiator {HOST}"),
        (["session", "kill", "1"], "there is no session 1"),
        (["init"], "there is already an array in"),
    ],
)
def test_a_refusal_leaves_with_1(array: Array, words: list[str], message: str) -> None:
    assert message in array.refused(*words)


def test_a_folder_without_an_array_says_how_to_make_one(tmp_path: Path) -> None:
    nowhere = Array(tmp_path / "nowhere")
    for words in (["status"], ["lun", "create", "data", "--size", "1G"], ["export"], ["serve"]):
        result = nowhere.run(*words)
        assert result.exit_code == 1
        assert "no array in" in result.stderr
        assert "mpxtarget init" in result.stderr
    assert not nowhere.folder.exists()


def test_no_command_shows_help_and_leaves_with_2(array: Array) -> None:
    for words in ([], ["lun"]):
        result = array.run(*words)
        assert result.exit_code == 2
        assert result.stderr.startswith("Usage: ")


def test_help_leaves_with_0(array: Array) -> None:
    assert array.ok("lun", "create", "--help").startswith("Usage: ")


def test_state_may_stand_before_and_after_the_verb(array: Array, tmp_path: Path) -> None:
    env = {"MPXTARGET_STATE": str(tmp_path / "elsewhere")}
    folder = str(array.folder)
    assert array.run("--state", folder, "portal", "list", env=env).exit_code == 0
    assert array.run("portal", "list", "--state", folder, env=env).exit_code == 0
    assert array.run("--state", "/nowhere", "portal", "list", "--state", folder, env=env).exit_code == 0
    assert array.run("portal", "list", env=env).exit_code == 1


def test_the_default_folder_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPXTARGET_STATE", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert calls.default_folder() == Path("/home/me/.local/state/mpxtarget")
    monkeypatch.setenv("XDG_STATE_HOME", "/var/mine")
    assert calls.default_folder() == Path("/var/mine/mpxtarget")
    monkeypatch.setenv("MPXTARGET_STATE", "/srv/array")
    assert calls.default_folder() == Path("/srv/array")


def test_a_listing_without_rows_says_how_to_get_one(array: Array) -> None:
    array.ok("portal", "remove", "1")
    assert array.ok("lun", "list") == "no LUNs yet: mpxtarget lun create data --size 10G\n"
    assert array.ok("portal", "list") == "no portals yet: mpxtarget portal add 127.0.0.1:3260\n"
    assert array.ok("initiator", "list").startswith("no initiators yet: ")
    assert array.ok("session", "list") == "nobody is logged in\n"
    assert array.ok("reservation", "list") == "nobody is registered\n"
    for noun in ("lun", "portal", "initiator", "session", "reservation"):
        assert array.ok(noun, "list", "--json") == "[]\n"


def test_a_target_that_does_not_answer_is_named(resting: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(resting.folder / "control.sock"))
        listener.listen()
        message = resting.refused("lun", "list")
    assert message == "the target did not answer within 0.1 seconds"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot json!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[]",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 16\r\n\r\n"
        + b'{"progress":"x"}',
    ],
)
def test_an_answer_that_is_none_is_an_error_of_one_line(resting: Array, answer: bytes) -> None:
    assert refused_when_told(resting, answer, "lun", "list").startswith("the target ")


def test_a_running_target_that_is_older_than_the_command_is_named_as_such(resting: Array) -> None:
    for words, status, body in (
        (("lun", "list"), b"200 OK", b'[{"name":"data","lun":1,"size":512,"controller":"A"}]'),
        (("controller", "fail", "A"), b"404 Not Found", b'{"error":"there is no \'/v1/controller/fail\'"}'),
    ):
        answer = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
        message = refused_when_told(resting, answer, *words)
        assert message.startswith("the target that runs is older than this command: it does not know ")


def refused_when_told(array: Array, answer: bytes, *words: str) -> str:
    """What a command says to an answer that no target of this version gives."""
    path = array.folder / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def reply() -> None:
            peer, _ = listener.accept()
            with peer:
                asked = b""
                while not asked.endswith(b"}"):  # the body, which may come by itself
                    asked += peer.recv(65536)
                peer.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        message = array.refused(*words)
        thread.join()
    path.unlink()
    return message


def test_the_socket_of_a_server_that_was_killed_is_no_obstacle(resting: Array) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(resting.folder / "control.sock"))
    assert resting.ok("lun", "list").startswith("no LUNs yet")
    with served(resting.folder) as live:
        live.ok("lun", "create", "data", "--size", "1M")


def test_a_writer_waits_for_another_and_then_gives_up_naming_it(
    resting: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mpxtarget.server.lock import FolderLock

    monkeypatch.setattr(calls, "LOCK_SECONDS", 0.1)
    with FolderLock(resting.folder, "lun/create"):
        assert f"process {os.getpid()}" in resting.refused("lun", "create", "data", "--size", "1M")
        resting.ok("lun", "list")
    resting.ok("lun", "create", "data", "--size", "1M")


def test_control_characters_in_names_do_not_reach_the_terminal(live: Array) -> None:
    from .arrays import FakeSession

    assert live.target is not None
    live.target.logged_in = [FakeSession(1, initiator="iqn.2001-04.com.example:\x1b[2J")]
    assert "\x1b" not in live.ok("session", "list")
    assert "\\x1b" in live.ok("session", "list")


def test_output_that_cannot_be_written_is_no_bug(array: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, err: bool = False, **__: object) -> None:
        if not err:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        echo(*_, err=err, **__)

    echo = click.echo
    monkeypatch.setattr(click, "echo", full)
    assert array.refused("portal", "list") == "broken off: No space left on device"


def test_the_commands_that_init_suggests_can_be_pasted(array: Array, tmp_path: Path) -> None:
    said = array.ok("init", "--state", str(tmp_path / "two words; $x"))
    assert f"mpxtarget serve --state '{tmp_path}/two words; $x'" in said


def test_serving_a_folder_without_an_array_says_how_to_make_one(array: Array, tmp_path: Path) -> None:
    result = array.run("serve", "--state", str(tmp_path / "no"))
    assert result.exit_code == 1
    assert f"`mpxtarget init --state {tmp_path}/no`" in result.stderr


@pytest.mark.parametrize(
    ("store", "words", "said"),
    [
        ("memory:", [], "removed data, and its data, which was in memory only"),
        ("memory:", ["--delete-data"], "removed data, and its data, which was in memory only"),
        ("file:vdisks/x.img", [], "removed data; its data stays in file:vdisks/x.img"),
        ("file:vdisks/x.img", ["--delete-data"], "removed data and its data"),
    ],
)
def test_remove_says_what_became_of_the_data(array: Array, store: str, words: list[str], said: str) -> None:
    array.ok("lun", "create", "data", "--size", "1M", "--store", store)
    assert array.ok("lun", "remove", "data", *words) == said + "\n"


def test_a_lun_whose_file_is_gone_is_removed_with_its_data(array: Array) -> None:
    array.ok("lun", "create", "data", "--size", "1M")
    (array.folder / "vdisks" / "data.img").unlink()
    assert array.ok("lun", "remove", "data", "--delete-data") == "removed data and its data\n"
