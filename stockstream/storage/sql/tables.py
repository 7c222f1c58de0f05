"""What is stored, as tables; how they come about is in ``migrations``."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    text,
)

from stockstream.model.symbol import MAX_SYMBOL_LENGTH

metadata: Final = MetaData()


def _symbol() -> Column[str]:
    return Column("symbol", String(MAX_SYMBOL_LENGTH), primary_key=True)


def _values() -> list[Column[float]]:
    return [
        Column(name, Double, nullable=False) for name in ("open", "high", "low", "close", "volume")
    ]


#: Believed quotes, for days.
ticks: Final = Table(
    "ticks",
    metadata,
    _symbol(),
    Column("timestamp", BigInteger, primary_key=True),
    Column("number", SmallInteger, primary_key=True),
    Column("price", Double, nullable=False),
    Column("volume", Double, nullable=False),
    Column("bid", Double),
    Column("ask", Double),
    sqlite_with_rowid=False,
)

#: What each counting saw of each minute of days that are not sealed.
minutes: Final = Table(
    "minutes",
    metadata,
    _symbol(),
    Column("timestamp", BigInteger, primary_key=True),
    Column("run", BigInteger, primary_key=True),
    *_values(),
    Column("opened", BigInteger, nullable=False),
    Column("closed", BigInteger, nullable=False),
    Index("minutes_timestamp", "timestamp"),
    sqlite_with_rowid=False,
)

#: The minutes of a sealed day, packed by ``core/minute_columns.py``.
minute_pages: Final = Table(
    "minute_pages",
    metadata,
    _symbol(),
    Column("day", BigInteger, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Index("minute_pages_day", "day"),
)

#: Bars of a provider, and hours and days that were rolled up.
bars: Final = Table(
    "bars",
    metadata,
    _symbol(),
    Column("timeframe", String(3), primary_key=True),
    Column("timestamp", BigInteger, primary_key=True),
    *_values(),
    # 1 where a provider said so, 0 where it was rolled up.
    Column("provided", SmallInteger, nullable=False),
    # Minutes leave when their day is sealed: there are few, and they have to be found.
    Index(
        "bars_minutes",
        "timestamp",
        sqlite_where=text("timeframe = '1m'"),
        postgresql_where=text("timeframe = '1m'"),
    ),
    sqlite_with_rowid=False,
)

#: Until when the minutes of a symbol are rolled up.
sealed: Final = Table(
    "sealed",
    metadata,
    _symbol(),
    Column("until", BigInteger, nullable=False),
)

#: What a provider was asked for.
coverage: Final = Table(
    "coverage",
    metadata,
    _symbol(),
    Column("timeframe", String(3), primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("end", BigInteger, nullable=False),
)
