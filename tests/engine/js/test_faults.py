"""JavaScript clients behind a proxy that slices, delays and aborts: nothing lost, nothing twice.

An emit without acknowledgement may be lost with its connection; that is what Socket.IO promises.
An acknowledged one has arrived, once; and what a connection delivers has no gap.
"""

from collections import defaultdict

import pytest

from tests.support.fault_proxy import FaultProxy, Faults
from tests.support.js_client import ClientKind, JsClient, js_client
from tests.support.processes import wait_until
from tests.support.wire_client import Endpoint

SLICES = [
    pytest.param(Faults(segment_bytes=1_400), id="1400-byte segments"),
    pytest.param(Faults(segment_bytes=97, delay_seconds=0.0005), id="small and late segments"),
]

CHANGING_OVER = [
    ClientKind(version=version, transports=("polling", "websocket"), upgrade=True)
    for version in (4, 3)
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
async def test_nothing_is_lost_or_doubled_in_slices(
    ordinary: Endpoint, kind: ClientKind, faults: Faults
) -> None:
    run = f"slices {kind} {faults}"
    async with (
        FaultProxy(ordinary.port, faults=faults) as proxy,
        js_client(kind, proxy.port) as client,
    ):
        await client.hear("connect")
        await client.emit("burst", 40, 2_000)
        for batch in range(3):
            await client.record(run, first=batch * 10, count=10, size=2_000)
        answers = await client.hear_count("recorded", 30)
        assert await client.call("echoAck", "end") == ["end"]
        arrived = await recorded(client, run)
    assert [answer["n"] for answer in answers] == arrived == list(range(30))
    assert [(tick["n"], tick["size"]) for tick in client.all("tick")] == [
        (n, 2_000) for n in range(40)
    ]
    assert client.all("disconnect") == []


def check_nothing_acknowledged_is_lost(client: JsClient, arrived: list[int]) -> None:
    """Compare what the client was told with what the server got, and what it got with its order."""
    acknowledged = [answer["n"] for answer in client.all("recorded")]
    assert acknowledged
    assert sorted(set(arrived)) == arrived
    assert len(set(acknowledged)) == len(acknowledged)
    assert set(acknowledged) <= set(arrived)


def check_no_connection_has_a_gap(client: JsClient) -> None:
    for numbers in ticks_by_connection(client).values():
        assert numbers == list(range(len(numbers)))


async def break_connection(proxy: FaultProxy, client: JsClient) -> None:
    """Reset what is open until the client has noticed; between two polls nothing is."""
    before = len(client.all("disconnect"))
    while len(client.all("disconnect")) == before:
        proxy.abort()
        await client.hear_any()


async def test_acknowledged_emits_survive_aborted_connections(
    brisk: Endpoint, kind: ClientKind
) -> None:
    faults = Faults(segment_bytes=500, delay_seconds=0.001)
    run = f"aborts {kind}"
    async with (
        FaultProxy(brisk.port, faults=faults) as proxy,
        js_client(kind, proxy.port) as client,
    ):
        await client.stream(run, size=300, every=2)
        for aborts in range(5):
            await client.hear_count("recorded", aborts * 20 + 10)
            await break_connection(proxy, client)
        await client.end_stream()
        check_nothing_acknowledged_is_lost(client, await recorded(client, run))


async def test_events_of_the_server_have_no_gap_before_the_connection_is_aborted(
    brisk: Endpoint, kind: ClientKind
) -> None:
    faults = Faults(segment_bytes=1_400, delay_seconds=0.001)
    async with (
        FaultProxy(brisk.port, faults=faults) as proxy,
        js_client(kind, proxy.port, on_connect=("burst", 200, 200)) as client,
    ):
        # Its acknowledgements keep the client talking, whatever breaks.
        await client.stream(f"gaps {kind}", size=10, every=2)
        for _ in range(5):
            await client.hear("tick")
            await break_connection(proxy, client)
        await client.end_stream()
        # What the last connection had to deliver was sent before this answer.
        (last, *_) = await client.call("whoAmI")
    check_no_connection_has_a_gap(client)
    assert len(ticks_by_connection(client)[last]) == 200


@pytest.mark.parametrize("seed", range(2))
async def test_connections_that_break_at_any_byte_lose_nothing_acknowledged(
    brisk: Endpoint, kind: ClientKind, seed: int
) -> None:
    # The range covers handshake, CONNECT, upgrade and the first payloads.
    faults = Faults(segment_bytes=100, abort_after_bytes=(100, 6_000))
    run = f"any byte {kind} {seed}"
    async with (
        FaultProxy(brisk.port, faults=faults, seed=seed) as proxy,
        js_client(kind, proxy.port, on_connect=("burst", 30, 20)) as client,
    ):
        await client.stream(run, size=100, every=2)
        await wait_until(lambda: proxy.aborted >= 8, "eight broken connections")
        proxy.faults = Faults()
        # What was opened before still has its byte limit.
        proxy.abort()
        await client.end_stream()
        check_nothing_acknowledged_is_lost(client, await recorded(client, run))
    check_no_connection_has_a_gap(client)


@pytest.mark.parametrize("kind", CHANGING_OVER, ids=str)
async def test_client_whose_websocket_breaks_while_it_changes_over_comes_back(
    short: Endpoint, kind: ClientKind
) -> None:
    async with FaultProxy(short.port) as proxy:
        closed = proxy.close_between(b"transport=websocket", b"3probe")
        async with js_client(kind, proxy.port) as client:
            await closed.wait()
            # Its poll is not answered before it knows that its WebSocket is gone: it has nothing
            # left that anybody could tell it something by.
            await client.hear("upgrade_error")
            proxy.restore()
            await client.hear("upgrade")
            assert await client.call("echoAck", "back") == ["back"]


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
