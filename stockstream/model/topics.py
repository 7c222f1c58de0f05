"""Every topic of the event bus, with the type of its data (documented names, sections 4 and 7)."""

from dataclasses import dataclass
from typing import Final

from stockstream.model.alert import Alert
from stockstream.model.event import Topic
from stockstream.model.metrics import PerformanceMetrics
from stockstream.model.quote import StockUpdate
from stockstream.model.symbol import Symbol


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteFailure:
    """Why there is no price of a symbol right now."""

    symbol: Symbol
    #: Stable name of the reason: ``provider_temporary``, ``not_finite``, ``price_jump``, …
    code: str
    #: The same as a sentence.
    error: str


#: A price changed and was sent on.
STOCK_UPDATED: Final = Topic[StockUpdate]("stock_updated")
#: A provider failed for a symbol, or said something about it that can't be true.
STOCK_UPDATE_ERROR: Final = Topic[QuoteFailure]("stock_update_error")
#: The first client wants a symbol; the last one left it and its time ran out.
STREAM_STARTED: Final = Topic[Symbol]("stream_started")
STREAM_STOPPED: Final = Topic[Symbol]("stream_stopped")
#: The measurements of an interval.
PERFORMANCE_METRICS_COLLECTED: Final = Topic[PerformanceMetrics]("performance_metrics_collected")
#: A threshold was passed, in either direction.
PERFORMANCE_ALERT: Final = Topic[Alert]("performance_alert")
