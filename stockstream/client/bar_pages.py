"""Bars of a long time, page by page over HTTP."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final

import aiohttp
import msgspec

from stockstream.client.refusals import raise_where_refused
from stockstream.errors import RefusedError, UnavailableError
from stockstream.model import Bar, Symbol, Timeframe

#: Bars in a page: a server may have to ask its provider for them, and gives up after a while.
PAGE: Final = 10_000
#: Seconds between two attempts to get a page, which double up to the last, and the longest that a
#: server may ask for.
_FIRST_WAIT: Final = 0.5
_LAST_WAIT: Final = 16.0
_LONGEST_WAIT: Final = 30.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60)

_decoder: Final = msgspec.json.Decoder(list[Bar])


async def bar_pages(
    url: str,
    symbol: Symbol,
    timeframe: Timeframe,
    *,
    start_ms: int,
    end_ms: int,
    token: str | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[Sequence[Bar], None]:
    """Yield the bars that start within a stretch of time, in order of time.

    A page that can't be had for now is asked for again, for about half a minute.

    Args:
        url: address of the server.
        symbol: in canonical form.
        timeframe: length of a bar.
        start_ms: bars that start before it, in ms since the epoch, are left out.
        end_ms: so are those that start at it or later.
        token: says who asks, where the server wants to know.
        sleep: waits so many seconds.

    Raises:
        RefusedError: the server refuses, with its code; ``unavailable`` where it can't be reached.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT) as session:
        while start_ms < end_ms:
            query: dict[str, str | int] = {"timeframe": timeframe, "limit": PAGE}
            query |= {"from": start_ms, "to": end_ms}
            address = f"{url}/api/bars/{symbol}"
            bars, more = await _patiently(session, address, query, sleep)
            if bars:
                yield bars
            if not more or not bars:
                return
            start_ms = bars[-1].timestamp + 1


async def _patiently(
    session: aiohttp.ClientSession,
    address: str,
    query: dict[str, str | int],
    sleep: Callable[[float], Awaitable[None]],
) -> tuple[list[Bar], bool]:
    wait = _FIRST_WAIT
    while True:
        try:
            return await _page(session, address, query)
        except _Later as later:
            if wait > _LAST_WAIT:
                raise later.error from None
            await sleep(max(wait, min(later.after, _LONGEST_WAIT)))
            wait *= 2


class _Later(Exception):
    """Asking again may help."""

    def __init__(self, error: RefusedError, after: float = 0.0) -> None:
        super().__init__(error)
        self.error = error
        self.after = after


async def _page(
    session: aiohttp.ClientSession, address: str, query: dict[str, str | int]
) -> tuple[list[Bar], bool]:
    """Return a page, and whether there may be more."""
    try:
        async with session.get(address, params=query) as response:
            body = await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _Later(UnavailableError(f"no answer: {str(error) or 'it took too long'}")) from error
    if response.status == 200:
        try:
            return _decoder.decode(body), "next" in response.links
        except msgspec.DecodeError as error:
            raise UnavailableError(f"the answer holds no bars: {error}") from None
    try:
        raise_where_refused(_error(body))
    except RefusedError as error:
        if error.retryable:
            raise _Later(error, _seconds(response.headers.get("Retry-After", ""))) from None
        raise
    refused = UnavailableError(f"HTTP {response.status} {response.reason}")
    # Whatever stands before the server may have it back soon.
    raise _Later(refused) if response.status >= 500 else refused


def _error(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() else 0.0
