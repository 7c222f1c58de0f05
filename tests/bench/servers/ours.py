"""This server, whole but for what fetches prices: updates enter where the streaming service hands
them to the fan-out, as they enter the peers where they emit.
"""

from random import Random

from stockstream import __version__
from stockstream.app import Node
from stockstream.clock import SystemClock
from stockstream.config import load_settings
from stockstream.engine import Site
from stockstream.log import configure_logging
from stockstream.serving import tune_collector
from tests.bench.servers.control import run
from tests.bench.servers.market import Market

# As from the command line: the environment says how fast clients may come.
settings = load_settings({})
market = Market()
clock = SystemClock()
node = Node(settings, clock, Random(0))


async def publish(first: int, count: int) -> None:
    received = clock.monotonic()
    updates = [market.next_update(index) for index in range(first, first + count)]
    node.fanout.publish(updates, received)


if __name__ == "__main__":
    configure_logging(settings.log_level, settings.log_format)
    tune_collector()
    run(node.runner(), publish, __version__, site=Site)
