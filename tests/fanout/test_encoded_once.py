"""An update costs one encoding for each wire form, however many clients there are."""

from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest

from stockstream.gateway import encoding
from stockstream.gateway.servers import PATHS
from stockstream.wire.packets import WireForm, encode_event
from tests.fanout.client import Client, connected
from tests.fanout.market import Exchange, open_exchange
from tests.support.processes import wait_until

#: Clients of each wire form; a few of each begin with polling.
CLIENTS, POLLING = 100, 5


async def crowd(exchange: Exchange, stack: AsyncExitStack) -> list[Client]:
    """Connect clients of both forms that watch all symbols, and wait for their snapshots."""
    clients = []
    for form in PATHS:
        for number in range(CLIENTS):
            context = connected(exchange.port, form, narrow=False, polling=number < POLLING)
            client = await stack.enter_async_context(context)
            client.subscribe("A", "B", "C")
            clients.append(client)
    for client in clients:
        await client.answered()
    return clients


async def test_update_for_two_hundred_clients_is_encoded_once_for_each_wire_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoded: Counter[tuple[WireForm, str]] = Counter()

    def count(form: WireForm, name: str, *rest: Any) -> str | bytes:
        encoded[form, name] += 1
        return encode_event(form, name, *rest)

    async with AsyncExitStack() as stack:
        exchange = await stack.enter_async_context(open_exchange(["A", "B", "C"]))
        clients = await crowd(exchange, stack)
        monkeypatch.setattr(encoding, "encode_event", count)

        exchange.change("A")
        await wait_until(lambda: all(c.seqs("A") == [1, 2] for c in clients), "a lone update")
        assert encoded == {(form, "stock_update_A"): 1 for form in PATHS}

        exchange.change("A", "B", "C")
        await wait_until(lambda: all(c.seqs("C") == [1, 2] for c in clients), "a burst")
        assert all((c.seqs("A"), c.seqs("B")) == ([1, 2, 3], [1, 2]) for c in clients)
        assert sum(encoded.values()) == len(PATHS) * 4
