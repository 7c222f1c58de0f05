"""The examples of docs/engine.md, as they stand there, with a client of python-socketio."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import socketio
from aiohttp import web

from stockstream.engine import AppRunner, Site

PAGE = Path(__file__).parents[3] / "docs" / "engine.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def example(containing: str) -> str:
    """Return the one example with these words."""
    found: list[str] = [each for each in EXAMPLES if containing in each]
    assert len(found) == 1
    return found[0]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the first example defines; it is not run for ever."""
    ran: list[dict[str, Any]] = []
    monkeypatch.setattr(web, "run_app", lambda app, **options: ran.append({"app": app, **options}))
    names: dict[str, Any] = {}
    exec(example("web.run_app"), names)  # noqa: S102 - ours
    assert ran == [{"app": names["app"], "keepalive_timeout": 15.0}]
    return names


@asynccontextmanager
async def served(runner: web.AppRunner) -> AsyncIterator[str]:
    """Run an application on a port of its own."""
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("fronted", [False, True])
async def test_first_example_answers_and_refuses(names: dict[str, Any], *, fronted: bool) -> None:
    app, sio = names["app"], names["sio"]
    runner = AppRunner(app, [sio]) if fronted else web.AppRunner(app)
    async with served(runner) as url:
        async with socketio.AsyncSimpleClient() as client:
            await client.connect(url, auth={"token": "any"})
            assert await client.call("echo", "hello", timeout=5) == "hello"
        stranger = socketio.AsyncClient(reconnection=False)
        told: asyncio.Queue[object] = asyncio.Queue()
        stranger.on("connect_error", told.put)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await stranger.connect(url)
        assert await told.get() == {"message": "who are you?"}
        await stranger.disconnect()


async def test_example_of_one_message_for_many_reaches_them(names: dict[str, Any]) -> None:
    async with (
        served(web.AppRunner(names["app"])) as url,
        socketio.AsyncSimpleClient() as one,
        socketio.AsyncSimpleClient() as other,
    ):
        for client in (one, other):
            await client.connect(url, auth={"token": "any"})
        names["watchers"] = [one.sid, other.sid, "somebody who has gone"]
        exec(example("connection.offer("), names)  # noqa: S102 - ours
        for client in (one, other):
            assert await client.receive(timeout=5) == ["price", {"AAPL": 190.1}]


async def test_example_of_the_runner_serves(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses: list[tuple[str, int]] = []

    def anywhere(runner: web.AppRunner, host: str, port: int) -> Site:
        addresses.append((host, port))
        return Site(runner, "127.0.0.1", 0)

    monkeypatch.setattr("stockstream.engine.Site", anywhere)
    lines = "".join(f"    {line}\n" for line in example("AppRunner").splitlines())
    exec(f"async def start(app, sio):\n{lines}    return runner", names)  # noqa: S102 - ours
    runner = await names["start"](names["app"], names["sio"])
    try:
        async with socketio.AsyncSimpleClient() as client:
            await client.connect(
                f"http://127.0.0.1:{runner.addresses[0][1]}", auth={"token": "any"}
            )
            assert await client.call("echo", "hello", timeout=5) == "hello"
    finally:
        await runner.cleanup()
    assert addresses == [("0.0.0.0", 8080)]
