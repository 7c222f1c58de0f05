"""What TimescaleDB does for ticks, where it is there: hypertable, compression, aggregate.

Not tried: the extension is not among the packages that the tests can install.
"""

from sqlalchemy import Connection, text

_DAY_MS = 86_400_000

_SET_UP = (
    f"SELECT create_hypertable('ticks', 'timestamp', chunk_time_interval => {_DAY_MS}::bigint)",
    (
        "CREATE FUNCTION stockstream_now_ms() RETURNS bigint LANGUAGE sql STABLE AS"
        " $$ SELECT (extract(epoch FROM now()) * 1000)::bigint $$"
    ),
    "SELECT set_integer_now_func('ticks', 'stockstream_now_ms')",
    (
        "ALTER TABLE ticks SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol',"
        " timescaledb.compress_orderby = 'timestamp, number')"
    ),
    # Yesterday's ticks are still written to, by whoever catches up.
    f"SELECT add_compression_policy('ticks', compress_after => {2 * _DAY_MS}::bigint)",
    # For other programs, such as dashboards: what the minutes are, recomputed from the ticks.
    (
        "CREATE MATERIALIZED VIEW tick_minutes WITH (timescaledb.continuous) AS"
        " SELECT symbol, time_bucket(60000::bigint, timestamp) AS minute,"
        " first(price, timestamp) AS open, max(price) AS high, min(price) AS low,"
        " last(price, timestamp) AS close, sum(volume) AS volume"
        " FROM ticks GROUP BY symbol, minute WITH NO DATA"
    ),
    (
        "SELECT add_continuous_aggregate_policy('tick_minutes', start_offset => 7200000::bigint,"
        " end_offset => 120000::bigint, schedule_interval => INTERVAL '1 minute')"
    ),
)


def is_installed(connection: Connection) -> bool:
    """Return whether the database has the extension; False for SQLite."""
    if connection.dialect.name != "postgresql":
        return False
    return _exists(connection, "pg_extension WHERE extname = 'timescaledb'")


def is_available(connection: Connection) -> bool:
    """Return whether the database has the extension, which is created where the server has it."""
    if connection.dialect.name != "postgresql":
        return False
    if is_installed(connection):
        return True
    if not _exists(connection, "pg_available_extensions WHERE name = 'timescaledb'"):
        return False
    may_create = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
    if not connection.scalar(text(may_create)):
        return False
    connection.execute(text("CREATE EXTENSION timescaledb"))
    return True


def set_up(connection: Connection) -> None:
    """Make the table of ticks a hypertable that compresses itself."""
    for statement in _SET_UP:
        connection.execute(text(statement))


def drop_before(connection: Connection, before_ms: int) -> None:
    """Drop the ticks of days that end before."""
    drop = text("SELECT drop_chunks('ticks', older_than => cast(:before AS bigint))")
    connection.execute(drop, {"before": before_ms})


def _exists(connection: Connection, rows: str) -> bool:
    return bool(connection.scalar(text(f"SELECT EXISTS (SELECT 1 FROM {rows})")))  # noqa: S608
