"""Clients that send what they should not."""

from typing import Any

from tests.acceptance.crowd import Crowd, Way, assert_complete
from tests.acceptance.http import metrics, stats
from tests.support.processes import Server

CODES = {"invalid_payload", "invalid_symbol", "unknown_event", "unknown_timeframe"}


def assert_refused(sent: str, answer: Any) -> None:
    """Insist on an error, or on a reply in which nothing was accepted."""
    assert isinstance(answer, dict), f"{answer} after {sent}"
    if "events" in answer:
        assert answer["events"] == [], sent
        assert {refused["code"] for refused in answer["rejected"]} <= CODES, sent
    else:
        assert answer["code"] in CODES, sent
        assert answer["type"], sent
        assert len(answer["message"]) < 1000, sent


async def test_garbage_gets_errors_and_the_neighbour_misses_nothing(
    server: Server, crowd: Crowd, way: Way
) -> None:
    neighbour = await crowd.connect(server.url)
    await neighbour.subscribe("stock_update_AAPL")
    client = await crowd.connect(server.url, way)

    tag = await client.tell("garbage")
    _, answers = await client.hear("garbage", lambda what: what[0] == tag)

    for sent, answer in answers:
        assert_refused(sent, answer)
    assert len(answers) > 200
    assert "disconnect" not in client.kinds()
    # Each refusal came as an event too, and the client still is an ordinary client.
    errors = [args[0] for args in client.events("error")]
    assert errors == [answer for _, answer in answers if "events" not in answer]
    await client.subscribe("stock_update_AAPL")
    await client.updates_of("AAPL", 3)
    updates = await neighbour.updates_of("AAPL", len(neighbour.updates("AAPL")) + 3)
    assert_complete(updates)
    assert (await stats(server.url))["connectedClients"] == 2
    assert (await metrics(server.url))["stockstream_engine_total|what=handler_errors"] == 0
    assert "Traceback" not in server.child.output()


async def test_message_that_is_too_large_ends_its_sender_only(server: Server, crowd: Crowd) -> None:
    neighbour = await crowd.connect(server.url)
    await neighbour.subscribe("stock_update_AAPL")
    client = await crowd.connect(server.url)

    await client.emit("subscribe", "A" * 1_100_000)

    await client.hear("disconnect")
    await neighbour.updates_of("AAPL", len(neighbour.updates("AAPL")) + 5)
    assert_complete(neighbour.updates("AAPL"))
    assert "Traceback" not in server.child.output()
