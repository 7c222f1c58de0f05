"""What flows through the house: frozen, keyword-only, without I/O and without settings."""

from stockstream.model.alert import Alert, AlertState, AlertType
from stockstream.model.bar import Bar, Timeframe, parse_timeframe
from stockstream.model.event import Event, Priority, Topic
from stockstream.model.metrics import PerformanceMetrics
from stockstream.model.quote import Position, Quote, StockUpdate
from stockstream.model.symbol import Symbol, parse_symbol
from stockstream.model.tick import Tick

__all__ = [
    "Alert",
    "AlertState",
    "AlertType",
    "Bar",
    "Event",
    "PerformanceMetrics",
    "Position",
    "Priority",
    "Quote",
    "StockUpdate",
    "Symbol",
    "Tick",
    "Timeframe",
    "Topic",
    "parse_symbol",
    "parse_timeframe",
]
