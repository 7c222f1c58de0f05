"""What a Python program uses to speak with a server; nothing here needs the server's code."""

from stockstream.client.inbox import Overflow
from stockstream.client.offline import OfflineDataManager
from stockstream.client.states import ConnectionState, StateChange
from stockstream.client.stock_client import StockClient
from stockstream.client.streams import Stream

__all__ = [
    "ConnectionState",
    "OfflineDataManager",
    "Overflow",
    "StateChange",
    "StockClient",
    "Stream",
]
