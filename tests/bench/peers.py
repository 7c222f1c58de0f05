"""Who is measured, and what each needs before it can start."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.processes import BenchError

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
#: The floor: a peer that does nothing but write.
LIMIT = "limit"
NODE_MODULES = ROOT / "tests" / "js" / "node_modules"


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """A server that can be measured."""

    name: str
    title: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def compile_c(name: str) -> str:
    """Builds a C program once for each state of its source, outside of the tree.

    Raises:
        BenchError: no compiler, or it refused the source.
    """
    folder = HERE / "load"
    source = folder / f"{name}.c"
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stockstream-bench"
    parts = b"".join(part.read_bytes() for part in [source, *sorted(folder.glob("*.h"))])
    program = cache / f"{name}-{hashlib.sha256(parts).hexdigest()[:16]}"
    if not program.exists():
        compiler = shutil.which("cc")
        if compiler is None:
            raise BenchError("a C compiler is needed; on Debian: apt install gcc libc6-dev")
        cache.mkdir(parents=True, exist_ok=True)
        built = subprocess.run(
            [compiler, "-O2", "-o", str(program), str(source)], stderr=subprocess.PIPE, check=False
        )
        if built.returncode:
            raise BenchError(f"cc failed on {source.name}: {built.stderr.decode()}")
    return str(program)


def python_server(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"tests.bench.servers.{name}")


def node_server() -> tuple[str, ...]:
    return ("node", "--expose-gc", str(HERE / "servers" / "node.cjs"))


def all_peers() -> list[Peer]:
    """Ours first: the others are what it is held against."""
    return [
        Peer(
            name="stockstream",
            title="stockstream",
            command=python_server("ours"),
            env={"STOCKSTREAM_MAX_HANDSHAKES_PER_SECOND": "1000000"},
        ),
        Peer(
            name="plain",
            title="python-socketio, aiohttp, uvloop, orjson",
            command=python_server("plain"),
        ),
        Peer(
            name="node",
            title="Node's socket.io",
            command=node_server(),
            env={"NODE_PATH": str(NODE_MODULES)},
        ),
        Peer(
            name=LIMIT,
            title="raw send(2) in C",
            command=(compile_c("rawsend"),),
        ),
    ]
