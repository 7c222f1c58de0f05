"""What is known of the watched symbols at this moment; what to show, not how."""

from collections.abc import Callable, Sequence
from typing import Final

from stockstream.client import ConnectionState, StateChange
from stockstream.model import StockUpdate, Symbol
from stockstream.wire.replies import ErrorReply

#: What happens while somebody watches.
LiveEvent = StockUpdate | StateChange | ErrorReply

#: Seconds for which a move of the price stands out.
FLASH: Final = 0.7
_MIN_DIGITS: Final = 2
_MAX_DIGITS: Final = 8


class Row:
    """One symbol."""

    __slots__ = ("digits", "move", "moved_at", "received_at", "refusal", "symbol", "update")

    def __init__(self, symbol: Symbol) -> None:
        self.symbol = symbol
        self.update: StockUpdate | None = None
        #: When it was received, in monotonic seconds.
        self.received_at = 0.0
        #: The last change of price: 1 up, -1 down, 0 none so far; and when, in monotonic seconds.
        self.move = 0
        self.moved_at = 0.0
        #: Why the server does not send it.
        self.refusal: ErrorReply | None = None
        #: Decimals that its prices need; never fewer than before, so that columns stand still.
        self.digits = _MIN_DIGITS

    def is_flashing(self, now: float) -> bool:
        """Whether the price moved a moment ago."""
        return self.move != 0 and now - self.moved_at < FLASH

    def take(self, update: StockUpdate, now: float) -> None:
        """Replace the update by a newer one, received at ``now``."""
        before = self.update
        if before is not None and update.price != before.price:
            self.move = 1 if update.price > before.price else -1
            self.moved_at = now
        self.update = update
        self.received_at = now
        self.refusal = None
        self.digits = max(self.digits, _digits(update.price))


class Board:
    """All watched symbols, in the order in which they were asked for, and the connection.

    Args:
        symbols: in canonical form, each once.
        monotonic: the clock that ages are measured with, in seconds.
    """

    def __init__(self, symbols: Sequence[Symbol], monotonic: Callable[[], float]) -> None:
        self.rows = {symbol: Row(symbol) for symbol in symbols}
        self.link = StateChange(state=ConnectionState.CONNECTING)
        #: When the connection came into this state, in monotonic seconds.
        self.link_since = monotonic()
        #: The last refusal that was about no symbol of ours.
        self.notice: ErrorReply | None = None
        #: Number of updates received.
        self.updates = 0
        #: Changes whenever anything here does.
        self.revision = 0
        self._monotonic = monotonic

    def apply(self, event: LiveEvent) -> None:
        """Take in what happened."""
        now = self._monotonic()
        self.revision += 1
        if isinstance(event, StockUpdate):
            if event.symbol in self.rows:
                self.updates += 1
                self.rows[event.symbol].take(event, now)
        elif isinstance(event, StateChange):
            self.link = event
            self.link_since = now
            self.notice = None
        else:
            row = self.rows.get(Symbol(event.symbol or ""))
            if row is not None:
                row.refusal = event
            else:
                self.notice = event


def _digits(price: float) -> int:
    text = f"{price:.{_MAX_DIGITS}f}".rstrip("0")
    return max(_MIN_DIGITS, len(text.partition(".")[2]))
