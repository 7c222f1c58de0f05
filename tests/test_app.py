import asyncio
import contextlib
import os
import resource
import signal
import socket
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import patch

import aiohttp
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from stockstream.cli import app
from stockstream.errors import ConfigError, DrainTimeoutError
from stockstream.model import StockUpdate, Symbol
from stockstream.services.streaming import StreamingService
from stockstream.serving import open_as_many_files_as_allowed, running_node, serve
from tests.gateway.nodes import provided, running, settings, until
from tests.support.providers import FakePoller, FakeProvider
from tests.support.wire_client import ClosedByServer

AAPL = Symbol("AAPL")
UPDATE = "stock_update_AAPL"


class Crash(Exception):
    """What a part of the node ends with."""


def flatten(error: BaseException) -> list[BaseException]:
    """Return the errors that a group is made of, or the one."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in flatten(each)]
    return [error]


async def test_a_part_that_crashes_ends_the_node_with_its_error() -> None:
    before = asyncio.all_tasks()
    with pytest.raises((Crash, BaseExceptionGroup)) as caught:
        await serve_until_crash()
    assert [type(leaf) for leaf in flatten(caught.value)] == [Crash]
    await until(lambda: asyncio.all_tasks() <= before)


async def serve_until_crash() -> None:
    async with running() as node:
        # What ends the streams that nobody wants any more looks for them after each release.
        streaming = node.node.streaming
        assert isinstance(streaming, StreamingService)
        with patch.object(streaming._wanted._demand, "expire", side_effect=Crash):
            streaming.acquire(AAPL)
            streaming.release(AAPL)
            await asyncio.Event().wait()


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            async with running(port=port):
                pytest.fail("it must not serve")
    assert caught.value.name == "PORT"
    assert str(port) in str(caught.value)
    assert "in use" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_host_that_is_not_ours_is_named() -> None:
    # An address for documentation: no machine has it.
    with pytest.raises(ConfigError) as caught:
        async with running(host="192.0.2.1"):
            pytest.fail("it must not serve")
    assert caught.value.name == "HOST"


async def test_symbols_of_the_settings_stream_though_nobody_watches() -> None:
    async with running(symbols=("AAPL",)) as node:
        await until(lambda: node.node.streaming.snapshot(AAPL) is not None)
        assert node.node.streaming.get_active_subscriptions() == {"AAPL": 1}


async def test_draining_tells_clients_and_stores_what_was_accepted() -> None:
    stored: list[StockUpdate] = []
    poller = FakePoller()
    poller.prices = {AAPL: 10.0}
    provider = FakeProvider(poller=poller)
    # The client outlives the node.
    async with AsyncExitStack() as stack:
        async with running(provider) as node:
            client = await stack.enter_async_context(node.client())
            append = node.node.store.append

            async def slow_append(updates: Any) -> None:
                await asyncio.sleep(0)
                await append(updates)
                stored.extend(updates)

            node.node.store.append = slow_append  # type: ignore[method-assign]
            await client.ask("subscribe", {"events": [UPDATE]})
            prices = []
            for price in (10.0, 11.0, 12.0):
                poller.prices[AAPL] = price
                prices.append((await client.event(UPDATE))["payload"]["price"])
            running_still = node
            gone = asyncio.create_task(until_closed(client))
            assert not running_still.node.readiness.draining
        await gone
    assert [update.price for update in stored] == prices == [10.0, 11.0, 12.0]
    assert running_still.node.readiness.draining
    # Going away: a client that sees this comes back by itself, elsewhere or later.
    assert client.close_code == 1001
    assert running_still.node.gateway.get_connected_clients_count() == 0
    assert running_still.node.writer.state.pending == 0
    assert provider.closed


async def until_closed(client: Any) -> None:
    """Read on until the server ends the connection."""
    with contextlib.suppress(ClosedByServer):
        while True:
            await client.event("nothing of that name")


async def test_while_it_drains_nobody_is_let_in() -> None:
    async with running() as node:
        url = node.url
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(url + "/healthz")


async def test_a_second_node_runs_in_the_same_process() -> None:
    async with (
        running() as first,
        running(alone=False) as second,
        first.client() as one,
        second.client() as other,
    ):
        for node, client in ((first, one), (second, other)):
            await client.ask("subscribe", {"events": [UPDATE]})
            assert (await client.event(UPDATE))["payload"]["price"] == 10.0
            assert node.node.gateway.get_connected_clients_count() == 1
    async with running() as third, third.client() as client:
        await client.ask("subscribe", {"events": [UPDATE]})
        assert (await client.event(UPDATE))["payload"]["price"] == 10.0


async def test_a_failure_of_the_caller_drains_the_node_all_the_same() -> None:
    provider = FakeProvider(poller=FakePoller())
    with provided(provider), pytest.raises(Crash):
        async with running_node(settings()):
            raise Crash
    assert provider.closed


async def test_draining_that_takes_too_long_is_given_up() -> None:
    class Stubborn(FakeProvider):
        async def aclose(self) -> None:
            await asyncio.Event().wait()

    loop = asyncio.get_running_loop()
    with capture_logs() as logs, provided(Stubborn(poller=FakePoller())):
        serving = asyncio.create_task(serve(settings(shutdown_timeout=0.05)))
        await until(lambda: any(line["event"] == "listening" for line in logs))
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(DrainTimeoutError, match=r"^not drained within 0\.05 s"):
            await serving
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(each)


def test_a_server_that_was_not_drained_in_time_says_so_in_one_line() -> None:
    stubborn = patch("stockstream.serving.serve", side_effect=DrainTimeoutError(10.0))
    with stubborn, patch("stockstream.cli.configure_logging"):
        done = CliRunner().invoke(app, ["serve"])
    assert done.exit_code == 1
    assert done.stderr == "stockstream: not drained within 10 s; what was left is lost\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_server_in_order(number: signal.Signals) -> None:
    loop = asyncio.get_running_loop()
    with capture_logs() as logs, provided(FakeProvider(poller=FakePoller())):
        serving = asyncio.create_task(serve(settings()))
        await until(lambda: any(line["event"] == "listening" for line in logs))
        os.kill(os.getpid(), number)
        await serving
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(each)
    events = [line["event"] for line in logs if line["log_level"] == "info"]
    assert events == ["listening", "draining", "stopped"]


def test_server_may_open_as_many_files_as_the_system_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    try:
        open_as_many_files_as_allowed()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
