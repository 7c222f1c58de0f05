"""Who may open a session: at most so many, at most so many from one address, not too fast."""

from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Final

from stockstream.engine.errors import HandshakeRefused
from stockstream.engine.limits import Limits
from stockstream.engine.metrics import Metrics

#: Seconds after which whoever is refused may try again, at most.
_LONGEST_WAIT: Final = 30.0


class TokenBucket:
    """Lets `rate` a second through over time, and `burst` at once after a quiet while.

    Args:
        rate: Tokens a second.
        burst: Tokens that may gather.
    """

    __slots__ = ("_burst", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._updated = float("-inf")

    def take(self, now: float, count: int = 1) -> float:
        """Take so many tokens; returns 0.0, or takes none, and returns the seconds until it may."""
        gained = (now - self._updated) * self._rate
        self._tokens = min(self._burst, self._tokens + gained)
        self._updated = now
        if self._tokens < count:
            return (count - self._tokens) / self._rate
        self._tokens -= count
        return 0.0


def network_of(address: str) -> str:
    """Return what sessions are counted by: the address, or the /64 of an IPv6 address.

    Whoever has one IPv6 address usually has 2**64 of them.
    """
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> 64 << 64))


class Admission:
    """Counts sessions in all and by address, and paces handshakes."""

    __slots__ = ("_addresses", "_bucket", "_last_turn", "_limits", "_metrics", "_total")

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._bucket = TokenBucket(limits.handshakes_per_second, limits.handshake_burst)
        # When the last one who was refused may expect to be let in.
        self._last_turn = float("-inf")
        self._addresses: dict[str, int] = {}
        self._total = 0

    def enter(self, address: str, now: float) -> None:
        """Count a new session.

        Raises:
            HandshakeRefused: there is no room, now; says when to try again.
        """
        if self._total >= self._limits.connections:
            self._metrics.refused_connections += 1
            raise HandshakeRefused(503, 3, "Too many connections", retry_after=int(_LONGEST_WAIT))
        network = network_of(address)
        count = self._addresses.get(network, 0)
        if count >= self._limits.connections_per_address:
            self._metrics.refused_address += 1
            raise HandshakeRefused(
                429, 3, "Too many connections from here", retry_after=int(_LONGEST_WAIT)
            )
        if self._bucket.take(now):
            self._metrics.refused_rate += 1
            raise HandshakeRefused(
                503, 3, "Too many handshakes", retry_after=self._retry_after(now)
            )
        self._addresses[network] = count + 1
        self._total += 1

    def _retry_after(self, now: float) -> int:
        """Return the seconds after which those refused before will have been let in.

        Told the same time, all who were refused would come back at once, to be refused again.
        """
        turn = max(self._last_turn, now) + 1.0 / self._limits.handshakes_per_second
        self._last_turn = min(turn, now + _LONGEST_WAIT)
        return max(1, ceil(self._last_turn - now))

    def leave(self, address: str) -> None:
        """Count a session that ended."""
        network = network_of(address)
        count = self._addresses[network] - 1
        if count:
            self._addresses[network] = count
        else:
            del self._addresses[network]
        self._total -= 1
