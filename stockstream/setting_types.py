"""What values settings take, and how those are written."""

import json
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator
from pydantic_settings import NoDecode

from stockstream.cluster.address import parse_address
from stockstream.core.derived_settings import read_derived
from stockstream.core.reference import read_reference
from stockstream.core.syncing import check_strategy_of_type
from stockstream.errors import ConfigError, InvalidSymbolError
from stockstream.model import Symbol, parse_symbol
from stockstream.model.derived import Derived
from stockstream.model.reference import Reference
from stockstream.storage.documents.address import check_database_url

#: In place of the URL of a database: what is gone when the process ends.
IN_MEMORY: Final = "memory"


def _split(value: object) -> object:
    """Lists are written with commas in the environment and on the command line."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _check_symbol(text: str) -> Symbol:
    try:
        return parse_symbol(text)
    except InvalidSymbolError as error:
        raise ValueError(str(error)) from None


def _check_network(text: str) -> str:
    return str(ip_network(text))


def _check_origin(text: str) -> str:
    parts = urlsplit(text)
    if text != "*" and not (parts.scheme in ("http", "https") and parts.netloc):
        raise ValueError("must be * or an origin such as https://charts.example.com")
    return text.rstrip("/")


def _check_redis_url(text: str) -> str:
    try:
        parse_address(text)
    except ValueError:
        # Its own words may repeat a password.
        raise ValueError(
            "must be redis://host:port, redis+sentinel://host:port,…/master, "
            "redis+cluster://host:port,… (each with rediss for TLS) or unix://path"
        ) from None
    return text


def _check_node_id(text: str) -> str:
    if not text.isprintable() or " " in text:
        raise ValueError("must be a name without blanks")
    return text


def _check_history_url(text: str) -> str:
    if text == IN_MEMORY:
        return text
    try:
        return check_database_url(text)
    except ValueError as error:
        raise ValueError(f"{error}, or memory") from None


def _check_calendar(text: str) -> str:
    suffix, _, calendar = text.rpartition("=")
    if not suffix or not calendar:
        raise ValueError("must be suffixes with calendars, such as .KS=XKRX,-USD=24/7,*=XNYS")
    return text


def _tables(name: str, value: object) -> Mapping[str, object]:
    """Tables are JSON in the environment."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ConfigError(name, value, f"must be JSON: {error}") from None
    if not isinstance(value, Mapping):
        raise ConfigError(name, value, "must be tables by symbol")
    return value


def _read_derived(value: object) -> Mapping[Symbol, Derived]:
    return read_derived(_tables("DERIVED", value))


def _read_reference(value: object) -> Mapping[Symbol, Reference]:
    return read_reference("REFERENCE", _tables("REFERENCE", value))


Name = Annotated[str, Field(min_length=1, max_length=1_000)]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_check_origin)], ...], NoDecode, BeforeValidator(_split)
]
Networks = Annotated[
    tuple[Annotated[str, AfterValidator(_check_network)], ...], NoDecode, BeforeValidator(_split)
]
Symbols = Annotated[
    tuple[Annotated[str, AfterValidator(_check_symbol)], ...], NoDecode, BeforeValidator(_split)
]
DerivedSymbols = Annotated[Mapping[Symbol, Derived], NoDecode, PlainValidator(_read_derived)]
References = Annotated[Mapping[Symbol, Reference], NoDecode, PlainValidator(_read_reference)]
DatabaseUrl = Annotated[str, AfterValidator(check_database_url)]
Strategies = Annotated[
    tuple[Annotated[str, AfterValidator(check_strategy_of_type)], ...],
    NoDecode,
    BeforeValidator(_split),
]
NodeId = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_check_node_id)]
HistoryUrl = Annotated[str, AfterValidator(_check_history_url)]
SuffixCalendars = Annotated[
    tuple[Annotated[str, AfterValidator(_check_calendar)], ...], NoDecode, BeforeValidator(_split)
]
RedisUrl = Annotated[str, AfterValidator(_check_redis_url)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
