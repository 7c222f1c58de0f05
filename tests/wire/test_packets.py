import json

import msgpack
import pytest

from stockstream.model import StockUpdate, Symbol
from stockstream.wire.packets import WireForm, encode_event
from stockstream.wire.replies import Envelope, Subscribed

UPDATE = StockUpdate(
    symbol=Symbol("AAPL"),
    price=101.5,
    change=1.5,
    change_percent=1.5,
    volume=10.0,
    timestamp=1_700_000_000_000,
    seq=7,
    epoch="e",
    day_high=102.0,
)


def decoded(form: WireForm, packet: str | bytes) -> tuple[int, list[object]]:
    if form is WireForm.JSON:
        assert isinstance(packet, str)
        return int(packet[0]), json.loads(packet[1:])
    assert isinstance(packet, bytes)
    if form is WireForm.STREAM:
        name, data = packet.decode().removesuffix("\n\n").split("\n")
        return 2, [name.removeprefix("event: "), json.loads(data.removeprefix("data: "))]
    message = msgpack.unpackb(packet)
    assert message["nsp"] == "/"
    return message["type"], message["data"]


@pytest.mark.parametrize("form", WireForm)
def test_an_update_has_its_documented_names_and_leaves_out_what_is_unknown(form: WireForm) -> None:
    envelope = Envelope(type="stock_update_AAPL", payload=UPDATE, timestamp=1)
    kind, data = decoded(form, encode_event(form, "stock_update_AAPL", envelope))
    assert kind == 2
    assert data == [
        "stock_update_AAPL",
        {
            "type": "stock_update_AAPL",
            "payload": {
                "symbol": "AAPL",
                "price": 101.5,
                "change": 1.5,
                "changePercent": 1.5,
                "volume": 10.0,
                "timestamp": 1_700_000_000_000,
                "seq": 7,
                "epoch": "e",
                "dayHigh": 102.0,
            },
            "timestamp": 1,
        },
    ]


@pytest.mark.parametrize("form", WireForm)
def test_names_and_texts_are_escaped(form: WireForm) -> None:
    name = '"quoted" \\ \u2028 삼성'
    _, data = decoded(form, encode_event(form, name, Subscribed(events=[name])))
    assert data == [name, {"events": [name]}]
