"""A real Redis Cluster and a real Sentinel set-up of the test's own."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from tests.support.ports import free_port
from tests.support.processes import DEADLINE, POLL_INTERVAL, Child
from tests.support.redis_server import RedisServer, running_redis

#: All slots of a cluster.
SLOTS = 16_384

#: What the Sentinels call the master.
SERVICE = "quotes"


def _wait(condition: Any, what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE} s in vain for {what}"
        time.sleep(POLL_INTERVAL)


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisClusterServers:
    """A cluster of masters without replicas."""

    masters: tuple[RedisServer, ...]

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.masters[0].port}"

    def flush(self) -> None:
        """Remove every key."""
        for master in self.masters:
            master.flush()

    def move(self, key: str) -> None:
        """Move the slot of a key, with all that is in it, to another master."""
        clients: list[Any] = [redis.Redis(port=master.port) for master in self.masters]
        slot = clients[0].execute_command("CLUSTER", "KEYSLOT", key)
        ids = [client.execute_command("CLUSTER", "MYID").decode() for client in clients]
        shards = clients[0].execute_command("CLUSTER", "SLOTS")
        source_port = next(port for first, last, port in _ranges(shards) if first <= slot <= last)
        source = next(i for i, m in enumerate(self.masters) if m.port == source_port)
        target = (source + 1) % len(self.masters)
        setslot = ("CLUSTER", "SETSLOT", slot)
        clients[target].execute_command(*setslot, "IMPORTING", ids[source])
        clients[source].execute_command(*setslot, "MIGRATING", ids[target])
        keys = clients[source].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10_000)
        if keys:
            address = ("127.0.0.1", self.masters[target].port, "", 0, 5_000)
            clients[source].execute_command("MIGRATE", *address, "KEYS", *keys)
        for client in (clients[target], clients[source], *clients):
            client.execute_command(*setslot, "NODE", ids[target])
        for client in clients:
            client.close()


def _ranges(shards: Any) -> Iterator[tuple[int, int, int]]:
    """Yield first slot, last slot and port of the master, in either form of redis-py's reply."""
    if isinstance(shards, dict):
        for (first, last), shard in shards.items():
            yield first, last, shard["primary"][1]
    else:
        for first, last, primary, *_ in shards:
            yield first, last, primary[1]


@contextmanager
def running_cluster(masters: int = 3) -> Iterator[RedisClusterServers]:
    """Run a Redis Cluster for as long as the context lasts."""
    with ExitStack() as stack:
        buses = [free_port() for _ in range(masters)]
        servers = [
            stack.enter_context(
                running_redis(
                    "--cluster-enabled", "yes", "--cluster-port", str(bus),
                    "--cluster-node-timeout", "1000",
                )
            )
            for bus in buses
        ]  # fmt: skip
        clients: list[Any] = [
            stack.enter_context(redis.Redis(port=server.port)) for server in servers
        ]
        for index, client in enumerate(clients):
            first = SLOTS * index // masters
            last = SLOTS * (index + 1) // masters - 1
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for server, bus in zip(servers[1:], buses[1:], strict=True):
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        for client in clients:
            _wait(lambda client=client: _is_complete(client, masters), "the cluster")
        yield RedisClusterServers(masters=tuple(servers))


def _is_complete(client: Any, masters: int) -> bool:
    info: Any = client.execute_command("CLUSTER", "INFO")
    if isinstance(info, bytes):
        info = dict(line.split(":") for line in info.decode().split())
    return (
        info["cluster_state"] == "ok"
        and int(info["cluster_known_nodes"]) == masters
        and int(info["cluster_size"]) == masters
    )


class SentinelServers:
    """A master, a replica, and Sentinels that watch them."""

    def __init__(
        self,
        master: RedisServer,
        replica: RedisServer,
        ports: tuple[int, ...],
        children: list[Child],
    ) -> None:
        self.master = master
        self.replica = replica
        self.ports = ports
        self._children = children

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    def master_port(self) -> int:
        """Return where the Sentinels say that the master is."""
        with redis.Redis(port=self.ports[0]) as client:
            sentinel: Any = client
            reply = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
            return int(reply[1])


@contextmanager
def running_sentinels(count: int = 3) -> Iterator[SentinelServers]:
    """Run a replicated Redis with Sentinels for as long as the context lasts."""
    with ExitStack() as stack:
        master = stack.enter_context(running_redis("--repl-diskless-sync-delay", "0"))
        replica = stack.enter_context(
            running_redis("--replicaof", f"127.0.0.1 {master.port}", "--repl-diskless-sync", "yes")
        )
        with redis.Redis(port=replica.port) as client:
            _wait(lambda: _info(client)["master_link_status"] == "up", "the replica")
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="stockstream-sentinel-"))
        )
        ports = tuple(free_port() for _ in range(count))
        children: list[Child] = []
        for port in ports:
            child = Child(
                _sentinel_command(folder, port, master.port, count), folder / f"{port}.log", None
            )
            stack.callback(child.end)
            children.append(child)
        for port in ports:
            with redis.Redis(port=port) as client:
                _wait(lambda client=client: _sees_all(client, count), "the Sentinels")
        yield SentinelServers(master, replica, ports, children)


def _sentinel_command(folder: Path, port: int, master: int, count: int) -> list[str]:
    config = folder / f"{port}.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor {SERVICE} 127.0.0.1 {master} {count // 2 + 1}\n"
        f"sentinel down-after-milliseconds {SERVICE} 500\n"
        f"sentinel failover-timeout {SERVICE} 2000\n"
    )
    return ["redis-server", str(config), "--sentinel"]


def _info(client: redis.Redis) -> Any:
    return client.info("replication")


def _sees_all(client: redis.Redis, count: int) -> bool:
    try:
        info: Any = client.info("sentinel")
    except redis.RedisError:
        return False
    master = info["master0"]
    return int(master["slaves"]) == 1 and int(master["sentinels"]) == count
