"""Rules of finished bars: larger ones out of smaller ones, and one bar out of two sources."""

from collections.abc import Iterable, Sequence
from itertools import chain
from math import isfinite

from stockstream.core.bar_columns import followed, place_of
from stockstream.core.spans import Spans
from stockstream.model import Bar


def aggregate(bars: Iterable[Bar], spans: Spans) -> list[Bar]:
    """Return ``bars``, in order of time, as those of stretches that are not shorter."""
    result: list[Bar] = []
    for bar in bars:
        start = spans.floor(bar.timestamp)
        if result and result[-1].timestamp == start:
            result[-1] = continued(result[-1], bar)
        else:
            result.append(relabelled(bar, start))
    return result


def merge(older: Sequence[Bar], live: Sequence[Bar], *, traded: float | None) -> list[Bar]:
    """Continue the bars of a provider with our own; both are in order of time.

    The provider saw its finished bars from their first trade to their last: they win over ours. Its
    last one may have been forming when it was asked: it gives the open, both give the extremes, we
    give the close. What it does not have is ours.

    Args:
        older: the provider's bars.
        live: our own, of the same timeframe.
        traded: volume that we counted within the provider's last bar after the provider was asked,
            so that nothing is counted twice; None where we stopped counting before: then that bar
            is the provider's alone.

    Returns:
        The bars of both, in order of time.
    """
    if not older:
        return list(live)
    merged = {bar.timestamp: bar for bar in live}
    seam = merged.get(older[-1].timestamp)
    merged.update((bar.timestamp, bar) for bar in older)
    if seam is not None and traded is not None:
        last = continued(older[-1], seam, volume=traded)
        merged[last.timestamp] = last
    return [merged[start] for start in sorted(merged)]


def is_sound(bar: Bar) -> bool:
    """Whether ``bar`` can be true: finite, above zero, its extremes around open and close."""
    fields = (bar.open, bar.high, bar.low, bar.close, bar.volume)
    inside = 0.0 < bar.low <= min(bar.open, bar.close) and max(bar.open, bar.close) <= bar.high
    return all(map(isfinite, fields)) and inside and bar.volume >= 0.0


def join(older: Sequence[Bar], newer: Sequence[Bar]) -> Sequence[Bar]:
    """Join our own bars of two halves of time; the last of the one may be the first of the other.

    What the newer ones have from before that is not made again of the older ones.
    """
    if not older or not newer:
        return older or newer
    seam = newer[0]
    before = older[: place_of(older, seam.timestamp)]
    if older[-1].timestamp == seam.timestamp:
        seam = continued(older[-1], seam)
    return followed(before, [seam, *newer[1:]])


def overlaid(bars: Sequence[Bar], better: Sequence[Bar]) -> Sequence[Bar]:
    """Return bars of both, in order of time; where there are two of a time, the better one."""
    if not bars or not better:
        return bars or better
    first = place_of(bars, better[0].timestamp)
    both = {bar.timestamp: bar for bar in chain(bars[first:], better)}
    return followed(bars[:first], [both[start] for start in sorted(both)])


def continued(bar: Bar, later: Bar, *, volume: float | None = None) -> Bar:
    """Return the bar that two halves make; ``volume``, where given, is the later one's."""
    return Bar(
        timestamp=bar.timestamp,
        open=bar.open,
        high=max(bar.high, later.high),
        low=min(bar.low, later.low),
        close=later.close,
        volume=bar.volume + (later.volume if volume is None else volume),
    )


def relabelled(bar: Bar, start: int) -> Bar:
    """Return the same with another label."""
    if bar.timestamp == start:
        return bar
    return Bar(
        timestamp=start,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
    )
