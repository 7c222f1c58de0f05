"""What clients send (contract, section 1), checked at the door."""

from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from stockstream.errors import InvalidPayloadError
from stockstream.model import Position

#: Most names in one request; more is a mistake or an attack.
MAX_NAMES: Final = 1_000

_Name = Annotated[str, Meta(max_length=128)]
_Names = Annotated[list[_Name], Meta(min_length=1, max_length=MAX_NAMES)]


class SubscribeRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The payload of ``subscribe``."""

    #: Names of events.
    events: _Names
    #: For each event the last position that the client has seen: it gets what came after.
    since: Annotated[dict[_Name, Position], Meta(max_length=MAX_NAMES)] = {}
    #: Most updates a second of each of these events; None: all of them.
    max_rate: Annotated[float, Meta(gt=0, le=1_000)] | None = None


class UnsubscribeRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The payload of ``unsubscribe``."""

    #: Names of events.
    events: _Names


class StockDataRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The payload of ``get_stock_data``."""

    symbol: _Name
    timeframe: _Name = "1d"
    #: Number of bars.
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100


class AuthenticateRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The payload of ``authenticate``."""

    #: A fresh token of the same user.
    token: str


R = TypeVar("R", bound=msgspec.Struct)


def decode_request(kind: type[R], payload: object) -> R:
    """Return ``payload`` as a request of that kind.

    Raises:
        InvalidPayloadError: it has another shape; the message names the field.
    """
    try:
        return msgspec.convert(payload, kind)
    except msgspec.ValidationError as error:
        raise InvalidPayloadError(named_problem(error, "payload")) from None
    except RecursionError:
        raise InvalidPayloadError("the payload is nested too deeply") from None


def named_problem(error: msgspec.ValidationError, whole: str) -> str:
    """Return what msgspec found, the field first; ``whole`` where it is no single field."""
    # "Expected `array`, got `int` - at `$.events`": the path names the field.
    problem, _, path = str(error).partition(" - at `$")
    return f"{path.strip('.`') or whole}: {problem[:1].lower()}{problem[1:]}"
