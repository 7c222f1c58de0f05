"""The documented rules for market data that two sides hold (section 6.1)."""

from typing import Any, Final

from stockstream.core.merging import same

_Object = dict[str, Any]

#: What the rules decide about; other fields merge as everywhere.
PRICE: Final = "price"
TIMESTAMP: Final = "timestamp"
VOLUME: Final = "volume"
SERIES: Final = "historicalData"


def merge_stock_data(
    base: Any, client: _Object, server: _Object, rest: _Object
) -> tuple[_Object, frozenset[str]]:
    """Return market data made of two sides.

    The newest price with its time, the higher volume, and time series joined by ``timestamp``; of
    two prices of one time the server's, and of two entries of one time the client's.

    Args:
        base: what both began with; anything but an object where that was nothing, or is not known.
        client: what the client has.
        server: what the server has.
        rest: both, merged by the general rules.

    Returns:
        The data, and the names of the fields that these rules decided about: those that both sides
        have touched.
    """
    before = base if isinstance(base, dict) else {}
    rules = {
        _newest_price: (PRICE, TIMESTAMP),
        _higher_volume: (VOLUME,),
        _joined_series: (SERIES,),
    }
    merged = dict(rest)
    settled: set[str] = set()
    for rule, names in rules.items():
        was, here, there = (_pick(each, names) for each in (before, client, server))
        if same(was, here) or same(was, there) or same(here, there):
            # One side's alone, or both agree.
            continue
        decided = rule(here, there)
        if decided is not None:
            merged.update(decided)
            settled.update(names)
    return merged, frozenset(settled)


def _pick(side: _Object, names: tuple[str, ...]) -> _Object:
    return {name: side[name] for name in names if name in side}


def _newest_price(client: _Object, server: _Object) -> _Object | None:
    here, there = _number(client.get(TIMESTAMP)), _number(server.get(TIMESTAMP))
    if here is None or there is None or client.keys() != server.keys():
        return None
    return client if here > there else server


def _higher_volume(client: _Object, server: _Object) -> _Object | None:
    here, there = _number(client.get(VOLUME)), _number(server.get(VOLUME))
    if here is None or there is None:
        return None
    return client if here > there else server


def _joined_series(client: _Object, server: _Object) -> _Object | None:
    entries: dict[float, _Object] = {}
    for side in (server, client):
        series = side.get(SERIES)
        if not isinstance(series, list):
            return None
        for entry in series:
            time = _number(entry.get(TIMESTAMP)) if isinstance(entry, dict) else None
            if time is None:
                return None
            entries[time] = entry
    return {SERIES: [entries[time] for time in sorted(entries)]}


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
