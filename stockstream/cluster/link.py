"""One way to one Redis of any kind: where its master is, and scripts with a deadline."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha1
from importlib import resources
from typing import Any, Final, Self

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisClusterException

from stockstream.cluster import keys
from stockstream.cluster.address import Deployment, RedisAddress, parse_address
from stockstream.errors import StoreUnavailableError
from stockstream.storage.redis_client import open_redis, redis_call, retry_once

#: What errors name as the place that failed.
STORE: Final = "redis"

_scripts = resources.files("stockstream.cluster")

Argument = str | bytes | int


@asynccontextmanager
async def link_call(*, within: float) -> AsyncIterator[None]:
    """Give the enclosed calls ``within`` seconds in all, and every failure the same name.

    Raises:
        StoreUnavailableError: Redis, of whichever kind, failed, refused, or took too long.
    """
    try:
        async with redis_call(STORE, within=within):
            yield
    except RedisClusterException as error:
        # Stands outside of redis-py's tree of errors.
        raise StoreUnavailableError(STORE, str(error)) from error


class Script:
    """A Lua script of this room; all of its keys are in the one hash slot."""

    def __init__(self, name: str) -> None:
        self.text = (_scripts / f"{name}.lua").read_text("utf-8")
        # The name that Redis itself gives to a script.
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the master of our hash slot listens now."""

    host: str = ""
    port: int = 0
    #: A Unix socket instead of host and port.
    path: str | None = None


class RedisLink:
    """Runs scripts where our keys are; an async context manager. Made by :func:`open_link`."""

    def __init__(
        self,
        *,
        address: RedisAddress,
        client: Redis | RedisCluster,
        sentinel: Sentinel | None,
        timeout: float,
        max_connections: int,
    ) -> None:
        self.address = address
        self.client = client
        #: Most seconds that one call may take, finding the master included.
        self.timeout = timeout
        self._sentinel = sentinel
        # Of the clients' pools some wait for a free connection and some raise; this one waits.
        self._free = asyncio.Semaphore(max_connections)
        self.channels = keys.Channels(address.db)
        #: Whether all keys are in one place, so that a script may write any of them.
        self.has_all_slots = address.deployment is not Deployment.CLUSTER
        #: The command that publishes without telling all of a Redis Cluster.
        self.publish = "PUBLISH" if self.has_all_slots else "SPUBLISH"

    def is_sharded(self, channel: str) -> bool:
        """Return whether only the part of a Redis Cluster that has our keys hears of a channel."""
        return not self.has_all_slots and channel != keys.ROOMS

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def run(
        self,
        script: Script,
        script_keys: Sequence[str],
        args: Sequence[Argument],
        *,
        within: float | None = None,
    ) -> Any:
        """Run a script and return its reply.

        Args:
            script: what to run.
            script_keys: its KEYS.
            args: its ARGV.
            within: most seconds, where it is not the link's own timeout.

        Raises:
            StoreUnavailableError: it did not happen, or it is not known whether it did.
        """
        count = len(script_keys)
        seconds = self.timeout if within is None else within
        async with link_call(within=seconds), self._free:
            try:
                return await self.client.evalsha(script.sha, count, *script_keys, *args)
            except NoScriptError:
                # Redis was started again, or is another one.
                return await self.client.eval(script.text, count, *script_keys, *args)

    async def run_all(self, commands: Iterable[Sequence[Argument]]) -> None:
        """Run commands on any keys in one go; others may run between them.

        Raises:
            StoreUnavailableError: none, some or all of them happened.
        """
        pipeline: Any = self.client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        async with link_call(within=self.timeout), self._free:
            await pipeline.execute()

    async def agree(self, key: str, proposed: str) -> bytes:
        """Return what a key holds; what is proposed, where it held nothing.

        Raises:
            StoreUnavailableError: Redis can't be reached.
        """
        async with link_call(within=self.timeout), self._free:
            before: Any = await self.client.set(key, proposed, nx=True, get=True)
        return proposed.encode() if before is None else bytes(before)

    async def tell(self, message: bytes) -> None:
        """Publish a message of python-socketio's managers, to all of a Redis Cluster.

        Raises:
            StoreUnavailableError: it did not happen, or it is not known whether it did.
        """
        async with link_call(within=self.timeout), self._free:
            await self.client.execute_command("PUBLISH", keys.ROOMS, message)

    async def ping(self) -> None:
        """Answer when the master of our keys does.

        Raises:
            StoreUnavailableError: it does not.
        """
        async with link_call(within=self.timeout), self._free:
            await self.client.get(keys.OFFSET)

    async def locate(self) -> Endpoint:
        """Return where the master of our keys listens.

        Raises:
            StoreUnavailableError: nobody can tell.
        """
        async with link_call(within=self.timeout):
            if isinstance(self.client, RedisCluster):
                return await _locate_slot(self.client)
            if self._sentinel is not None:
                host, port = await self._sentinel.discover_master(self.address.service)
                return Endpoint(host=str(host), port=int(port))
        if self.address.path is not None:
            return Endpoint(path=self.address.path)
        host, port = self.address.hosts[0]
        return Endpoint(host=host, port=port)

    async def aclose(self) -> None:
        """Close all connections; calling it twice does no harm."""
        async with link_call(within=self.timeout):
            await self.client.aclose()
            for sentinel in self._sentinel.sentinels if self._sentinel else ():
                await sentinel.aclose()


async def _locate_slot(client: RedisCluster) -> Endpoint:
    # Asking for a key is what makes the client learn of a new master.
    await client.get(keys.OFFSET)
    node = client.get_node_from_key(keys.OFFSET)
    if node is None:
        raise RedisConnectionError("no node has our slot")
    return Endpoint(host=str(node.host), port=int(node.port))


def open_link(url: str, *, timeout: float = 1.0, max_connections: int = 16) -> RedisLink:
    """Return a link that connects when it is first used, and again after every loss.

    Args:
        url: see :mod:`stockstream.cluster.address`.
        timeout: most seconds that one call may take.
        max_connections: most calls at once; further ones wait, within their time.

    Raises:
        ValueError: the address is none of Redis.
    """
    address = parse_address(url)
    client: Redis | RedisCluster
    sentinel = None
    if address.deployment is Deployment.SINGLE:
        client = open_redis(url, timeout=timeout, max_connections=max_connections)
    elif address.deployment is Deployment.SENTINEL:
        sentinel = _open_sentinel(address, timeout)
        client = sentinel.master_for(
            address.service, db=address.db, **_client_options(address, timeout)
        )
    else:
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        client = RedisCluster(startup_nodes=nodes, **_client_options(address, timeout))
    return RedisLink(
        address=address,
        client=client,
        sentinel=sentinel,
        timeout=timeout,
        max_connections=max_connections,
    )


def _open_sentinel(address: RedisAddress, timeout: float) -> Sentinel:
    # A Sentinel that hangs must leave time for asking the next one.
    each = timeout / (len(address.hosts) + 1)
    options = {"socket_timeout": each, "socket_connect_timeout": each, **address.sentinel_options}
    if address.tls:
        options["ssl"] = True
    # redis-py annotates this class in part.
    return Sentinel(list(address.hosts), sentinel_kwargs=options)  # type: ignore[no-untyped-call]


def _client_options(address: RedisAddress, timeout: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        # See open_redis for why there is no timeout of a socket.
        "socket_timeout": None,
        "socket_connect_timeout": timeout,
        "retry": retry_once(),
        **address.options,
    }
    if address.tls:
        options["ssl"] = True
    return options
