"""Recorded ticks, pushed as they once came, faster, or as fast as they are taken."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Collection, Sequence
from pathlib import Path
from typing import Final

import structlog

from stockstream.errors import ConfigError
from stockstream.model import Quote, Symbol
from stockstream.ports import Clock
from stockstream.provider_ports import BarSource, QuoteFeed, QuotePoller
from stockstream.providers.recording import Recording
from stockstream.providers.replay_progress import ReplayProgress

# Lines that are read ahead, and so the most quotes that are held, or yielded at once.
_BLOCK: Final = 512
# Times are whole milliseconds: what is due within half of one is due now.
_SOON: Final = 0.0005

_log = structlog.get_logger(__name__)


class ReplayProvider:
    """Pushes the ticks of a recording; implements feed and provider in one.

    The recording's clock starts with the first demand, at its first tick, and goes on from then
    on whether or not anybody watches, pulls or is connected. A tick is yielded when it is due;
    after a pause, everything due at once, in bounded batches, so the pace never drifts. A symbol's
    ticks from before it was watched are passed over. A bad line is logged with its number (the
    first ten of them) and skipped.

    Args:
        clock: the replay's pace is kept against its monotonic time.
        path: the recording; `tick_file` describes the format.
        speed: 1.0 is the recorded pace, 2.0 twice as fast; 0 as fast as the ticks are taken, and
            time then stands still while nothing is watched.
        loop: begin again at the end; times go on, see `Recording`.

    Raises:
        ConfigError: the file can't be replayed, or the speed is not a number from zero up.
    """

    def __init__(self, clock: Clock, path: Path, *, speed: float = 1.0, loop: bool = False) -> None:
        if not 0 <= speed < math.inf:
            raise ConfigError("REPLAY_SPEED", speed, "a number from zero up")
        self._clock = clock
        self._speed = speed
        self._title = path.name
        self._recording = Recording(path, loop=loop)
        self._reading: asyncio.Task[list[Quote]] | None = None
        self._held: deque[Quote] = deque()
        # Time of the first tick of all, once it was read.
        self._origin: int | None = None
        # Monotonic time of the first demand.
        self._started: float | None = None
        # What is watched, and from which moment of the recording on (ms after its first tick).
        self._watched: dict[Symbol, float] = {}
        self._demand = asyncio.Event()
        # Rounds that were taken, and what was delivered before the one under way.
        self._rounds = 0
        self._delivered_before = 0
        #: Ticks that were yielded, and ticks that nobody wanted.
        self.delivered = 0
        self.passed_over = 0

    @property
    def name(self) -> str:
        """``replay``."""
        return "replay"

    @property
    def poller(self) -> QuotePoller | None:
        """None: a recording can't be asked."""
        return None

    @property
    def feed(self) -> QuoteFeed:
        """This provider pushes."""
        return self

    @property
    def bars(self) -> BarSource | None:
        """None: there is no history before the recording."""
        return None

    @property
    def symbol_limit(self) -> int | None:
        """None: any number of symbols."""
        return None

    @property
    def bad_lines(self) -> int:
        """Lines that held no tick and were skipped, of all rounds."""
        return self._recording.bad_lines

    async def watch(self, symbols: Collection[Symbol]) -> None:
        """Replace the watched set; a new symbol's ticks come from the present moment on."""
        if self._started is None and symbols:
            self._started = self._clock.monotonic()
            self._watched = dict.fromkeys(symbols, -math.inf)
        else:
            present = self._present()
            self._watched = {symbol: self._watched.get(symbol, present) for symbol in symbols}
        if symbols:
            self._demand.set()
        elif self._speed == 0:
            self._demand.clear()

    async def stream(self) -> AsyncGenerator[Sequence[Quote], None]:
        """Yield the watched symbols' ticks in the file's order, at most 512 at once.

        Ends with the recording. Closed or cancelled, it may be called again, and then goes on
        with the next tick; nothing is lost. One iterator at a time.

        Raises:
            PermanentProviderError: the file is damaged, or has no tick in it.
        """
        progress = ReplayProgress(self._clock, self._title)
        try:
            await self._demand.wait()
            while await self._fill():
                await self._until_due(self._held[0])
                batch = self._take_due()
                if batch:
                    self._show(progress, batch[-1])
                    yield batch
                await self._clock.sleep(0)
                await self._demand.wait()
        finally:
            progress.stop()
        _log.info("recording ended", file=self._title, ticks=self.delivered, bad=self.bad_lines)

    async def aclose(self) -> None:
        """Close the file, after the read that may be under way. Close the iterator first."""
        if self._reading is not None:
            await asyncio.wait({self._reading})
            if not self._reading.cancelled() and (error := self._reading.exception()):
                _log.warning("recording not read to its end", file=self._title, error=str(error))
            self._reading = None
        self._recording.close()

    async def _fill(self) -> bool:
        """Hold at least one tick; return whether there is one."""
        while not self._held:
            # After a cancellation the same read is waited for: nothing is lost. Until it is done,
            # the recording is the reading thread's.
            if self._reading is None:
                if self._recording.ended:
                    return False
                await self._wait_if_useless()
                read = asyncio.to_thread(self._recording.read, _BLOCK)
                self._reading = asyncio.create_task(read)
            await asyncio.wait({self._reading})
            done, self._reading = self._reading, None
            self._held.extend(done.result())
        if self._origin is None:
            self._origin = self._held[0].timestamp
        return True

    async def _wait_if_useless(self) -> None:
        """Wait for another demand if a whole round, as fast as it is taken, gave nobody anything.

        Another round would not either, and rounds without end would keep the processor busy.
        """
        if self._recording.rounds == self._rounds:
            return
        self._rounds = self._recording.rounds
        if self._speed == 0 and self.delivered == self._delivered_before:
            self._demand.clear()
            await self._demand.wait()
        self._delivered_before = self.delivered

    async def _until_due(self, tick: Quote) -> None:
        while self._speed and (wait := self._seconds_until(tick)) > _SOON:
            await self._clock.sleep(wait)

    def _take_due(self) -> list[Quote]:
        """Take what is due off what is held; return what of it is watched."""
        batch: list[Quote] = []
        while self._held and (not self._speed or self._seconds_until(self._held[0]) <= _SOON):
            tick = self._held.popleft()
            if self._age(tick) >= self._watched.get(tick.symbol, math.inf):
                batch.append(tick)
            else:
                self.passed_over += 1
        self.delivered += len(batch)
        return batch

    def _seconds_until(self, tick: Quote) -> float:
        """Return the seconds until a tick is due, against the first demand's time: no drift."""
        started = self._started or 0.0
        return started + self._age(tick) / 1000 / self._speed - self._clock.monotonic()

    def _present(self) -> float:
        """Return the recording's present moment in ms after its first tick."""
        if self._started is None or not self._speed:
            # As fast as it is taken, the next tick is the present moment.
            return -math.inf
        return (self._clock.monotonic() - self._started) * 1000 * self._speed

    def _age(self, tick: Quote) -> int:
        """Return a tick's time in ms after the recording's first tick."""
        return (tick.timestamp or 0) - (self._origin or 0)

    def _show(self, progress: ReplayProgress, tick: Quote) -> None:
        progress.show(
            progress=self._recording.progress,
            ticks=self.delivered,
            time_ms=tick.timestamp or 0,
            rounds=self._rounds,
        )
