"""Tokens of a client: refused, fresh, handed in, and at their end."""

import base64
import json
import time

import pytest

from stockstream.client import ConnectionState
from stockstream.errors import (
    RefusedError,
)
from tests.client.clients import Told, Waits, client_of, in_state
from tests.support.processes import wait_until
from tests.support.quote_server import QuoteServer


def jwt(number: int, seconds: float) -> str:
    claims = json.dumps({"exp": time.time() + seconds, "jti": number}).encode()
    return f"h.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.s"


async def test_a_token_that_is_refused_is_not_tried_again(server: QuoteServer) -> None:
    server.tokens = {"good"}
    waits = Waits()
    async with client_of(server.url, waits, token="bad") as client:
        with pytest.raises(RefusedError, match="unknown token"):
            await client.connect()
    async with client_of(server.url, waits, token="good") as client:
        await client.connect()

    assert waits.seconds == []


async def test_each_connection_has_a_fresh_token(server: QuoteServer) -> None:
    server.tokens = {"3"}
    given: list[str] = []

    async def token() -> str:
        given.append(str(len(given) + 1))
        if given == ["1"]:
            raise OSError("no way there")
        return given[-1]

    waits = Waits()
    async with client_of(server.url, waits, token=token) as client:
        told = Told(client)
        await client.connect()

    assert given == ["1", "2", "3"]
    reasons = [change.reason for change in told.changes if change.retry_in is not None]
    assert reasons == ["no token: no way there", "unknown token"]


async def test_a_token_is_handed_in_without_reconnecting(server: QuoteServer) -> None:
    server.tokens = {"one", "two"}
    async with client_of(server.url, token="one") as client:
        answer = await client.authenticate("two")
        with pytest.raises(RefusedError):
            await client.authenticate("three")
        assert client.connections == 1
        server.tokens = {"two"}
        await server.hang_up()
        await wait_until(lambda: client.connections == 2, "the next connection")

    assert answer == {"user": "ann", "roles": ["user"]}


async def test_a_token_is_replaced_before_it_ends(server: QuoteServer) -> None:
    made: list[str] = []

    async def token() -> str:
        made.append(jwt(len(made), 0.5 if not made else 3_600))
        return made[-1]

    async with client_of(server.url, token=token) as client:
        await server.wait_for_requests("authenticate")
        assert client.connections == 1

    assert server.requests == [("authenticate", {"token": made[1]})]


async def test_who_is_put_out_because_the_token_ended_does_not_come_back_with_it(
    server: QuoteServer,
) -> None:
    said = {"type": "session_error", "code": "token_expired", "message": "the token has expired"}
    waits = Waits()
    async with client_of(server.url, waits, token="one") as client:
        told = Told(client)
        await client.connect()
        await server.emit("error", said)
        await wait_until(lambda: told.errors, "the error")
        await server.hang_up()
        await in_state(client, ConnectionState.DISCONNECTED)

    assert waits.seconds == []
    assert told.errors[0].code == "token_expired"
