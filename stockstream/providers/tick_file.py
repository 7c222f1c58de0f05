"""Recorded ticks in a CSV file, plain or gzip: `timestamp_ms,symbol,price,size,bid,ask`."""

import gzip
import math
import os
import zlib
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Final

from stockstream.errors import ConfigError, InvalidSymbolError, PermanentProviderError
from stockstream.model import Quote, parse_symbol

HEADER: Final = "timestamp_ms,symbol,price,size,bid,ask"

_GZIP_MAGIC: Final = b"\x1f\x8b"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# A line is 60 characters or so; one without an end must not fill the memory.
_LONGEST_LINE: Final = 1024
# The last millisecond of the year 9999.
_LATEST_MS: Final = 253_402_300_799_999


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """A line that holds no tick."""

    #: Number of the line; the header is line 1.
    number: int
    #: What is wrong with it.
    reason: str


@dataclass(slots=True, kw_only=True)
class Block:
    """Some lines of a file, in its order."""

    ticks: list[Quote] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    #: Whether the file ends here.
    last: bool = False


def parse_tick(line: str) -> Quote:
    """Return the tick in ``line``; a blank price is the middle of bid and ask.

    Raises:
        ValueError: there is none; the message says what is wrong.
    """
    fields = line.strip().split(",")
    if len(fields) != 6:
        raise ValueError(f"{len(fields)} fields where there should be 6")
    time, symbol, price, size, bid, ask = fields
    try:
        name = parse_symbol(symbol)
    except InvalidSymbolError as error:
        raise ValueError(error.message) from None
    best_bid, best_ask = _number("bid", bid), _number("ask", ask)
    last = _number("price", price)
    if last is None:
        last = _middle(best_bid, best_ask)
    # Two numbers close to the largest one have no middle.
    if not 0 < last < math.inf:
        raise ValueError("the price is not above zero, or infinite")
    return Quote(
        symbol=name,
        price=last,
        timestamp=_time(time),
        size=_number("size", size),
        bid=best_bid,
        ask=best_ask,
    )


def _time(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 15 or int(text) > _LATEST_MS:
        raise ValueError(f"timestamp_ms is {text[:32]!r}, not milliseconds since the epoch")
    return int(text)


def _number(name: str, text: str) -> float | None:
    """Return the number, or None where the field is blank."""
    if not text:
        return None
    try:
        # Python's numbers may have underscores between their digits; a file's may not.
        number = float(text) if "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} is {text[:32]!r}, not a number from zero up")
    return number


def _middle(bid: float | None, ask: float | None) -> float:
    if bid is None or ask is None:
        raise ValueError("neither a price nor both of bid and ask")
    # No venue quotes 12 digits; what lies beyond them is the noise of binary fractions.
    return float(f"{(bid + ask) / 2:.12g}")


class TickFile:
    """An open file of ticks, read block by block; blocking, for one thread at a time.

    Raises:
        ConfigError: it is missing or unreadable, has another header, or nothing but a header.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        #: Lines read so far, the header included.
        self.line = 0
        self._damage: str | None = None
        try:
            self._raw = path.open("rb")
        except OSError as error:
            raise self._refused(f"can't be read: {error.strerror}") from None
        try:
            self._lines = self._open()
            self._check()
        except (OSError, EOFError, zlib.error) as error:
            self.close()
            raise self._refused(f"can't be read: {error}") from None
        except ConfigError:
            self.close()
            raise

    def _open(self) -> BufferedReader | gzip.GzipFile:
        zipped = self._raw.peek(2).startswith(_GZIP_MAGIC)
        return gzip.GzipFile(fileobj=self._raw) if zipped else self._raw

    def _check(self) -> None:
        header = self._lines.readline(_LONGEST_LINE).removeprefix(_BYTE_ORDER_MARK).strip()
        self.line = 1
        if not header:
            raise self._refused("the file is empty")
        if header != HEADER.encode():
            shown = header[:80].decode(errors="replace")
            raise self._refused(f"its first line must be {HEADER}, not {shown!r}")
        if not self._lines.peek(1):
            raise self._refused("the file has a header and nothing else")

    def _refused(self, why: str) -> ConfigError:
        return ConfigError("REPLAY_FILE", str(self._path), why)

    @property
    def progress(self) -> float:
        """The part of the file that was read, 0 to 1."""
        size = os.fstat(self._raw.fileno()).st_size
        return self._raw.tell() / size if size else 1.0

    def read(self, lines: int) -> Block:
        """Return what the next ``lines`` lines hold; blank lines hold nothing.

        Raises:
            PermanentProviderError: the file is damaged; all that stood before was returned.
        """
        if self._damage is not None:
            raise PermanentProviderError("replay", self._damage)
        block = Block()
        try:
            for _ in range(lines):
                line = self._lines.readline(_LONGEST_LINE)
                if not line:
                    block.last = True
                    break
                self._add(line, block)
        except (OSError, EOFError, zlib.error) as error:
            self._damage = f"{self._path} is damaged after line {self.line}: {error}"
        return block

    def _add(self, line: bytes, block: Block) -> None:
        self.line += 1
        if not line.strip():
            return
        try:
            block.ticks.append(parse_tick(self._text(line)))
        except ValueError as error:
            block.bad.append(BadLine(number=self.line, reason=str(error)))

    def _text(self, line: bytes) -> str:
        """Return the line as text, having read what is left of it.

        Raises:
            ValueError: it is too long, or not text.
        """
        rest = line
        while len(rest) == _LONGEST_LINE and not rest.endswith(b"\n"):
            rest = self._lines.readline(_LONGEST_LINE)
        if rest is not line:
            raise ValueError(f"longer than {_LONGEST_LINE} bytes")
        try:
            return line.decode("ascii")
        except UnicodeDecodeError:
            raise ValueError("not plain ASCII text") from None

    def close(self) -> None:
        """Close the file."""
        self._raw.close()
