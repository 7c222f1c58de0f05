"""Clients of the real engine core, on sockets that are lists."""

import json
from random import Random
from typing import Any

import msgspec

from stockstream.engine import Connection, Limits, Metrics
from stockstream.engine.core.handshake import Handshake
from stockstream.engine.core.hub import Hub
from stockstream.gateway.audience import Member
from stockstream.model import StockUpdate, Symbol
from stockstream.wire.packets import WireForm
from tests.support.clock import ManualClock

A, B = Symbol("A"), Symbol("B")
EVENT_A, EVENT_B = "stock_update_A", "stock_update_B"


def update(seq: int, symbol: Symbol = A, epoch: str = "e") -> StockUpdate:
    """The ``seq``-th update of a symbol."""
    return StockUpdate(
        symbol=symbol,
        price=float(seq),
        change=0.0,
        change_percent=0.0,
        volume=0.0,
        timestamp=seq,
        seq=seq,
        epoch=epoch,
    )


class _Nobody:
    """Listens to what clients send: nothing, here."""

    def on_message(self, connection: Connection, data: str | bytes) -> None:
        raise AssertionError(data)

    def on_close(self, connection: Connection, reason: str) -> None:
        pass


class _Wire:
    """A WebSocket of which only the server's side exists."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes, /) -> None:
        self.writes.append(bytes(data))

    def close(self, code: int) -> None:
        pass

    def abort(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Peer:
    """A client that listens; its connection is real, its socket is a list."""

    def __init__(self, hub: Hub, name: str, form: WireForm) -> None:
        self.form = form
        self._wire = _Wire()
        self.connection = Connection(hub, name, "192.0.2.1", self._wire)

    def member(self, rate: float | None = None) -> Member:
        return Member(self.connection, self.form, rate)

    def stop_reading(self) -> None:
        """Have its socket full."""
        self.connection.pause_writing()

    def read_on(self) -> None:
        """Have it take what waits."""
        self.connection.resume_writing()

    @property
    def writes(self) -> int:
        """Number of writes to its socket."""
        return len(self._wire.writes)

    def received(self) -> list[tuple[str, Any]]:
        """Name and payload of each event that has reached its socket."""
        if self.form is WireForm.STREAM:
            events = [_part(part) for part in b"".join(self._wire.writes).split(b"\n\n")[:-1]]
        else:
            packets = [packet for write in self._wire.writes for packet in _packets(write)]
            events = [_event(packet) for packet in packets]
        for name, body in events:
            assert body["type"] == name
        return [(name, body["payload"]) for name, body in events]

    def updates(self, event: str = EVENT_A) -> list[tuple[int, bool]]:
        """Number of each update of an event, and whether it was a snapshot."""
        return [
            (payload["seq"], payload.get("snapshot", False))
            for name, payload in self.received()
            if name == event
        ]

    def seqs(self, event: str = EVENT_A) -> list[int]:
        """Number of each update of an event."""
        return [seq for seq, _ in self.updates(event)]


def open_hub(clock: ManualClock) -> Hub:
    """Return a server of the engine that listens nowhere."""
    return Hub(
        handshake=Handshake(),
        limits=Limits(),
        metrics=Metrics(),
        listener=_Nobody(),
        clock=clock.monotonic,
        arm=lambda _: None,
    )


class Crowd:
    """A hub, and as many clients of it as a test wants."""

    def __init__(self, clock: ManualClock) -> None:
        self._hub = open_hub(clock)
        self._names = Random(1)

    def peer(self, form: WireForm = WireForm.JSON) -> Peer:
        return Peer(self._hub, f"peer-{self._names.random()}", form)


def _packets(data: bytes) -> list[str | bytes]:
    """Return the payloads of whole unmasked frames."""
    packets: list[str | bytes] = []
    while data:
        text, size, start = data[0] & 0x0F == 1, data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4]), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10]), 10
        payload, data = data[start : start + size], data[start + size :]
        packets.append(payload.decode() if text else payload)
    return packets


def _part(part: bytes) -> tuple[str, Any]:
    fields = dict(line.split(": ", 1) for line in part.decode().split("\n"))
    return fields["event"], json.loads(fields["data"])


def _event(packet: str | bytes) -> tuple[str, Any]:
    if isinstance(packet, bytes):
        decoded = msgspec.msgpack.decode(packet)
        assert (decoded["type"], decoded["nsp"]) == (2, "/")
        name, body = decoded["data"]
    else:
        assert packet.startswith("42")
        name, body = json.loads(packet[2:])
    return name, body
