"""Where Redis is, of whichever kind.

    redis://[[user]:password@]host[:6379][/db]              one Redis; rediss:// with TLS
    unix://[[user]:password@]/path/of/socket[?db=0]         one Redis on this machine
    redis+sentinel://[[user]:password@]host[:26379][,host…]/service[/db]   behind Sentinel
    redis+cluster://[[user]:password@]host[:6379][,host…]   Redis Cluster, from any of its nodes

The last two are ``rediss+…`` with TLS. Options of redis-py may follow, such as
``?ssl_ca_certs=/etc/ca.pem``; for Sentinels with a password of their own ``sentinel_username`` and
``sentinel_password``.
"""

import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from redis.asyncio.connection import parse_url


class Deployment(StrEnum):
    """How Redis is run."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_KINDS: Final = {
    "redis": Deployment.SINGLE,
    "rediss": Deployment.SINGLE,
    "unix": Deployment.SINGLE,
    "redis+sentinel": Deployment.SENTINEL,
    "rediss+sentinel": Deployment.SENTINEL,
    "redis+cluster": Deployment.CLUSTER,
    "rediss+cluster": Deployment.CLUSTER,
}
_SENTINEL_PORT: Final = 26_379
_REDIS_PORT: Final = 6_379


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """A parsed address; never printed, since it may hold passwords."""

    deployment: Deployment
    #: Hosts and ports to ask first; one where Redis is single, none where it is a socket's path.
    hosts: tuple[tuple[str, int], ...] = ()
    #: Path of a Unix socket.
    path: str | None = None
    #: What Sentinel calls the master.
    service: str = ""
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    #: What else redis-py takes, such as ``ssl_ca_certs``.
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    #: Options for talking to the Sentinels themselves.
    sentinel_options: dict[str, Any] = field(default_factory=dict, repr=False)
    tls: bool = False

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return how to speak TLS, by the options that redis-py has for it; None: not at all."""
        if not self.tls:
            return None
        options = self.options
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
        if options.get("ssl_cert_reqs") in ("none", ssl.CERT_NONE):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if options.get("ssl_check_hostname") in (False, "false", "False", "0"):
            context.check_hostname = False
        return context


def parse_address(url: str) -> RedisAddress:
    """Return what an address says.

    Raises:
        ValueError: it is not an address of Redis; the message does not repeat it.
    """
    parts = urlsplit(url)
    deployment = _KINDS.get(parts.scheme)
    if deployment is None:
        raise ValueError(f"the address of Redis begins with one of {', '.join(_KINDS)}")
    if deployment is Deployment.SINGLE:
        return _single(url, parts.scheme)
    tls = parts.scheme.startswith("rediss")
    credentials, _, hosts = parts.netloc.rpartition("@")
    port = _SENTINEL_PORT if deployment is Deployment.SENTINEL else _REDIS_PORT
    service, _, db = parts.path.strip("/").partition("/")
    if deployment is Deployment.SENTINEL and not service:
        raise ValueError("the address of a Sentinel ends with the name of its master: …/mymaster")
    if deployment is Deployment.CLUSTER:
        service, db = "", service
    if not (db or "0").isdecimal() or (deployment is Deployment.CLUSTER and int(db or 0)):
        raise ValueError("the database is a number; Redis Cluster has none but 0")
    # redis-py's own parser knows its options and unquotes the credentials.
    plain = urlunsplit(("rediss" if tls else "redis", f"{credentials}@host", "", parts.query, ""))
    options = _options(plain)
    options.pop("host")
    sentinel = {
        name: options.pop(f"sentinel_{name}")
        for name in ("username", "password")
        if f"sentinel_{name}" in options
    }
    return RedisAddress(
        deployment=deployment,
        hosts=tuple(_host(host, port) for host in hosts.split(",")),
        service=service,
        db=int(db or 0),
        username=options.pop("username", None),
        password=options.pop("password", None),
        options=options,
        sentinel_options=sentinel,
        tls=tls,
    )


def _single(url: str, scheme: str) -> RedisAddress:
    options = _options(url)
    path = options.pop("path", None)
    host = options.pop("host", "localhost"), int(options.pop("port", _REDIS_PORT))
    return RedisAddress(
        deployment=Deployment.SINGLE,
        hosts=() if path else (host,),
        path=path,
        db=int(options.pop("db", 0)),
        username=options.pop("username", None),
        password=options.pop("password", None),
        options=options,
        tls=scheme == "rediss",
    )


def _options(url: str) -> dict[str, Any]:
    options: dict[str, Any] = dict(parse_url(url))
    options.pop("connection_class", None)
    return options


def _host(text: str, default_port: int) -> tuple[str, int]:
    host = urlsplit(f"//{text}")
    if not host.hostname:
        raise ValueError("the address of Redis names no host")
    return host.hostname, host.port or default_port
