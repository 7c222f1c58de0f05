"""Servers that the conformance cases talk to, each a process of its own."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self

ROOT = Path(__file__).resolve().parents[2]
JAVASCRIPT = ROOT / "tests" / "js"

#: Seconds that a server may take to end after its standard input was closed.
END_SECONDS = 10


class TargetProcess:
    """One server process that listens on one port for each profile of the suite.

    A context manager. The process ends with its standard input, so that it never outlives us.
    """

    def __init__(self, name: str, command: list[str]) -> None:
        """Prepare to run `command`; `name` is how the cases call this server."""
        self.name = name
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        # A file and not a pipe: nobody reads it before the end, and a full pipe would block.
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        assert self._process.stdout is not None
        first_line = self._process.stdout.readline()
        if not first_line:
            raise AssertionError(f"{self.name} did not start:\n{self.errors()}")
        self._ports = json.loads(first_line)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process is not None
        assert self._errors is not None
        try:
            self._process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._errors.close()

    def port(self, profile: str) -> int:
        """Port of 127.0.0.1 where `profile` is served."""
        return self._ports[profile]

    def errors(self) -> str:
        """What the server wrote to its standard error so far."""
        assert self._errors is not None
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")


def node_target() -> TargetProcess:
    """Node's own socket.io server, the reference."""
    return TargetProcess("node", ["node", str(JAVASCRIPT / "reference_server.js")])


def engine_target(*arguments: str) -> TargetProcess:
    """Our engine under aiohttp."""
    command = [sys.executable, "-m", "tests.support.engine_target", *arguments]
    return TargetProcess("engine", command)


def missing_for_node() -> str | None:
    """Why nothing can be run with node here, or None when all that it takes is there."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (JAVASCRIPT / "node_modules").is_dir():
        return "no node_modules: run `npm ci` in tests/js"
    return None
