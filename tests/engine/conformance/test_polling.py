"""Long-polling (Engine.IO protocol, "Sending and receiving data" and "Packet encoding")."""

import asyncio
import json

import pytest

from tests.support.target_fixtures import engine_only
from tests.support.wire_client import (
    PATIENCE,
    WEBSOCKET,
    ClosedByServer,
    Endpoint,
    Polling,
)

#: Payloads that are no sequence of packets that a client may send.
GARBAGE = ["abc", "7", "", "\x1e", "40\x1e", "\x1e40", "x\x1e40", "40\x1ex", '{"a":1}', "2"]


def echo(value: object) -> str:
    """Return a packet that sends `value` out and, when the server echoes it, comes back alike."""
    return f"42{json.dumps(['echo', value], ensure_ascii=False, separators=(',', ':'))}"


async def post_status(session: Polling, body: str | bytes) -> int | None:
    """Status of a POST, None when the server ends the connection without one."""
    try:
        return (await session.post(body)).status
    except ClosedByServer:
        return None


async def test_post_is_answered_200_and_a_lower_case_ok(ordinary: Endpoint) -> None:
    session = await ordinary.polling()
    response = await session.post("40")
    assert (response.status, response.text) == (200, "ok")


async def test_post_without_content_type_is_text(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    response = await ordinary.request("POST", session.query, echo("€"))
    assert (response.status, response.text) == (200, "ok")
    assert await session.receive() == [echo("€")]


async def test_poll_is_answered_with_plain_text_in_utf8(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    await session.send(echo("주가 €"))
    response = await session.get()
    assert response.headers["content-type"].lower() == "text/plain; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.text == echo("주가 €")


async def test_packets_of_one_payload_are_handled_in_order(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    packets = [echo(n) for n in range(3)]
    await session.send(*packets)
    assert await session.receive_many(3) == packets


@pytest.mark.parametrize("count", [16, 17, 50, 200])
async def test_no_packet_of_a_large_payload_is_lost(ordinary: Endpoint, count: int) -> None:
    session = await ordinary.connected_polling()
    packets = [echo(n) for n in range(count)]
    await session.send(*packets)
    assert await session.receive_many(count) == packets


async def test_waiting_packets_leave_in_one_payload(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    await session.send('42["burst",5,1]', echo("last"))
    packets = await session.receive()
    assert packets == [f'42["tick",{n},"x"]' for n in range(5)] + [echo("last")]


async def test_poll_waits_until_there_is_a_packet(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    async with session.pending_poll() as poll:
        await session.send(echo("late"))
        assert (await poll.response()).packets == [echo("late")]


@pytest.mark.parametrize("size", [1, 7, 1_400])
async def test_post_body_split_over_tcp_segments_arrives_whole(
    ordinary: Endpoint, size: int
) -> None:
    session = await ordinary.connected_polling()
    text = "한글" * (20 if size < 1_000 else 2_000)
    body = echo(text).encode()
    async with ordinary.exchange() as exchange:
        await exchange.send(
            ordinary.head("POST", session.query, {"Content-Length": str(len(body))})
        )
        for start in range(0, len(body), size):
            await exchange.send(body[start : start + size])
            # Lets the server read before the next segment; the result does not depend on it.
            await asyncio.sleep(0.001)
        response = await exchange.response()
    assert (response.status, response.text) == (200, "ok")
    assert await session.receive() == [echo(text)]


async def test_chunked_post_is_read_whole(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    body = echo("in many chunks").encode()
    async with ordinary.exchange() as exchange:
        await exchange.send(ordinary.head("POST", session.query, {"Transfer-Encoding": "chunked"}))
        for start in range(0, len(body), 5):
            chunk = body[start : start + 5]
            await exchange.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await exchange.send(b"0\r\n\r\n")
        response = await exchange.response()
    assert (response.status, response.text) == (200, "ok")
    assert await session.receive() == [echo("in many chunks")]


async def test_payload_of_exactly_the_announced_limit_is_taken(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    packet = echo("x" * (1_000_000 - len(echo(""))))
    assert len(packet) == 1_000_000
    await session.send(packet)
    assert await session.receive() == [packet]


async def test_binary_packets_travel_in_base64(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    head = '451-["echo",{"_placeholder":true,"num":0}]'
    await session.send(head, "bAQIDBA==")
    assert await session.receive_many(2) == [head, "bAQIDBA=="]


@pytest.mark.parametrize("body", GARBAGE)
async def test_garbage_in_a_post_closes_the_session(ordinary: Endpoint, body: str) -> None:
    session = await ordinary.polling()
    await post_status(session, body)
    assert (await session.get()).status == 400


@engine_only("the reference answers 200 before it closes")
@pytest.mark.parametrize("body", GARBAGE)
async def test_garbage_in_a_post_is_answered_400(ordinary: Endpoint, body: str) -> None:
    session = await ordinary.polling()
    assert await post_status(session, body) == 400


@engine_only("the reference decodes what it can of a broken base64 text")
@pytest.mark.parametrize("body", ["b*", "bAQI", "bAQIDBA"])
async def test_broken_base64_closes_the_session(ordinary: Endpoint, body: str) -> None:
    session = await ordinary.connected_polling()
    head = '451-["echo",{"_placeholder":true,"num":0}]'
    assert await post_status(session, f"{head}\x1e{body}") in {400, None}
    assert (await session.get()).status == 400


async def test_octet_stream_in_a_post_closes_the_session(ordinary: Endpoint) -> None:
    session = await ordinary.polling()
    response = await session.post(b"\x04\x01", {"Content-Type": "application/octet-stream"})
    assert response.status == 400
    assert (await session.get()).status == 400


async def test_second_poll_beside_a_pending_one_closes_the_session(ordinary: Endpoint) -> None:
    session = await ordinary.polling()
    async with session.pending_poll() as first:
        second = await session.get()
        assert second.status == 400
        released = await first.response()
    assert (released.status, released.text) == (200, "1")
    assert (await session.get()).status == 400


async def test_second_post_beside_an_unfinished_one_closes_the_session(ordinary: Endpoint) -> None:
    session = await ordinary.polling()
    async with ordinary.exchange() as first:
        await first.send(ordinary.head("POST", session.query, {"Content-Length": "10"}) + b"40")
        # The poll goes out after the first POST and is answered after the server has seen both.
        async with ordinary.exchange() as second:
            await second.send(ordinary.head("POST", session.query, {"Content-Length": "2"}) + b"40")
            assert (await second.response()).status == 400
    assert (await session.get()).status == 400


async def test_vanished_poll_does_not_lose_a_message_in_silence(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    async with session.pending_poll() as poll:
        poll.abort()
    status = await post_status(session, echo("not lost"))
    response = await session.get()
    if status == 200 and response.status == 200:
        assert response.packets == [echo("not lost")]
    else:
        # Closed for good: the client knows that it has to start again.
        assert response.status == 400


async def test_vanished_poll_closes_the_session(ordinary: Endpoint) -> None:
    session = await ordinary.polling()
    async with session.pending_poll() as poll:
        poll.abort()
    # A poll that the server takes before it has seen the end of the first one is the second
    # of two, which closes the session as well.
    assert (await session.get()).status == 400


async def test_vanished_post_closes_the_session_without_handling_half_of_it(
    ordinary: Endpoint,
) -> None:
    session = await ordinary.connected_polling()
    async with ordinary.exchange() as post:
        whole = echo("half").encode()
        await post.send(
            ordinary.head("POST", session.query, {"Content-Length": str(len(whole) + 10)}) + whole
        )
        post.abort()
    async with asyncio.timeout(PATIENCE):
        while (response := await session.get()).status == 200:
            assert set(response.packets) <= {"1", "6"}
    assert response.status == 400


async def test_put_to_a_session_is_refused_and_leaves_it_alone(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    response = await ordinary.request("PUT", session.query, echo("put"))
    # The reference answers 500, we answer 400 as for a handshake.
    assert response.status in {400, 500}
    await session.send(echo("post"))
    assert await session.receive() == [echo("post")]


async def test_get_with_another_transport_is_answered_400(ordinary: Endpoint) -> None:
    session = await ordinary.polling()
    response = await ordinary.request("GET", f"{WEBSOCKET}&sid={session.sid}")
    assert response.status == 400
    assert not await session.is_closed()


async def test_polling_in_the_session_of_a_websocket_is_answered_400(ordinary: Endpoint) -> None:
    async with ordinary.connected() as socket:
        session = Polling(ordinary, socket.handshake["sid"])
        assert (await session.get()).status == 400
        assert (await session.post(echo("x"))).status == 400
        assert await socket.is_alive()


async def test_close_packet_releases_the_pending_poll_and_ends_the_session(
    ordinary: Endpoint,
) -> None:
    session = await ordinary.polling()
    async with session.pending_poll() as poll:
        response = await session.post("1")
        assert (response.status, response.text) == (200, "ok")
        released = await poll.response()
    assert (released.status, released.text) == (200, "6")
    assert (await session.get()).status == 400


async def test_close_packet_without_a_pending_poll_ends_the_session(ordinary: Endpoint) -> None:
    session = await ordinary.polling()
    assert (await session.post("1")).status == 200
    assert (await session.get()).status == 400


async def test_packets_after_a_close_packet_are_not_handled(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    async with session.pending_poll() as poll:
        await session.post(f"1\x1e{echo('too late')}")
        assert (await poll.response()).text == "6"


async def test_server_that_closes_says_so_to_the_pending_poll(ordinary: Endpoint) -> None:
    session = await ordinary.connected_polling()
    async with session.pending_poll() as poll:
        await session.send('42["leaveAll"]')
        packets = (await poll.response()).packets
    while packets[-1] != "1":
        packets = await session.receive()
    assert (await session.get()).status == 400
