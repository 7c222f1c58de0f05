"""Every kind of address leads to calls and to a bus that hears."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from stockstream.cluster.address import Deployment, parse_address
from stockstream.cluster.link import open_link
from stockstream.cluster.quote_log import QuoteLog
from stockstream.cluster.subscriber import connect
from stockstream.errors import StoreUnavailableError
from tests.cluster.buses import listening
from tests.cluster.quotes import AAPL, owner
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.redis_cluster import running_cluster
from tests.support.redis_server import RedisServer, running_redis


def with_tls(folder: Path) -> Iterator[str]:
    """Yield the address of a Redis that speaks TLS only, with a certificate of its own."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *(
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=quotes",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
            ),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-auth-clients", "no")
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    with running_redis(*tls, *files):
        yield f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}"


def with_user(_: Path) -> Iterator[str]:
    with running_redis() as server:
        with redis.Redis(port=server.port) as client:
            client.acl_setuser(
                "quotes", enabled=True, passwords=["+p@ss"], keys=["*"], channels=["*"],
                categories=["+@all"],
            )  # fmt: skip
            client.acl_setuser("default", enabled=False)
        yield f"redis://quotes:p%40ss@127.0.0.1:{server.port}/0"
        with redis.Redis(port=server.port, username="quotes", password="p@ss") as client:
            client.acl_setuser("default", enabled=True, nopass=True)


def with_socket(folder: Path) -> Iterator[str]:
    with running_redis("--unixsocket", str(folder / "redis.sock")):
        yield f"unix://{folder / 'redis.sock'}?db=3"


def with_database(_: Path) -> Iterator[str]:
    with running_redis() as server:
        yield f"redis://127.0.0.1:{server.port}/5"


@pytest.mark.parametrize("kind", [with_tls, with_user, with_socket, with_database])
async def test_every_kind_of_address_can_commit_and_hear(
    kind: Callable[[Path], Iterator[str]], tmp_path: Path
) -> None:
    with contextmanager(kind)(tmp_path) as url:
        async with open_link(url) as link, listening(link) as heard:
            node = await owner(link)
            await heard.live(AAPL)
            await node.commit(AAPL, 1.0)
            await wait_until(lambda: heard.got.seqs(AAPL) == [1], "the update")


async def test_databases_of_one_redis_do_not_hear_each_other(redis_server: RedisServer) -> None:
    urls = [f"redis://127.0.0.1:{redis_server.port}/{db}" for db in (0, 1)]
    async with (
        open_link(urls[0]) as link,
        open_link(urls[1]) as other,
        listening(link) as heard,
        listening(other) as others,
    ):
        await heard.live(AAPL)
        await others.live(AAPL)
        node, neighbour = await owner(link), await owner(other)
        await neighbour.commit(AAPL, 1.0, 2.0)
        await node.commit(AAPL, 1.0)
        await wait_until(lambda: heard.got.seqs(AAPL) == [1], "the update")
        await wait_until(lambda: others.got.seqs(AAPL) == [1, 2], "the neighbour's")


async def test_wrong_password_is_an_error_that_says_so(redis_server: RedisServer) -> None:
    async with open_link(f"redis://nobody:wrong@127.0.0.1:{redis_server.port}/0") as link:
        with pytest.raises(StoreUnavailableError, match=r"(?i)wrongpass|invalid username"):
            await QuoteLog(link, node="x").state(AAPL)


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:{port}/0",
        "redis+cluster://127.0.0.1:{port}",
        "redis+sentinel://127.0.0.1:{port}/service",
        "unix:///nowhere/{port}.sock",
    ],
)
async def test_redis_that_is_not_there_is_one_kind_of_error(url: str) -> None:
    async with open_link(url.format(port=free_port()), timeout=0.5) as link:
        with pytest.raises(StoreUnavailableError):
            await QuoteLog(link, node="x").state(AAPL)
        with pytest.raises(StoreUnavailableError):
            await connect(link, "x", lambda: None)


async def test_master_of_a_cluster_that_comes_back_is_found_again() -> None:
    with running_cluster() as servers:
        async with open_link(servers.url, timeout=0.5) as link, listening(link) as heard:
            node = await owner(link)
            await heard.live(AAPL)
            endpoint = await link.locate()
            master = next(m for m in servers.masters if m.port == endpoint.port)
            master.kill()
            await wait_until(lambda: not heard.bus.hearing, "the loss")
            with pytest.raises(StoreUnavailableError):
                await node.commit(AAPL, 1.0)
            master.start()
            await wait_until(lambda: heard.bus.hearing, "the master's return")
            await node.own()
            await node.commit(AAPL, 1.0, 2.0)
            await wait_until(lambda: heard.got.seqs(AAPL)[-1:] == [2], "the update")


def test_addresses_say_where_redis_is() -> None:
    sentinel = parse_address("redis+sentinel://u:p%40@a:1,b/service/4?sentinel_password=x")
    assert sentinel.deployment is Deployment.SENTINEL
    assert sentinel.hosts == (("a", 1), ("b", 26_379))
    assert (sentinel.service, sentinel.db, sentinel.password) == ("service", 4, "p@")
    assert sentinel.sentinel_options == {"password": "x"}
    cluster = parse_address("rediss+cluster://a,b:3")
    assert cluster.deployment is Deployment.CLUSTER
    assert cluster.hosts == (("a", 6_379), ("b", 3))
    assert cluster.tls


@pytest.mark.parametrize(
    "url",
    [
        "http://a",
        "redis+sentinel://a:1",
        "redis+sentinel://a:1/service/x",
        "redis+cluster://a/3",
        "redis+cluster://",
    ],
)
def test_address_that_is_none_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"Redis|Sentinel") as refused:
        parse_address(url)
    assert url not in str(refused.value)


def test_address_never_shows_its_password() -> None:
    shown = repr(parse_address("redis+sentinel://user:secret@a/s?sentinel_password=hidden"))
    assert "secret" not in shown
    assert "hidden" not in shown
