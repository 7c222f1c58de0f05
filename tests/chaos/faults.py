"""What goes wrong, one thing at a time; each ends with everything in place again."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.chaos.crowd import ChaosCrowd
from tests.chaos.nodes import Cluster, ClusterNode

#: Seconds that a node is paused, and that its link to Redis is cut: longer than a lease lives.
PAUSE = 5.0
#: Seconds that Redis is down.
OUTAGE = 3.0


@dataclass(slots=True)
class Happened:
    """One thing that went wrong."""

    name: str
    #: The node that it happened to; empty where it was Redis.
    node: str
    began: float
    ended: float = 0.0
    #: What the node had streamed until then.
    symbols: list[str] = field(default_factory=list)


def _strike(cluster: Cluster, name: str) -> tuple[ClusterNode, Happened]:
    """Return the node that streams most, which something is about to happen to."""
    node = cluster.busiest()
    symbols = cluster.market.owned_by(node.name)
    return node, Happened(name, node.name, time.monotonic(), symbols=symbols)


async def kill_the_owner(cluster: Cluster, crowd: ChaosCrowd) -> Happened:
    """Kill -9 the node that streams most, and start it again once others have taken over."""
    node, happened = _strike(cluster, "kill -9 of an owner")
    node.child.kill()
    await cluster.until_taken_over(happened.symbols, node)
    await crowd.until_all_have_moved_on(cluster.market.symbols)
    await node.start()
    return happened


async def pause_a_node(cluster: Cluster, crowd: ChaosCrowd) -> Happened:
    """SIGSTOP the node that streams most; it wakes up when others have long taken over."""
    node, happened = _strike(cluster, "SIGSTOP of an owner")
    node.child.pause()
    try:
        await asyncio.gather(asyncio.sleep(PAUSE), cluster.until_taken_over(happened.symbols, node))
    finally:
        node.child.resume()
    await node.until_ready()
    return happened


async def restart_redis(cluster: Cluster, crowd: ChaosCrowd) -> Happened:
    """Stop Redis for a while; it keeps what it had."""
    happened = Happened("restart of Redis", "", time.monotonic())
    cluster.redis.stop()
    await asyncio.sleep(OUTAGE)
    cluster.redis.start()
    await asyncio.gather(*(node.until_ready() for node in cluster.nodes))
    return happened


async def cut_a_link(cluster: Cluster, crowd: ChaosCrowd) -> Happened:
    """Let nothing pass between a node and Redis, without a word to either."""
    node, happened = _strike(cluster, "cut link to Redis")
    node.redis.blackhole()
    try:
        await asyncio.gather(asyncio.sleep(PAUSE), cluster.until_taken_over(happened.symbols, node))
    finally:
        node.redis.restore()
    await node.until_ready()
    return happened


async def drain_a_node(cluster: Cluster, crowd: ChaosCrowd) -> Happened:
    """SIGTERM, as a deploy does, and start it again."""
    node, happened = _strike(cluster, "drain (SIGTERM)")
    node.child.terminate()
    await cluster.until_taken_over(happened.symbols, node)
    await node.ended()
    await node.start()
    return happened


Fault = Callable[[Cluster, ChaosCrowd], Awaitable[Happened]]
FAULTS: tuple[Fault, ...] = (
    kill_the_owner,
    pause_a_node,
    restart_redis,
    cut_a_link,
    drain_a_node,
)


async def go_wrong(fault: Fault, cluster: Cluster, crowd: ChaosCrowd) -> Happened:
    """Let one thing go wrong, and return once every client gets every price again."""
    happened = await fault(cluster, crowd)
    await crowd.until_all_have_moved_on(cluster.market.symbols)
    happened.ended = time.monotonic()
    return happened
