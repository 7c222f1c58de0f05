"""The load balancers of deploy/, run as real servers with their very files."""

import asyncio
import os
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from tests.support.ports import free_port
from tests.support.processes import DEADLINE, POLL_INTERVAL, ROOT, running_child

DEPLOY = ROOT / "deploy"

#: Programs of Debian that are not on everybody's PATH.
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


#: Turns of the event loop that closing a connection gets.
_SETTLE_TURNS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Balancer:
    """A load balancer that runs."""

    #: Where clients connect, in the clear.
    url: str
    #: The same over TLS, with a certificate that nobody signed.
    tls_url: str


def rendered(file: Path, changes: Mapping[str, str]) -> str:
    """Return the text of a configuration with what a test has to change: ports and paths."""
    text = file.read_text()
    for old, new in changes.items():
        assert old in text, f"{file} does not hold {old!r}"
        text = text.replace(old, new)
    return text


@contextmanager
def running_nginx(nodes: Sequence[str], folder: Path) -> Iterator[Balancer]:
    """Run nginx in front of three nodes, given by their URLs."""
    plain, tls = free_port(), free_port()
    certificate, key = make_certificate(folder)
    changes = {"listen 443": f"listen 127.0.0.1:{tls}"}
    paths = {
        "/etc/nginx/stockstream/tls.crt": str(certificate),
        "/etc/nginx/stockstream/tls.key": str(key),
    }
    text = rendered(DEPLOY / "nginx" / "tls.conf", {**changes, **paths})
    (folder / "tls.conf").write_text(text)
    changes = {
        **_addresses(nodes),
        "listen 80": f"listen 127.0.0.1:{plain}",
        "/etc/nginx/stockstream/*.conf": str(folder / "tls.conf"),
        # What the package has in /var/lib/nginx may be root's.
        "http {": f"http {{\n{_temporary_folders(folder)}",
    }
    configuration = folder / "nginx.conf"
    configuration.write_text(rendered(DEPLOY / "nginx" / "stockstream.conf", changes))
    own = f"daemon off; pid {folder}/nginx.pid; error_log stderr;"
    command = ["nginx", "-p", str(folder), "-c", str(configuration), "-e", "stderr", "-g", own]
    with _running(command, plain, tls) as balancer:
        yield balancer


@contextmanager
def running_haproxy(nodes: Sequence[str], folder: Path) -> Iterator[Balancer]:
    """Run HAProxy in front of three nodes, given by their URLs."""
    plain, tls = free_port(), free_port()
    certificate, key = make_certificate(folder)
    both = folder / "both.pem"
    both.write_text(certificate.read_text() + key.read_text())
    changes = {
        **_addresses(nodes),
        "bind :80": f"bind 127.0.0.1:{plain}",
        "bind :443": f"bind 127.0.0.1:{tls}",
        # More sockets than a test machine may allow.
        "maxconn 60000": "maxconn 1000",
    }
    configuration = folder / "haproxy.cfg"
    configuration.write_text(rendered(DEPLOY / "haproxy" / "haproxy.cfg", changes))
    command = ["haproxy", "-db", "-f", str(configuration)]
    with _running(command, plain, tls, {"STOCKSTREAM_CERTIFICATE": str(both)}) as balancer:
        yield balancer


RUNNING = {"nginx": running_nginx, "haproxy": running_haproxy}


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate that signed itself, and its key, and return their paths."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    command = ["openssl", "req", *kind, "-days", "1", "-subj", "/CN=localhost", *files]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def unverified_tls() -> ssl.SSLContext:
    """Return what accepts a certificate that signed itself."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@asynccontextmanager
async def http_session(address: str | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    """Open an HTTP client, on request one with an address of its own in 127.0.0.0/8."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0) if address else None)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session
    # A connection over TLS is cut off at the end of the session; it takes the loop a few turns.
    for _ in range(_SETTLE_TURNS):
        await asyncio.sleep(0)


@contextmanager
def _running(
    command: Sequence[str], plain: int, tls: int, env: Mapping[str, str] | None = None
) -> Iterator[Balancer]:
    balancer = Balancer(url=f"http://127.0.0.1:{plain}", tls_url=f"https://127.0.0.1:{tls}")
    with running_child(command, {**os.environ, "PATH": PATH, **(env or {})}) as child:
        deadline = time.monotonic() + DEADLINE
        while not _listens(plain):
            assert child.running, f"{command[0]} ended:\n{child.output()}"
            assert time.monotonic() < deadline, f"{command[0]} does not listen:\n{child.output()}"
            time.sleep(POLL_INTERVAL)
        yield balancer


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _addresses(nodes: Sequence[str]) -> dict[str, str]:
    return {f" node{n}:8000": f" {URL(url).authority}" for n, url in enumerate(nodes, 1)}


def _temporary_folders(folder: Path) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
