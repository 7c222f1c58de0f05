"""A program in a pseudo-terminal, and what a person would see on it."""

import asyncio
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pyte

from tests.support.processes import DEADLINE, ROOT, wait_until

# What a program sends that uses the other screen, and hides the cursor; and the opposite.
ALTERNATE_ON, ALTERNATE_OFF = b"\x1b[?1049h", b"\x1b[?1049l"
CURSOR_OFF, CURSOR_ON = b"\x1b[?25l", b"\x1b[?25h"


class Terminal:
    """Reads all that the program writes, as fast as it comes."""

    def __init__(self, command: Sequence[str], *, columns: int, lines: int) -> None:
        self._master, slave = pty.openpty()
        self.written = b""
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.resize(columns, lines)
        env = {key: value for key, value in os.environ.items() if "COLOR" not in key}
        for name in ("COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            env.pop(name, None)
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env | {"TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            # The terminal becomes the new session's own: keys turn into signals.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65_536)
        except OSError:
            # Linux says EIO when nobody has the other end open any more.
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._master)
            return
        self.written += data
        self._stream.feed(data)

    @property
    def text(self) -> str:
        """The screen, line by line."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def colour(self, shown: str) -> str:
        """Return the colour of the first place where this is shown."""
        for number, line in enumerate(self._screen.display):
            if shown in line:
                colour: str = self._screen.buffer[number][line.index(shown)].fg
                return colour
        raise AssertionError(f"{shown!r} is not on the screen:\n{self.text}")

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size; the program hears of it."""
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
        self._screen.resize(lines, columns)

    def press(self, key: bytes) -> None:
        """Press a key; b"\\x03" is Ctrl-C."""
        os.write(self._master, key)

    async def wait_for(self, shown: str) -> None:
        """Wait until this is on the screen."""
        try:
            await wait_until(lambda: shown in self.text, shown)
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen is:\n{self.text}") from None

    async def exit_status(self) -> int:
        """Wait for the program's end, and until all that it wrote was read."""
        await wait_until(lambda: self.process.poll() is not None, "the end of the program")
        reader = asyncio.get_running_loop()
        await wait_until(lambda: not reader.remove_reader(self._master), "the end of its output")
        return self.process.returncode

    @property
    def is_given_back(self) -> bool:
        """Whether the ordinary screen is shown, with a cursor, as before the program."""
        alternate = self.written.rfind(ALTERNATE_ON) > self.written.rfind(ALTERNATE_OFF)
        hidden = self.written.rfind(CURSOR_OFF) > self.written.rfind(CURSOR_ON)
        return not alternate and not hidden

    async def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(DEADLINE)
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)


@asynccontextmanager
async def terminal(
    command: Sequence[str], *, columns: int = 100, lines: int = 24
) -> AsyncIterator[Terminal]:
    running = Terminal(command, columns=columns, lines=lines)
    try:
        yield running
    finally:
        await running.close()
