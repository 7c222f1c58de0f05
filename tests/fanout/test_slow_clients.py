"""Clients that do not read: they get the newest price of each symbol, nobody else notices."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import aiohttp
from structlog.testing import capture_logs

from tests.fanout.client import Client, connected
from tests.fanout.market import Exchange, open_exchange
from tests.fanout.model import SeenSession
from tests.support.processes import wait_until

SYMBOLS = [f"S{number}" for number in range(100)]
#: More than what one update of any symbol takes on the wire, in bytes.
UPDATE_BYTES = 450


async def stall(exchange: Exchange, slow: Client, reader: Client) -> None:
    """Have a client stop reading, and change prices until each has been conflated for it."""
    slow.stop_reading()
    while exchange.info(slow.id)["conflated"] < 2 * len(SYMBOLS):
        await change_all(exchange, reader, rounds=1)


async def change_all(exchange: Exchange, reader: Client, rounds: int) -> None:
    """Change all prices so often, each time when the reader has taken the ones before."""
    for _ in range(rounds):
        exchange.change(*SYMBOLS)
        latest = dict(exchange.market.seqs)
        await reader.until(partial(has, reader, latest), "the latest prices")


def has(client: Client, latest: Mapping[str, int]) -> bool:
    return all(client.seqs(s)[-1:] == [seq] for s, seq in latest.items())


async def all_received(exchange: Exchange, *clients: Client) -> None:
    """Wait until the server has received every request of these clients, the only ones."""
    asked = sum(len(client.requests) for client in clients)
    await wait_until(lambda: exchange.node.gateway.messages_in == asked, f"{asked} requests")


async def page(exchange: Exchange, path: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(exchange.url + path) as response:
        assert response.status == 200
        return await response.text()


async def test_client_that_reads_again_sees_the_newest_price_of_each_symbol() -> None:
    async with (
        open_exchange(SYMBOLS, max_unread_bytes=len(SYMBOLS) * UPDATE_BYTES) as exchange,
        connected(exchange.port) as slow,
        connected(exchange.port, narrow=False) as reader,
    ):
        for client in (slow, reader):
            client.subscribe(*SYMBOLS)
            await client.answered()
        await stall(exchange, slow, reader)
        await change_all(exchange, reader, rounds=20)
        assert exchange.unread_bytes() <= len(SYMBOLS) * UPDATE_BYTES
        assert exchange.info(slow.id)["conflated"] > 20 * len(SYMBOLS)

        slow.read_on()
        await slow.until(lambda: has(slow, exchange.market.seqs), "the newest prices")

        conflated = exchange.info(slow.id)["conflated"]
        assert SeenSession(slow).gaps == conflated
        assert SeenSession(reader).gaps == 0
        assert exchange.info(reader.id)["conflated"] == exchange.info(slow.id)["dropped"] == 0
        assert f'stockstream_engine_total{{what="conflated"}} {conflated}' in (
            await page(exchange, "/metrics")
        )
        assert f'"conflated":{conflated}' in await page(exchange, f"/api/stats/clients/{slow.id}")


async def test_who_waited_longest_goes_first() -> None:
    async with (
        open_exchange(SYMBOLS) as exchange,
        connected(exchange.port) as slow,
        connected(exchange.port, narrow=False) as reader,
    ):
        for client in (slow, reader):
            client.subscribe(*SYMBOLS)
            await client.answered()
        await stall(exchange, slow, reader)
        # The first one changes all the time: it keeps its place, and nobody waits longer for it.
        for _ in range(50):
            exchange.change(SYMBOLS[0])
        await reader.until(lambda: has(reader, exchange.market.seqs), "the latest prices")
        heard = len(slow.heard)
        slow.read_on()
        await slow.until(lambda: has(slow, exchange.market.seqs), "the newest prices")

        last = [packet.name.removeprefix("stock_update_") for packet in slow.heard[heard:]]
        first = SYMBOLS.index(last[-len(SYMBOLS)])
        assert last[-len(SYMBOLS) :] == SYMBOLS[first:] + SYMBOLS[:first]


async def test_replies_and_acknowledgements_are_neither_dropped_nor_overtaken() -> None:
    async with (
        open_exchange(SYMBOLS) as exchange,
        connected(exchange.port) as slow,
        connected(exchange.port, narrow=False) as reader,
    ):
        for client in (slow, reader):
            client.subscribe(*SYMBOLS)
            await client.answered()
        await stall(exchange, slow, reader)
        for symbol in SYMBOLS[:20]:
            slow.unsubscribe(symbol)
            slow.subscribe(symbol)
            await all_received(exchange, slow, reader)
            exchange.change(symbol, *SYMBOLS[20:])
        slow.unsubscribe(*SYMBOLS)
        await all_received(exchange, slow, reader)
        exchange.change(*SYMBOLS)

        slow.read_on()
        await slow.answered()

        # Who watches the order of all that came:
        assert SeenSession(slow).subscribed == set()
        assert [ack.number for ack in slow.acks] == list(range(len(slow.requests)))


async def test_client_with_too_much_unread_is_disconnected_and_counted() -> None:
    with capture_logs() as logs:
        async with (
            open_exchange(SYMBOLS, max_unread_bytes=10_000) as exchange,
            connected(exchange.port) as slow,
            connected(exchange.port, narrow=False) as reader,
        ):
            slow.subscribe(*SYMBOLS)
            await slow.answered()
            # Small enough to find room: it is a client that reads.
            reader.subscribe(*SYMBOLS[:20])
            await reader.answered()
            slow.stop_reading()
            await _change_until_cut_off(exchange, reader)
            assert 'what="slow_consumers"} 1' in await page(exchange, "/metrics")
            assert exchange.unread_bytes() == 0
            slow_id = slow.id
            slow.read_on()
            await slow.until(lambda: slow.ended, "the end")
            SeenSession(slow)
            assert SeenSession(reader).gaps == 0
    assert _reasons(logs, slow_id) == ["slow consumer"]


async def test_client_that_reads_nothing_for_too_long_is_disconnected_and_counted() -> None:
    with capture_logs() as logs:
        async with (
            open_exchange(SYMBOLS, slow_consumer_timeout=0.2) as exchange,
            connected(exchange.port) as slow,
            connected(exchange.port, narrow=False) as reader,
        ):
            slow.subscribe(*SYMBOLS)
            await slow.answered()
            reader.subscribe(*SYMBOLS[:20])
            await reader.answered()
            slow.stop_reading()
            await _change_until_cut_off(exchange, reader)
            assert exchange.node.gateway.get_connected_clients_count() == 1
            assert exchange.unread_bytes() == 0
            assert SeenSession(reader).gaps == 0
            slow_id = slow.id
    assert _reasons(logs, slow_id) == ["slow consumer"]


async def _change_until_cut_off(exchange: Exchange, reader: Client) -> None:
    watched = SYMBOLS[:20]
    while not exchange.engine_total("slow_consumers"):
        exchange.change(*SYMBOLS)
        latest = {symbol: exchange.market.seqs[symbol] for symbol in watched}
        await reader.until(partial(has, reader, latest), "the latest prices")
    await wait_until(
        lambda: exchange.node.gateway.get_connected_clients_count() == 1, "the disconnection"
    )


def _reasons(logs: list[Any], client: str) -> list[str]:
    return [
        entry["reason"]
        for entry in logs
        if entry["event"] == "client_disconnected" and entry["client"] == client
    ]
