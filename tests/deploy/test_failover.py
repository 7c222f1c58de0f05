"""A node that dies, drains or hangs is taken out, and its clients go on with another."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from tests.acceptance.crowd import WAYS, Crowd, JsClient
from tests.deploy.balancers import RUNNING, http_session, running_haproxy
from tests.deploy.places import place_of
from tests.support.ports import free_port
from tests.support.processes import DEADLINE, Server, running_server

EVENT = "stock_update_AAPL"


async def connect_everywhere(crowd: Crowd, url: str, nodes: Sequence[Server]) -> list[JsClient]:
    """Connect clients of each kind until each node has one."""
    clients: list[JsClient] = []
    used: set[str] = set()
    while len(used) < len(nodes):
        for way in WAYS:
            client = await crowd.connect(url, way, reconnection=True)
            if len(way.transports) > 1:
                await client.hear("upgrade")
            clients.append(client)
            used.add((await place_of(client, nodes)).server.url)
    return clients


async def has_moved(client: JsClient, to: Sequence[Server], start: int) -> None:
    """Wait until a client was welcomed by another node, after the `start`-th thing it heard."""
    await client.hear("disconnect", start=start)
    await client.hear("event", lambda what: what[0] == "connected", start)
    assert (await place_of(client, to)).server in to
    start = len(client.heard)
    await client.subscribe(EVENT)
    # Where it got its session back, it has updates before.
    await client.hear(
        "event", lambda what: what[0] == EVENT and "snapshot" in what[1]["payload"], start
    )


async def lose(
    node: Server, by: Callable[[], None], clients: Sequence[JsClient], others: Sequence[Server]
) -> None:
    """Make a node go away, and wait until each of its clients gets prices from another one."""
    theirs = [c for c in clients if (await place_of(c, [node, *others])).server is node]
    starts = [len(client.heard) for client in theirs]
    by()
    assert theirs
    for client, start in zip(theirs, starts, strict=True):
        await has_moved(client, others, start)


async def test_clients_of_a_node_that_is_killed_and_of_one_that_drains_move_to_another(
    kind: str, own_nodes: list[Server], crowd: Crowd, tmp_path: Path
) -> None:
    killed, drained, last = own_nodes
    with RUNNING[kind]([node.url for node in own_nodes], tmp_path) as balancer:
        clients = await connect_everywhere(crowd, balancer.url, own_nodes)
        await lose(killed, killed.child.kill, clients, [drained, last])
        await lose(drained, drained.child.terminate, clients, [last])
        assert await drained.child.exit_status() == 0


async def test_websockets_are_let_in_at_once_when_each_node_has_been_away(
    kind: str, tmp_path: Path
) -> None:
    ports = [free_port() for _ in range(3)]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(running_server(port=port)) for port in ports]
        balancer = stack.enter_context(RUNNING[kind](urls, tmp_path))
        session = await stack.enter_async_context(http_session())

        async def connect(count: int) -> None:
            url = f"{balancer.url}/socket.io/?EIO=4&transport=websocket"
            for _ in range(count):
                await stack.enter_async_context(session.ws_connect(url))

        await connect(3)
        for node, port in zip(nodes, ports, strict=True):
            node.child.kill()
            await node.child.exit_status()
            # The balancer learns it from those who come meanwhile; they stay.
            await connect(6)
            await stack.enter_async_context(running_server(port=port))
        await connect(30)


async def test_haproxy_takes_the_clients_of_a_node_that_hangs_to_another(
    shared_nodes: list[Server], crowd: Crowd, tmp_path: Path
) -> None:
    hung, *others = shared_nodes
    with running_haproxy([node.url for node in shared_nodes], tmp_path) as balancer:
        clients = await connect_everywhere(crowd, balancer.url, shared_nodes)
        try:
            await lose(hung, hung.child.pause, clients, others)
        finally:
            hung.child.resume()


@asynccontextmanager
async def readiness_only(name: str) -> AsyncIterator[tuple[str, list[int]]]:
    """Serve `/readyz` with the last status of the list, and the name of the server elsewhere."""
    statuses = [200]

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=statuses[-1] if request.path == "/readyz" else 200, text=name)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", statuses
    await runner.cleanup()


async def test_haproxy_sends_nobody_to_a_node_that_is_not_ready_and_comes_back_when_it_is(
    tmp_path: Path,
) -> None:
    async with (
        readiness_only("a") as (a, _),
        readiness_only("b") as (b, statuses),
        readiness_only("c") as (c, _),
        http_session() as session,
    ):
        with running_haproxy([a, b, c], tmp_path) as balancer:

            async def answering() -> set[str]:
                found = set()
                for _ in range(6):
                    async with session.get(f"{balancer.url}/") as response:
                        found.add(await response.text())
                return found

            async def until(names: set[str]) -> None:
                async with asyncio.timeout(DEADLINE):
                    while await answering() != names:
                        await asyncio.sleep(0.05)

            await until({"a", "b", "c"})
            statuses.append(503)
            await until({"a", "c"})
            statuses.append(200)
            await until({"a", "b", "c"})
