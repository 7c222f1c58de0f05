"""The same for pipes and files: a line for each update, news of the connection to the side."""

import asyncio
import os
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TextIO

from stockstream.client import ConnectionState
from stockstream.model import StockUpdate
from stockstream.terminal import text
from stockstream.terminal.board import LiveEvent
from stockstream.wire.replies import ErrorReply


class Lines:
    """Writes each update to ``out`` and everything else to ``notes``, at once."""

    def __init__(self, url: str, out: TextIO, notes: TextIO) -> None:
        self._url = url
        self._out = out
        self._notes = notes
        self._unread = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._unread.is_set():
            # What is still buffered would fail once more, loudly, when the interpreter ends.
            with open(os.devnull, "w") as devnull:  # noqa: PTH123 - a device, not a path
                os.dup2(devnull.fileno(), self._out.fileno())

    async def run(self) -> None:
        """Return when nobody reads any more (``stockstream watch AAPL | head``)."""
        await self._unread.wait()

    def apply(self, event: LiveEvent) -> None:
        """Write what happened."""
        if isinstance(event, StockUpdate):
            self._write(self._out, format_update(event))
        elif isinstance(event, ErrorReply):
            about = f"{event.symbol}: " if event.symbol else ""
            self._write(self._notes, f"{about}{text.plain(event.message)} ({event.code})")
        elif event.state is ConnectionState.CONNECTED:
            self._write(self._notes, f"connected to {self._url}")
        elif event.retry_in is not None:
            reason = text.plain(event.reason)
            again = f"trying again in {event.retry_in:.0f} s"
            self._write(self._notes, f"{self._url}: {reason}; {again}")

    def _write(self, stream: TextIO, line: str) -> None:
        try:
            stream.write(line + "\n")
            stream.flush()
        except BrokenPipeError:
            self._unread.set()


def format_update(update: StockUpdate) -> str:
    """Return an update as a line: UTC time, symbol, price, change, percent, volume, bid, ask.

    Numbers are complete and without separators; a field that is unknown is a dash.
    """
    moment = datetime.fromtimestamp(update.timestamp / 1_000, UTC)
    time = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    bid, ask = (
        text.UNKNOWN if value is None else f"{value:.12g}" for value in (update.bid, update.ask)
    )
    change = f"{update.change:+.12g} {update.change_percent:+.4g}%"
    fields = f"{update.price:.12g} {change} volume {update.volume:.12g} bid {bid} ask {ask}"
    return f"{time} {update.symbol} {fields}"
