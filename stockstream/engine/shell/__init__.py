"""The engine on aiohttp: requests, responses, sockets and the one timer."""
