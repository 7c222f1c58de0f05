"""Events as messages, in the wire form of those who get them."""

from typing import Any

from stockstream.engine import Message, Raw
from stockstream.wire.packets import WireForm, encode_event


def event_message(form: WireForm, name: str, payload: Any, mark: str = "") -> Message:
    """Return an event as a message to share; see :func:`stockstream.wire.packets.encode_event`."""
    data = encode_event(form, name, payload, mark)
    return Raw(data) if form is WireForm.STREAM else Message(data)
