"""The servers that every case runs against."""

from tests.support.target_fixtures import (
    deadlines,
    engine_process,
    node_process,
    ordinary,
    short,
    target,
)

__all__ = ["deadlines", "engine_process", "node_process", "ordinary", "short", "target"]
