"""Tokens and the keys that they are signed with, as identity providers make them."""

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Final

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

SECRET: Final = "a secret of the tests, which is as long as any algorithm may want it to be"
ISSUER: Final = "https://id.example.com"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def rsa_key(number: int = 0, bits: int = 2_048) -> rsa.RSAPrivateKey:
    """Return one of some keys."""
    return _rsa_key(number, bits)


@cache
def _rsa_key(number: int, bits: int) -> rsa.RSAPrivateKey:
    # Making one takes a while.
    return rsa.generate_private_key(65_537, bits)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def public_pem(key: PrivateKey) -> str:
    """Return the public half as PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(key: PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def jwk(key: PrivateKey, kid: str | None, **members: Any) -> dict[str, Any]:
    """Return the public half as a JSON Web Key."""
    if isinstance(key, rsa.RSAPrivateKey):
        text = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        text = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())
    else:
        text = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key())
    found: dict[str, Any] = json.loads(text)
    return {**found, **({} if kid is None else {"kid": kid}), **members}


def token(
    user: object = "alice",
    *roles: str,
    key: Any = SECRET,
    algorithm: str = "HS256",
    header: dict[str, Any] | None = None,
    lasts: float = 3_600,
    **claims: Any,
) -> str:
    """Return a token; claims that are None are left out."""
    said = {"sub": user, "exp": int(time.time() + lasts), "roles": list(roles), **claims}
    kept = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(kept, key, algorithm, headers=header)


def forged(header: object, claims: object, signature: bytes = b"") -> str:
    """Return a token put together by hand; text is taken as JSON as it is."""
    parts = [part if isinstance(part, str) else json.dumps(part) for part in (header, claims)]
    encoded = [base64.urlsafe_b64encode(part.encode()) for part in parts]
    encoded.append(base64.urlsafe_b64encode(signature))
    return b".".join(part.rstrip(b"=") for part in encoded).decode()


class IdentityProvider:
    """Serves its keys over HTTP."""

    def __init__(self) -> None:
        #: The key set, or whatever is answered in its place.
        self.answer: Any = {"keys": []}
        self.status = 200
        self.headers: dict[str, str] = {}
        #: Requests so far.
        self.asked = 0
        self.url = ""

    async def _keys(self, _: web.Request) -> web.Response:
        self.asked += 1
        text = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
        return web.Response(text=text, status=self.status, headers=self.headers)


@asynccontextmanager
async def identity_provider(port: int = 0) -> AsyncIterator[IdentityProvider]:
    """Run an identity provider on a free port, or on the one that it had before."""
    provider = IdentityProvider()
    app = web.Application()
    app.router.add_get("/keys", provider._keys)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
        yield provider
    finally:
        await runner.cleanup()
