"""What JavaScript clients rely on, on a good network."""

import pytest

from tests.support.js_client import ClientKind, js_client
from tests.support.target_process import TargetProcess
from tests.support.wire_client import Endpoint

MSGPACK = [
    ClientKind(version=4, transports=(transport,), msgpack=True)
    for transport in ("polling", "websocket")
]


async def test_client_connects_and_moves_to_the_best_transport(
    ordinary: Endpoint, kind: ClientKind
) -> None:
    async with js_client(kind, ordinary.port) as client:
        await client.hear_count("connect", 1)
        if kind.upgrade:
            await client.hear_count("upgrade", 1)
        assert (await client.call("whoAmI"))[2] == kind.transports[-1]


async def test_fifty_emits_in_one_go_get_fifty_acknowledgements(
    ordinary: Endpoint, kind: ClientKind
) -> None:
    async with js_client(kind, ordinary.port) as client:
        await client.hear("connect")
        run = f"fifty {kind}"
        await client.record(run, first=0, count=50, size=10)
        answers = await client.hear_count("recorded", 50)
        assert [answer["n"] for answer in answers] == list(range(50))
        assert await client.call("recorded", run) == [list(range(50))]


async def test_values_and_bytes_come_back_as_they_were(
    ordinary: Endpoint, kind: ClientKind
) -> None:
    values = ["한글 \x1e €", 1.5, None, True, {"a": [1, {"b": []}]}, {"bytes": [0, 1, 255]}]
    async with js_client(kind, ordinary.port) as client:
        await client.hear("connect")
        assert await client.call("echoAck", *values) == values
        await client.emit("echo", *values)
        assert (await client.hear("event", name="echo"))["args"] == values


async def test_client_answers_the_event_of_a_server(ordinary: Endpoint, kind: ClientKind) -> None:
    async with js_client(kind, ordinary.port) as client:
        await client.hear("connect")
        await client.emit("askMe")
        assert (await client.hear("event", name="answered"))["args"] == ["because", "why"]


@pytest.mark.parametrize(
    ("namespace", "message", "data"),
    [("/refused", "Not authorized", {"reason": "closed"}), ("/random", "Invalid namespace", None)],
)
async def test_refused_client_is_told_why(
    ordinary: Endpoint, kind: ClientKind, namespace: str, message: str, data: object
) -> None:
    async with js_client(kind, ordinary.port, namespace=namespace) as client:
        error = await client.hear("connect_error")
    assert (error["message"], error.get("data")) == (message, data)


async def test_client_is_told_that_the_server_disconnected_it(
    ordinary: Endpoint, kind: ClientKind
) -> None:
    async with js_client(kind, ordinary.port) as client:
        await client.hear("connect")
        await client.emit("leave")
        assert (await client.hear("disconnect"))["reason"] == "io server disconnect"


async def test_client_stays_connected_over_many_pings(short: Endpoint, kind: ClientKind) -> None:
    async with js_client(kind, short.port) as client:
        await client.hear("connect")
        # Each ping and its answer fit in between: 300 ms and 200 ms are long on one machine.
        bystander = await short.polling()
        while (await bystander.get()).status == 200:
            pass
        assert await client.call("echoAck", "still here") == ["still here"]
        assert client.all("disconnect") == []


@pytest.mark.parametrize("kind", MSGPACK, ids=str)
async def test_messagepack_client_is_served(target: TargetProcess, kind: ClientKind) -> None:
    values = ["한글 \x1e €", 1.5, None, {"a": [1]}, {"bytes": [0, 1, 255]}]
    async with js_client(kind, target.port("msgpack")) as client:
        await client.hear("connect")
        assert await client.call("echoAck", *values) == values
        await client.emit("burst", 50, 10)
        ticks = await client.hear_count("tick", 50)
    assert [tick["n"] for tick in ticks] == list(range(50))
