"""Requests to the server's HTTP routes, with the client's token and the errors of the one tree."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import aiohttp
import msgspec

from stockstream.client.refusals import refusal
from stockstream.errors import (
    RateLimitedError,
    RefusedError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)

_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, connect=15)
# Statuses that say nothing about the request itself.
_FOR_NOW: Final = frozenset({408, 425, 500, 502, 503, 504})
# Statuses that say the same whoever answers, a proxy included.
_KINDS: Final[Mapping[int, type[RefusedError]]] = {
    401: UnauthorizedError,
    413: TooLargeError,
    429: RateLimitedError,
    **dict.fromkeys(_FOR_NOW, UnavailableError),
}


class _Refusal(msgspec.Struct, frozen=True):
    code: str
    message: str


class HttpDoor:
    """Asks one server.

    Args:
        url: of the server.
        token: returns the token of a request, None where nobody asks for one; it is told the
            token that the server has just refused.
    """

    def __init__(self, url: str, token: Callable[[str | None], Awaitable[str | None]]) -> None:
        self._url = url
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def fetch(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: object = None,
    ) -> bytes:
        """Return the answer of a route.

        Raises:
            RefusedError: the server refuses.
            UnavailableError: it can't be reached, or fails; nobody knows what it has done.
        """
        data = None if body is None else msgspec.json.encode(body)
        token = await self._fresh_token(None)
        status, answer = await self._ask(method, path, parameters, data, token)
        if status == 401 and (fresh := await self._fresh_token(token)) != token:
            status, answer = await self._ask(method, path, parameters, data, fresh)
        if status >= 400:
            raise _error(status, answer)
        return answer

    async def close(self) -> None:
        """Let go of connections; a later request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _fresh_token(self, refused: str | None) -> str | None:
        try:
            return await self._token(refused)
        except Exception as error:
            # The border to the program's own code.
            raise UnavailableError(f"no token: {error}") from error

    async def _ask(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None,
        data: bytes | None,
        token: str | None,
    ) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        try:
            async with self._session.request(
                method, self._url + path, params=parameters, data=data, headers=headers
            ) as response:
                return response.status, await response.read()
        except TimeoutError:
            raise UnavailableError("the server does not answer") from None
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError(str(error).partition(" ssl:")[0] or "connection lost") from error


def _error(status: int, answer: bytes) -> RefusedError:
    try:
        said = msgspec.json.decode(answer, type=_Refusal)
    except msgspec.MsgspecError:
        # A proxy's own words.
        said = _Refusal(f"http_{status}", f"the server answers {status}")
    named = refusal(said.code, said.message, None, None)
    kind = _KINDS.get(status)
    return named if kind is None or isinstance(named, kind) else kind(said.message)
