"""A real PostgreSQL of the tests' own."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

from tests.support.ports import free_port
from tests.support.processes import DEADLINE, POLL_INTERVAL, Child

#: Debian keeps the programs out of PATH, one folder for each version.
_FOLDERS = Path("/usr/lib/postgresql")

_names = count()


def _program(name: str) -> str:
    found = sorted(_FOLDERS.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    return str(found[-1]) if found else shutil.which(name) or name


def _as_somebody(command: Sequence[str]) -> list[str]:
    """Return the command run as a user that is not root, which PostgreSQL refuses to be."""
    if os.geteuid() != 0:
        return list(command)
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]


class PostgresServer:
    """A server on a port of its own that it keeps when it is stopped and started again.

    Args:
        folder: holds its data.
        durable: whether what it acknowledges waits for the disk, as it does in earnest.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self._fsync = "on" if durable else "off"
        self.port = free_port()
        self._folder = folder
        self._child: Child | None = None
        self._data = folder / "data"
        self._data.mkdir()
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            for path in (folder, self._data):
                os.chown(path, user.pw_uid, user.pw_gid)
        initdb = [_program("initdb"), "--no-sync", "--auth=trust", "--username=postgres"]
        subprocess.run(
            _as_somebody([*initdb, "--encoding=UTF8", "--locale=C.UTF-8", str(self._data)]),
            check=True,
            capture_output=True,
            cwd="/",
        )

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    @property
    def running(self) -> bool:
        return self._child is not None

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert self._child is None, "PostgreSQL runs already"
        settings = [f"fsync={self._fsync}", "listen_addresses=127.0.0.1", f"port={self.port}"]
        settings.append(f"unix_socket_directories={self._folder}")
        options = [word for setting in settings for word in ("-c", setting)]
        command = _as_somebody([_program("postgres"), "-D", str(self._data), *options])
        self._child = Child(command, self._folder / "postgres.log", None)
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            assert self._child.running, f"PostgreSQL ended:\n{self._child.output()}"
            assert time.monotonic() < deadline, f"no answer:\n{self._child.output()}"
            time.sleep(POLL_INTERVAL)

    def stop(self) -> None:
        """End it at once, as a crash does; it recovers when it is started again."""
        if self._child is not None:
            self._child.process.send_signal(3)
            self._child.process.wait(DEADLINE)
            self._child = None

    def new_database(self) -> str:
        """Return the address of an empty database."""
        name = f"test{next(_names)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Run a PostgreSQL for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="stockstream-postgres-") as folder:
        server = PostgresServer(Path(folder), durable=durable)
        try:
            server.start()
            yield server
        finally:
            server.stop()
