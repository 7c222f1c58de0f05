"""Who Socket.IO clients are: from the token of their CONNECT to the end of the last fresh one."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from stockstream.engine import AsyncServer, Connection, Environ
from stockstream.errors import ForbiddenError, RefusedError, TokenExpiredError
from stockstream.gateway.authentication import Authenticator
from stockstream.gateway.client import Client
from stockstream.gateway.expiry import Expiry
from stockstream.gateway.requests import Requests
from stockstream.gateway.tokens import token_of_connect
from stockstream.model.identity import Identity
from stockstream.wire import names
from stockstream.wire.replies import Authenticated, error_reply
from stockstream.wire.requests import AuthenticateRequest, decode_request


class Sessions:
    """Lets clients in, and lets them go when their tokens expire.

    Args:
        authenticator: says whose a token is.
        expiry: ends sessions in time.
        requests: ends subscriptions that a client may no longer have.
    """

    def __init__(self, authenticator: Authenticator, expiry: Expiry, requests: Requests) -> None:
        self._authenticator = authenticator
        self._expiry = expiry
        self._requests = requests

    async def admit(self, connection: Connection, environ: Environ | None, auth: Any) -> Identity:
        """Return who wants to connect; see ``admit`` of :class:`stockstream.engine.AsyncServer`.

        Raises:
            ConnectionRefusedError: it is not let in, and is told why.
        """
        try:
            token = token_of_connect(environ, auth) if self._authenticator.required else None
            return await self._authenticator.identify(token, connection.remote_address)
        except RefusedError as error:
            if error.retryable:
                # A JavaScript client that is refused stays away. One whose connection ends comes
                # back by itself, later and later.
                connection.close("transport error")
            reason = msgspec.to_builtins(error_reply("connect", error))
            raise ConnectionRefusedError(str(error), reason) from None

    def identity_of(self, server: AsyncServer, connection: Connection) -> Identity:
        """Return who was let in."""
        identity: Identity = server.admitted(connection)
        return identity

    def begin(self, client: Client, leave: Callable[[], Awaitable[None]]) -> None:
        """Have a client's session end with its token: it is told so, then ``leave`` is called."""

        async def end() -> None:
            error = TokenExpiredError("the token has expired; connect again with a fresh one")
            client.send(names.ERROR, error_reply("session", error))
            await leave()

        self._expiry.watch(client.id, client.identity.expires_at, end)

    def forget(self, client: Client) -> None:
        """Take note that a client has left."""
        self._expiry.forget(client.id)

    async def authenticate(self, client: Client, payload: object) -> Any:
        """Take a fresh token of the same user; replies `authenticated`.

        Subscriptions that its roles no longer allow are ended.

        Raises:
            RefusedError: all is as it was.
        """
        request = decode_request(AuthenticateRequest, payload)
        address = client.connection.remote_address
        identity = await self._authenticator.identify(request.token, address)
        if client.gone:
            return None
        if identity.user != client.identity.user:
            raise ForbiddenError("the token is another user's: connect anew with it")
        client.identity = identity
        self._expiry.renew(client.id, identity.expires_at)
        reply = Authenticated(
            user=identity.user, roles=sorted(identity.roles), expires_at=identity.expires_at
        )
        answer = client.send(names.AUTHENTICATED, reply)
        self._requests.restrict(client)
        return answer
