"""No gap and nothing twice: a real node, real sockets, and a network that does its worst."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest

from stockstream.client import ConnectionState, StockClient
from stockstream.model import StockUpdate
from tests.client.clients import client_of, in_state, reading
from tests.fanout.market import Exchange, price_of
from tests.recovery.node import change, exchange
from tests.support.fault_proxy import FaultProxy, Faults
from tests.support.ports import free_port
from tests.support.processes import wait_until

SYMBOLS = ("AAPL", "MSFT", "BRK.B")


@asynccontextmanager
async def proxied(place: Exchange, faults: Faults | None = None) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(place.port, faults=faults) as proxy:
        yield proxy


def url_of(proxy: FaultProxy) -> str:
    return f"http://127.0.0.1:{proxy.port}"


def assert_complete(got: Sequence[StockUpdate], place: Exchange, symbols: Sequence[str]) -> None:
    """From its first update on, each symbol has every number once, in order, with its price."""
    for symbol in symbols:
        seqs = [update.seq for update in got if update.symbol == symbol]
        assert seqs == list(range(seqs[0], place.market.seqs[symbol] + 1)), symbol
    assert all(update.price == price_of(update.seq) for update in got)


def is_up_to_date(got: Sequence[StockUpdate], place: Exchange, symbols: Sequence[str]) -> bool:
    last = {update.symbol: update.seq for update in got}
    return all(last.get(symbol) == place.market.seqs[symbol] for symbol in symbols)  # type: ignore[call-overload]


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_the_network_does_every_update_comes_once_and_in_order(seed: int) -> None:
    random = Random(seed)
    async with exchange(*SYMBOLS) as place, proxied(place) as proxy:
        proxy.faults = Faults(segment_bytes=300, abort_after_bytes=(500, 15_000))
        async with (
            client_of(url_of(proxy), heartbeat_interval=0.2) as client,
            reading(client.updates(*SYMBOLS)) as reader,
        ):
            for _ in range(60):
                await change(place, *random.choices(SYMBOLS, k=random.randint(1, 4)))
                match random.randrange(8):
                    case 0:
                        proxy.abort()
                    case 1:
                        proxy.blackhole()
                        connections = client.connections
                        await change(place, *SYMBOLS, times=3)
                        await wait_until(
                            lambda c=connections: (
                                client.connections != c or not client.is_connected
                            ),  # type: ignore[misc]
                            "the silence being noticed",
                        )
                        proxy.restore()
                    case 2:
                        await in_state(client, ConnectionState.CONNECTED)
            proxy.faults = Faults()
            await reader.until(lambda got: is_up_to_date(got, place, SYMBOLS), "the last updates")

            assert_complete(reader.got, place, SYMBOLS)
            assert client.connections > 3
            assert client.skipped == 0


async def test_more_missed_than_is_held_begins_again_with_the_state() -> None:
    async with (
        exchange("AAPL") as place,
        proxied(place) as proxy,
        client_of(url_of(proxy)) as client,
        reading(client.updates("AAPL")) as reader,
    ):
        await reader.until(lambda got: got, "the snapshot")
        proxy.blackhole()
        proxy.abort()
        await change(place, "AAPL", times=1_005)
        proxy.restore()
        await reader.until(lambda got: is_up_to_date(got, place, ["AAPL"]), "the state")

        assert client.skipped == 1_004
        assert [update.snapshot for update in reader.got] == [True, True]


async def test_a_server_that_was_restarted_goes_on_with_a_snapshot_and_every_update() -> None:
    port = free_port()
    async with (
        client_of(f"http://127.0.0.1:{port}") as client,
        reading(client.updates("AAPL")) as reader,
    ):
        epochs: list[str] = []
        for _ in range(2):
            before = len(reader.got)
            async with exchange("AAPL", port=port) as place:
                await reader.until(lambda got, n=before: len(got) > n, "the snapshot")  # type: ignore[misc]
                await change(place, "AAPL", times=20)
                await reader.until(lambda got: is_up_to_date(got, place, ["AAPL"]), "the rest")
                assert_complete(reader.got[before:], place, ["AAPL"])
                epochs.append(reader.got[-1].epoch)

        assert epochs[0] != epochs[1]


async def test_a_silent_server_is_noticed_and_left() -> None:
    async with (
        exchange("AAPL") as place,
        proxied(place) as proxy,
        client_of(url_of(proxy), heartbeat_interval=0.1) as client,
    ):
        await client.connect()
        proxy.blackhole()
        await in_state(client, ConnectionState.RECONNECTING)
        proxy.restore()
        await in_state(client, ConnectionState.CONNECTED)


async def test_stock_data_is_typed_and_leaves_no_subscription_behind() -> None:
    async with exchange("AAPL") as place, client_of(place.url) as client:
        data = await client.get_stock_data("aapl", "1m", 5)

        assert (data.symbol, data.timeframe) == ("AAPL", "1m")
        assert data.quote is not None
        assert data.quote.price == price_of(1)
        assert all(bar.low <= bar.close <= bar.high for bar in data.data)
        stats = place.node.gateway.get_subscription_stats
        await wait_until(lambda: not stats(), "no subscription")


async def test_stock_data_survives_a_broken_connection() -> None:
    async with (
        exchange("AAPL") as place,
        proxied(place) as proxy,
        client_of(url_of(proxy), heartbeat_interval=0.2) as client,
    ):
        await client.connect()
        proxy.blackhole()
        asked = asyncio.create_task(client.get_stock_data("AAPL"))
        await in_state(client, ConnectionState.RECONNECTING)
        proxy.restore()

        assert (await asked).symbol == "AAPL"


async def test_bars_and_measurements_are_typed() -> None:
    async with (
        exchange("AAPL", metrics_interval=0.1) as place,
        client_of(place.url) as client,
        reading(client.bars("AAPL")) as bars,
        reading(client.metrics()) as metrics,
    ):
        await in_state(client, ConnectionState.CONNECTED)
        stats = place.node.gateway.get_subscription_stats
        await wait_until(lambda: len(stats()) == 2, "the subscriptions")
        place.change("AAPL")
        await bars.until(lambda got: got, "a bar")
        await metrics.until(lambda got: got, "a measurement")

    bar = bars.got[-1]
    assert (bar.symbol, bar.timeframe, bar.close) == ("AAPL", "1m", price_of(2))
    assert metrics.got[0].connection_count == 1


async def test_importing_the_package_does_not_load_the_client() -> None:
    code = "import stockstream, sys; print('aiohttp' in sys.modules, stockstream.StockClient)"
    process = await asyncio.create_subprocess_exec(
        __import__("sys").executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()

    assert output.decode().strip() == f"False {StockClient!r}"
