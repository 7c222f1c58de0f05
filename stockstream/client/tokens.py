"""Where a client has its token from, and how long it is good for."""

import base64
import binascii
from collections.abc import Awaitable, Callable

import msgspec

#: A token, or who makes a fresh one each time it is asked.
TokenSource = str | Callable[[], Awaitable[str]]


class _Claims(msgspec.Struct, frozen=True):
    exp: float | None = None


async def fetch(source: TokenSource | None) -> str | None:
    """Return the token to use now; None: nobody asks for one."""
    return await source() if callable(source) else source


def expires_at(token: str) -> float | None:
    """Return when a JWT ends, in seconds since the epoch; None where it does not say.

    Nothing is verified, for that is the server's business: this only says when to ask for the next.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        body = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return msgspec.json.decode(body, type=_Claims).exp
    except (ValueError, binascii.Error, msgspec.DecodeError):
        return None
