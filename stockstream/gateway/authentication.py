"""Whether a token is believed, and whose it is."""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog

from stockstream.core.token_keys import KeySet, parse_keys, secret_key
from stockstream.core.tokens import TokenRules, identity_of, key_id_of
from stockstream.engine import TokenBucket, network_of
from stockstream.errors import (
    ConfigError,
    RateLimitedError,
    RefusedError,
    TokenExpiredError,
    UnauthorizedError,
)
from stockstream.gateway.keys import KeySource, RemoteKeys, StaticKeys
from stockstream.model.identity import LOCAL_USER, Identity
from stockstream.ports import Clock

log = structlog.get_logger(__name__)

#: Tokens of one address that may be refused a second, after as many at once as that. More are not
#: looked at: each costs some 0.1 ms.
_REFUSALS_PER_SECOND: Final = 10.0
_REFUSALS_AT_ONCE: Final = 100.0
#: Addresses of which refusals are remembered; the one that was quiet for longest gives way.
REMEMBERED: Final = 10_000
#: Longest file of keys, in characters.
_MAX_FILE: Final = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """What is believed; of the three places for keys one is set where tokens are required."""

    required: bool
    secret: str | None = field(repr=False)
    key_file: Path | None
    jwks_url: str | None
    rules: TokenRules


class RefusalLimit:
    """Remembers which addresses had too many tokens refused."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: By network, until when nothing of it is looked at; the quietest first.
        self._buckets: OrderedDict[str, tuple[TokenBucket, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def check(self, address: str) -> None:
        """Let somebody of an address try.

        Raises:
            RateLimitedError: not now.
        """
        known = self._buckets.get(network_of(address))
        if known is not None and self._clock.monotonic() < known[1]:
            raise RateLimitedError("too many tokens of your address were refused; try again soon")

    def refused(self, address: str) -> None:
        """Count a refusal."""
        network, now = network_of(address), self._clock.monotonic()
        bucket, _ = self._buckets.get(network) or (
            TokenBucket(_REFUSALS_PER_SECOND, _REFUSALS_AT_ONCE),
            now,
        )
        self._buckets[network] = (bucket, now + bucket.take(now))
        self._buckets.move_to_end(network)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)


class Authenticator:
    """Says whose a token is; without keys everybody is the local user, whatever he says.

    Args:
        keys: what tokens are signed with; None: nobody is asked for one.
        rules: what they have to say.
        clock: the time.
    """

    def __init__(self, keys: KeySource | None, rules: TokenRules, clock: Clock) -> None:
        #: Where the keys are.
        self.keys = keys
        #: What tokens have to say.
        self.rules = rules
        self._clock = clock
        self._limit = RefusalLimit(clock)
        #: Tokens, by what became of them: accepted, or the code of the refusal.
        self.outcomes: Counter[str] = Counter(accepted=0)

    @property
    def required(self) -> bool:
        """Whether one has to say who one is."""
        return self.keys is not None

    async def identify(self, token: object, address: str) -> Identity:
        """Return whose a token is.

        Args:
            token: whatever was given as one; None: nothing was.
            address: of who gave it; those that are refused too often are not listened to.

        Raises:
            TokenExpiredError: its time is over.
            UnauthorizedError: it is missing, or not believed.
            RateLimitedError: not now: too many were refused of that address.
            UnavailableError: not now: the keys are not known.
        """
        if self.keys is None:
            return LOCAL_USER
        try:
            self._limit.check(address)
            identity = await self._verified(self.keys, token)
        except RefusedError as error:
            self.outcomes[error.code] += 1
            if not error.retryable and not isinstance(error, TokenExpiredError):
                # Not those whose time is over: they were right, and a crowd may come with them.
                self._limit.refused(address)
            log.debug("token_refused", address=address, code=error.code, reason=str(error))
            raise
        self.outcomes["accepted"] += 1
        return identity

    async def _verified(self, keys: KeySource, token: object) -> Identity:
        if token is None:
            raise UnauthorizedError("a token is needed here")
        if not isinstance(token, str):
            raise UnauthorizedError("the token is refused: it must be text")
        key = await keys.key(key_id_of(token))
        return identity_of(token, key, self.rules, self._clock.time_ms())


def open_authenticator(settings: AuthSettings, clock: Clock) -> Authenticator:
    """Return what the settings ask for.

    Raises:
        ConfigError: they contradict each other, or the file of keys can't be used.
    """
    given = {
        "JWT_SECRET": settings.secret,
        "JWT_KEY_FILE": settings.key_file,
        "JWT_JWKS_URL": settings.jwks_url,
    }
    named = [name for name, value in given.items() if value is not None]
    if not settings.required:
        if named:
            # Whoever gives a key does not mean to let everybody in.
            raise ConfigError("AUTH", "none", f"must be jwt where {named[0]} is set")
        return Authenticator(None, settings.rules, clock)
    if not named:
        raise ConfigError("AUTH", "jwt", "needs JWT_SECRET, JWT_KEY_FILE or JWT_JWKS_URL")
    if len(named) > 1:
        raise ConfigError(named[1], "***", f"is one too many: {named[0]} is set as well")
    return Authenticator(_keys(settings, clock), settings.rules, clock)


def _keys(settings: AuthSettings, clock: Clock) -> KeySource:
    if settings.secret is not None:
        try:
            return StaticKeys(KeySet([secret_key(settings.secret)]))
        except ValueError as error:
            raise ConfigError("JWT_SECRET", "***", str(error)) from None
    if settings.jwks_url is not None:
        if settings.rules.issuer is None:
            # An identity provider may have the keys of many issuers in one set.
            raise ConfigError("JWT_ISSUER", None, "is needed with JWT_JWKS_URL")
        parts = urlsplit(settings.jwks_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ConfigError(
                "JWT_JWKS_URL", "***", "must be https://host/path, without a user's name in it"
            )
        return RemoteKeys(settings.jwks_url, clock)
    return StaticKeys(_read_keys(settings.key_file))


def _read_keys(file: Path | None) -> KeySet:
    try:
        with open(file or "", encoding="utf-8") as opened:  # noqa: PTH123
            return parse_keys(opened.read(_MAX_FILE))
    except OSError as error:
        raise ConfigError("JWT_KEY_FILE", str(file), error.strerror or "can't be read") from None
    except ValueError as error:
        reason = "is not text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigError("JWT_KEY_FILE", str(file), reason) from None
