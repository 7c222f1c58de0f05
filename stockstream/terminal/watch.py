"""``stockstream watch``: connection and view put together, until somebody has seen enough."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from typing import Final

from rich.console import Console

from stockstream.client import ConnectionState, StockClient
from stockstream.errors import RefusedError
from stockstream.model import Symbol
from stockstream.terminal.board import Board
from stockstream.terminal.lines import Lines
from stockstream.terminal.screen import Screen

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Seconds after which a server that sends none of the symbols is asked again.
_ASK_AGAIN: Final = 30.0


async def watch(url: str, symbols: Sequence[Symbol], token: str | None = None) -> None:
    """Show the symbols' prices until SIGINT, SIGTERM, SIGHUP or the end of who reads the output.

    On a terminal that is a table, else lines. The terminal is left as it was found.

    Args:
        url: of the server.
        symbols: in canonical form, each once.
        token: says who asks, where the server wants to know.

    Raises:
        RefusedError: the server lets nobody in without a token.
    """
    # Libraries' complaints would be written across the table; what matters is on it.
    logging.getLogger().addHandler(logging.NullHandler())
    enough = asyncio.Event()
    for number in _ENDING:
        asyncio.get_running_loop().add_signal_handler(number, enough.set)
    with _view(url, symbols) as view:
        await _until_first_ends(_follow(url, symbols, token, view), view.run(), enough.wait())


async def _follow(
    url: str, symbols: Sequence[Symbol], token: str | None, view: Screen | Lines
) -> None:
    async with StockClient(url, token=token) as client:
        client.on("state_changed", view.apply)
        client.on("error", view.apply)
        while True:
            try:
                async for update in client.updates(*symbols):
                    view.apply(update)
            except RefusedError:
                if client.state is ConnectionState.DISCONNECTED:
                    raise
                # The reasons are on the screen.
                await asyncio.sleep(_ASK_AGAIN)


def _view(url: str, symbols: Sequence[Symbol]) -> Screen | Lines:
    console = Console()
    if console.is_terminal and not console.is_dumb_terminal:
        return Screen(Board(symbols, time.monotonic), url, console, time.monotonic)
    return Lines(url, sys.stdout, sys.stderr)


async def _until_first_ends(*parts: Coroutine[None, None, object]) -> None:
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
