"""JavaScript programs of tests/js that tests talk to in lines of JSON."""

import asyncio
import json
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import IO, Any

from tests.support.processes import DEADLINE, ROOT

JAVASCRIPT = ROOT / "tests" / "js"

#: Bytes of the longest line that a program may print.
LINE_LIMIT = 16 * 1024 * 1024


class NodeProgram:
    """A running program: it prints one JSON value a line on stdout, and errors on stderr."""

    def __init__(self, process: Process, errors: IO[bytes]) -> None:
        self.process = process
        self._errors = errors

    async def read(self, within: float = DEADLINE) -> Any:
        """Return the next value that it prints.

        Cancelling it loses nothing.

        Raises:
            AssertionError: It ended, or printed nothing in time; its errors are in the text.
        """
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(within):
                line = await self.process.stdout.readline()
        except TimeoutError:
            raise AssertionError(f"nothing printed within {within} s\n{self.errors()}") from None
        assert line, f"the program has ended\n{self.errors()}"
        return json.loads(line)

    async def read_until(
        self, condition: Callable[[Any], object], within: float = DEADLINE
    ) -> list[Any]:
        """Return the values up to the first for which the condition holds, this one the last."""
        values: list[Any] = []
        try:
            async with asyncio.timeout(within):
                while not values or not condition(values[-1]):
                    values.append(await self.read(within))
        except TimeoutError:
            raise AssertionError(f"not among {values[-20:]}\n{self.errors()}") from None
        return values

    async def send(self, value: object) -> None:
        """Write a value to its stdin, in one line."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value).encode() + b"\n")
        await self.process.stdin.drain()

    def errors(self) -> str:
        """Return what it has printed on stderr."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    async def end(self) -> None:
        """Kill it, unless it has ended, and read what is left so that the pipe closes."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()


@asynccontextmanager
async def run_node(script: str, *args: str) -> AsyncIterator[NodeProgram]:
    """Run a script of tests/js with these arguments for as long as the context lasts."""
    packages = JAVASCRIPT / "node_modules"
    assert packages.exists(), "the npm packages are missing: run ./scripts/test once"
    with tempfile.TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            "node",
            script,
            *args,
            cwd=JAVASCRIPT,
            stdin=PIPE,
            stdout=PIPE,
            stderr=errors,
            limit=LINE_LIMIT,
        )
        program = NodeProgram(process, errors)
        try:
            yield program
        finally:
            await program.end()
