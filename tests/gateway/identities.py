"""How tests say who they are, and what they hear where that is refused."""

import json
from typing import Any

from tests.support.wire_client import Socket

METRICS, ALERTS = "performance_metrics", "performance_alert"
NONSENSE = "eyJhbGciOiJIUzI1NiJ9.bm9uc2Vuc2U.bm9uc2Vuc2U"


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def cookie(text: str) -> dict[str, str]:
    return {"Cookie": f"a=b; stockstream_token={text}"}


async def refusal(socket: Socket, auth: object = None) -> dict[str, Any]:
    """Connect in vain; returns what a JavaScript client has in `connect_error.data`."""
    await socket.send("40" if auth is None else "40" + json.dumps(auth))
    packet = await socket.receive_text()
    assert packet.startswith("44"), packet
    error = json.loads(packet[2:])
    data: dict[str, Any] = error["data"]
    assert error["message"] == data["message"]
    assert data["type"] == "connect_error"
    return data
