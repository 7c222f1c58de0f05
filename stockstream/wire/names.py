"""Names of events, and what a client means when it subscribes to one (contract, section 1)."""

from dataclasses import dataclass
from typing import Final

from stockstream.errors import ForbiddenError, UnknownEventError
from stockstream.model import Symbol, Timeframe, parse_symbol, parse_timeframe
from stockstream.model.identity import Identity, UserRole

# Client to server.
SUBSCRIBE: Final = "subscribe"
UNSUBSCRIBE: Final = "unsubscribe"
GET_STOCK_DATA: Final = "get_stock_data"
AUTHENTICATE: Final = "authenticate"
SYNC: Final = "sync"
SYNC_SINCE: Final = "sync_since"

# Server to client.
CONNECTED: Final = "connected"
SUBSCRIBED: Final = "subscribed"
UNSUBSCRIBED: Final = "unsubscribed"
STOCK_DATA: Final = "stock_data"
AUTHENTICATED: Final = "authenticated"
ERROR: Final = "error"
PERFORMANCE_METRICS: Final = "performance_metrics"
PERFORMANCE_ALERT: Final = "performance_alert"
SYNCED: Final = "synced"
DOCUMENTS: Final = "documents"
DOCUMENT_CHANGED: Final = "document_changed"

_STOCK_UPDATE: Final = "stock_update_"
_BAR_UPDATE: Final = "bar_update_"

#: The events there are, their variable parts in angle brackets.
_EVENTS: Final = (
    f"{_STOCK_UPDATE}<SYMBOL>",
    f"{_BAR_UPDATE}<SYMBOL>_<TIMEFRAME>",
    PERFORMANCE_METRICS,
    PERFORMANCE_ALERT,
    DOCUMENT_CHANGED,
)
#: What a client has to be to hear of those that are not for anybody.
_ROLES: Final = {
    PERFORMANCE_METRICS: UserRole.OPS,
    PERFORMANCE_ALERT: UserRole.OPS,
    DOCUMENT_CHANGED: UserRole.USER,
}


@dataclass(frozen=True, slots=True)
class Channel:
    """An event that can be subscribed to."""

    #: Canonical name: its symbol in upper case.
    name: str
    #: The symbol that has to stream for it, None for events about the service itself.
    symbol: Symbol | None = None
    #: For bars, their timeframe.
    timeframe: Timeframe | None = None
    #: What a client has to be to hear of it, None: anybody.
    role: UserRole | None = None


def stock_update(symbol: Symbol) -> str:
    """Return the event that carries the updates of ``symbol``."""
    return _STOCK_UPDATE + symbol


def bar_update(symbol: Symbol, timeframe: Timeframe) -> str:
    """Return the event that carries the bars of ``symbol``."""
    return f"{_BAR_UPDATE}{symbol}_{timeframe}"


def available_events(identity: Identity) -> list[str]:
    """Return what ``connected`` announces: the events that a client may subscribe to."""
    return [name for name in _EVENTS if identity.may(_ROLES.get(name))]


def parse_channel(name: str) -> Channel:
    """Return what a client means by ``name``.

    Only events are ever understood, never rooms: a client can't join what it was not meant to.

    Raises:
        UnknownEventError: there is no such event.
        InvalidSymbolError: its symbol can't be one.
        UnknownTimeframeError: its timeframe is none.
    """
    if name.startswith(_STOCK_UPDATE):
        symbol = parse_symbol(name[len(_STOCK_UPDATE) :])
        return Channel(stock_update(symbol), symbol)
    if name.startswith(_BAR_UPDATE):
        # Symbols may hold an underscore, timeframes may not.
        text, _, timeframe_text = name[len(_BAR_UPDATE) :].rpartition("_")
        symbol, timeframe = parse_symbol(text), parse_timeframe(timeframe_text)
        return Channel(bar_update(symbol, timeframe), symbol, timeframe)
    if name in _ROLES:
        return Channel(name, role=_ROLES[name])
    raise UnknownEventError(f"there is no event {name[:64]!r}", event=name[:64])


def permit(channel: Channel, identity: Identity) -> None:
    """Let somebody have an event.

    Raises:
        ForbiddenError: it takes a role that he does not have.
    """
    if not identity.may(channel.role):
        raise ForbiddenError(f"the role {channel.role} is needed for {channel.name}")
