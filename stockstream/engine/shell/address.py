"""Who a client is: its address behind proxies, and the origin of its page."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from stockstream.engine.errors import ConfigurationError
from stockstream.engine.shell.head import Head

Network = IPv4Network | IPv6Network


class TrustedProxies:
    """Finds the real address of a client.

    Args:
        proxies: Addresses and networks whose `X-Forwarded-*` headers are believed; `unix`
            stands for peers on a Unix socket.

    Raises:
        ConfigurationError: one of them is no address.
    """

    def __init__(self, proxies: Iterable[str] = ()) -> None:
        names = list(proxies)
        self._unix = "unix" in names
        self._networks: list[Network] = []
        for name in names:
            if name != "unix":
                self._networks.append(_network(name))

    def trusts(self, address: str) -> bool:
        """Whether headers from this peer are believed."""
        if not address:
            return self._unix
        if not self._networks:
            return False
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def address_of(self, request: Head) -> str:
        """Return the nearest address on the way of a request that is no trusted proxy."""
        peer = request.remote or ""
        if not self.trusts(peer):
            return peer
        hops = ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")
        for hop in reversed([hop.strip() for hop in hops]):
            if not _is_address(hop):
                # What is left of it was written by who knows whom.
                break
            peer = hop
            if not self.trusts(hop):
                break
        return peer

    def host_of(self, request: Head) -> str:
        """Return the host that the client asked for, with its port where it gave one."""
        if self.trusts(request.remote or ""):
            forwarded = request.headers.get("X-Forwarded-Host", "").split(",")[0].strip()
            if forwarded:
                return forwarded
        return request.headers.get("Host", "")


def _network(name: str) -> Network:
    try:
        return ip_network(name, strict=False)
    except ValueError:
        raise ConfigurationError("trusted_proxies", name, "an address or network") from None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class Origins:
    """Which pages may connect, and what their browsers are told (CORS).

    Args:
        allowed: None for pages of the same host, `*` for all, a list of origins, or an empty
            list for no check and no headers at all.
        credentials: Whether browsers may send cookies along. None allows it to listed origins
            and to the same host; only True allows it to all with `*`.
        proxies: Whose forwarded host is believed.
    """

    def __init__(
        self,
        allowed: str | Sequence[str] | None,
        credentials: bool | None,  # noqa: FBT001
        proxies: TrustedProxies,
    ) -> None:
        listed = [allowed] if isinstance(allowed, str) else allowed
        self._off = listed is not None and not listed
        self._any = listed is not None and "*" in listed
        self._listed = None if listed is None else frozenset(listed)
        self._credentials = credentials
        self._proxies = proxies

    def allows(self, request: Head) -> bool:
        """Whether the page that sent a request may do so; requests of no page always may."""
        origin = request.headers.get("Origin")
        if origin is None or self._off or self._any:
            return True
        if self._listed is not None:
            return origin in self._listed
        # Only the host is compared: behind a proxy that ends TLS the scheme is not known.
        return urlsplit(origin).netloc.lower() == self._proxies.host_of(request).lower()

    def headers_for(self, request: Head) -> dict[str, str]:
        """Return the CORS headers of the answer to an allowed request."""
        origin = request.headers.get("Origin")
        if origin is None or self._off:
            return {}
        if self._any and not self._credentials:
            return {"Access-Control-Allow-Origin": "*"}
        headers = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        if self._credentials is not False:
            headers["Access-Control-Allow-Credentials"] = "true"
        return headers

    def preflight_for(self, request: Head) -> dict[str, str]:
        """Return the headers of the answer to an allowed preflight request."""
        headers = self.headers_for(request)
        if headers:
            headers["Access-Control-Allow-Methods"] = "GET,POST,OPTIONS"
            wanted = request.headers.get("Access-Control-Request-Headers")
            if wanted:
                headers["Access-Control-Allow-Headers"] = wanted
            headers["Access-Control-Max-Age"] = "600"
        return headers
