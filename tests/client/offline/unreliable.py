"""A client whose requests are lost, come twice, and come late."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

from stockstream import StockClient
from stockstream.errors import RefusedError, UnavailableError


class UnreliableClient(StockClient):
    """Does with requests over HTTP what networks do, until it is told to be calm."""

    def __init__(self, url: str, *, chance: Random, **options: Any) -> None:
        super().__init__(url, random=chance, **options)
        self._chance = chance
        #: What a network still holds, and delivers when nobody waits for it any more.
        self._late: list[partial[Any]] = []
        self.calm = False
        self.late = 0

    async def fetch(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: object = None,
    ) -> bytes:
        ask = partial(super().fetch, method, path, parameters=parameters, body=body)
        if self.calm:
            return await ask()
        if self._late and self._chance.random() < 0.3:
            await self.deliver_late()
        match self._chance.randrange(8):
            case 0:
                self._late.append(ask)
                raise UnavailableError("the request is late")
            case 1:
                await ask()
                raise UnavailableError("the answer was lost")
            case 2:
                one, other = await asyncio.gather(ask(), ask(), return_exceptions=True)
                if isinstance(one, BaseException):
                    raise one
                return one if self._chance.random() < 0.5 or isinstance(other, Exception) else other  # type: ignore[return-value]
            case 3:
                self._late.append(ask)
        return await ask()

    async def deliver_late(self) -> None:
        """Deliver something that was sent long ago."""
        ask = self._late.pop(self._chance.randrange(len(self._late)))
        self.late += 1
        # Nobody hears of it.
        with suppress(RefusedError):
            await ask()

    async def calm_down(self) -> None:
        """Deliver all that is late, and be good from now on."""
        self.calm = True
        while self._late:
            await self.deliver_late()
