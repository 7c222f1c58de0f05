"""Recorded ticks as one line of time, round after round."""

from pathlib import Path
from typing import Final

import msgspec
import structlog

from stockstream.errors import ConfigError, PermanentProviderError
from stockstream.model import Quote
from stockstream.providers.tick_file import BadLine, TickFile

# Bad lines that are logged one by one; a file full of them must not fill the log.
_REPORTED: Final = 10

_log = structlog.get_logger(__name__)


class Recording:
    """A file of ticks, played once or round after round; blocking, for one thread at a time.

    Each round's times go on from the last one's: its first tick is one millisecond later than the
    latest tick before it.

    Args:
        path: the file.
        loop: whether it begins again at its end.

    Raises:
        ConfigError: it is missing or unreadable, has another header, or nothing in it.
    """

    def __init__(self, path: Path, *, loop: bool) -> None:
        self._path = path
        self._loop = loop
        self._file = TickFile(path)
        self._shift: int | None = None
        self._latest = -1
        # This round has ended; the next one, if there is one, has not begun.
        self._over = False
        #: Rounds that ended.
        self.rounds = 0
        #: Nothing follows.
        self.ended = False
        #: Lines that held no tick, of all rounds.
        self.bad_lines = 0

    @property
    def progress(self) -> float:
        """The part of this round that was read, 0 to 1."""
        return self._file.progress

    def read(self, lines: int) -> list[Quote]:
        """Return the ticks of the next ``lines`` lines, or of those left in this round.

        Raises:
            PermanentProviderError: the file is damaged, has no tick in it, or can't be opened
                for another round.
        """
        if self._over:
            self._rewind()
        block = self._file.read(lines)
        ticks = [self._placed(tick) for tick in block.ticks]
        for bad in block.bad:
            self._report(bad)
        if block.last:
            self._end_round()
        return ticks

    def _placed(self, tick: Quote) -> Quote:
        # The parser accepts no tick without a time.
        time = tick.timestamp or 0
        if self._shift is None:
            self._shift = self._latest + 1 - time if self.rounds else 0
        placed = time + self._shift
        self._latest = max(self._latest, placed)
        return msgspec.structs.replace(tick, timestamp=placed) if self._shift else tick

    def _report(self, bad: BadLine) -> None:
        self.bad_lines += 1
        if self.rounds == 0 and self.bad_lines <= _REPORTED:
            _log.warning("line skipped", file=str(self._path), line=bad.number, reason=bad.reason)

    def _end_round(self) -> None:
        if self._latest < 0:
            raise PermanentProviderError("replay", f"{self._path} has no tick in it")
        if self.rounds == 0 and self.bad_lines > _REPORTED:
            _log.warning("lines skipped", file=str(self._path), lines=self.bad_lines)
        self.rounds += 1
        self._shift = None
        self.ended = not self._loop
        self._over = True

    def _rewind(self) -> None:
        self._file.close()
        try:
            self._file = TickFile(self._path)
        except ConfigError as error:
            raise PermanentProviderError("replay", f"no further round: {error}") from error
        self._over = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()
