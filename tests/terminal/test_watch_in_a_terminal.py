"""``stockstream watch`` as a person sees it: in a real pseudo-terminal, against a real server."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from tests.support.processes import ROOT, STOCKSTREAM, wait_until
from tests.support.quote_server import QuoteServer, quote_server
from tests.support.terminal import ALTERNATE_ON, CURSOR_OFF, Terminal, terminal

CTRL_C, CTRL_Z = b"\x03", b"\x1a"


@pytest.fixture
async def server() -> AsyncIterator[QuoteServer]:
    async with quote_server() as running:
        yield running


def watching(
    server: QuoteServer, *symbols: str, columns: int = 100, lines: int = 24
) -> AbstractAsyncContextManager[Terminal]:
    command = [*STOCKSTREAM, "watch", *symbols, "--url", server.url]
    return terminal(command, columns=columns, lines=lines)


async def test_prices_are_shown_and_moves_coloured(server: QuoteServer) -> None:
    async with watching(server, "AAPL", "msft") as screen:
        await server.wait_for_subscriptions(1)
        await screen.wait_for("0 updates")
        await server.send("AAPL", 187.2, 1, bid=187.15, ask=187.25, volume=1234567)
        await screen.wait_for("187.20")
        assert "187.15   187.25   1,234,567" in screen.text
        await server.send("AAPL", 187.31, 2)
        await screen.wait_for("▲ 187.31")
        assert screen.colour("187.31") == "green"
        await server.send("AAPL", 186.5, 3, change=-0.7, changePercent=-0.37)
        await screen.wait_for("▼ 186.50")
        assert screen.colour("186.50") == "red"
        assert screen.colour("-0.37%") == "red"
        await screen.wait_for("3 updates")

    assert server.subscriptions == [["stock_update_AAPL", "stock_update_MSFT"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_gives_the_terminal_back(server: QuoteServer, number: int) -> None:
    async with watching(server, "AAPL") as screen:
        await screen.wait_for("0 updates")
        assert ALTERNATE_ON in screen.written
        assert CURSOR_OFF in screen.written
        assert not screen.is_given_back
        screen.process.send_signal(number)

        assert await screen.exit_status() == 0
        assert screen.is_given_back
        assert b"Traceback" not in screen.written
        await wait_until(lambda: not server.sids, "the goodbye to the server")


async def test_control_c_ends_it_also_while_it_cannot_connect() -> None:
    nobody = QuoteServer()
    async with watching(nobody, "AAPL") as screen:
        await screen.wait_for("trying again in")
        screen.press(CTRL_C)

        assert await screen.exit_status() == 0
        assert screen.is_given_back
        assert b"Traceback" not in screen.written


async def test_control_z_gives_the_terminal_back_until_it_goes_on(server: QuoteServer) -> None:
    async with watching(server, "AAPL") as screen:
        await screen.wait_for("0 updates")
        screen.press(CTRL_Z)
        await wait_until(lambda: os.waitpid(screen.process.pid, os.WNOHANG | os.WUNTRACED)[0], "it")
        await wait_until(lambda: screen.is_given_back, "the ordinary screen")
        screen.process.send_signal(signal.SIGCONT)
        await wait_until(lambda: not screen.is_given_back, "our screen")
        await server.send("AAPL", 187.2, 1)
        await screen.wait_for("187.20")


async def test_it_reconnects_and_subscribes_again_by_itself(server: QuoteServer) -> None:
    async with watching(server, "AAPL") as screen:
        await screen.wait_for("0 updates")
        await server.send("AAPL", 187.2, 1)
        await screen.wait_for("187.20")
        await server.stop()
        await screen.wait_for("trying again in")
        assert "187.20" in screen.text
        await server.start()
        await server.wait_for_subscriptions(2)
        await server.send("AAPL", 188.4, 2, snapshot=True)
        await screen.wait_for("▲ 188.40")


async def test_a_refused_symbol_is_shown_with_the_reason(server: QuoteServer) -> None:
    server.rejected["stock_update_NOPE"] = "no venue knows \x1b[31mit"
    async with watching(server, "AAPL", "NOPE") as screen:
        await screen.wait_for("NOPE: no venue knows  [31mit")
        await screen.wait_for("refused")
        await server.send("AAPL", 187.2, 1)
        await screen.wait_for("187.20")


async def test_a_narrow_terminal_shows_what_matters_most(server: QuoteServer) -> None:
    async with watching(server, "AAPL", columns=32, lines=8) as screen:
        await screen.wait_for("● http://127.0.0.1:")
        await server.send("AAPL", 187.2, 1)
        await screen.wait_for("187.20")
        await screen.wait_for("+0.25%")
        assert "Volume" not in screen.text
        screen.resize(100, 8)
        await screen.wait_for("Volume")


async def test_more_symbols_than_lines_are_counted(server: QuoteServer) -> None:
    symbols = [f"S{number}" for number in range(100)]
    async with watching(server, *symbols, lines=10) as screen:
        await screen.wait_for("93 more symbols don't fit")
        assert "S6" in screen.text
        assert "S7" not in screen.text


async def test_without_a_terminal_each_update_is_a_line(server: QuoteServer) -> None:
    server.rejected["stock_update_NOPE"] = "none such"
    async with piped(server, "AAPL", "NOPE") as process:
        await server.wait_for_subscriptions(1)
        await server.send("AAPL", 187.2, 1, bid=187.15)
        line = await read_line(process)
        process.terminate()
        notes = await finished(process)

    assert line == "2024-03-05T14:30:00.000Z AAPL 187.2 +0.5 +0.25% volume 1000 bid 187.15 ask –\n"
    assert notes == f"connected to {server.url}\nNOPE: none such (unknown)\n"
    assert process.returncode == 0


async def test_it_ends_quietly_when_nobody_reads_any_more(server: QuoteServer) -> None:
    async with piped(server, "AAPL") as process:
        await server.wait_for_subscriptions(1)
        await server.send("AAPL", 187.2, 1)
        await read_line(process)
        assert process.stdout is not None
        process.stdout.close()
        await server.send("AAPL", 187.3, 2)
        await server.send("AAPL", 187.4, 3)
        notes = await finished(process)

    assert notes == f"connected to {server.url}\n"
    assert process.returncode == 0


@asynccontextmanager
async def piped(server: QuoteServer, *symbols: str) -> AsyncIterator[subprocess.Popen[str]]:
    command = [*STOCKSTREAM, "watch", *symbols, "--url", server.url]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


async def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return await asyncio.to_thread(process.stdout.readline)


async def finished(process: subprocess.Popen[str]) -> str:
    """Wait for its end and return what it wrote beside its output."""
    await wait_until(lambda: process.poll() is not None, "the end of the program")
    assert process.stderr is not None
    return process.stderr.read()
