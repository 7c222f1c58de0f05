"""What clients get (contract, section 1), but for the updates themselves."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from stockstream.errors import RefusedError
from stockstream.model import Bar, StockUpdate, Symbol, Timeframe

STOCK_DATA_ERROR: Final = "stock_data_error"


class Connected(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The payload of ``connected``: the first event that a client gets."""

    client_id: str
    #: In ms since the epoch.
    server_time: int
    available_events: Sequence[str]


class Rejected(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One event of a request that was refused, and why."""

    event: str
    code: str
    message: str


class Subscribed(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The payload of ``subscribed``: what the request led to, by canonical names."""

    events: Sequence[str]
    rejected: Sequence[Rejected] | None = None
    #: Of a stream that is to go on after an id: whether it does, without a gap.
    resumed: bool | None = None


class Unsubscribed(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The payload of ``unsubscribed``: what the request led to, by canonical names."""

    events: Sequence[str]
    rejected: Sequence[Rejected] | None = None


class StockDataBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The documented inner part of ``stock_data``."""

    symbol: Symbol
    timeframe: Timeframe
    #: In order of time; the last one is still forming.
    data: Sequence[Bar]
    quote: StockUpdate | None
    #: In ms since the epoch.
    last_updated: int


class StockData(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The payload of ``stock_data``."""

    symbol: Symbol
    timeframe: Timeframe
    data: StockDataBody
    #: In ms since the epoch.
    timestamp: int


class BarUpdate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The payload within the envelope of ``bar_update_<SYMBOL>_<TIMEFRAME>``."""

    symbol: Symbol
    timeframe: Timeframe
    #: Start of the bar, in ms since the epoch.
    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    #: False while the bar is still forming.
    closed: bool


class Authenticated(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The payload of ``authenticated``: who the client is from now on."""

    user: str
    roles: Sequence[str]
    #: When its token expires, in ms since the epoch; None: never.
    expires_at: int | None = None


class ErrorReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The payload of ``error``."""

    #: The event that failed.
    type: str
    code: str
    message: str
    symbol: str | None = None
    event: str | None = None


class Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What live events are wrapped in (documented)."""

    #: The name of the event.
    type: str
    payload: Any
    #: When it was sent, in ms since the epoch.
    timestamp: int


def error_reply(event: str, error: RefusedError) -> ErrorReply:
    """Return what a client hears when its request of that event was refused."""
    # The documented name of failures of get_stock_data; the others are called by their event.
    kind = STOCK_DATA_ERROR if event == "get_stock_data" else f"{event}_error"
    return ErrorReply(
        type=kind, code=error.code, message=str(error), symbol=error.symbol, event=error.event
    )


def rejected(event: str, error: RefusedError) -> Rejected:
    """Return why one event of a request was refused."""
    return Rejected(event=event, code=error.code, message=str(error))
