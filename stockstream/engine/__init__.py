"""Engine.IO 4 and a hardened Socket.IO server on aiohttp, for many clients and much fan-out.

Usable without the rest of stockstream; see docs/engine.md.
"""

from stockstream.engine.core.admission import TokenBucket, network_of
from stockstream.engine.core.connection import Connection
from stockstream.engine.core.message import Message, Raw
from stockstream.engine.errors import (
    ConfigurationError,
    EncodeError,
    EngineError,
    SessionNotFoundError,
    UnsupportedError,
)
from stockstream.engine.limits import Limits
from stockstream.engine.metrics import Metrics
from stockstream.engine.shell.address import TrustedProxies
from stockstream.engine.shell.environ import Environ
from stockstream.engine.shell.event_stream import EventStreams
from stockstream.engine.shell.front import AppRunner
from stockstream.engine.shell.site import Site
from stockstream.engine.sio.manager import Manager
from stockstream.engine.sio.recovery import SessionRecovery
from stockstream.engine.sio.server import AsyncServer

__all__ = [
    "AppRunner",
    "AsyncServer",
    "ConfigurationError",
    "Connection",
    "EncodeError",
    "EngineError",
    "Environ",
    "EventStreams",
    "Limits",
    "Manager",
    "Message",
    "Metrics",
    "Raw",
    "SessionNotFoundError",
    "SessionRecovery",
    "Site",
    "TokenBucket",
    "TrustedProxies",
    "UnsupportedError",
    "network_of",
]
