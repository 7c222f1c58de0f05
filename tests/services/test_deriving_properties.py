"""Derived symbols whatever comes: any batches, and any order of coming and going."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.derived_settings import read_derived
from stockstream.core.symbol_stream import SymbolStream
from stockstream.model import Quote, StockUpdate, Symbol
from stockstream.services.deriving import Derivations

A, B = Symbol("A"), Symbol("B")
NOON = 1_399_379_040_000
DEFINITIONS = read_derived(
    {
        "X": {"kind": "spread", "of": "A", "by": "B"},
        "Y": {"kind": "basket", "weights": {"X": 10, "B": 1}},
        "Z": {"kind": "spread", "of": "Y", "by": "X"},
        "P": {"kind": "convert", "of": "A", "by": "X"},
    }
)


class Market:
    """A streaming service without a loop: inputs come from the test, the rest is derived."""

    def __init__(self) -> None:
        self.derived = Derivations(DEFINITIONS, self)
        self.derived.attach(self)
        self.wanted: Counter[Symbol] = Counter()
        self.published: list[StockUpdate] = []
        self.streams: dict[Symbol, SymbolStream] = {}
        self._epochs = 0

    def acquire(self, symbol: Symbol) -> None:
        self.wanted[symbol] += 1
        if self.wanted[symbol] > 1:
            return
        self._epochs += 1
        self.streams[symbol] = SymbolStream(symbol, f"epoch {self._epochs}")
        if symbol in self.derived:
            self.derived.begin(symbol, self.take)

    def release(self, symbol: Symbol) -> None:
        self.wanted[symbol] -= 1
        if not self.wanted[symbol]:
            del self.wanted[symbol], self.streams[symbol]
            self.derived.end(symbol)

    def snapshot(self, symbol: Symbol) -> StockUpdate | None:
        return self.streams[symbol].last

    def publish(
        self, updates: Sequence[StockUpdate], received: float, encoded: Sequence[bytes] = ()
    ) -> None:
        self.published += updates

    def renew(self, update: StockUpdate) -> None:
        self.published.append(update)

    def settle(self, update: StockUpdate) -> None:
        raise AssertionError("nothing is confirmed here")

    def take(self, quotes: Sequence[Quote]) -> None:
        outcomes = [
            self.streams[quote.symbol].offer(quote, NOON)
            for quote in quotes
            if quote.symbol in self.streams
        ]
        updates = [outcome for outcome in outcomes if isinstance(outcome, StockUpdate)]
        if updates:
            self.derived.publish(updates, 0.0)

    def price(self, symbol: Symbol) -> float | None:
        stream = self.streams.get(symbol)
        return stream.last.price if stream and stream.last else None


@dataclass(frozen=True)
class Batch:
    """Prices of inputs that come in together, each some ms after the one before."""

    quotes: tuple[tuple[Symbol, int, int], ...]


prices = st.tuples(st.sampled_from([A, B]), st.integers(100, 120), st.integers(0, 1))
steps = st.lists(
    st.one_of(
        st.lists(prices, min_size=1, max_size=5).map(lambda quotes: Batch(tuple(quotes))),
        st.sampled_from([A, B, *DEFINITIONS]),
    ),
    max_size=30,
)


def expected(market: Market, symbol: Symbol) -> float | None:
    """Return what the price must be, made of the last prices of the inputs."""
    of = {name: market.price(Symbol(name)) for name in "ABXY"}
    formulas = {"X": ("A", "B"), "Y": ("X", "B"), "Z": ("Y", "X"), "P": ("A", "X")}
    first, second = (of[name] for name in formulas[symbol])
    if first is None or second is None:
        return None
    return {
        "X": first - second,
        "Y": 10 * first + second,
        "Z": first - second,
        "P": first * second,
    }[symbol]


@given(steps)
def test_after_each_step_every_derived_price_is_that_of_its_inputs(
    taken: list[Batch | Symbol],
) -> None:
    market = Market()
    time = NOON - 1_000_000
    held: set[Symbol] = set()
    for step in taken:
        if isinstance(step, Batch):
            quotes = []
            for symbol, price, after in step.quotes:
                time += after
                quotes.append(Quote(symbol=symbol, price=float(price), timestamp=time))
            market.take(quotes)
        elif step in held:
            held.discard(step)
            market.release(step)
        else:
            held.add(step)
            market.acquire(step)
        for symbol in DEFINITIONS:
            if symbol in market.streams:
                assert market.price(symbol) == pytest.approx(expected(market, symbol), abs=1e-9)

    for symbol in held:
        market.release(symbol)
    assert not market.wanted
    assert market.derived.active == 0


@given(st.lists(st.lists(prices, min_size=1, max_size=5), max_size=10))
def test_however_inputs_are_batched_a_moment_has_the_same_last_prices(
    batches: list[list[tuple[Symbol, int, int]]],
) -> None:
    def last_prices(parts: Sequence[Sequence[tuple[Symbol, int, int]]]) -> dict[object, float]:
        market = Market()
        for symbol in DEFINITIONS:
            market.acquire(symbol)
        time = NOON - 1_000_000
        for part in parts:
            quotes = []
            for symbol, price, after in part:
                time += after
                quotes.append(Quote(symbol=symbol, price=float(price), timestamp=time))
            market.take(quotes)
        return {(each.symbol, each.timestamp): each.price for each in market.published}

    one_by_one = [[quote] for batch in batches for quote in batch]
    together = last_prices(batches)
    apart = last_prices(one_by_one)
    # Apart, a price may have been another for a while within its moment, and be sent for that.
    assert together.items() <= apart.items()


class Crash(Exception):
    """What goes wrong in a moment."""


def test_what_crashes_in_one_moment_silences_nobody_in_the_next() -> None:
    market = Market()
    for symbol in DEFINITIONS:
        market.acquire(symbol)
    market.acquire(A)
    take = market.take

    def crash(quotes: Sequence[Quote]) -> None:
        raise Crash

    market.derived.end(Symbol("X"))
    market.derived.begin(Symbol("X"), crash)
    with pytest.raises(Crash):
        take(
            [
                Quote(symbol=A, price=110.0, timestamp=NOON - 2),
                Quote(symbol=B, price=100.0, timestamp=NOON - 2),
            ]
        )
    market.derived.end(Symbol("X"))
    market.derived.begin(Symbol("X"), take)
    take([Quote(symbol=A, price=111.0, timestamp=NOON - 1)])
    assert market.price(Symbol("X")) == 11.0
    assert market.price(Symbol("P")) == 111.0 * 11.0
    assert market.price(Symbol("Z")) == 10 * 11.0 + 100.0 - 11.0
