"""A node that is started, serves, and is drained."""

import asyncio
import gc
import os
import resource
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from errno import EADDRNOTAVAIL
from random import Random
from socket import gaierror
from typing import Any, Final

import structlog
from aiohttp import web

from stockstream.app import Node
from stockstream.clock import SystemClock
from stockstream.config import Settings
from stockstream.engine import Site
from stockstream.errors import ConfigError, DrainTimeoutError
from stockstream.model.symbol import Symbol
from stockstream.model.topics import PERFORMANCE_ALERT, PERFORMANCE_METRICS_COLLECTED
from stockstream.ports import Clock

log = structlog.get_logger(__name__)

#: Objects created, less those gone, between two looks of the collector at the young ones. Tens of
#: thousands of connections live long: looking at them all the time finds nothing.
_GC_THRESHOLD: Final = 50_000


@asynccontextmanager
async def running_node(
    settings: Settings, clock: Clock | None = None, random: Random | None = None
) -> AsyncIterator[tuple[Node, str]]:
    """Run a node while the block lasts, and drain it at its end.

    Draining: nobody new is let in, streams stop, clients are told, and what was accepted is
    stored. Where a part of the node crashes, the block is cancelled and the error comes out of it.

    Yields:
        The node and its URL.

    Raises:
        ConfigError: the provider can't be opened, or the port is taken.
    """
    node = Node(settings, clock or SystemClock(), random or Random())
    async with AsyncExitStack() as stack:
        # What comes first here ends last.
        stack.push_async_callback(node.cluster.aclose if node.cluster else node.store.aclose)
        stack.push_async_callback(node.documents.store.aclose)
        stack.push_async_callback(node.provider.aclose)
        stack.push_async_callback(node.bus.aclose, settings.shutdown_timeout)
        await stack.enter_async_context(node.history)
        if settings.calendars is not None:
            # A name that nobody knows is a mistake to be told now.
            await node.history.calendars.check()
        await stack.enter_async_context(node.writer)
        await stack.enter_async_context(node.bars)
        stack.push_async_callback(node.requests.aclose)
        node.bus.subscribe(
            [PERFORMANCE_METRICS_COLLECTED, PERFORMANCE_ALERT],
            node.tell_subscribers,
            name="clients",
        )
        await stack.enter_async_context(node.monitor)
        runner = node.runner()
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        if node.cluster:
            stack.push_async_callback(node.cluster.leave)
        stack.push_async_callback(node.tell_clients)
        await stack.enter_async_context(_running(*node.jobs()))
        for symbol in settings.symbols:
            node.streaming.acquire(Symbol(symbol))
        site, url = await _listen(runner, settings)
        log.info("listening", url=url, provider=settings.provider, node=settings.node_id)
        yield node, url
        node.readiness.draining = True
        await site.stop()
        # Clients have what others stream until they are told.
        await node.streaming.hand_over()
        await node.tell_clients()


@asynccontextmanager
async def _running(*jobs: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run jobs while the block lasts; one that crashes cancels the block, and its error comes out.

    Better than to serve on without prices: whoever supervises the process starts it anew.
    """
    owner = asyncio.current_task()
    tasks = [asyncio.create_task(job) for job in jobs]

    def ended(task: asyncio.Task[None]) -> None:
        if owner is not None and not task.cancelled() and task.exception() is not None:
            owner.cancel()

    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    except asyncio.CancelledError:
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error from None
        raise
    finally:
        for task in tasks:
            task.remove_done_callback(ended)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def serve(settings: Settings) -> None:
    """Run a node until SIGTERM or SIGINT, then drain it within ``shutdown_timeout``.

    Raises:
        ConfigError: the provider can't be opened, or the port is taken.
        DrainTimeoutError: draining took too long.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tune_collector()
    open_as_many_files_as_allowed()
    deadline = asyncio.timeout(None)
    try:
        async with deadline, running_node(settings):
            await stop.wait()
            log.info("draining", within_s=settings.shutdown_timeout)
            deadline.reschedule(loop.time() + settings.shutdown_timeout)
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise DrainTimeoutError(settings.shutdown_timeout) from error
    log.info("stopped")


async def _listen(runner: web.AppRunner, settings: Settings) -> tuple[Site, str]:
    site = Site(runner, settings.host, settings.port)
    try:
        await site.start()
    except OSError as error:
        if isinstance(error, gaierror):
            raise ConfigError("HOST", settings.host, error.strerror or "not found") from None
        # The loop's own words repeat the address.
        reason = os.strerror(error.errno or 0)
        if error.errno == EADDRNOTAVAIL:
            raise ConfigError("HOST", settings.host, reason) from None
        raise ConfigError("PORT", settings.port, f"on {settings.host}: {reason}") from None
    host, port = runner.addresses[0][:2]
    return site, f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def tune_collector() -> None:
    """Make the garbage collector look less often at what lives long.

    What was imported lives as long as the process: no pass over it will ever free anything.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 50)


def open_as_many_files_as_allowed() -> int:
    """Raise the soft limit of open files, which shells set to 1,024, to the hard one; returns it.

    Each client is an open file. What is started from here on may open as many.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
