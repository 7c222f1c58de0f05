"""The documented rules for market data that two sides hold (section 6.1)."""

from typing import Any, Final

from stockstream.wire.canonical import canonical

_Object = dict[str, Any]

#: What the rules decide about; other fields merge as everywhere.
PRICE: Final = "price"
TIMESTAMP: Final = "timestamp"
VOLUME: Final = "volume"
SERIES: Final = "historicalData"


def merge_stock_data(
    client: _Object, server: _Object, rest: _Object
) -> tuple[_Object, frozenset[str]]:
    """Return market data made of two sides, whichever came first.

    The newest price with its time, the higher volume, and time series joined by ``timestamp``; of
    two entries of one time the greater in canonical form, so that the order of arrival does not
    matter (the document takes the client's, which does).

    Args:
        client: what the client has.
        server: what the server has.
        rest: both, merged by the general rules.

    Returns:
        The data, and the names of the fields that these rules decided about.
    """
    merged = dict(rest)
    settled: set[str] = set()
    times = _number(client.get(TIMESTAMP)), _number(server.get(TIMESTAMP))
    if times[0] is not None and times[1] is not None:
        newest = client if _rank(client) > _rank(server) else server
        for name in (PRICE, TIMESTAMP):
            if name in newest:
                merged[name] = newest[name]
                settled.add(name)
    volumes = [
        v for v in (_number(client.get(VOLUME)), _number(server.get(VOLUME))) if v is not None
    ]
    if volumes:
        merged[VOLUME] = max(volumes)
        settled.add(VOLUME)
    series = _joined(client.get(SERIES), server.get(SERIES))
    if series is not None:
        merged[SERIES] = series
        settled.add(SERIES)
    return merged, frozenset(settled)


def _rank(side: _Object) -> tuple[float, str]:
    return side[TIMESTAMP], canonical(side.get(PRICE))


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _joined(client: object, server: object) -> list[Any] | None:
    if not isinstance(client, list) or not isinstance(server, list):
        return None
    entries: dict[float, _Object] = {}
    for entry in (*server, *client):
        time = _number(entry.get(TIMESTAMP)) if isinstance(entry, dict) else None
        if time is None:
            return None
        known = entries.get(time)
        if known is None or canonical(entry) > canonical(known):
            entries[time] = entry
    return [entries[time] for time in sorted(entries)]
