"""Starts a Python server under test and takes its orders over a TCP connection.

Orders are lines: ``<first> <count>`` (these symbols change now) and ``collect`` (give back what
memory you can, answer ``ok``), which comes before memory is read.
"""

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable

import uvloop
from aiohttp import web

#: Called with the numbers of the first symbol that changes and how many follow it.
Publish = Callable[[int, int], Awaitable[None]]


def run(runner: web.AppRunner, publish: Publish, version: str) -> None:
    """Serves until the process is ended; says on stdout where."""
    uvloop.run(_serve(runner, publish, version))


async def _serve(runner: web.AppRunner, publish: Publish, version: str) -> None:
    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            if line == b"collect\n":
                gc.collect()
                writer.write(b"ok\n")
            else:
                first, count = line.split()
                await publish(int(first), int(count))
        writer.close()

    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    control = await asyncio.start_server(obey, "127.0.0.1", 0)
    ports = {
        "port": runner.addresses[0][1],
        "control": control.sockets[0].getsockname()[1],
        "version": version,
    }
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    await control.serve_forever()
