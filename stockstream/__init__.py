"""A self-hosted real-time stock-quote server for unmodified Socket.IO clients."""

from importlib.metadata import version

__version__ = version("stockstream")
