"""Processes that tests start, and the stockstream server among them."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]

#: Seconds that a process may take to get ready, or to end when asked to: less than a test may take,
#: so that the test says what it waited for, and more than a machine that is busy with others needs.
DEADLINE = 50.0

#: Seconds between two looks at a condition.
POLL_INTERVAL = 0.01

#: Runs the command of this checkout, installed or not.
STOCKSTREAM = (sys.executable, "-c", "from stockstream.cli import main; main()")


async def wait_until(condition: Callable[[], object], what: str, within: float = DEADLINE) -> None:
    """Wait until the condition is true; fail the test, naming `what`, after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"waited {within} s in vain for {what}"
        await asyncio.sleep(POLL_INTERVAL)


async def wait_until_true(
    condition: Callable[[], Awaitable[object]], what: str, within: float = DEADLINE
) -> None:
    """Do as `wait_until` does, where looking at the condition takes waiting itself."""
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline, f"waited {within} s in vain for {what}"
        await asyncio.sleep(POLL_INTERVAL)


class Child:
    """A process of ours. Its output goes to a file: nobody has to read it, and no pipe fills up."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def output(self) -> str:
        """Return all that it has printed so far."""
        return self.log.read_text(errors="replace")

    def pause(self) -> None:
        """Stop it from running, with its connections left open."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, without a chance to say goodbye."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM) and do not wait for it."""
        self.process.terminate()

    async def exit_status(self, within: float = DEADLINE) -> int:
        """Wait for its end and return its exit status, negative for a signal."""
        await wait_until(lambda: not self.running, f"the end of {self.process.args!r}", within)
        return self.process.wait()

    def end(self) -> None:
        """Have it ended, gently first; it may be paused or gone already.

        Raises:
            AssertionError: It did not heed SIGTERM and was killed.
        """
        self.terminate()
        self.resume()
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()
            message = f"{self.process.args!r} ignored SIGTERM:\n{self.output()}"
            raise AssertionError(message) from None


@contextmanager
def running_child(command: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[Child]:
    """Run a process, in the caller's environment or in `env`, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="stockstream-test-") as folder:
        child = Child(command, Path(folder) / "output.log", env)
        try:
            yield child
        finally:
            child.end()


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A `stockstream serve` that runs in a process of its own."""

    #: Its process, to be paused, killed, or asked for its output.
    child: Child

    #: Where it serves, without a slash at the end: http://127.0.0.1:43210.
    url: str


@asynccontextmanager
async def running_server(
    *args: str, env: Mapping[str, str] | None = None, port: int | None = None
) -> AsyncIterator[Server]:
    """Run `stockstream serve` with these arguments, on a free port unless one is named.

    It is ready when the context begins.

    Settings come from `args` and `env` alone: the caller's STOCKSTREAM_ variables are left out.
    """
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    inherited = {key: value for key, value in os.environ.items() if "STOCKSTREAM" not in key}
    # What one server keeps, another one does not find.
    inherited["STOCKSTREAM_HISTORY_URL"] = "memory"
    command = [*STOCKSTREAM, "serve", "--host", "127.0.0.1", "--port", str(port), *args]
    with running_child(command, {**inherited, **(env or {})}) as child:
        await _wait_until_ready(child, url)
        yield Server(child=child, url=url)


async def _wait_until_ready(child: Child, url: str) -> None:
    deadline = time.monotonic() + DEADLINE
    async with aiohttp.ClientSession() as session:
        while not await _is_ready(session, url):
            assert child.running, f"the server ended before it was ready:\n{child.output()}"
            assert time.monotonic() < deadline, f"the server is not ready:\n{child.output()}"
            await asyncio.sleep(POLL_INTERVAL)


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False
