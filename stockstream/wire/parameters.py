"""What HTTP requests carry in path and query (contract, section 2), checked at the door.

Each struct is both: what a request is checked against, and what the OpenAPI description says.
"""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from stockstream.errors import InvalidPayloadError, RefusedError
from stockstream.model import Symbol, Timeframe, parse_symbol, parse_timeframe
from stockstream.model.symbol import MAX_SYMBOL_LENGTH
from stockstream.wire.names import parse_channel
from stockstream.wire.requests import SubscribeRequest, decode_request

#: Most symbols in one request for quotes.
MAX_SYMBOLS: Final = 200
#: Most updates that are held of a symbol (documented, section 4.1), and most bars in one answer.
MAX_UPDATES: Final = 1_000
#: A year of minutes of an exchange, 252 days of 390, with some to spare.
MAX_BARS: Final = 100_000
#: Latest time that is understood, in ms since the epoch: the year 9999.
_MAX_TIME: Final = 253_402_300_799_999

_SYMBOL: Final = rf"[A-Za-z0-9^][A-Za-z0-9.\-=^&_]{{0,{MAX_SYMBOL_LENGTH - 1}}}"
# The rules themselves are parse_symbol and parse_timeframe, whose errors say more; here they are
# told to whoever reads the description.
_SymbolText = Annotated[
    str,
    Meta(
        description="Symbol of an instrument, in either case.",
        examples=["AAPL", "BRK.B", "005930.KS", "^GSPC"],
        extra_json_schema={"pattern": f"^{_SYMBOL}$"},
    ),
]
_TimeframeText = Annotated[
    str, Meta(description="Length of a bar.", extra_json_schema={"enum": list(Timeframe)})
]
_Time = Annotated[int, Meta(ge=0, le=_MAX_TIME)]


class NoParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a route that takes none."""


class QuotesParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of ``GET /api/quotes``."""

    symbols: Annotated[
        str,
        Meta(
            max_length=(MAX_SYMBOL_LENGTH + 1) * MAX_SYMBOLS,
            description=f"1 to {MAX_SYMBOLS} symbols with commas between them.",
            examples=["AAPL,MSFT"],
            extra_json_schema={"pattern": f"^{_SYMBOL}(,{_SYMBOL}){{0,{MAX_SYMBOLS - 1}}}$"},
        ),
    ]

    def __post_init__(self) -> None:
        self.names()

    def names(self) -> list[Symbol]:
        """Return the symbols in canonical form, each once.

        Raises:
            InvalidSymbolError: one of them can't be a symbol.
            InvalidPayloadError: there are too many.
        """
        names = self.symbols.split(",")
        if len(names) > MAX_SYMBOLS:
            raise InvalidPayloadError(f"symbols: at most {MAX_SYMBOLS}, not {len(names)}")
        return list(dict.fromkeys(parse_symbol(name) for name in names))


class HistoryParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of ``GET /api/history/{symbol}``."""

    symbol: _SymbolText
    limit: Annotated[int, Meta(ge=1, le=MAX_UPDATES, description="Most updates in the answer.")] = (
        100
    )

    def __post_init__(self) -> None:
        parse_symbol(self.symbol)


class BarsParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of ``GET /api/bars/{symbol}``."""

    symbol: _SymbolText
    timeframe: _TimeframeText = Timeframe.D1
    from_: (
        Annotated[
            _Time,
            Meta(
                description="Bars that start before it, in ms since the epoch, are left out. "
                "Without it the answer is the newest bars."
            ),
        ]
        | UnsetType
    ) = field(default=UNSET, name="from")
    to: (
        Annotated[
            _Time,
            Meta(
                description="Bars that start at it or later, in ms since the epoch, are left out."
            ),
        ]
        | UnsetType
    ) = UNSET
    limit: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_BARS,
            description="Most bars in the answer. Where there are more after `from`, the header "
            '`Link` leads to the next page (`rel="next"`).',
        ),
    ] = 100

    def __post_init__(self) -> None:
        parse_symbol(self.symbol)
        parse_timeframe(self.timeframe)
        if self.from_ is not UNSET and self.to is not UNSET and self.from_ > self.to:
            raise InvalidPayloadError(f"from: {self.from_} is after to, {self.to}")


class StreamParameters(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """Of ``GET /api/stream``."""

    events: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=65_536,
            description="Names of events with commas between them, as in `subscribe`.",
            examples=["stock_update_AAPL,bar_update_AAPL_1m"],
        ),
    ]
    max_rate: (
        Annotated[
            float,
            Meta(
                gt=0,
                le=1_000,
                description="Most updates a second of each of these events; what comes faster is "
                "conflated to the latest.",
            ),
        ]
        | UnsetType
    ) = UNSET

    def __post_init__(self) -> None:
        wanted = self.request().events
        if not any(map(_is_channel, wanted)):
            parse_channel(wanted[0])

    def request(self) -> SubscribeRequest:
        """Return it as the same request of a Socket.IO client.

        Raises:
            InvalidPayloadError: there are too many events, or names that are too long.
        """
        rate = None if self.max_rate is UNSET else self.max_rate
        payload = {"events": self.events.split(","), "maxRate": rate}
        return decode_request(SubscribeRequest, payload)


def _is_channel(name: str) -> bool:
    try:
        parse_channel(name)
    except RefusedError:
        return False
    return True


class ClientParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of ``GET /api/stats/clients/{clientId}``."""

    client_id: Annotated[
        str, Meta(max_length=128, description="Id of a client, as `connected` told it.")
    ] = field(name="client_id")
