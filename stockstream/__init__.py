"""A self-hosted real-time stock-quote server for unmodified Socket.IO clients, and its client."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stockstream.client import OfflineDataManager, StockClient

__all__ = ["OfflineDataManager", "StockClient", "__version__"]

__version__ = version("stockstream")


def __getattr__(name: str) -> Any:
    """Load the client only where it is asked for: commands start without its libraries."""
    if name in __all__:
        from stockstream import client  # noqa: PLC0415

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
