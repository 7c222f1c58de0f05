"""Engine.IO 4 without input and output: takes bytes and time, gives back what to send.

Mirrors the Engine.IO protocol, revision 4 (https://socket.io/docs/v4/engine-io-protocol/).
Nothing in here awaits or imports asyncio or aiohttp.
"""
