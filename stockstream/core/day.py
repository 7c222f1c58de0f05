"""What is known of a trading day so far, where the provider does not say it itself."""

from typing import Final

from stockstream.model import Quote

_DAY_MS: Final = 86_400_000


class TradingDay:
    """Open, extremes, volume and previous close of one symbol, day by day (UTC).

    What a provider says wins over what was seen here: it saw the whole day.
    """

    __slots__ = ("_date", "high", "last_price", "low", "open", "previous_close", "volume")

    def __init__(self) -> None:
        self._date: int | None = None
        #: First, highest and lowest price of the day, None before its first quote.
        self.open: float | None = None
        self.high: float | None = None
        self.low: float | None = None
        #: Last price of the day before, None while it is unknown.
        self.previous_close: float | None = None
        #: Volume of the day so far, in units of the instrument.
        self.volume: float = 0.0
        self.last_price: float | None = None

    def observe(self, quote: Quote, timestamp: int) -> None:
        """Take in an accepted quote of ``timestamp`` (ms, UTC); they come in order of time."""
        date = timestamp // _DAY_MS
        price = quote.price
        if date != self._date:
            self._begin(date, price)
        self.high = quote.day_high or (price if self.high is None else max(self.high, price))
        self.low = quote.day_low or (price if self.low is None else min(self.low, price))
        self.open = quote.open or self.open
        self.previous_close = quote.previous_close or self.previous_close
        if quote.volume is not None:
            self.volume = quote.volume
        elif quote.size is not None:
            self.volume += quote.size
        self.last_price = price

    def _begin(self, date: int, price: float) -> None:
        # Before the first quote there is no day whose close would be known.
        if self._date is not None:
            self.previous_close = self.last_price
        self._date = date
        self.open = self.high = self.low = price
        self.volume = 0.0

    @property
    def reference(self) -> float | None:
        """What ``change`` is measured against: the previous close, else the day's first price."""
        return self.open if self.previous_close is None else self.previous_close
