"""The referee sees what it is there to see; otherwise no figure of the benchmark means anything."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import WSMsgType, web

from tests.bench.peers import compile_c
from tests.bench.processes import Answer, BenchError, Generator, Ready

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")

#: The sequence numbers that a client is sent for the nth tick.
Script = Callable[[int], list[int]]


class ScriptedServer:
    """Delivers right or wrong, as its script says."""

    def __init__(self, script: Script, *, greets: bool = True, refuses: int = 0) -> None:
        """Greets clients or never does, after it has refused so many handshakes."""
        self._script = script
        self._greets = greets
        self._refuses = refuses
        self._ticks = 0
        self._audience: list[web.WebSocketResponse] = []
        self._left = asyncio.Event()

    async def meet(self, request: web.Request) -> web.StreamResponse:
        if self._refuses:
            self._refuses -= 1
            return web.Response(status=503, headers={"Retry-After": "1"})
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str('0{"sid":"x"}')
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            if message.data == "40" and self._greets:
                await socket.send_str('40{"sid":"x"}')
            elif message.data.startswith("42"):
                await socket.send_str('42["subscribed",{"events":[]}]')
                self._audience.append(socket)
        return socket

    async def obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for _ in reader:
            self._ticks += 1
            for seq in self._script(self._ticks):
                for socket in self._audience:
                    # The audience leaves when it has counted enough.
                    with suppress(ConnectionError):
                        await socket.send_str(f'42["stock_update_S00000",{{"seq":{seq},"x":1}}]')
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self._left.set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Ready]:
        app = web.Application()
        app.router.add_get("/socket.io/", self.meet)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        control = await asyncio.start_server(self.obey, "127.0.0.1", 0)
        try:
            yield Ready(
                port=runner.addresses[0][1],
                control=control.sockets[0].getsockname()[1],
                version="",
            )
        finally:
            await self._left.wait()
            control.close()
            await control.wait_closed()
            await runner.cleanup()


async def listen_to(server: ScriptedServer, *commands: str, stall_s: float = 0.3) -> list[Answer]:
    def in_thread(ready: Ready) -> list[Answer]:
        program = compile_c("loadgen")
        with Generator(program, ready, symbols=1, per_client=1, stall_s=stall_s) as generator:
            return [generator.ask(command) for command in commands]

    async with server.listening() as ready:
        return await asyncio.to_thread(in_thread, ready)


async def watch(server: ScriptedServer, command: str = "turns 0.1") -> Answer:
    return (await listen_to(server, "connect 3", "subscribe", command))[-1]


async def test_an_honest_server_delivers_everything_in_order() -> None:
    answer = await watch(ScriptedServer(lambda tick: [tick]))

    assert answer.expected == answer.received == answer.turns * 3
    assert answer.disorder == answer.unwanted == 0
    assert 0 <= answer.p50_us <= answer.p99_us


async def test_evenly_spread_updates_are_all_delivered() -> None:
    answer = await watch(ScriptedServer(lambda tick: [tick]), "rate 0.1 100")

    assert answer.turns == 10
    assert answer.expected == answer.received == 30


async def test_an_update_that_never_comes_is_missed() -> None:
    answer = await watch(ScriptedServer(lambda tick: [tick] if tick < 3 else []))

    assert answer.expected - answer.received == 3


@pytest.mark.parametrize(
    "script", [lambda tick: [tick, tick], lambda tick: [2 * tick], lambda tick: [tick, tick - 1]]
)
async def test_updates_that_are_not_the_next_one_are_counted(script: Script) -> None:
    answer = await watch(ScriptedServer(script))

    assert answer.disorder > 0


async def test_clients_that_the_server_forgets_end_the_measurement() -> None:
    with pytest.raises(BenchError, match="3 clients lost"):
        await watch(ScriptedServer(lambda _: [], greets=False))


async def test_nothing_is_expected_of_a_client_that_stalls_until_it_reads_again() -> None:
    server = ScriptedServer(lambda tick: [tick])
    commands = ("connect 4 2", "subscribe", "stall", "repeat 3", "resume", "repeat 2")
    *_, during, resumed, after = await listen_to(server, *commands)

    assert during.expected == during.received == 3 * 2
    assert resumed.expected == resumed.received == 2
    assert after.expected == after.received == 2 * 4
    assert during.disorder == resumed.disorder == after.disorder == 0


async def test_who_stalled_may_skip_updates_but_not_the_newest() -> None:
    skipping = ScriptedServer(lambda tick: [] if tick < 3 else [tick])
    lagging = ScriptedServer(lambda tick: [tick] if tick < 3 else [])
    commands = ("connect 2 1", "subscribe", "stall", "repeat 3", "resume")
    skipped = (await listen_to(skipping, *commands))[-1]
    lagged = (await listen_to(lagging, *commands))[-1]

    assert skipped.received == skipped.expected == 2
    assert skipped.disorder == 0
    assert lagged.expected - lagged.received == 2


async def test_clients_of_a_storm_that_are_refused_come_again() -> None:
    server = ScriptedServer(lambda tick: [tick], refuses=2)
    commands = ("connect 0", "storm 5 100")
    _, storm = await listen_to(server, *commands, stall_s=20)

    assert storm.clients == 5
    assert storm.refused == 2
    assert storm.refusal_p99_us >= 0
