"""Where the keys come from that tokens are checked with: the settings, or an identity provider."""

import asyncio
from collections import Counter
from typing import Final, Protocol

import aiohttp
import structlog

from stockstream.clock import wait_until
from stockstream.core.token_keys import KeySet, VerificationKey, parse_key_set
from stockstream.errors import UnauthorizedError, UnavailableError
from stockstream.ports import Clock

log = structlog.get_logger(__name__)

#: Seconds after which the keys are asked for again: new ones by then, others as soon as a token
#: names one that is not known, but not more often than that.
REFRESH_EVERY: Final = 600.0
REFRESH_AT_MOST_EVERY: Final = 10.0
#: Seconds that the identity provider has for its answer, and the largest that is read, in bytes.
FETCH_TIMEOUT: Final = 5.0
_MAX_BYTES: Final = 262_144


class KeySource(Protocol):
    """Knows the keys."""

    async def key(self, kid: str | None) -> VerificationKey:
        """Return the key that a token names.

        Raises:
            UnauthorizedError: there is no such key.
            UnavailableError: that can't be said now.
        """
        ...


class StaticKeys:
    """Keys that the settings name."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    async def key(self, kid: str | None) -> VerificationKey:
        """Return the key that a token names; see :class:`KeySource`."""
        return _found(self._keys, kid)


class RemoteKeys:
    """The key set of an identity provider (JWKS), asked for now and then.

    What it had last is used for as long as it does not answer. However many tokens name keys that
    nobody knows, it is asked at a bounded rate.

    Args:
        url: of the key set.
        clock: paces the requests.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self._keys = KeySet([])
        self._asked_at = float("-inf")
        #: Ended when the request under way, or the next, has ended: whether it succeeded.
        self._round: asyncio.Future[bool] | None = None
        self._wanted = asyncio.Event()
        self._ended = False
        #: Requests, by how they ended.
        self.fetches: Counter[str] = Counter(ok=0, failed=0)
        #: Why the last one failed; empty where it did not.
        self.problem = "not asked yet"

    @property
    def known(self) -> int:
        """Keys known now."""
        return len(self._keys)

    async def key(self, kid: str | None) -> VerificationKey:
        """Return the key that a token names; see :class:`KeySource`.

        Waits for the identity provider only where the key is not known.
        """
        found = self._keys.find(kid)
        if found is not None:
            return found
        if self._round is None:
            if self._ended or self._clock.monotonic() < self._asked_at + REFRESH_AT_MOST_EVERY:
                # It may be a new key: the next attempt will tell.
                raise UnavailableError("the token's key is not known yet; try again soon")
            self._round = asyncio.get_running_loop().create_future()
            self._wanted.set()
        # Whoever gives up must not take the others along.
        if not await asyncio.shield(self._round):
            raise UnavailableError("the identity provider does not answer; try again soon")
        return _found(self._keys, kid)

    async def run(self) -> None:
        """Ask for the keys at once, and whenever it is time, until cancelled."""
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT)
        jar = aiohttp.DummyCookieJar()
        try:
            async with aiohttp.ClientSession(timeout=timeout, cookie_jar=jar) as session:
                while True:
                    await self._refresh(session)
                    again = REFRESH_EVERY if not self.problem else REFRESH_AT_MOST_EVERY
                    await wait_until(self._clock, self._asked_at + again, self._wanted)
        finally:
            self._ended = True
            self._end_round(succeeded=False)

    async def _refresh(self, session: aiohttp.ClientSession) -> None:
        self._wanted.clear()
        if self._round is None:
            self._round = asyncio.get_running_loop().create_future()
        self._asked_at = self._clock.monotonic()
        try:
            self._keys = parse_key_set(await self._fetch(session))
            problem = ""
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            problem = str(error) or "no answer in time"
        if problem and problem != self.problem:
            log.warning("keys_not_read", url=self._url, reason=problem, known=self.known)
        elif self.problem and not problem:
            log.info("keys_read", url=self._url, known=self.known)
        self.problem = problem
        self.fetches["failed" if problem else "ok"] += 1
        self._end_round(succeeded=not problem)

    async def _fetch(self, session: aiohttp.ClientSession) -> bytes:
        # A redirect could lead anywhere.
        async with session.get(self._url, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"the answer is {response.status}, not 200")
            body = b""
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise ValueError(f"the answer is larger than {_MAX_BYTES} bytes")
            return body

    def _end_round(self, *, succeeded: bool) -> None:
        ended, self._round = self._round, None
        if ended is not None and not ended.done():
            ended.set_result(succeeded)


def _found(keys: KeySet, kid: str | None) -> VerificationKey:
    found = keys.find(kid)
    if found is None:
        why = "it names no key (kid)" if kid is None else "it is signed with a key not known here"
        raise UnauthorizedError(f"the token is refused: {why}")
    return found
