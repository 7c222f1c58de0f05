"""Events as they leave, each encoded once for all who get it.

Socket.IO packets: JSON as of the Socket.IO protocol v5, msgpack as npm's
``socket.io-msgpack-parser`` reads it. And Server-Sent Events: the name of the event, its payload as
JSON, the mark as its id.
"""

from enum import Enum
from typing import Any, Final

import msgspec

_EVENT: Final = 2
_json = msgspec.json.Encoder()
_msgpack = msgspec.msgpack.Encoder()


class WireForm(Enum):
    """How the packets of a client are encoded."""

    JSON = "json"
    MSGPACK = "msgpack"
    #: Server-Sent Events.
    STREAM = "stream"


def encode_event(form: WireForm, name: str, payload: Any, mark: str = "") -> str | bytes:
    """Return an event: the packet of the default namespace, or the part of a stream.

    Args:
        form: how the client wants it.
        name: the event; needs no escaping beyond what JSON does.
        payload: anything that msgspec encodes. It must hold no NaN: msgspec writes it as null.
        mark: second argument of the event: where a client that got it goes on when it comes back
            (Socket.IO's connection state recovery). Empty: it has none.
    """
    if form is WireForm.STREAM:
        # JSON has no line breaks, and neither have names.
        head = f"id: {mark}\nevent: {name}\ndata: " if mark else f"event: {name}\ndata: "
        return head.encode() + _json.encode(payload) + b"\n\n"
    arguments = (name, payload, mark) if mark else (name, payload)
    if form is WireForm.JSON:
        return f"{_EVENT}{_json.encode(arguments).decode()}"
    return _msgpack.encode({"type": _EVENT, "data": arguments, "nsp": "/"})
