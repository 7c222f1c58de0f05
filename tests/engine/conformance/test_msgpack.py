"""The packets of socket.io-msgpack-parser: each is one MessagePack map in a binary message."""

import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tests.support.target_process import TargetProcess
from tests.support.wire_client import Endpoint, Socket

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR = range(5)


def packet(kind: object, data: object = None, nsp: object = "/", **more: object) -> bytes:
    fields = {"type": kind, "nsp": nsp, **more}
    return msgspec.msgpack.encode(fields if data is None else {**fields, "data": data})


async def receive(socket: Socket) -> dict[str, Any]:
    message = await socket.receive()
    assert isinstance(message, bytes)
    fields: dict[str, Any] = msgspec.msgpack.decode(message)
    return {name: value for name, value in fields.items() if value is not None}


@pytest.fixture
def msgpack(target: TargetProcess) -> Endpoint:
    """Speaks MessagePack."""
    return Endpoint(target.port("msgpack"))


@contextlib.asynccontextmanager
async def connected(endpoint: Endpoint) -> AsyncIterator[Socket]:
    async with endpoint.opened() as socket:
        await socket.send(packet(CONNECT))
        answer = await receive(socket)
        assert (answer["type"], answer["nsp"]) == (CONNECT, "/")
        socket.sid = answer["data"]["sid"]
        yield socket


async def test_client_connects_and_its_payload_arrives(msgpack: Endpoint) -> None:
    async with msgpack.opened() as socket:
        await socket.send(packet(CONNECT, {"token": "abc"}))
        sid = (await receive(socket))["data"]["sid"]
        await socket.send(packet(EVENT, ["whoAmI"], id=1))
        answer = await receive(socket)
    assert answer == {
        "type": ACK,
        "nsp": "/",
        "id": 1,
        "data": [sid, {"token": "abc"}, "websocket"],
    }


async def test_events_come_back_as_they_were(msgpack: Endpoint) -> None:
    data = ["echo", 1, -1.5, "한글", None, True, [{"a": []}], b"\x00\xff"]
    async with connected(msgpack) as socket:
        await socket.send(packet(EVENT, data))
        answer = await receive(socket)
    assert (answer["type"], answer["nsp"], answer["data"]) == (EVENT, "/", data)


async def test_polling_carries_packets_in_base64(msgpack: Endpoint) -> None:
    session = await msgpack.polling()
    await session.send("b" + base64.b64encode(packet(CONNECT)).decode())
    (answer,) = await session.receive()
    assert answer[0] == "b"
    assert msgspec.msgpack.decode(base64.b64decode(answer[1:]))["type"] == CONNECT


async def test_refusals_have_a_message(msgpack: Endpoint) -> None:
    async with msgpack.opened() as socket:
        await socket.send(packet(CONNECT, nsp="/random"))
        answer = await receive(socket)
        assert (answer["type"], answer["nsp"]) == (CONNECT_ERROR, "/random")
        assert answer["data"] == {"message": "Invalid namespace"}
        await socket.send(packet(CONNECT, nsp="/refused"))
        answer = await receive(socket)
        assert answer["data"] == {"message": "Not authorized", "data": {"reason": "closed"}}


async def test_client_can_leave(msgpack: Endpoint) -> None:
    async with connected(msgpack) as socket:
        await socket.send(packet(CONNECT, nsp="/custom"))
        await receive(socket)
        await socket.send(packet(DISCONNECT, nsp="/custom"))
        await socket.send(packet(EVENT, ["echo"]))
        assert (await receive(socket))["data"] == ["echo"]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        b"\xff" * 10,
        packet(EVENT, ["echo"])[:-1],
        packet(EVENT, ["echo"]) + b"\x00",
        msgspec.msgpack.encode([EVENT, "/", ["echo"]]),
        msgspec.msgpack.encode("42"),
        packet("2", ["echo"]),
        packet(9, ["echo"]),
        packet(-1, ["echo"]),
        packet(EVENT, ["echo"], nsp=1),
        packet(EVENT, "echo"),
        packet(EVENT, {"0": "echo"}),
        packet(EVENT, ["echo"], id="x"),
        packet(EVENT, ["echo"], id=1.5),
        packet(ACK, "x", id=1),
        packet(CONNECT_ERROR, {"message": "no"}),
        packet(EVENT, ["echo"], nsp="/custom"),
    ],
    ids=repr,
)
async def test_malformed_packet_closes_the_connection(msgpack: Endpoint, message: bytes) -> None:
    async with connected(msgpack) as socket:
        await socket.send(message)
        assert await socket.until_closed() == []
