"""Every error that stockstream raises, in one tree.

    StockstreamError
    ├── ConfigError                 a setting is wrong; the process does not start
    ├── RefusedError                what a client asked for is refused, with a code of the contract
    │   ├── InvalidPayloadError     invalid_payload
    │   ├── InvalidSymbolError      invalid_symbol
    │   ├── UnknownEventError       unknown_event
    │   ├── UnknownTimeframeError   unknown_timeframe
    │   ├── SubscriptionLimitError  subscription_limit
    │   ├── ForbiddenError          forbidden
    │   ├── UnauthorizedError       unauthorized
    │   │   └── TokenExpiredError   token_expired
    │   ├── TooLargeError           too_large
    │   ├── RateLimitedError        rate_limited
    │   ├── UnavailableError        unavailable
    │   └── OtherRefusalError       a server of another version has a code of its own
    ├── ProviderError               a provider of quotes failed
    │   ├── TemporaryProviderError  trying again may help
    │   └── PermanentProviderError  trying again won't: unknown symbol, refused key
    ├── StoreUnavailableError       a cache or history can't be reached
    ├── NotConnectedError           the client has no connection, and gave up having one
    ├── QueueFullError              no more changes are kept for later
    ├── QueueLockedError            another process has the file of changes
    ├── SlowConsumerError           a program did not take its updates fast enough
    ├── BusClosedError              the event bus was closed before the event was accepted
    └── DrainTimeoutError           the node could not be drained in time

Each has a stable ``code`` for machines, ``retryable`` for callers, its facts in attributes and
its sentence in ``str()``.
"""

from collections.abc import Sequence
from typing import ClassVar


class StockstreamError(Exception):
    """The root of the tree."""

    #: Stable name for machines: counters, logs, the ``code`` of a client's ``error`` event.
    code: ClassVar[str] = "internal"
    #: Whether the same call may succeed later without anything else being changed.
    retryable: ClassVar[bool] = False


class ConfigError(StockstreamError):
    """A setting has a value that it can't have."""

    code = "config"

    def __init__(self, name: str, value: object, allowed: str) -> None:
        self.name = name
        self.value = value
        self.allowed = allowed
        super().__init__(name, value, allowed)

    def __str__(self) -> str:
        state = "is not set" if self.value is None else f"has the value {self.value!r}"
        return f"setting {self.name} {state}: {self.allowed}"


class RefusedError(StockstreamError):
    """What a client asked for is refused; it stays connected and hears why."""

    def __init__(
        self, message: str, *, symbol: str | None = None, event: str | None = None
    ) -> None:
        self.message = message
        self.symbol = symbol
        self.event = event
        super().__init__(message)

    def __str__(self) -> str:
        return self.message


class InvalidPayloadError(RefusedError):
    """The payload does not have the documented shape; the message names the field."""

    code = "invalid_payload"


class InvalidSymbolError(RefusedError):
    """The text can't be the symbol of any venue."""

    code = "invalid_symbol"


class UnknownEventError(RefusedError):
    """There is no event of that name to subscribe to."""

    code = "unknown_event"


class UnknownTimeframeError(RefusedError):
    """There are no bars of that timeframe."""

    code = "unknown_timeframe"


class SubscriptionLimitError(RefusedError):
    """The client, or the symbol, has as many subscriptions as it may have."""

    code = "subscription_limit"


class ForbiddenError(RefusedError):
    """The client may not have what it asked for."""

    code = "forbidden"


class UnauthorizedError(RefusedError):
    """Nothing, or nothing that is believed, says who the client is."""

    code = "unauthorized"


class TokenExpiredError(UnauthorizedError):
    """The token was right, and has had its time; a fresh one helps."""

    code = "token_expired"


class TooLargeError(RefusedError):
    """What the client sent takes more bytes than are taken."""

    code = "too_large"


class RateLimitedError(RefusedError):
    """The client asks more often than it may."""

    code = "rate_limited"
    retryable = True


class UnavailableError(RefusedError):
    """What answers this is gone for now."""

    code = "unavailable"
    retryable = True


class OtherRefusalError(RefusedError):
    """A server refuses with a code that this version does not know."""

    code = "refused"

    def __init__(
        self, message: str, given: str, *, symbol: str | None = None, event: str | None = None
    ) -> None:
        #: The server's own code.
        self.given = given
        super().__init__(message, symbol=symbol, event=event)


class ProviderError(StockstreamError):
    """A provider of quotes failed."""

    code = "provider"

    def __init__(self, provider: str, message: str, *, symbols: Sequence[str] = ()) -> None:
        self.provider = provider
        self.message = message
        #: The symbols that failed; empty when the request as a whole did.
        self.symbols = tuple(symbols)
        super().__init__(provider, message)

    def __str__(self) -> str:
        about = f" ({', '.join(self.symbols)})" if self.symbols else ""
        return f"{self.provider}: {self.message}{about}"


class TemporaryProviderError(ProviderError):
    """Trying again may help: a lost connection, a timeout, a rate limit."""

    code = "provider_temporary"
    retryable = True

    def __init__(
        self,
        provider: str,
        message: str,
        *,
        symbols: Sequence[str] = (),
        retry_after: float | None = None,
    ) -> None:
        #: Seconds that the provider asks to wait, where it says so.
        self.retry_after = retry_after
        super().__init__(provider, message, symbols=symbols)


class PermanentProviderError(ProviderError):
    """Trying again won't help: an unknown symbol, a refused key."""

    code = "provider_permanent"


class StoreUnavailableError(StockstreamError):
    """A cache or a history can't be reached, or did not answer in time."""

    code = "store_unavailable"
    retryable = True

    def __init__(self, store: str, message: str) -> None:
        self.store = store
        self.message = message
        super().__init__(store, message)

    def __str__(self) -> str:
        return f"{self.store}: {self.message}"


class NotConnectedError(StockstreamError):
    """A client has no connection and makes no more attempts to have one."""

    code = "not_connected"
    retryable = True

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)

    def __str__(self) -> str:
        return f"not connected: {self.reason}"


class QueueFullError(StockstreamError):
    """As many changes wait to be synchronized as may wait."""

    code = "queue_full"
    retryable = True

    def __init__(self, items: int, size: int) -> None:
        #: How many wait, and the characters of their data.
        self.items = items
        self.size = size
        super().__init__(items, size)

    def __str__(self) -> str:
        return f"{self.items:,} changes of {self.size:,} characters wait already"


class QueueLockedError(StockstreamError):
    """A file of changes is in use; it has one writer at a time."""

    code = "queue_locked"
    retryable = True

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(path)

    def __str__(self) -> str:
        return f"{self.path} is in use by another process, or by this one already"


class SlowConsumerError(StockstreamError):
    """A program did not take what it was sent, and asked to be told rather than to miss some."""

    code = "slow_consumer"

    def __init__(self, pending: int) -> None:
        #: How many updates it had not taken.
        self.pending = pending
        super().__init__(pending)

    def __str__(self) -> str:
        return f"{self.pending} updates were not taken fast enough"


class BusClosedError(StockstreamError):
    """The event bus was closed before the event was accepted; nothing of it was delivered."""

    code = "bus_closed"

    def __str__(self) -> str:
        return "the event bus is closed"


class DrainTimeoutError(StockstreamError):
    """The node could not be drained in time; what was left of it is lost."""

    code = "drain_timeout"

    def __init__(self, within: float) -> None:
        #: Seconds that it had.
        self.within = within
        super().__init__(within)

    def __str__(self) -> str:
        return f"not drained within {self.within:g} s; what was left is lost"
