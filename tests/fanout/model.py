"""What a client may have seen, given what it asked for: the contract of the fan-out, as a check."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.fanout.client import Client, Request
from tests.fanout.market import price_of
from tests.fanout.packets import Packet

_STOCK_UPDATE = "stock_update_"
#: The event that answers each request.
_REPLIES = {"subscribe": "subscribed", "unsubscribe": "unsubscribed"}


@dataclass(slots=True)
class _Subscription:
    """One symbol, from `subscribed` on."""

    #: Whether it has a pace of its own.
    paced: bool
    #: Number of the last update that it has; None until the snapshot.
    last: int | None


class SeenSession:
    """Walks through all that one session heard.

    Attributes:
        gaps: Updates that it was not given because a later one took their place.
        paced_gaps: The same, where it had asked for a pace.

    Raises:
        AssertionError: something came that must not, or in the wrong order.
    """

    def __init__(self, client: Client) -> None:
        self.gaps = 0
        self.paced_gaps = 0
        self._open: dict[str, _Subscription] = {}
        #: Highest number seen of each symbol, over all its subscriptions.
        self._highest: dict[str, int] = {}
        self._unanswered = list(client.requests)
        self._acknowledged = 0
        self._requests = client.requests
        for place, packet in enumerate(client.heard):
            try:
                self._take(packet)
            except AssertionError as error:
                around = client.heard[max(place - 12, 0) : place + 1]
                raise AssertionError(f"{error}\n" + "\n".join(map(str, around))) from None

    @property
    def positions(self) -> Mapping[str, int]:
        """Number of the last update of each symbol that it was subscribed to at the end."""
        return {s: each.last for s, each in self._open.items() if each.last is not None}

    @property
    def subscribed(self) -> set[str]:
        """Symbols that it was subscribed to at the end."""
        return set(self._open)

    def _take(self, packet: Packet) -> None:
        if packet.name == "ack":
            self._take_ack(packet)
        elif packet.name in _REPLIES.values():
            self._take_reply(packet)
        elif packet.name.startswith(_STOCK_UPDATE):
            assert packet.body["type"] == packet.name
            self._take_update(packet.name[len(_STOCK_UPDATE) :], packet.body["payload"])
        else:
            assert packet.name in {"connect", "connected"}, "nothing else was asked for"

    def _take_ack(self, packet: Packet) -> None:
        assert packet.number == self._acknowledged, "acknowledgements come in order, each once"
        asked = self._requests[packet.number]
        answered = len(self._requests) - len(self._unanswered)
        assert answered > packet.number, "the reply comes before the acknowledgement"
        assert packet.body == {"events": asked.body["events"]}
        self._acknowledged += 1

    def _take_reply(self, packet: Packet) -> None:
        asked = self._unanswered.pop(0)
        assert packet.name == _REPLIES[asked.name], "replies come in the order of the requests"
        assert packet.body == {"events": asked.body["events"]}
        for event in asked.body["events"]:
            symbol = event[len(_STOCK_UPDATE) :]
            if asked.name == "unsubscribe":
                self._open.pop(symbol, None)
            else:
                self._open[symbol] = _begun(asked, event)

    def _take_update(self, symbol: str, update: Mapping[str, Any]) -> None:
        subscription = self._open.get(symbol)
        assert subscription is not None, "nothing comes without a subscription"
        seq, last = update["seq"], subscription.last
        assert update["price"] == price_of(seq), "the number belongs to the price"
        snapshot = update.get("snapshot", False)
        if last is None:
            assert snapshot, "a snapshot comes first"
            assert seq >= self._highest.get(symbol, 0), "a snapshot is no older than what was seen"
        else:
            assert not snapshot, "a snapshot comes first, or none where the position is known"
            assert seq > last, "numbers only grow"
            if subscription.paced:
                self.paced_gaps += seq - last - 1
            else:
                self.gaps += seq - last - 1
        subscription.last = seq
        self._highest[symbol] = max(seq, self._highest.get(symbol, 0))


def _begun(asked: Request, event: str) -> _Subscription:
    since = asked.body.get("since", {}).get(event)
    return _Subscription(
        paced=asked.body.get("maxRate") is not None, last=None if since is None else since["seq"]
    )
