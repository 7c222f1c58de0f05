"""Updates for tests of stores."""

from stockstream.model import StockUpdate, Symbol

AAPL = Symbol("AAPL")
MSFT = Symbol("MSFT")

#: 2024-03-05 14:30:00 UTC.
START_MS = 1_709_649_000_000


def update(
    seq: int,
    *,
    symbol: Symbol = AAPL,
    epoch: str = "e1",
    timestamp: int | None = None,
    snapshot: bool = False,
) -> StockUpdate:
    """The ``seq``-th update of a symbol; a second after the one before unless told otherwise."""
    return StockUpdate(
        symbol=symbol,
        # Up and down: as text, updates are in another order than by number.
        price=100 + seq * 37 % 101,
        change=seq / 10,
        change_percent=seq / 10,
        volume=1_000.0 * seq,
        timestamp=START_MS + 1_000 * seq if timestamp is None else timestamp,
        seq=seq,
        epoch=epoch,
        bid=99.5,
        snapshot=snapshot,
    )


def updates(
    first: int, last: int, *, symbol: Symbol = AAPL, epoch: str = "e1"
) -> list[StockUpdate]:
    """The updates from ``first`` to ``last``, both included."""
    return [update(seq, symbol=symbol, epoch=epoch) for seq in range(first, last + 1)]
