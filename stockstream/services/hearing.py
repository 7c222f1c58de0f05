"""What this node hears of its clients' symbols, on its way to them."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import msgspec

from stockstream.cluster.quote_log import LoggedUpdate
from stockstream.cluster.watch import BusUpdate
from stockstream.model import Position, StockUpdate, Symbol
from stockstream.model.topics import STOCK_UPDATED
from stockstream.ports import Clock, QuoteSink
from stockstream.services.bars import BarService
from stockstream.services.event_bus import EventBus
from stockstream.services.live_symbol import LiveSymbol
from stockstream.services.streaming import SOURCE

#: Seconds after which a node that went on alone believes that it has heard all that it did then.
_HEARD_BY: Final = 10.0
_decoder: Final = msgspec.json.Decoder(StockUpdate)


class Hearing:
    """Takes what the bus brings, and what this node numbers by itself while it is alone.

    An update is decoded once, whatever the number of clients, and its JSON goes on as it is.

    Args:
        live: the symbols that this node's clients want.
        sink: where updates leave towards clients.
        bus: is told of each update.
        bars: counts the prices of symbols that are streamed elsewhere.
        clock: the time.
        is_produced: says whether a symbol is streamed here.
        on_apart: called with True when this node begins to give clients updates that have no place
            in the order of all nodes, and with False when it is over.
    """

    def __init__(
        self,
        live: Mapping[Symbol, LiveSymbol],
        *,
        sink: QuoteSink,
        bus: EventBus,
        bars: BarService,
        clock: Clock,
        is_produced: Callable[[Symbol], bool],
        on_apart: Callable[[bool], None],
    ) -> None:
        self._live = live
        self._sink = sink
        self._bus = bus
        self._bars = bars
        self._clock = clock
        self._is_produced = is_produced
        self._on_apart = on_apart
        #: Symbols whose state came, and of which each update comes since.
        self.symbols: set[Symbol] = set()
        self._moved = asyncio.Event()
        #: Up to where clients were given what nobody else has heard, since the node went on alone.
        self.apart: dict[Symbol, Position] = {}
        # Those of them of which clients have got something older since.
        self._overtaken: set[Symbol] = set()
        self._together_since = clock.monotonic()
        #: Updates heard that clients had not been given, and messages that held no update.
        self.heard = 0
        self.undecodable = 0

    async def hears(self, symbols: Collection[Symbol]) -> None:
        """Return when all of these wanted symbols are heard."""
        while not self.symbols.issuperset(symbols):
            self._moved.clear()
            await self._moved.wait()

    def stop(self, symbol: Symbol) -> None:
        """Note that a symbol is heard no more."""
        self.symbols.discard(symbol)
        self.forget_apart(symbol)

    def quotes(self, updates: Sequence[BusUpdate]) -> None:
        """See :class:`stockstream.cluster.watch.QuoteReceiver`."""
        received = self._clock.monotonic()
        heard: list[StockUpdate] = []
        encoded: list[bytes] = []
        again: dict[Symbol, StockUpdate] = {}
        for symbol, offset, payload in updates:
            update = decode_update(payload, offset)
            if update is None or update.symbol != symbol:
                self.undecodable += 1
            elif self.apart and self._was_given(update):
                if self._ends_overtaken(symbol):
                    again[symbol] = update
            else:
                again.pop(symbol, None)
                heard.append(update)
                encoded.append(payload)
        if heard:
            self.heard += len(heard)
            self._sink.publish(heard, received, encoded)
            self._note(heard)
        for update in again.values():
            self._tell_again(update)

    def snapshot(self, symbol: Symbol, update: LoggedUpdate | None) -> None:
        """See :class:`stockstream.cluster.watch.QuoteReceiver`."""
        self.symbols.add(symbol)
        self._moved.set()
        live = self._live.get(symbol)
        state = decode_update(update.payload, update.offset) if update is not None else None
        if live is None or state is None:
            return
        if self._was_given(state):
            if self._ends_overtaken(symbol):
                self._tell_again(state)
            return
        before = live.last if live.settled else None
        live.settle(state)
        if before is None:
            self._sink.settle(state)
        elif before.position != state.position:
            self._sink.renew(state)

    def _note(self, updates: Sequence[StockUpdate]) -> None:
        for update in updates:
            symbol = update.symbol
            live = self._live.get(symbol)
            if live is not None:
                live.settle(update)
            if not self._is_produced(symbol):
                self._bars.on_quote(symbol, update.price, update.timestamp, update.volume)
            self._bus.publish(STOCK_UPDATED, update, source=SOURCE)

    # --- while Redis is gone ------------------------------------------------------------------

    def deliver_alone(self, updates: Sequence[StockUpdate], received: float) -> None:
        """Give this node's clients what it has numbered by itself."""
        wanted = [update for update in updates if update.symbol in self._live]
        if not wanted:
            return
        if not self.apart:
            self._on_apart(True)
        for update in wanted:
            self.apart[update.symbol] = update.position
        self._sink.publish(wanted, received)
        self._note(wanted)

    def look(self, *, alone: bool, owns: Callable[[Symbol], bool]) -> None:
        """Let go of what will never be heard: somebody else has become the owner."""
        now = self._clock.monotonic()
        if alone:
            self._together_since = now
            return
        for symbol in list(self.apart):
            if not owns(symbol) or now - self._together_since > _HEARD_BY:
                self.forget_apart(symbol)

    def _was_given(self, update: StockUpdate) -> bool:
        """Return whether clients have this one since the node went on alone."""
        given = self.apart.get(update.symbol)
        if given is None:
            return False
        if given.epoch != update.epoch:
            # Of before, and not heard then; or another node's.
            self._overtaken.add(update.symbol)
            return False
        if update.seq >= given.seq:
            self._end_apart(update.symbol)
        if update.seq == given.seq and (live := self._live.get(update.symbol)) is not None:
            # The same, but now it has a place among the others.
            live.settle(update)
        return update.seq <= given.seq

    def _ends_overtaken(self, symbol: Symbol) -> bool:
        """Return whether all that clients were given was heard, and they got older ones after."""
        ends = symbol not in self.apart and symbol in self._overtaken
        if ends:
            self._overtaken.discard(symbol)
        return ends

    def _tell_again(self, update: StockUpdate) -> None:
        """Tell clients where the price stands, since what they got last is older."""
        live = self._live.get(update.symbol)
        if live is not None:
            live.settle(update)
        self._sink.renew(update)

    def forget_apart(self, symbol: Symbol) -> None:
        """Expect no more that what was numbered here will be heard."""
        self._overtaken.discard(symbol)
        self._end_apart(symbol)

    def _end_apart(self, symbol: Symbol) -> None:
        if self.apart.pop(symbol, None) is not None and not self.apart:
            self._on_apart(False)


def decode_update(payload: bytes, offset: int) -> StockUpdate | None:
    """Return the update that a payload of the log holds; None where it holds none."""
    try:
        update = _decoder.decode(payload)
    except msgspec.DecodeError:
        return None
    return msgspec.structs.replace(update, offset=offset)
