"""The servers that every case runs against."""

from tests.support.target_fixtures import (
    attached_process,
    deadlines,
    engine_process,
    node_process,
    ordinary,
    short,
    target,
)

__all__ = [
    "attached_process",
    "deadlines",
    "engine_process",
    "node_process",
    "ordinary",
    "short",
    "target",
]
