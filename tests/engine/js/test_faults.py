"""JavaScript clients behind a proxy that slices, delays and aborts: nothing lost, nothing twice.

An emit without acknowledgement may be lost with its connection; that is what Socket.IO promises.
An acknowledged one has arrived, once; and what a connection delivers has no gap.
"""

from collections import defaultdict

import pytest

from tests.support.fault_proxy import FaultProxy, Faults
from tests.support.js_client import ClientKind, JsClient, js_client
from tests.support.wire_client import Endpoint

SLICES = [
    pytest.param(Faults(segment_bytes=1_400), id="1400-byte segments"),
    pytest.param(Faults(segment_bytes=37, delay_seconds=0.0005), id="small and late segments"),
]


async def recorded(client: JsClient, run: str) -> list[int]:
    """What the server has received, in order of arrival."""
    (numbers,) = await client.call("recorded", run)
    result: list[int] = numbers
    return result


def ticks_by_connection(client: JsClient) -> dict[str, list[int]]:
    """Numbers of the events that each connection has delivered."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for tick in client.all("tick"):
        numbers[tick["id"]].append(tick["n"])
    return numbers


@pytest.mark.parametrize("faults", SLICES)
async def test_every_emit_through_slices_arrives_once_and_in_order(
    ordinary: Endpoint, kind: ClientKind, faults: Faults
) -> None:
    async with (
        FaultProxy(ordinary.port, faults=faults) as proxy,
        js_client(kind, proxy.port) as client,
    ):
        await client.hear("connect")
        run = f"slices {kind} {faults}"
        for batch in range(3):
            await client.record(run, first=batch * 10, count=10, size=2_000)
        answers = await client.hear_count("recorded", 30)
        assert [answer["n"] for answer in answers] == list(range(30))
        assert await recorded(client, run) == list(range(30))
        assert client.all("disconnect") == []


@pytest.mark.parametrize("faults", SLICES)
async def test_every_event_of_the_server_through_slices_arrives_once_and_in_order(
    ordinary: Endpoint, kind: ClientKind, faults: Faults
) -> None:
    async with (
        FaultProxy(ordinary.port, faults=faults) as proxy,
        js_client(kind, proxy.port) as client,
    ):
        await client.hear("connect")
        await client.emit("burst", 40, 2_000)
        ticks = await client.hear_count("tick", 40)
        assert await client.call("echoAck", "end") == ["end"]
    assert [(tick["n"], tick["size"]) for tick in ticks] == [(n, 2_000) for n in range(40)]
    assert len(client.all("tick")) == 40


async def test_acknowledged_emits_survive_aborted_connections(
    ordinary: Endpoint, kind: ClientKind
) -> None:
    faults = Faults(segment_bytes=500, delay_seconds=0.001)
    async with (
        FaultProxy(ordinary.port, faults=faults) as proxy,
        js_client(kind, proxy.port) as client,
    ):
        run = f"aborts {kind}"
        for connection in range(5):
            await client.hear_count("connect", connection + 1)
            await client.record(run, first=connection * 20, count=20, size=300)
            # Some have been acknowledged, some are on their way.
            await client.hear("recorded", n=connection * 20 + 3 * connection)
            assert proxy.abort()
        await client.hear_count("connect", 6)
        acknowledged = [answer["n"] for answer in client.all("recorded")]
        arrived = await recorded(client, run)
    assert sorted(set(arrived)) == arrived
    assert len(set(acknowledged)) == len(acknowledged)
    assert set(acknowledged) <= set(arrived)


async def test_events_of_the_server_have_no_gap_before_the_connection_is_aborted(
    ordinary: Endpoint, kind: ClientKind
) -> None:
    faults = Faults(segment_bytes=1_400, delay_seconds=0.001)
    async with (
        FaultProxy(ordinary.port, faults=faults) as proxy,
        js_client(kind, proxy.port, on_connect=("burst", 200, 200)) as client,
    ):
        for connection in range(4):
            await client.hear_count("connect", connection + 1)
            await client.hear("tick")
            assert proxy.abort()
        await client.hear_count("connect", 5)
        await client.hear("tick", n=199)
    for numbers in ticks_by_connection(client).values():
        assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("seed", range(3))
async def test_connections_that_break_at_any_byte_lose_nothing_acknowledged(
    ordinary: Endpoint, kind: ClientKind, seed: int
) -> None:
    # The range covers handshake, CONNECT, upgrade and the first payloads.
    faults = Faults(segment_bytes=100, abort_after_bytes=(100, 6_000))
    async with (
        FaultProxy(ordinary.port, faults=faults, seed=seed) as proxy,
        js_client(kind, proxy.port, on_connect=("burst", 30, 20)) as client,
    ):
        run = f"any byte {kind} {seed}"
        await client.record(run, first=0, count=20, size=100)
        while proxy.aborted < 8:
            await client.hear_any()
        proxy.faults = Faults()
        await client.record(run, first=20, count=1, size=1)
        await client.hear("recorded", n=20)
        acknowledged = [answer["n"] for answer in client.all("recorded")]
        arrived = await recorded(client, run)
    assert sorted(set(arrived)) == arrived
    assert len(set(acknowledged)) == len(acknowledged)
    assert set(acknowledged) <= set(arrived)
    for numbers in ticks_by_connection(client).values():
        assert numbers == list(range(len(numbers)))


async def test_client_in_a_blackhole_notices_and_comes_back(
    short: Endpoint, kind: ClientKind
) -> None:
    async with (
        FaultProxy(short.port) as proxy,
        js_client(kind, proxy.port) as client,
    ):
        await client.hear("connect")
        proxy.blackhole()
        assert (await client.hear("disconnect"))["reason"] == "ping timeout"
        proxy.restore()
        await client.hear("connect")
        assert await client.call("echoAck", "back") == ["back"]
