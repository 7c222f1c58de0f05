"""Answers of many bars, sent piece by piece.

A year of minutes is ten megabytes of JSON. The event loop makes them, a piece a turn for all who
ask: a thread would hold the interpreter's lock for 5 ms at a time, and prices would wait for it.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Final

import structlog
from aiohttp import hdrs, web

from stockstream.core.bar_columns import BarColumns
from stockstream.errors import UnavailableError
from stockstream.gateway.responses import condition, conditional_response
from stockstream.model import Bar
from stockstream.wire.bar_pages import json_pieces

#: Bars that are encoded at once; and bars of an answer that needs a place.
_FEW: Final = 500
_MANY: Final = 10_000
#: Answers of many bars at once, which hold 5 MB each; seconds that a client has to read one.
_PLACES: Final = 32
_SECONDS: Final = 120.0
#: Of gzip: a third of the time that the default takes, for a quarter more bytes.
_LEVEL: Final = 2

log = structlog.get_logger(__name__)


class LongAnswers:
    """Sends bars, with limits to what that costs everybody else."""

    def __init__(self) -> None:
        self._taken = 0
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def place(self, bars: int) -> AsyncIterator[None]:
        """Hold a place for an answer of at most so many bars; few need none.

        Raises:
            UnavailableError: all are taken.
        """
        if bars <= _MANY:
            yield
            return
        if self._taken >= _PLACES:
            raise UnavailableError(
                f"too many answers of more than {_MANY} bars are under way: ask for fewer, or again"
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def send(
        self, request: web.Request, bars: Sequence[Bar], link: str
    ) -> web.StreamResponse:
        """Answer with bars, or 304 where the client has them; ``link``: a header, where not empty.

        A client that does not read them within two minutes is disconnected.
        """
        links = {hdrs.LINK: link} if link else {}
        if len(bars) <= _FEW:
            response = conditional_response(request, list(bars))
            response.headers.update(links)
            return response
        headers, is_known = condition(request, await asyncio.to_thread(_tag, bars))
        if is_known:
            return web.Response(status=304, headers=headers | links)
        headers |= {hdrs.VARY: hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE: "application/json"}
        long = web.StreamResponse(headers=headers | links)
        is_compressed = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower()
        if is_compressed:
            long.headers[hdrs.CONTENT_ENCODING] = "gzip"
        await long.prepare(request)
        if request.method == hdrs.METH_HEAD:
            return long
        try:
            async with asyncio.timeout(_SECONDS):
                pieces = self._in_turns(json_pieces(bars, _FEW))
                async for piece in _compressed(pieces) if is_compressed else pieces:
                    await long.write(piece)
        except TimeoutError:
            log.info("client_reads_too_slowly", bars=len(bars))
            if request.transport is not None:
                request.transport.abort()
        return long

    async def _in_turns(self, pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
        waiting = iter(pieces)
        while True:
            async with self._turn:
                piece = next(waiting, None)
                await asyncio.sleep(0)
            if piece is None:
                return
            yield piece


def _tag(bars: Sequence[Bar]) -> str:
    columns = bars if isinstance(bars, BarColumns) else BarColumns.of(bars)
    digest = blake2b(digest_size=12)
    for column in columns.columns:
        digest.update(column)
    return digest.hexdigest()


async def _compressed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    gzip = zlib.compressobj(_LEVEL, wbits=31)
    async for piece in pieces:
        # The lock of the interpreter is not held meanwhile.
        if ready := await asyncio.to_thread(gzip.compress, piece):
            yield ready
    yield gzip.flush()
