"""Starts a Python server under test and takes its orders over a TCP connection.

Orders are lines: ``<first> <count>`` (these symbols change now), ``collect`` (give back what memory
you can, answer ``ok``), which comes before memory is read, and others that a server has itself.
"""

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import uvloop
from aiohttp import web

#: Called with the numbers of the first symbol that changes and how many follow it.
Publish = Callable[[int, int], Awaitable[None]]
#: Called with the numbers behind the order's name; what it returns is the answer.
Order = Callable[..., Awaitable[float]]

MakeSite = Callable[[web.BaseRunner, str, int], web.BaseSite]
LIKE_MOST: MakeSite = partial(web.TCPSite, backlog=4096)


def run(
    runner: web.AppRunner,
    publish: Publish,
    version: str,
    *,
    orders: Mapping[str, Order] | None = None,
    jobs: Sequence[Coroutine[Any, Any, None]] = (),
    site: MakeSite = LIKE_MOST,
) -> None:
    """Serves until the process is ended; says on stdout where.

    Args:
        runner: what serves.
        publish: lets symbols change.
        version: of the server.
        orders: further ones, by name.
        jobs: what runs beside it.
        site: what listens.
    """
    uvloop.run(_serve(runner, publish, version, orders=orders or {}, jobs=jobs, site=site))


async def _serve(
    runner: web.AppRunner,
    publish: Publish,
    version: str,
    *,
    orders: Mapping[str, Order],
    jobs: Sequence[Coroutine[Any, Any, None]],
    site: MakeSite,
) -> None:
    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            if line == b"collect\n":
                gc.collect()
                writer.write(b"ok\n")
            elif line[:1].isalpha():
                name, *numbers = line.decode().split()
                answer = await orders[name](*map(float, numbers))
                writer.write(b"%f\n" % answer)
            else:
                first, count = line.split()
                await publish(int(first), int(count))
        writer.close()

    await runner.setup()
    await site(runner, "127.0.0.1", 0).start()
    control = await asyncio.start_server(obey, "127.0.0.1", 0)
    ports = {
        "port": runner.addresses[0][1],
        "control": control.sockets[0].getsockname()[1],
        "version": version,
    }
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    async with asyncio.TaskGroup() as tasks:
        for job in jobs:
            tasks.create_task(job)
        await control.serve_forever()
