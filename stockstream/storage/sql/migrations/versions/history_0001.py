"""Ticks, minutes, bars."""

import sqlalchemy as sa
from alembic import op

from stockstream.storage.sql import timescale

revision = "0001"
down_revision = None

_DAY_MS = 86_400_000


def _values() -> list["sa.Column[float]"]:
    names = ("open", "high", "low", "close", "volume")
    return [sa.Column(name, sa.Double, nullable=False) for name in names]


def upgrade() -> None:
    """Create everything, with what the database offers for series of time."""
    connection = op.get_bind()
    is_timescale = timescale.is_available(connection)
    op.create_table(
        "ticks",
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("timestamp", sa.BigInteger, primary_key=True),
        sa.Column("number", sa.SmallInteger, primary_key=True),
        sa.Column("price", sa.Double, nullable=False),
        sa.Column("volume", sa.Double, nullable=False),
        sa.Column("bid", sa.Double),
        sa.Column("ask", sa.Double),
        sqlite_with_rowid=False,
        postgresql_partition_by=None if is_timescale else "RANGE (timestamp)",
    )
    op.create_table(
        "minutes",
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("timestamp", sa.BigInteger, primary_key=True),
        sa.Column("run", sa.BigInteger, primary_key=True),
        *_values(),
        sa.Column("opened", sa.BigInteger, nullable=False),
        sa.Column("closed", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("minutes_timestamp", "minutes", ["timestamp"])
    op.create_table(
        "minute_pages",
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("day", sa.BigInteger, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    if _has_lz4(connection):
        # A page is read twice as fast as with PostgreSQL's own compression, and no larger.
        op.execute("ALTER TABLE minute_pages ALTER COLUMN data SET COMPRESSION lz4")
    op.create_index("minute_pages_day", "minute_pages", ["day"])
    op.create_table(
        "bars",
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("timeframe", sa.String(3), primary_key=True),
        sa.Column("timestamp", sa.BigInteger, primary_key=True),
        *_values(),
        sa.Column("provided", sa.SmallInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    minutes = sa.text("timeframe = '1m'")
    op.create_index(
        "bars_minutes", "bars", ["timestamp"], sqlite_where=minutes, postgresql_where=minutes
    )
    op.create_table(
        "sealed",
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "coverage",
        sa.Column("symbol", sa.String(32), primary_key=True),
        sa.Column("timeframe", sa.String(3), primary_key=True),
        sa.Column("start", sa.BigInteger, primary_key=True),
        sa.Column("end", sa.BigInteger, nullable=False),
    )
    if is_timescale:
        timescale.set_up(connection)


def _has_lz4(connection: sa.Connection) -> bool:
    if connection.dialect.name != "postgresql":
        return False
    offered = "SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression'"
    return "lz4" in (connection.scalar(sa.text(offered)) or ())
