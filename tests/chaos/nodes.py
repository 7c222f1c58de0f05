"""The cluster under test: nodes, each with a way of its own to Redis, behind a load balancer."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from tests.chaos.market import Market, open_market
from tests.deploy.balancers import RUNNING
from tests.support.fault_proxy import FaultProxy
from tests.support.ports import free_port
from tests.support.processes import DEADLINE, Child, wait_until
from tests.support.redis_server import RedisServer, running_redis

#: Seconds between two requests for a symbol.
INTERVAL = 0.25


class ClusterNode:
    """One node, which keeps its name, its port and its way to Redis through all its lives."""

    def __init__(self, name: str, market: str, redis: FaultProxy, folder: Path) -> None:
        self.name = name
        self.redis = redis
        self.port = free_port()
        self._market = market
        self._folder = folder
        self._lives = 0
        self._child: Child | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def child(self) -> Child:
        assert self._child is not None, f"{self.name} does not run"
        return self._child

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self._lives += 1
        command = [sys.executable, "-m", "tests.chaos.node", self._market, self.name]
        log = self._folder / f"{self.name}-{self._lives}.log"
        self._child = Child(command, log, {**_inherited(), **self._settings()})
        await self.until_ready()

    async def until_ready(self) -> None:
        async with asyncio.timeout(DEADLINE), aiohttp.ClientSession() as session:
            while not await self._is_ready(session):
                assert self.child.running, f"{self.name} ended:\n{self.child.output()}"
                await asyncio.sleep(0.02)

    async def ended(self) -> None:
        """Wait for its end after SIGTERM."""
        status = await self.child.exit_status()
        assert status == 0, f"{self.name} ended with {status}:\n{self.child.output()}"

    def end(self) -> None:
        if self._child is not None:
            self._child.end()

    def complaints(self) -> list[str]:
        """Return the lines of all its logs that tell of a fault of its own."""
        logs = [log.read_text(errors="replace") for log in self._folder.glob(f"{self.name}-*.log")]
        lines = "".join(logs).splitlines()
        return [line for line in lines if "Traceback" in line or '"level":"error"' in line]

    def _settings(self) -> dict[str, str]:
        settings = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "NODE_ID": self.name,
            "REDIS_URL": f"redis://127.0.0.1:{self.redis.port}/0",
            "UPDATE_INTERVAL": str(INTERVAL),
            "TRUSTED_PROXIES": "127.0.0.1/32",
            "LOG_FORMAT": "json",
            # All clients of the proof come from one address.
            "MAX_CONNECTIONS_PER_ADDRESS": "10000",
        }
        return {f"STOCKSTREAM_{name}": value for name, value in settings.items()}

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.url}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False


class Cluster:
    """All that runs."""

    def __init__(self, market: Market, redis: RedisServer, nodes: list[ClusterNode]) -> None:
        self.market = market
        self.redis = redis
        self.nodes = nodes
        #: Where clients connect.
        self.url = ""

    def node(self, name: str) -> ClusterNode:
        return next(node for node in self.nodes if node.name == name)

    def busiest(self) -> ClusterNode:
        """Return the node that streams most symbols."""
        return max(self.nodes, key=lambda node: len(self.market.owned_by(node.name)))

    async def until_taken_over(self, symbols: list[str], lost: ClusterNode) -> None:
        """Wait until somebody else streams what a node has streamed."""
        market = self.market
        await wait_until(
            lambda: all(market.owner(symbol) != lost.name for symbol in symbols),
            f"another owner than {lost.name} of {symbols}",
        )


@asynccontextmanager
async def running_cluster(market: Market, balancer: str, count: int = 3) -> AsyncIterator[Cluster]:
    """Run nodes behind `nginx` or `haproxy`, with a Redis that survives a restart."""
    with ExitStack() as plain:
        folder = Path(plain.enter_context(TemporaryDirectory(prefix="stockstream-chaos-")))
        redis = plain.enter_context(running_redis("--appendonly", "yes", "--appendfsync", "always"))
        async with AsyncExitStack() as stack:
            address = await stack.enter_async_context(open_market(market))
            nodes = []
            for number in range(count):
                proxy = await stack.enter_async_context(FaultProxy(redis.port))
                nodes.append(ClusterNode(f"node{number}", address, proxy, folder))
            cluster = Cluster(market, redis, nodes)
            try:
                await asyncio.gather(*(node.start() for node in nodes))
                urls = [node.url for node in nodes]
                cluster.url = plain.enter_context(RUNNING[balancer](urls, folder)).url
                yield cluster
            finally:
                # They drain at the same time.
                for node in nodes:
                    if node.child.running:
                        node.child.terminate()
                for node in nodes:
                    node.end()


def _inherited() -> Mapping[str, str]:
    inherited = {key: value for key, value in os.environ.items() if "STOCKSTREAM" not in key}
    return {**inherited, "STOCKSTREAM_HISTORY_URL": "memory"}
