"""Clients of a node that ends are sent to other nodes one after the other."""

import asyncio
from contextlib import AsyncExitStack

from stockstream.wire.packets import WireForm
from tests.gateway.nodes import running, until


async def test_clients_are_closed_one_after_the_other_and_the_rest_is_served_meanwhile() -> None:
    async with running() as node, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(node.client()) for _ in range(4)]
        server = node.node.servers[WireForm.JSON]
        # So slowly that no other one has its turn in the time of this test.
        leaving = asyncio.create_task(server.shutdown(spread=4 * 3_600))
        await until(lambda: node.node.gateway.connection_count == 3)
        for client in clients[1:]:
            answer = await client.ask("subscribe", {"events": ["stock_update_AAPL"]})
            assert answer["events"] == ["stock_update_AAPL"]
            assert client.close_code is None
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
