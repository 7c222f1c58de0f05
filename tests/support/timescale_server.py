"""A real TimescaleDB of the tests' own: npm has one, as WebAssembly, that Node can run."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psycopg

from stockstream.storage.sql.migrate import SCHEMA
from stockstream.storage.sql.tables import metadata
from tests.support.npm import JAVASCRIPT
from tests.support.ports import free_port
from tests.support.processes import POLL_INTERVAL, Child

#: Seconds that it may take to get ready: it compiles itself first.
_DEADLINE = 50.0


class TimescaleServer:
    """A server with one database, in memory, whose connections wait for each other."""

    def __init__(self, child: Child, port: int) -> None:
        self._child = child
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + _DEADLINE
        while True:
            assert self._child.running, f"TimescaleDB ended:\n{self._child.output()}"
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, f"no answer:\n{self._child.output()}"
                time.sleep(POLL_INTERVAL)
            else:
                return

    def empty(self) -> None:
        """Remove what the history has made; the extension stays once it is there."""
        names = [*metadata.tables, SCHEMA.version_table]
        with psycopg.connect(self.url, autocommit=True) as connection:
            # A hypertable takes its aggregate along, and can't be dropped along with others.
            for name in names:
                connection.execute(f"DROP TABLE IF EXISTS {name} CASCADE".encode())
            connection.execute("DROP FUNCTION IF EXISTS stockstream_now_ms")


@contextmanager
def running_timescale(
    edition: Literal["community", "apache"] = "community",
) -> Iterator[TimescaleServer]:
    """Run a TimescaleDB for as long as the context lasts."""
    script = JAVASCRIPT / "timescale_server.mjs"
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="stockstream-timescale-") as folder:
        command = ["node", str(script), str(port), edition]
        child = Child(command, Path(folder) / "output.log", None)
        try:
            server = TimescaleServer(child, port)
            server.wait_until_ready()
            yield server
        finally:
            child.kill()
