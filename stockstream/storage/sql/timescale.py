"""What TimescaleDB does for ticks, where it is there: hypertable, compression, aggregate."""

from typing import Final

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import NotSupportedError, ProgrammingError

_log = structlog.get_logger(__name__)

_DAY_MS: Final = 86_400_000
#: Before, of ticks of which one was there already the rest was passed over where it is compressed.
_COMPRESSES: Final = (2, 18, 1)

_HYPERTABLE: Final = (
    f"SELECT create_hypertable('ticks', 'timestamp', chunk_time_interval => {_DAY_MS}::bigint)",
    (
        "CREATE OR REPLACE FUNCTION stockstream_now_ms() RETURNS bigint LANGUAGE sql STABLE AS"
        " $$ SELECT (extract(epoch FROM now()) * 1000)::bigint $$"
    ),
    "SELECT set_integer_now_func('ticks', 'stockstream_now_ms')",
)

#: What the edition under the Apache licence is without.
_COMMUNITY: Final = (
    (
        "ALTER TABLE ticks SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol',"
        " timescaledb.compress_orderby = 'timestamp, number')"
    ),
    # Yesterday's ticks are still written to, by whoever catches up.
    f"SELECT add_compression_policy('ticks', compress_after => {2 * _DAY_MS}::bigint)",
    # For other programs, such as dashboards: what the minutes are, recomputed from the ticks. Those
    # of one millisecond have numbers in their order. What is not computed yet is seen as well.
    (
        "CREATE MATERIALIZED VIEW tick_minutes"
        " WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS"
        " SELECT symbol, time_bucket(60000::bigint, timestamp) AS minute,"
        " first(price, timestamp * 32768 + number) AS open, max(price) AS high, min(price) AS low,"
        " last(price, timestamp * 32768 + number) AS close, sum(volume) AS volume"
        " FROM ticks GROUP BY symbol, minute WITH NO DATA"
    ),
    # A day, for what comes late because the database was gone; ticks are kept for longer.
    (
        f"SELECT add_continuous_aggregate_policy('tick_minutes', start_offset => {_DAY_MS}::bigint,"
        " end_offset => 120000::bigint, schedule_interval => INTERVAL '1 minute')"
    ),
)


def is_available(connection: Connection) -> bool:
    """Return whether the database has the extension, which is created where that is possible."""
    if connection.dialect.name != "postgresql":
        return False
    if _version(connection):
        return True
    # Without it, creating the extension ends the connection.
    preloaded = "SELECT current_setting('timescaledb.disable_load', true) IS NOT NULL"
    if not connection.scalar(text(preloaded)):
        return False
    return _possible(connection, "CREATE EXTENSION timescaledb")


def set_up(connection: Connection) -> None:
    """Make the table of ticks a hypertable, and one that compresses itself where it can."""
    for statement in _HYPERTABLE:
        connection.execute(text(statement))
    if _version(connection) >= _COMPRESSES:
        _possible(connection, *_COMMUNITY)
    else:
        _log.warning("timescaledb_not_used_in_full", reason="it is older than 2.18.1")


def drop_before(connection: Connection, before_ms: int) -> None:
    """Drop the ticks of days that end before."""
    drop = text("SELECT drop_chunks('ticks', older_than => cast(:before AS bigint))")
    connection.execute(drop, {"before": before_ms})


def _version(connection: Connection) -> tuple[int, ...]:
    """Return the extension's version; nothing where there is none."""
    query = text("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    numbers, _, _ = (connection.scalar(query) or "").partition("-")
    return tuple(map(int, numbers.split("."))) if numbers else ()


def _possible(connection: Connection, *statements: str) -> bool:
    """Execute all of the statements, or none where one of them is refused: returns False."""
    try:
        with connection.begin_nested():
            for statement in statements:
                connection.execute(text(statement))
    except (NotSupportedError, ProgrammingError) as error:
        reason, _, _ = str(error.orig).partition("\n")
        _log.warning("timescaledb_not_used_in_full", reason=reason)
        return False
    return True
