"""What holds for all tests: bounded time, the event loop of the server, reproducible examples, known tools.

- An async test is cancelled at three quarters of its time limit (`timeout` in pyproject.toml, or the mark
  `timeout`), and fails with a traceback of where it stood. pytest-timeout stays behind it as the last net:
  its signal cannot interrupt uvloop, so it works by a thread, which can only end the whole run.
- Async tests run on uvloop, as the server does; those marked `loops` run once more on asyncio's own loop.
- Under CI, hypothesis draws the same examples every time.
"""

import asyncio
import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

import hypothesis
import pytest
import uvloop

from tools.requirement import RequiredTools

hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

_CANCEL_AT = 0.75


def pytest_configure(config: pytest.Config) -> None:
    """Add the marks that have code behind them, and that code."""
    config.addinivalue_line("markers", "loops: an async test for uvloop and for asyncio's own loop")
    config.addinivalue_line("markers", "require_tool(name, ...): see tests/tools")
    config.pluginmanager.register(RequiredTools(), "mpxtarget-required-tools")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loops that an async test runs on."""
    if item.get_closest_marker("loops"):
        return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _bounded(request: pytest.FixtureRequest) -> None:
    # Not a fixture around the test: a fixture's task is another one, and its timeout would cancel that.
    item = request.node
    if not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(item.obj):
        return
    mark = item.get_closest_marker("timeout")
    limit = float(mark.args[0] if mark and mark.args else request.config.getini("timeout"))
    item.obj = _cancelled_after(limit * _CANCEL_AT, item.obj)


def _cancelled_after(seconds: float, test: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(test)
    async def bounded(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(seconds):
            await test(*args, **kwargs)

    return bounded
