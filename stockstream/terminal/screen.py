"""The board on the alternate screen of a terminal, which is given back as it was."""

import asyncio
import os
import signal
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.live import Live

from stockstream.terminal.board import Board, LiveEvent
from stockstream.terminal.table import render

# Seconds between two looks at whether something changed; more often than this nobody reads.
_INTERVAL: Final = 0.1


class Screen:
    """Draws the board while it is entered, and when it changed.

    Args:
        board: what to draw.
        url: of the server.
        console: the terminal.
        monotonic: the board's clock, in seconds.
    """

    def __init__(
        self, board: Board, url: str, console: Console, monotonic: Callable[[], float]
    ) -> None:
        self._board = board
        self._url = url
        self._console = console
        self._monotonic = monotonic
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._drawn: tuple[Any, ...] = ()

    def __enter__(self) -> Self:
        self._live.start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTSTP, self._suspend)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTSTP)
        self._live.stop()

    def apply(self, event: LiveEvent) -> None:
        """Take in what happened; it is drawn a moment later."""
        self._board.apply(event)

    async def run(self) -> None:
        """Draw until cancelled."""
        while True:
            self._draw()
            await asyncio.sleep(_INTERVAL)

    def _draw(self) -> None:
        now = self._monotonic()
        flashing = tuple(row.symbol for row in self._board.rows.values() if row.is_flashing(now))
        # Ages are shown in seconds: nothing else on the screen changes by itself.
        seen = (self._board.revision, int(now), flashing, self._console.size)
        if seen == self._drawn:
            return
        self._drawn = seen
        table = render(
            self._board,
            self._url,
            monotonic=now,
            wall=datetime.now().astimezone(),
            width=self._console.width,
            height=self._console.height,
        )
        self._live.update(table, refresh=True)

    def _suspend(self) -> None:
        # The shell that Ctrl-Z leads to must not be on our screen.
        self._live.stop()
        os.kill(os.getpid(), signal.SIGSTOP)
        # Here it goes on after `fg`.
        self._drawn = ()
        self._live.start()
