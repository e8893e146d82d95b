"""The client of the control API: HTTP over the control socket, standard library only."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NoReturn

from mpxtarget.cli.calls import Failure, NobodyServes

ANSWER_SECONDS = 10.0


class _Row(dict[str, Any]):
    """A JSON object of an answer. Versions only add fields, so one that is not there is the target's age."""

    def __missing__(self, field: str) -> NoReturn:
        raise _older(repr(field))


def _older(what: str) -> Failure:
    return Failure(
        f"the target that runs is older than this command: it does not know {what}",
        "stop it, and start it again with this version",
    )


class NoAnswer(Exception):  # noqa: N818
    """Somebody listens, and does not answer in time or not in HTTP.  The text says which."""


class ServerRefused(Exception):  # noqa: N818
    """The verb was refused.  `usage` tells a wrong call from a refusal."""

    def __init__(self, message: str, hint: str, usage: bool) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.usage = usage


class _UnixConnection(HTTPConnection):
    """HTTP over `<folder>/control.sock`.

    It is reached through a descriptor of the folder, whose name may be longer than `sun_path`'s 108 bytes.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        super().__init__("mpxtarget", timeout=seconds)
        self._folder = folder

    def connect(self) -> None:
        try:
            descriptor = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise NobodyServes from None
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(f"/proc/self/fd/{descriptor}/control.sock")
        except (FileNotFoundError, ConnectionRefusedError):
            raise NobodyServes from None
        finally:
            os.close(descriptor)


def request(
    folder: Path,
    verb: str,
    values: dict[str, Any],
    *,
    progress: Callable[[str], None] | None = None,
    seconds: float = ANSWER_SECONDS,
) -> Any:
    """Call a verb in the target that serves `folder` and return its answer.

    `seconds` is how long the server may be silent.  Raises NobodyServes, NoAnswer, ServerRefused,
    PermissionError.
    """
    connection = _UnixConnection(folder, seconds)
    try:
        connection.request("POST", f"/v1/{verb}", json.dumps(values), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status == 200 and response.headers.get_content_type() == "application/x-ndjson":
            while line := response.readline():
                answer = json.loads(line, object_hook=_Row)
                if "progress" not in answer:
                    return _result(200, answer["result"]) if "result" in answer else _result(409, answer)
                if progress is not None:
                    progress(answer["progress"])
            raise NoAnswer("the target ended the connection in the middle of its answer")
        return _result(response.status, json.loads(response.read(), object_hook=_Row))
    except TimeoutError:
        raise NoAnswer(f"the target did not answer within {seconds:g} seconds") from None
    except PermissionError:
        raise
    except (HTTPException, OSError, ValueError) as error:
        raise NoAnswer(f"the target broke off ({type(error).__name__})") from None
    finally:
        connection.close()


def _result(status: int, answer: Any) -> Any:
    if status == 200:
        return answer
    if not isinstance(answer, dict) or "error" not in answer:
        raise NoAnswer(f"the target answered with HTTP status {status} and no reason")
    if str(answer["error"]).startswith("there is no '/v1/"):
        raise _older("that verb")
    raise ServerRefused(str(answer["error"]), str(answer.get("hint", "")), answer.get("kind") == "usage")
