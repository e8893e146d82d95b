"""What the control socket answers to requests, well formed and not."""

import asyncio
import json
import logging
from random import Random

import pytest

from mpxtarget.server import control as module
from mpxtarget.server.control import ControlServer
from mpxtarget.server.verbs import VERBS, Verb
from mpxtarget.server.verbs.base import Context, NoArguments

from .conftest import Say


def request(line: str, body: bytes = b"", *headers: str) -> bytes:
    """An HTTP request."""
    head = [f"{line} HTTP/1.1", "Host: mpxtarget", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def answers(data: bytes) -> list[tuple[int, bytes]]:
    """Status and content of each response."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
        found.append((int(lines[0].split()[1]), data[:length]))
        data = data[length:]
    return found


async def test_the_root_lists_every_verb_with_its_method(say: Say) -> None:
    ((status, body),) = answers(await say(request("GET /v1")))
    listed = json.loads(body)
    assert status == 200
    assert {row["verb"] for row in listed} == set(VERBS)
    assert all(row["summary"].endswith(".") for row in listed)
    assert {row["method"] for row in listed if row["verb"].endswith("/list")} == {"GET"}


async def test_a_verb_that_reads_takes_get_and_post(say: Say) -> None:
    for line in ("GET /v1/lun/list", "POST /v1/lun/list"):
        assert answers(await say(request(line))) == [(200, b"[]\n")]


async def test_one_connection_carries_many_requests(say: Say) -> None:
    data = request("GET /v1/lun/list") + request("GET /v1/nothing") + request("GET /v1/portal/list")
    assert [status for status, _ in answers(await say(data))] == [200, 404, 200]


@pytest.mark.parametrize(
    ("line", "body", "status", "kind"),
    [
        ("GET /", b"", 404, "not-found"),
        ("GET /v2/lun/list", b"", 404, "not-found"),
        ("GET /v1/lun/list/../list", b"", 404, "not-found"),
        ("GET /v1/portal/add", b"", 405, "usage"),
        ("DELETE /v1/lun/list", b"", 405, "usage"),
        ("POST /v1", b"", 405, "usage"),
        ("GET /v1/lun/list?all=1", b"", 400, "usage"),
        ("POST /v1/lun/list", b'{"all": 1}', 400, "usage"),
        ("POST /v1/lun/create", b"not json", 400, "usage"),
        ("POST /v1/lun/create", b"\xff\xfe", 400, "usage"),
        ("POST /v1/lun/create", b"[" * 100000, 400, "usage"),
        ("POST /v1/lun/create", b"[]", 400, "usage"),
        ("POST /v1/lun/create", b"null", 400, "usage"),
        ("POST /v1/lun/create", b"{}", 400, "usage"),
        ("POST /v1/lun/create", b'{"name": 1, "size": 512}', 400, "usage"),
        ("POST /v1/lun/create", b'{"name": "a", "size": 1e400}', 400, "usage"),
        ("POST /v1/lun/create", b'{"name": "a", "size": "1G", "lun": 999999999999999999999}', 400, "usage"),
        ("POST /v1/lun/create", b'{"name": "a", "size": 512, "lun": 256}', 422, "invalid"),
        ("POST /v1/lun/create", b'{"name": "\\u0000", "size": 512}', 422, "invalid"),
        ("POST /v1/lun/create", b'{"name": "a", "size": 512, "store": "file:a\\u0000b"}', 422, "invalid"),
        ("POST /v1/lun/remove", b'{"lun": "a"}', 404, "not-found"),
        ("POST /v1/lun/remove", b'{"lun": 99999999999999999999}', 400, "usage"),
        ("POST /v1/portal/remove", b'{"portal": 9223372036854775807}', 400, "usage"),
        ("POST /v1/portal/remove", b'{"portal": "9:9:9:9"}', 404, "not-found"),
        ("POST /v1/initiator/add", b'{"name": "\\ud800"}', 400, "usage"),
        ("POST /v1/session/kill", b'{"tsih": -1}', 400, "usage"),
        ("POST /v1/session/kill", b'{"tsih": 7}', 404, "not-found"),
        ("POST /v1/apply", b'{"text": "a = ["}', 422, "invalid"),
    ],
)
async def test_an_error_is_one_line_of_json(say: Say, line: str, body: bytes, status: int, kind: str) -> None:
    ((got, content),) = answers(await say(request(line, body)))
    answer = json.loads(content)
    assert (got, answer["kind"]) == (status, kind), answer
    assert set(answer) == {"error", "hint", "kind"}
    assert content.count(b"\n") == 1
    assert "\n" not in answer["error"] + answer["hint"]


async def test_405_says_what_is_allowed(say: Say) -> None:
    assert b"\r\nallow: POST\r\n" in (await say(request("GET /v1/lun/create"))).lower().replace(
        b"post", b"POST"
    )


async def test_head_has_no_content(say: Say) -> None:
    data = await say(request("HEAD /v1/lun/list"))
    assert data.startswith(b"HTTP/1.1 405 ")
    assert data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100,
        b"GET\r\n\r\n",
        b"GET /v1 HTTP/1.1\r\n\r\n",  # no Host
        b"GET /v1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/lun/list HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xff\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_answered_once_and_dropped(say: Say, data: bytes) -> None:
    ((status, content),) = answers(await say(data, finish=False))
    assert 400 <= status < 600
    assert json.loads(content)["error"].startswith("not a request: ")


async def test_a_header_without_end_is_refused_when_it_is_too_long(say: Say) -> None:
    data = await say(b"GET /v1 HTTP/1.1\r\nHost: " + b"a" * (module.MAX_HEADER_BYTES + 1), finish=False)
    assert answers(data)[0][0] == 431


async def test_a_body_that_is_too_large_is_refused(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BODY_BYTES", 1000)
    data = await say(request("POST /v1/apply", b" " * 1001), finish=False)
    assert answers(data)[0][0] == 413


async def test_a_request_that_does_not_end_is_given_up(say: Say) -> None:
    data = await say(b"POST /v1/apply HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{", finish=False)
    assert answers(data)[0][0] == 408


async def test_a_peer_that_says_nothing_is_dropped(say: Say) -> None:
    assert await say(b"", finish=False) == b""


async def test_a_peer_that_waits_is_told_to_go_on(control: ControlServer) -> None:
    reader, writer = await asyncio.open_unix_connection(control.context.folder / "control.sock")
    writer.write(
        b"POST /v1/lun/list HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(b"{}")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_one_peer_too_many_is_refused_and_the_others_stay(
    control: ControlServer, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 2)
    path = control.context.folder / "control.sock"
    silent = [await asyncio.open_unix_connection(path) for _ in range(2)]
    data = await say(request("GET /v1/lun/list"))
    assert answers(data)[0][0] == 503
    for _, writer in silent:
        writer.close()
        await writer.wait_closed()
    for _ in range(100):
        if answers(await say(request("GET /v1/lun/list")))[0][0] == 200:
            break
    else:
        pytest.fail("the places of those who left are not free")


async def test_spoilt_requests_are_answered_or_dropped_and_nobody_else_notices(say: Say) -> None:
    random = Random(3260)
    good = request("POST /v1/lun/create", b'{"name": "data", "size": "1G"}') + request("GET /v1/lun/list")
    for _ in range(100):
        spoilt = bytearray(good)
        for _ in range(random.randint(1, 4)):
            match random.randrange(3):
                case 0:
                    spoilt[random.randrange(len(spoilt))] = random.randrange(256)
                case 1:
                    del spoilt[random.randrange(len(spoilt)) :]
                    spoilt += b"\r\n"
                case _:
                    at = random.randrange(len(spoilt))
                    spoilt[at:at] = random.randbytes(random.randint(1, 8))
        for status, content in answers(await say(bytes(spoilt))):
            assert status == 200 or json.loads(content).keys() == {"error", "hint", "kind"}
    assert answers(await say(request("GET /v1/portal/list"))) == [(200, b"[]\n")]


async def test_an_unexpected_error_names_its_kind_only_and_the_log_has_the_rest(
    say: Say, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(context: Context, arguments: NoArguments) -> None:
        raise ZeroDivisionError("with details")

    monkeypatch.setitem(VERBS, "lun/list", Verb("lun/list", NoArguments, fails, writes=False))
    with caplog.at_level(logging.ERROR):
        ((status, content),) = answers(await say(request("GET /v1/lun/list")))
    assert (status, json.loads(content)["error"]) == (500, "lun/list failed: ZeroDivisionError")
    assert "with details" in caplog.text


async def test_verbs_that_write_run_one_after_the_other_and_to_their_end(
    control: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[int] = []
    most: list[int] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(context: Context, arguments: NoArguments) -> None:
        running.append(1)
        most.append(len(running))
        begun.set()
        await go_on.wait()
        running.pop()

    monkeypatch.setitem(VERBS, "lun/slow", Verb("lun/slow", NoArguments, slow, writes=True))
    path = control.context.folder / "control.sock"
    for _ in range(3):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(request("POST /v1/lun/slow"))
        await writer.drain()
        writer.close()  # and does not wait for the answer
    await begun.wait()
    stopping = asyncio.create_task(control.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    go_on.set()
    await stopping
    assert running == []
    assert set(most) == {1}


async def test_progress_comes_line_by_line_and_the_result_last(say: Say) -> None:
    text = '[[lun]]\nname = "a"\nsize = "1M"\n[[lun]]\nname = "b"\nsize = "1M"\n'
    data = await say(request("POST /v1/apply", json.dumps({"text": text}).encode(), "Connection: close"))
    lines = [json.loads(line) for line in data.split(b"\r\n") if line.startswith(b"{")]
    assert [list(line) for line in lines] == [["progress"], ["progress"], ["result"]]
    assert lines[2]["result"]["changed"] is True


async def test_an_error_after_progress_is_the_last_line(say: Say, control: ControlServer) -> None:
    (control.context.folder / "vdisks").mkdir()
    (control.context.folder / "vdisks" / "b.img").write_bytes(b"precious")
    text = '[[lun]]\nname = "a"\nsize = "1M"\n[[lun]]\nname = "b"\nsize = "1M"\n'
    data = await say(request("POST /v1/apply", json.dumps({"text": text}).encode(), "Connection: close"))
    lines = [json.loads(line) for line in data.split(b"\r\n") if line.startswith(b"{")]
    assert lines[-1]["error"].startswith("create lun b of 1M: ")


async def test_the_log_says_what_was_changed_and_no_secret(
    say: Say, caplog: pytest.LogCaptureFixture
) -> None:
    name = "iqn.1991-05.com.microsoft:host"
    with caplog.at_level(logging.INFO):
        await say(request("POST /v1/initiator/add", json.dumps({"name": name}).encode()))
        body = json.dumps({"name": name, "secret": "correct horse 16"}).encode()
        await say(request("POST /v1/initiator/set-chap", body))
        await say(request("POST /v1/lun/create", b'{"name": "data", "size": "1M", "lun": "next"}'))
        await say(request("POST /v1/lun/prefer", b'{"lun": "data", "preferred": "A"}'))
    assert "lun create data done" in caplog.messages
    assert "lun prefer data done" in caplog.messages
    assert f"initiator add {name} done" in caplog.messages
    assert f"initiator set-chap {name} done" in caplog.messages
    assert "correct horse" not in caplog.text
