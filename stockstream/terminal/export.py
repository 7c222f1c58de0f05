"""``stockstream export``: bars of a server into a file, or a pipe."""

import re
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from stockstream.client.bar_pages import bar_pages
from stockstream.model import Bar, Symbol, Timeframe
from stockstream.terminal.bar_files import (
    BarWriter,
    CsvWriter,
    FileFormat,
    ParquetWriter,
    new_file,
)

#: As many digits are no year.
_MILLISECONDS: Final = re.compile(r"\d{5,15}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is to be exported, and where to."""

    url: str
    symbol: Symbol
    timeframe: Timeframe
    #: In ms since the epoch: bars that start before it, and from it on, are left out. None: as far
    #: back as there are any.
    start_ms: int | None
    end_ms: int
    form: FileFormat
    #: None: standard output, CSV only.
    output: Path | None
    token: str | None


def parse_moment(text: str) -> int:
    """Return a time in ms since the epoch.

    Args:
        text: that number, or a date or time as of ISO 8601; without a time zone it is UTC.

    Raises:
        ValueError: it is neither.
    """
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000)


async def export(what: Export) -> int:
    """Write bars, and show how far it is where somebody looks on; returns their number.

    A file takes its name when it is complete; before that, nothing is replaced.

    Raises:
        RefusedError: the server refuses, or can't be reached.
        OSError: the file can't be written; a BrokenPipeError says that nobody reads any more.
    """
    with _opened(what) as file, _progress(what) as progress:
        writer = _writer(what, file)
        written = 0
        async with aclosing(_pages(what)) as pages:
            async for bars in pages:
                writer.write(bars)
                written += len(bars)
                progress.follow(bars, written)
        writer.close()
    return written


def _pages(what: Export) -> AsyncGenerator[Sequence[Bar], None]:
    start = what.start_ms or 0
    return bar_pages(
        what.url,
        what.symbol,
        what.timeframe,
        start_ms=start,
        end_ms=what.end_ms,
        token=what.token,
    )


@contextmanager
def _opened(what: Export) -> Iterator[IO[bytes]]:
    if what.output is None:
        yield sys.stdout.buffer
        return
    with new_file(what.output) as file:
        yield file


def _writer(what: Export, file: IO[bytes]) -> BarWriter:
    if what.form is FileFormat.PARQUET:
        return ParquetWriter(file, what.symbol, what.timeframe)
    return CsvWriter(file)


class _Bar:
    """How far the time that was asked for has been written."""

    def __init__(self, progress: Progress, what: Export) -> None:
        self._progress = progress
        self._start = what.start_ms
        self._end = what.end_ms
        self._task = progress.add_task(what.symbol, total=None, bars="")

    def follow(self, bars: Sequence[Bar], written: int) -> None:
        """Show that these have been written."""
        if self._start is None:
            # Only now it is known how far back there is anything.
            self._start = bars[0].timestamp
        self._progress.update(
            self._task,
            total=self._end - self._start,
            completed=bars[-1].timestamp - self._start,
            bars=f"{written:,} bars",
        )

    def finish(self) -> None:
        """Show that there is nothing more."""
        total = 1 if self._start is None else max(1, self._end - self._start)
        self._progress.update(self._task, total=total, completed=total)


@contextmanager
def _progress(what: Export) -> Iterator[_Bar]:
    console = Console(stderr=True)
    # Lines of bars on the same terminal are progress enough.
    seen = console.is_terminal and not (what.output is None and sys.stdout.isatty())
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[bars]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not seen) as progress:
        shown = _Bar(progress, what)
        yield shown
        shown.finish()
