"""Whether everything arrived, and how long what took."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.crowd import ChaosCrowd, Update
from tests.chaos.faults import Happened
from tests.chaos.market import Asked, Market
from tests.chaos.nodes import INTERVAL

#: Seconds around a fault in which an answer of the market may have gone down with its node.
_GRACE = 1.0
#: Seconds by which clocks of clients, which tell milliseconds, may be behind.
_CLOCKS = 0.05


@dataclass(slots=True)
class Verdict:
    """What a run has shown."""

    #: Updates that clients got, and prices that the market told.
    updates: int = 0
    answers: int = 0
    connections: int = 0
    recovered: int = 0
    #: Sentences of what must not be; empty where all is well.
    faults: list[str] = field(default_factory=list)
    #: Changes of owner, of all symbols together.
    handovers: int = 0
    #: By kind of fault: seconds until another node asked for a symbol of the node that was lost.
    failover: dict[str, list[float]] = field(default_factory=dict)
    #: By kind of fault: seconds until a client that had lost its connection got prices again.
    recovery: dict[str, list[float]] = field(default_factory=dict)


def judge(market: Market, crowd: ChaosCrowd, happened: Sequence[Happened]) -> Verdict:
    """Look at all that the market was asked and all that the clients saw."""
    verdict = Verdict(updates=crowd.updates)
    for watcher in crowd.watchers:
        verdict.faults += watcher.faults()
        verdict.connections += len(watcher.connections)
        verdict.recovered += sum(each.recovered for each in watcher.connections)
    for symbol, answers in market.answers.items():
        verdict.answers += len(answers)
        verdict.handovers += sum(a.node != b.node for a, b in pairwise(answers))
        verdict.faults += _asked_too_often(symbol, answers)
        verdict.faults += _disagreements(symbol, crowd)
        updates = _longest(symbol, crowd)
        verdict.faults += _lost(symbol, answers, updates, happened)
        verdict.faults += _invented(symbol, answers, updates)
    for each in happened:
        verdict.failover.setdefault(each.name, []).extend(_failovers(market, each))
        verdict.recovery.setdefault(each.name, []).extend(_recoveries(crowd, each))
    return verdict


def _asked_too_often(symbol: str, answers: Sequence[Asked]) -> Iterable[str]:
    """Return whether a symbol was asked for more than once in an interval of one owner."""
    span = answers[-1].at - answers[0].at
    handovers = sum(a.node != b.node for a, b in pairwise(answers))
    most = span / INTERVAL + 1 + handovers
    if len(answers) > most + 1:
        yield f"{symbol} was asked for {len(answers)} times, more than {most:.0f}"


def _seen(symbol: str, crowd: ChaosCrowd) -> list[dict[tuple[str, int], float]]:
    return [
        {(u.epoch, u.seq): u.price for u in watcher.updates[symbol]} for watcher in crowd.watchers
    ]


def _disagreements(symbol: str, crowd: ChaosCrowd) -> Iterable[str]:
    """Return where the same number meant different prices to two clients."""
    prices: dict[tuple[str, int], float] = {}
    for seen in _seen(symbol, crowd):
        for number, price in seen.items():
            if prices.setdefault(number, price) != price:
                yield f"{symbol} {number} was {price} and {prices[number]}"


def _longest(symbol: str, crowd: ChaosCrowd) -> list[Update]:
    """Return the updates of a symbol that all clients share, as the client saw that saw most."""
    # What a node that was cut off told its own clients meanwhile is nobody else's.
    epochs = [{u.epoch for u in w.updates[symbol]} for w in crowd.watchers]
    common = set.intersection(*epochs)
    sequences = [
        [u for u in w.updates[symbol] if not u.snapshot and u.epoch in common]
        for w in crowd.watchers
    ]
    return max(sequences, key=len)


def _lost(
    symbol: str, answers: Sequence[Asked], updates: Sequence[Update], happened: Sequence[Happened]
) -> Iterable[str]:
    """Return the changes that the market told a healthy node and that no client saw."""
    begin = 0
    for answer in _changes([each for each in answers if not _excused(each, happened)]):
        places = range(begin, len(updates))
        found = next((i for i in places if _tells(updates[i], answer)), None)
        if found is None:
            yield f"{symbol}: {answer.price}, told to {answer.node} at {answer.at:.3f}, was lost"
        else:
            begin = found + 1


def _invented(symbol: str, answers: Sequence[Asked], updates: Sequence[Update]) -> Iterable[str]:
    """Return the updates whose prices the market has not told, in the order of their epoch."""
    begins: defaultdict[str, int] = defaultdict(int)
    befores: dict[str, Update] = {}
    for update in updates:
        places = range(begins[update.epoch], len(answers))
        found = next((i for i in places if _tells(update, answers[i])), None)
        if found is None:
            told = [a for a in answers if a.price == update.price and a.at < update.at]
            last = f"told {told[-1].node} at {told[-1].at:.3f}" if told else "never told"
            before = befores.get(update.epoch)
            yield f"{symbol}: the market {last} the price of {update}, which came after {before}"
        else:
            begins[update.epoch] = found + 1
        befores[update.epoch] = update


def _tells(update: Update, answer: Asked) -> bool:
    return update.price == answer.price and update.at > answer.at - _CLOCKS


def _changes(answers: Sequence[Asked]) -> Iterable[Asked]:
    """Yield the answers that told a node another price than the one before."""
    for before, answer, later in zip(answers, answers[1:], answers[2:], strict=False):
        # The last answer before another owner may have come when it was no longer asked for.
        same_node = before.node == answer.node == later.node
        if same_node and answer.at - before.at < 2 * INTERVAL and before.price != answer.price:
            yield answer


def _excused(answer: Asked, happened: Sequence[Happened]) -> bool:
    """Return whether an answer may have gone down with the node that it was told to."""
    return any(
        each.node in ("", answer.node) and each.began - _GRACE < answer.at < each.ended
        for each in happened
    )


def _failovers(market: Market, happened: Happened) -> Iterable[float]:
    for symbol in happened.symbols:
        later = (a for a in market.answers[symbol] if a.at > happened.began)
        taken = next((a.at for a in later if a.node != happened.node), None)
        if taken is not None:
            yield taken - happened.began


def _recoveries(crowd: ChaosCrowd, happened: Happened) -> Iterable[float]:
    for watcher in crowd.watchers:
        for (at, _), took in zip(watcher.losses, watcher.recoveries(), strict=False):
            if happened.began < at < happened.ended:
                yield took
