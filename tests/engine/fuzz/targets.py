"""What is done with made-up bytes: nothing but the engine's own errors may come of it.

Each target takes bytes as a client might send them, and holds what must be true of them besides.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from stockstream.engine import Limits
from stockstream.engine.core.connection import Connection
from stockstream.engine.core.frames import CLOSE, FrameReader, read_close
from stockstream.engine.core.handshake import Handshake
from stockstream.engine.core.packets import split_payload, unwrap
from stockstream.engine.errors import HandshakeRefused, ProtocolViolation
from stockstream.engine.shell.environ import Environ
from stockstream.engine.shell.head import read_head
from stockstream.engine.shell.takeover import accept_key
from stockstream.engine.sio.packets import BINARY_EVENT, JSONPacket, MsgpackPacket, content_of
from tests.engine.unit.fakes import FakeHub

#: Bytes of one message, and packets of one payload, that the targets allow.
MOST = 1_000
PACKETS = 20
#: Bytes of a frame's head, at most.
HEAD = 14

#: What came out of a reader: messages, and the violation that ended it.
_Read = tuple[list[tuple[int, str | bytes]], str | None]


def frames(data: bytes) -> None:
    """Read the same frames in one piece and in small ones."""
    if len(data) < 2:
        return
    deflates, size, wire = bool(data[0] & 1), data[1] % 16 + 1, data[2:]
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    assert read_frames([wire], deflates=deflates) == read_frames(pieces, deflates=deflates)


def read_frames(pieces: list[bytes], *, deflates: bool) -> _Read:
    """Return what comes out of bytes that arrive in these pieces."""
    reader = FrameReader(MOST, deflates=deflates)
    found: list[tuple[int, str | bytes]] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (item := reader.next()) is not None:
                found.append(item)
                if item[0] == CLOSE and isinstance(item[1], bytes):
                    read_close(item[1])
                assert len(item[1]) <= MOST
            assert len(reader._data) + len(reader._parts) <= MOST + HEAD + len(piece)
    except ProtocolViolation as violation:
        return found, str(violation)
    return found, None


def payload(data: bytes) -> None:
    """Give the same packets to a client by WebSocket and to one that polls."""
    try:
        packets = split_payload(data, PACKETS)
    except ProtocolViolation:
        return
    assert len(packets) <= PACKETS
    fake = FakeHub(Limits(packets_per_payload=PACKETS), Handshake(max_payload=MOST))
    direct, polling = fake.websocket("direct")[0], fake.polling("polling")
    for each in (direct, polling):
        _deliver(each, packets)
    heard = {
        sid: [message for whose, message in fake.received if whose == sid]
        for sid in (direct.id, polling.id)
    }
    assert heard[direct.id] == heard[polling.id]
    assert direct.open == polling.open
    assert direct.bytes_in == polling.bytes_in


def _deliver(connection: Connection, packets: list[str]) -> None:
    try:
        for packet in packets:
            connection.receive(unwrap(packet))
    except ProtocolViolation as violation:
        connection.violate(violation)
        assert not connection.open


def json_packet(data: bytes) -> None:
    """Read a packet with its attachments; write it and read it again."""
    text, *attachments = data.split(b"\x00")
    with suppress(ProtocolViolation, UnicodeDecodeError):
        packet = JSONPacket(encoded_packet=text.decode() or "x")
        assert 0 <= packet.attachment_count <= packet.limits.attachments
        for attachment in attachments:
            if packet.add_attachment(attachment):
                break
        content_of(packet)
        if packet.packet_type < BINARY_EVENT:
            written = _again(packet).encode()
            assert _again(JSONPacket(encoded_packet=written)).encode() == written


def msgpack_packet(data: bytes) -> None:
    """Read a packet as MessagePack; write it and read it again."""
    with suppress(ProtocolViolation):
        packet = MsgpackPacket(encoded_packet=data or b"x")
        written = _again(packet).encode()
        assert _again(MsgpackPacket(encoded_packet=written)).encode() == written


def _again(packet: Any) -> Any:
    return type(packet)(
        packet.packet_type, data=content_of(packet), namespace=packet.namespace, id=packet.id
    )


def head(data: bytes) -> None:
    """Read a request as the engine does that answers handshakes itself."""
    found = read_head(data, "192.0.2.1", "http")
    if found is None:
        return
    with suppress(HandshakeRefused):
        Handshake().check("GET", found.query, upgrade=True)
    with suppress(HandshakeRefused):
        accept_key(found)
    environ = Environ.of_head(found, "192.0.2.1")
    assert environ["REMOTE_ADDR"] == "192.0.2.1"
    assert all(isinstance(name, str) for name in environ)


Target = Callable[[bytes], None]

TARGETS: dict[str, Target] = {
    "frames": frames,
    "payload": payload,
    "json": json_packet,
    "msgpack": msgpack_packet,
    "head": head,
}

#: Where mutation begins: one of each kind, so that it need not be found by chance.
SEEDS: dict[str, list[bytes]] = {
    "frames": [
        b"\x00\x03\x81\x85\x00\x00\x00\x004hiho",
        b"\x00\x00\x88\x82\x00\x00\x00\x00\x03\xe8",
        b"\x00\x01\x01\x81\x00\x00\x00\x00a\x80\x81\x00\x00\x00\x00b",
        b"\x00\x07\x82\xfe\x00\x80\x00\x00\x00\x00" + bytes(128),
        b"\x01\x02\xc1\x88\x00\x00\x00\x00\x32\x49\x4c\x4a\x86\x20\x00\x00",
    ],
    "payload": [b'40\x1e42["a"]\x1e3', b"bAQID\x1e4x", b"41\x1e1", b"4\xed\x95\x9c"],
    "json": [
        b'0{"pid":"a","offset":"b"}',
        b'2/a,12["subscribe",{"events":["x"]}]',
        b'51-["a",{"_placeholder":true,"num":0}]\x00\x01\x02',
        b'63-1[{"_placeholder":true,"num":2},1.5e3,null]\x00a\x00b\x00c',
        b"3/a?b=c,7[]",
    ],
    "msgpack": [
        b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1a\x01",
        b"\x84\xa4type\x03\xa3nsp\xa1/\xa2id\x07\xa4data\x91\xc4\x02ab",
        b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1a\xd4\x00\x00",
    ],
    "head": [
        b"\r\n".join(
            [
                b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1",
                b"Host: x",
                b"Upgrade: websocket",
                b"Connection: Upgrade",
                b"Sec-WebSocket-Version: 13",
                b"Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==",
            ]
        ),
    ],
}
