"""The way of one symbol's quotes: validate, normalize, enrich, price gate, number.

Section 4.1 of the design, where ``updateStockData`` does all of it at once.
"""

from collections.abc import Iterator
from itertools import repeat
from typing import Final

from stockstream.core.day import TradingDay
from stockstream.core.operators import Changed, Operator
from stockstream.core.quote_rules import (
    DEFAULT_LIMITS,
    SMALLEST,
    QuoteLimits,
    QuoteRules,
    Rejection,
)
from stockstream.model import Quote, StockUpdate, Symbol

# Enough for any currency and for coins of a millionth of a cent; takes the noise of binary
# fractions off a difference (0.30000000000000004).
_CHANGE_DIGITS: Final = 10
_PERCENT_DIGITS: Final = 4
# For who has no order of all symbols.
_NOWHERE: Final = repeat(0)


class SymbolStream:
    """State of one symbol: what was believed, what was emitted, which number comes next.

    An unchanged price never gets a number, so numbers have no gaps: who sees ``seq`` jump has
    missed something.
    """

    __slots__ = (
        "_day",
        "_enrich",
        "_gate",
        "_offsets",
        "_rules",
        "_seq",
        "epoch",
        "last",
        "offset",
        "symbol",
        "timestamp",
    )

    def __init__(
        self,
        symbol: Symbol,
        epoch: str,
        offsets: Iterator[int] = _NOWHERE,
        limits: QuoteLimits = DEFAULT_LIMITS,
    ) -> None:
        """Begin a sequence.

        Args:
            symbol: whose quotes these are.
            epoch: names the sequence; no other one ever has this name.
            offsets: gives each update its place among those of all symbols.
            limits: what is still plausible.
        """
        self.symbol = symbol
        #: Names this sequence of numbers; unique to this object.
        self.epoch = epoch
        #: The last emitted update, or one that was emitted before this stream began.
        self.last: StockUpdate | None = None
        #: Time of the last believed quote, in ms since the epoch.
        self.timestamp: int | None = None
        self._offsets = offsets
        self._day = TradingDay()
        self._gate: Changed[float] = Changed()
        self._enrich: Operator[StockUpdate, StockUpdate] | None = None
        self._rules = QuoteRules(limits)
        self._seq = 0
        #: Place of the last update that this object emitted; 0 before the first.
        self.offset = 0

    @property
    def volume(self) -> float:
        """Volume of the day so far."""
        return self._day.volume

    def is_plausible(self, price: float) -> bool:
        """Return whether a price is near the last one that was believed."""
        return self._rules.is_plausible(price)

    def seed(self, update: StockUpdate) -> None:
        """Take over what an earlier stream emitted last: an unchanged price stays unsent.

        Nothing else is taken from it: the clock of a replayed recording starts anew.
        """
        if self.last is None:
            self.last = update if self._enrich is None else self._enrich(update)
            self._gate.last = update.price

    def describe(
        self, enrich: Operator[StockUpdate, StockUpdate], previous_close: float | None
    ) -> None:
        """Take in what reference data say.

        Args:
            enrich: completes each update.
            previous_close: what the first day's changes are measured against, unless the provider
                says it, or the day before was seen here.
        """
        self._enrich = enrich
        if self._day.previous_close is None:
            self._day.previous_close = previous_close

    def offer(self, quote: Quote, now_ms: int) -> StockUpdate | Rejection | None:
        """Take in a quote received at ``now_ms`` (ms since the epoch).

        Returns:
            The numbered update to emit, why the quote is not believed, or None where it is
            believed and its price is the one that was emitted last.
        """
        timestamp = self._rules.timestamp_of(quote, now_ms)
        rejection = self._rules.judge(quote, timestamp, now_ms)
        if rejection is not None:
            return rejection
        self.timestamp = timestamp
        self._day.observe(quote, timestamp)
        if self._gate(quote.price) is None:
            return None
        self._seq += 1
        self.offset = next(self._offsets)
        update = self._update(quote, timestamp)
        self.last = update if self._enrich is None else self._enrich(update)
        return self.last

    def _update(self, quote: Quote, timestamp: int) -> StockUpdate:
        day = self._day
        price = quote.price
        reference = price if day.reference is None else day.reference
        change = price - reference
        # A computed price may be measured against nothing, or next to nothing.
        percent = change / abs(reference) * 100 if abs(reference) >= SMALLEST else 0.0
        return StockUpdate(
            symbol=self.symbol,
            price=price,
            change=round(change, _CHANGE_DIGITS),
            change_percent=round(percent, _PERCENT_DIGITS),
            volume=day.volume,
            timestamp=timestamp,
            seq=self._seq,
            epoch=self.epoch,
            offset=self.offset,
            bid=quote.bid,
            ask=quote.ask,
            day_high=day.high,
            day_low=day.low,
            open=day.open,
            previous_close=day.previous_close,
        )
