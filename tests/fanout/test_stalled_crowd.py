"""One client in ten has stopped reading: memory stays flat, the others miss nothing."""

from contextlib import AsyncExitStack

import pytest

from stockstream.wire.packets import WireForm
from tests.fanout.client import Client, connected
from tests.fanout.market import Exchange, open_exchange
from tests.support.processes import wait_until

SYMBOLS = ["A", "B", "C", "D", "E"]
CLIENTS = 200
ROUNDS = 30
#: More than what one update takes on the wire, in bytes.
UPDATE_BYTES = 450


@pytest.mark.slow
async def test_memory_stays_flat_and_neighbours_miss_nothing_while_one_in_ten_is_stalled() -> None:
    async with AsyncExitStack() as stack:
        exchange = await stack.enter_async_context(open_exchange(SYMBOLS))
        clients = [await _client(exchange, stack, number) for number in range(CLIENTS)]
        for client in clients:
            await client.answered()
        stalled, readers = clients[::10], [c for n, c in enumerate(clients) if n % 10]
        for client in stalled:
            client.stop_reading()

        while not all(_is_full(exchange, client) for client in stalled):
            await _change(exchange, readers)
        waiting = []
        for _ in range(ROUNDS):
            await _change(exchange, readers)
            waiting.append(exchange.unread_bytes())

        # However long it lasts: of each symbol one update waits for each of them.
        assert max(waiting) <= len(stalled) * len(SYMBOLS) * UPDATE_BYTES
        complete = list(range(1, exchange.market.seqs["A"] + 1))
        assert all(client.seqs(s) == complete for client in readers for s in SYMBOLS)
        for client in stalled:
            client.read_on()
        await wait_until(lambda: all(_up_to_date(exchange, c) for c in stalled), "the stalled")
        assert exchange.unread_bytes() == 0


async def _client(exchange: Exchange, stack: AsyncExitStack, number: int) -> Client:
    form = WireForm.MSGPACK if number % 20 >= 10 else WireForm.JSON
    narrow = number % 10 == 0
    client = await stack.enter_async_context(connected(exchange.port, form, narrow=narrow))
    client.subscribe(*SYMBOLS)
    return client


async def _change(exchange: Exchange, readers: list[Client]) -> None:
    exchange.change(*SYMBOLS)
    await wait_until(lambda: all(_up_to_date(exchange, c) for c in readers), "the readers")


def _is_full(exchange: Exchange, client: Client) -> bool:
    """Whether a newer update of each symbol has taken the place of an older one."""
    conflated: int = exchange.info(client.id)["conflated"]
    return conflated >= 2 * len(SYMBOLS)


def _up_to_date(exchange: Exchange, client: Client) -> bool:
    """Whether the last thing that a client got is the last change."""
    last = client.heard[-1]
    return (
        last.name == f"stock_update_{SYMBOLS[-1]}"
        and last.body["payload"]["seq"] == exchange.market.seqs[SYMBOLS[-1]]
    )
