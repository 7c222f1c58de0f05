"""A client of Server-Sent Events, part by part."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit


class EventStream:
    """What came on one stream, read while somebody waits for it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        #: For what no browser would send.
        self.writer = writer
        self.head = ""
        #: Name and data of each event so far.
        self.events: list[tuple[str, Any]] = []
        #: Comments so far, and the last time to wait that the server told, in ms.
        self.comments: list[str] = []
        self.retry = 0
        #: What a browser would send as `Last-Event-ID`.
        self.last_id = ""

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    async def read_head(self) -> None:
        self.head = (await self._reader.readuntil(b"\r\n\r\n")).decode()

    async def part(self) -> None:
        """Read up to the next empty line."""
        name, data = "message", None
        for line in (await self._reader.readuntil(b"\n\n")).decode().splitlines():
            key, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments.append(line[1:].strip())
            elif key == "id":
                self.last_id = value
            elif key == "event":
                name = value
            elif key == "data":
                data = json.loads(value)
            elif key == "retry":
                self.retry = int(value)
        if data is not None:
            self.events.append((name, data))

    async def event(self, name: str) -> Any:
        """Return the data of the next event of that name."""
        while True:
            count = len(self.events)
            await self.part()
            if len(self.events) > count and self.events[-1][0] == name:
                return self.events[-1][1]

    async def update(self, symbol: str) -> Any:
        """Return the payload of the next update of a symbol."""
        return (await self.event(f"stock_update_{symbol}"))["payload"]

    async def rest(self) -> bytes:
        """Return what comes until the server ends the stream."""
        return await self._reader.read()

    def payloads(self, symbol: str) -> list[Any]:
        name = f"stock_update_{symbol}"
        return [data["payload"] for came, data in self.events if came == name]


@asynccontextmanager
async def event_stream(
    url: str, query: str, *, limit: int = 1_000_000, **headers: str
) -> AsyncIterator[EventStream]:
    """Ask for a stream and read the head of the answer.

    Args:
        url: of the server.
        query: of the address.
        limit: bytes that are read ahead.
        headers: of the request, with underscores for hyphens.
    """
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=limit)
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    writer.write(f"GET /api/stream?{query} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode())
    try:
        stream = EventStream(reader, writer)
        await stream.read_head()
        yield stream
    finally:
        writer.close()
