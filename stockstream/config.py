"""Settings: flags win over environment variables, those over a TOML file, that over defaults.

Each field is ``STOCKSTREAM_<NAME>`` in the environment and ``<name>`` in the file.
"""

import os
import re
import socket
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from stockstream.cluster.membership import Role
from stockstream.errors import ConfigError
from stockstream.setting_types import (
    Count,
    DatabaseUrl,
    DerivedSymbols,
    HistoryUrl,
    Name,
    Networks,
    NodeId,
    Origins,
    RedisUrl,
    References,
    Seconds,
    Strategies,
    SuffixCalendars,
    Symbols,
)
from stockstream.storage.documents.address import default_database

ENV_PREFIX: Final = "STOCKSTREAM_"
#: What is shown in place of a secret.
_HIDDEN: Final = "***"
#: Settings that are, or may hold, a secret.
_SECRETS: Final = frozenset({"redis_url", "database_url", "history_url", "jwt_secret"})
#: Those of them that hold it as the password of a URL.
_URLS: Final = ("redis_url", "database_url", "history_url")


class ProviderName(StrEnum):
    """Where quotes come from."""

    SIMULATED = "simulated"
    REPLAY = "replay"


class LogLevel(StrEnum):
    """The least important messages that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How log lines look."""

    #: ``console`` on a terminal, else ``json``.
    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class Settings(BaseSettings):
    """Everything that can be set, with what holds where nothing is said."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENV_PREFIX, env_ignore_empty=True
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        8000, description="port to listen on; 0 takes a free one"
    )
    node_id: NodeId = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        description="name of this node in alerts, metrics and logs",
    )

    provider: ProviderName = Field(ProviderName.SIMULATED, description="where quotes come from")
    symbols: Symbols = Field(
        (), description="symbols that stream from the start, whether anybody watches or not"
    )
    replay_file: Path | None = Field(None, description="recording that provider=replay plays")
    replay_speed: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        1.0, description="1 is the recorded pace, 0 as fast as it is taken"
    )
    replay_loop: bool = Field(False, description="begin again at the end of the recording")
    simulated_seed: int = Field(0, description="the simulated market's prices follow from it")
    simulated_change_probability: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="chance that a simulated price changes from one interval to the next"
    )
    update_interval: Annotated[float, Field(ge=0.05, le=3_600)] = Field(
        1.0, description="seconds between two requests for a polled symbol"
    )
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = Field(
        100, description="symbols in one request to the provider"
    )
    derived: DerivedSymbols = Field(
        {}, description="symbols computed out of others: see streams.md; JSON in the environment"
    )
    reference: References = Field(
        {}, description="name, currency, exchange, previous_close by symbol: see streams.md"
    )
    reference_file: Path | None = Field(
        None, description="CSV file of the same; a symbol's table in the settings wins"
    )

    auth: Literal["none", "jwt"] = Field(
        "none", description="none: anybody may do everything; jwt: a token says who one is"
    )
    jwt_secret: SecretStr | None = Field(
        None, description="secret of 32 bytes or more that tokens are signed with (HS256)"
    )
    jwt_key_file: Path | None = Field(
        None, description="public key (PEM) or key set (JWKS) that tokens are checked with"
    )
    jwt_jwks_url: str | None = Field(
        None, description="where the identity provider has its key set (JWKS)"
    )
    jwt_issuer: Name | None = Field(
        None, description="iss that tokens must have; needed with JWT_JWKS_URL"
    )
    jwt_audience: Name | None = Field(
        None, description="aud that tokens must have; none: those with one are refused"
    )
    jwt_roles_claim: Name = Field(
        "roles", description="claim with the roles; a path where it is in another: realm.roles"
    )
    jwt_leeway: Annotated[float, Field(ge=0, le=300)] = Field(
        10.0, description="seconds by which clocks may differ"
    )
    metrics_public: bool = Field(
        True, description="whether /metrics answers anybody; false: the role ops, with AUTH=jwt"
    )

    max_symbols: Count = Field(10_000, description="symbols that stream at once, for all clients")
    max_subscriptions: Count = Field(10_000, description="clients of one event")
    max_subscriptions_per_client: Count = Field(500, description="events of one client")
    subscription_timeout: Annotated[float, Field(ge=0, le=86_400)] = Field(
        5.0, description="seconds that a symbol streams on after its last client left"
    )

    recovery_window: Annotated[float, Field(ge=0, le=3_600)] = Field(
        120.0,
        description="seconds that a client may be away and still go on where it was; 0: never",
    )

    redis_url: RedisUrl | None = Field(
        None, description="Redis through which nodes are one; none: one node, all in memory"
    )
    role: Role = Field(
        Role.ALL,
        description="gateway serves clients, feed streams from the provider, all does both",
    )

    database_url: DatabaseUrl | None = Field(
        None, description="sqlite:///path or postgresql://host/name; none: an SQLite file"
    )
    sync_strategy: str = Field(
        "merge", description="what decides about conflicts of documents where nothing else is said"
    )
    sync_strategies: Strategies = Field(
        (), description="the same by type of document: watchlist=merge,note=manual"
    )
    sync_history: Annotated[int, Field(ge=1, le=10_000)] = Field(
        50, description="past versions that are kept of a document"
    )
    sync_retention_days: Annotated[float, Field(ge=1, le=3_650)] = Field(
        90.0, description="days after which ids of changes and deletions are forgotten"
    )
    max_documents_per_user: Count = Field(10_000, description="documents of one user")
    max_document_bytes_per_user: Annotated[int, Field(ge=100_000)] = Field(
        100_000_000, description="bytes of one user's documents, past versions included"
    )
    max_syncs_per_second: Annotated[float, Field(gt=0)] = Field(
        100.0, description="changes of documents a second of one user"
    )

    history_url: HistoryUrl | None = Field(
        None,
        description="where ticks and bars are kept: sqlite:///path, postgresql://host/name or "
        "memory; none: DATABASE_URL if that is PostgreSQL, else an SQLite file",
    )
    history_tick_days: Annotated[float, Field(ge=0, le=3_650)] = Field(
        7.0, description="days that ticks are kept; 0: none are"
    )
    history_minute_days: Annotated[float, Field(ge=1, le=36_500)] = Field(
        1_825.0, description="days that minute bars are kept; hours and days of them stay for good"
    )
    calendars: SuffixCalendars | None = Field(
        None, description="calendars of exchanges by the end of a symbol: .KS=XKRX,*=XNYS"
    )

    cors_origins: Origins = Field(
        (), description="origins of web pages that may connect, * for any; none: same origin only"
    )
    trusted_proxies: Networks = Field(
        (), description="networks whose X-Forwarded-For tells the client's address"
    )
    ping_interval: Seconds = Field(25.0, description="seconds between two heartbeats")
    ping_timeout: Seconds = Field(60.0, description="seconds that a client has to answer one")
    websocket_compression: bool = Field(
        False, description="offer permessage-deflate: less traffic, some CPU for each update"
    )
    max_connections: Count = Field(20_000, description="clients connected at once")
    max_connections_per_address: Count = Field(256, description="the same from one address")
    max_handshakes_per_second: Annotated[float, Field(gt=0)] = Field(
        500.0, description="new clients a second; more are told to come back later"
    )
    max_requests_per_second: Annotated[float, Field(gt=0)] = Field(
        50.0, description="HTTP requests a second of one address under /api; more are refused"
    )
    max_payload_bytes: Annotated[int, Field(ge=1_000)] = Field(
        1_000_000, description="largest message that a client may send"
    )
    max_packets_per_payload: Count = Field(10_000, description="packets in one polling request")
    max_messages_per_second: Annotated[float, Field(gt=0)] = Field(
        500.0, description="messages a second of one client; what comes faster is read later"
    )
    header_timeout: Seconds = Field(15.0, description="seconds that a request's head may take")
    body_timeout: Seconds = Field(10.0, description="seconds that a request's body may take")
    max_unread_bytes: Annotated[int, Field(ge=10_000)] = Field(
        1_048_576, description="bytes that may wait for a client that does not read"
    )
    slow_consumer_timeout: Seconds = Field(
        90.0, description="seconds that a client may read nothing while something waits for it"
    )

    metrics_interval: Seconds = Field(10.0, description="seconds between two measurements")
    max_latency_ms: Annotated[float, Field(gt=0)] = Field(
        1_000.0, description="mean delivery latency that an alert fires above"
    )
    max_error_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        0.05, description="errors for each message handled that an alert fires above"
    )
    max_memory_mb: Annotated[float, Field(gt=0)] = Field(
        512.0, description="resident memory that an alert fires above"
    )
    max_message_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="messages a second that an alert fires above; none: no alert"
    )

    log_level: LogLevel = Field(LogLevel.INFO, description="least important messages logged")
    log_format: LogFormat = Field(
        LogFormat.AUTO, description="console, json, or auto: console on a terminal"
    )
    shutdown_timeout: Seconds = Field(
        10.0, description="seconds that draining may take after SIGTERM"
    )

    def database(self) -> str | None:
        """Return the URL of the database for documents; None: nodes were told of none to share."""
        if self.database_url is not None or self.redis_url is not None:
            return self.database_url
        return default_database(os.environ)

    def history(self) -> str:
        """Return the URL of the database that ticks and bars are kept in, or ``memory``."""
        if self.history_url is not None:
            return self.history_url
        if self.database_url is not None and self.database_url.startswith("postgres"):
            return self.database_url
        # A file of its own: one that writes all the time must not hold up who writes documents; and
        # one for each provider: prices that were made up are not mixed with others.
        return default_database(os.environ, f"history-{self.provider}.db")

    def shown(self) -> dict[str, str]:
        """Return each setting as text, passwords hidden."""
        values = {name: _text(getattr(self, name)) for name in type(self).model_fields}
        for name in _URLS:
            if (url := getattr(self, name)) is not None:
                values[name] = _without_password(url)
        return values


def load_settings(flags: Mapping[str, Any], file: Path | None = None) -> Settings:
    """Return the settings in force.

    Args:
        flags: settings from the command line; None where one was not given.
        file: a TOML file.

    Raises:
        ConfigError: a value is not allowed, or the file can't be read.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    in_file = _read(file) if file else {}

    class WithFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls, *args: Any, **sources: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            flags_and_environment = super().settings_customise_sources(*args, **sources)
            return (*flags_and_environment, InitSettingsSource(cls, in_file))

    try:
        settings = WithFile(**given)
    except ValidationError as error:
        raise _config_error(error) from None
    if len(settings.symbols) > settings.max_symbols:
        raise ConfigError("SYMBOLS", len(settings.symbols), "more than MAX_SYMBOLS")
    if settings.provider is ProviderName.REPLAY and settings.replay_file is None:
        raise ConfigError("REPLAY_FILE", None, "provider replay needs the path of a recording")
    return settings


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return a sentence for each ``STOCKSTREAM_`` variable that sets nothing.

    They are no errors: others, such as a cluster's service links, put theirs there too.
    """
    # The token is no setting of a server, but of those who connect to one.
    known = {ENV_PREFIX + name.upper() for name in (*Settings.model_fields, "token")}
    names = sorted(name for name in environment if name.upper().startswith(ENV_PREFIX))
    return [
        f"{name} sets nothing{_hint(name.upper(), known)}"
        for name in names
        if name.upper() not in known
    ]


def _hint(name: str, known: Iterable[str]) -> str:
    similar = get_close_matches(name, known, n=1)
    return f"; did you mean {similar[0]}?" if similar else ""


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError("--config", str(file), error.strerror or "can't be read") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("--config", str(file), f"is not TOML: {error}") from None


def _config_error(error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        hint = _hint(name.lower(), Settings.model_fields)
        # Whatever it was meant to be, it may be secret.
        return ConfigError(name, _HIDDEN, f"there is no such setting{hint}")
    value = _HIDDEN if name in _SECRETS else first["input"]
    return ConfigError(name.upper(), value, _allowed(first["msg"]))


def _allowed(message: str) -> str:
    """Return what pydantic says of a value, without its talk of input and parsing."""
    allowed, _, _ = message.removeprefix("Value error, ").partition(", unable to ")
    return allowed.replace("Input should be", "must be", 1)


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | Mapping):
        return ",".join(value) or "none"
    return str(value)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    shown = url.replace(f":{parts.password}@", f":{_HIDDEN}@", 1) if parts.password else url
    # In the address of a Unix socket it is an argument.
    return re.sub(r"([?&](?:sentinel_)?password=)[^&#]*", rf"\g<1>{_HIDDEN}", shown)
