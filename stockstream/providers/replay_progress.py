"""How far a replay is: a line on the terminal, or now and then one in the log."""

from datetime import UTC, datetime
from typing import Final

import structlog
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from stockstream.ports import Clock

_REDRAW_SECONDS: Final = 0.25
_LOG_SECONDS: Final = 30.0

_log = structlog.get_logger(__name__)


class ReplayProgress:
    """Shows a replay's progress where there is a terminal to show it on, else logs it.

    Args:
        clock: limits how often it is shown.
        title: what is replayed.
        console: where it is shown; the default is the standard error stream.
    """

    def __init__(self, clock: Clock, title: str, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._clock = clock
        self._title = title
        self._next = clock.monotonic()
        self._bar = _bar(console) if console.is_terminal else None
        self._task = self._bar.add_task(title, total=1.0, facts="") if self._bar else None

    def show(self, *, progress: float, ticks: int, time_ms: int, rounds: int) -> None:
        """Show it, unless that was done a moment ago.

        Args:
            progress: the part of the recording that was read, 0 to 1.
            ticks: ticks delivered so far.
            time_ms: the recording's present moment.
            rounds: rounds that ended.
        """
        if self._clock.monotonic() < self._next:
            return
        time = datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        if self._bar is None or self._task is None:
            self._next = self._clock.monotonic() + _LOG_SECONDS
            percent = round(100 * progress)
            _log.info("replaying", file=self._title, percent=percent, ticks=ticks, time=time)
            return
        self._next = self._clock.monotonic() + _REDRAW_SECONDS
        facts = f"{time} UTC · {ticks:,} ticks" + (f" · round {rounds + 1}" if rounds else "")
        self._bar.start()
        self._bar.update(self._task, completed=progress, facts=facts, refresh=True)

    def stop(self) -> None:
        """Leave the terminal clean."""
        if self._bar is not None:
            self._bar.stop()


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[facts]}"),
        console=console,
        # Drawn when there is something new: no thread of its own.
        auto_refresh=False,
        transient=True,
    )
