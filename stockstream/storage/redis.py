"""Quotes in Redis, under the documented keys that other programs read (section 4.1)."""

from collections.abc import Iterator, Sequence
from importlib import resources
from itertools import groupby
from typing import Final, cast

import msgspec
from redis.asyncio import Redis, RedisCluster

from stockstream.model import Position, StockUpdate, Symbol
from stockstream.storage.history import (
    HISTORY_LIMIT,
    VALUE_TTL,
    as_stored,
    updates_after,
    updates_beyond,
)
from stockstream.storage.redis_client import redis_call

#: Seconds that a history outlives its last update, so that nothing is kept forever: a week.
HISTORY_TTL: Final = 7 * 24 * 3600

#: Most updates or symbols in one call of a script: Redis does nothing else meanwhile.
_CALL_SIZE: Final = 500

# What a reader that comes back has usually missed at most; who missed more costs a second reading.
_USUALLY_MISSED: Final = 64

_STORE: Final = "redis"

_scripts = resources.files("stockstream.storage")
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(StockUpdate)


def _value_key(symbol: Symbol) -> str:
    return f"stock:{symbol}:current"


def _history_key(symbol: Symbol) -> str:
    return f"stock:{symbol}:timeseries"


class RedisQuoteStore:
    """Implements :class:`stockstream.ports.QuoteStore` in a single Redis, replicated or not.

    A script changes the value and the history of a symbol in one step. Redis Cluster would need
    another way: the documented names put the two keys of a symbol into different slots, which no
    script can write at once, so the history would have to be written first, then the value.

    What other programs wrote into these keys and is no StockUpdate of ours is passed over.

    Args:
        client: made by :func:`stockstream.storage.redis_client.open_redis`; closed by the store.
        timeout: most seconds that one call of Redis may take.
    """

    def __init__(self, client: Redis | RedisCluster, *, timeout: float = 1.0) -> None:
        self._client = client
        self._timeout = timeout
        self._append = client.register_script((_scripts / "append.lua").read_text("utf-8"))
        self._touch = client.register_script((_scripts / "touch.lua").read_text("utf-8"))
        #: How often something was read that did not decode; once more for each time it is met.
        self.undecodable = 0

    async def append(self, updates: Sequence[StockUpdate]) -> None:
        """See :meth:`stockstream.ports.QuoteStore.append`; 500 updates at a time."""
        for start in range(0, len(updates), _CALL_SIZE):
            keys: list[str] = []
            args: list[str | int | bytes] = [HISTORY_LIMIT, VALUE_TTL, HISTORY_TTL]
            for symbol, epoch, run in _runs(updates[start : start + _CALL_SIZE]):
                keys += (_value_key(symbol), _history_key(symbol))
                args += (epoch, len(run))
                for update in run:
                    args += (update.seq, update.timestamp, _encoder.encode(as_stored(update)))
            async with redis_call(_STORE, within=self._timeout):
                await self._append(keys=keys, args=args)

    async def touch(self, symbols: Sequence[Symbol]) -> None:
        """See :meth:`stockstream.ports.QuoteCache.touch`; 500 symbols at a time."""
        for start in range(0, len(symbols), _CALL_SIZE):
            keys = [_value_key(symbol) for symbol in symbols[start : start + _CALL_SIZE]]
            async with redis_call(_STORE, within=self._timeout):
                await self._touch(keys=keys, args=[VALUE_TTL])

    async def get(self, symbol: Symbol) -> StockUpdate | None:
        """See :meth:`stockstream.ports.QuoteCache.get`."""
        async with redis_call(_STORE, within=self._timeout):
            json = await self._client.get(_value_key(symbol))
        return None if json is None else self._decode(symbol, json)

    async def newest(self, symbol: Symbol, limit: int) -> Sequence[StockUpdate]:
        """See :meth:`stockstream.ports.QuoteHistory.newest`."""
        if limit <= 0:
            return []
        # One more than asked for: the oldest that was read may have others of its time below it.
        held, complete = await self._read(symbol, limit + 1)
        if len(held) < limit and not complete:
            held, _ = await self._read(symbol, HISTORY_LIMIT)
        return held[:limit]

    async def since(self, symbol: Symbol, position: Position) -> Sequence[StockUpdate] | None:
        """See :meth:`stockstream.ports.QuoteHistory.since`."""
        held, complete = await self._read(symbol, _USUALLY_MISSED)
        missed = updates_after(held, position)
        if missed is not None or complete or (held and _is_out_of_reach(held[0], position)):
            return missed
        held, _ = await self._read(symbol, HISTORY_LIMIT)
        return updates_after(held, position)

    async def after(self, symbol: Symbol, offset: int) -> Sequence[StockUpdate] | None:
        """See :meth:`stockstream.ports.QuoteHistory.after`."""
        held, complete = await self._read(symbol, _USUALLY_MISSED)
        missed = updates_beyond(held, offset)
        if missed is not None or complete:
            return missed
        held, _ = await self._read(symbol, HISTORY_LIMIT)
        return updates_beyond(held, offset)

    async def ping(self) -> None:
        """See :meth:`stockstream.ports.QuoteStore.ping`."""
        async with redis_call(_STORE, within=self._timeout):
            await self._client.ping()

    async def aclose(self) -> None:
        """Close all connections."""
        async with redis_call(_STORE, within=self._timeout):
            await self._client.aclose()

    async def _read(self, symbol: Symbol, size: int) -> tuple[list[StockUpdate], bool]:
        """Read the ``size`` newest members of a history.

        Returns:
            Those of them whose order is certain, the newest first, and whether they are all that
            is held. Redis orders members of the same time by their text, so as long as more is
            held, those of the oldest time may lack some of their own.
        """
        async with redis_call(_STORE, within=self._timeout):
            reply = await self._client.zrevrange(_history_key(symbol), 0, size - 1)
        # The general type of the reply is that with scores.
        members = cast("list[bytes]", reply)
        complete = len(members) < size or size >= HISTORY_LIMIT
        decoded = [self._decode(symbol, member) for member in members]
        held = [update for update in decoded if update is not None]
        held.sort(key=lambda update: (update.timestamp, update.seq), reverse=True)
        if not complete:
            held = [update for update in held if update.timestamp > held[-1].timestamp]
        return held, complete

    def _decode(self, symbol: Symbol, json: bytes | str) -> StockUpdate | None:
        try:
            update = _decoder.decode(json)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.undecodable += 1
            return None
        if update.symbol != symbol:
            self.undecodable += 1
            return None
        return as_stored(update)


def _runs(updates: Sequence[StockUpdate]) -> Iterator[tuple[Symbol, str, list[StockUpdate]]]:
    """Group what one symbol got within one epoch; the order within a symbol stays."""
    by_symbol: dict[Symbol, list[StockUpdate]] = {}
    for update in updates:
        by_symbol.setdefault(update.symbol, []).append(update)
    for symbol, its_updates in by_symbol.items():
        for epoch, run in groupby(its_updates, key=lambda update: update.epoch):
            yield symbol, epoch, list(run)


def _is_out_of_reach(newest: StockUpdate, position: Position) -> bool:
    """Return whether no history that ends with ``newest`` can tell what follows ``position``."""
    return newest.epoch != position.epoch or not 0 <= newest.seq - position.seq <= HISTORY_LIMIT
