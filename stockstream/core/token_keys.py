"""Keys that signatures of tokens are checked with, each good for one algorithm only.

Public keys come as PEM or as a JSON Web Key Set (RFC 7517); of a set, what can't check signatures
of tokens is passed over, and a secret in it is never used.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

#: Keys of one set, and characters of a key's name, that are looked at.
MAX_KEYS: Final = 100
_MAX_KID: Final = 256
#: As many as the signature has (RFC 7518, section 3.2).
_SECRET_BYTES: Final = 32
#: Sizes of RSA keys, in bits: below they are weak, above they cost too much.
_RSA_BITS: Final = range(2_048, 8_193)
#: The public members of a key by its type; others, private ones among them, are left out.
_MEMBERS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_JWK_ALGORITHMS: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """A key, and the only algorithm that it is ever used with."""

    algorithm: str
    key: bytes | PublicKey
    #: Its name in a set, where it has one.
    kid: str | None = None


class KeySet:
    """Keys to choose from by name."""

    def __init__(self, keys: Sequence[VerificationKey]) -> None:
        self._by_name: dict[str, VerificationKey] = {}
        for key in keys:
            if key.kid is not None:
                # Of two of one name the first counts.
                self._by_name.setdefault(key.kid, key)
        #: Where there is only one, tokens need not name it; a key without a name is not asked for
        #: one.
        self._only = keys[0] if len(keys) == 1 else None

    def __len__(self) -> int:
        return len(self._by_name) or int(self._only is not None)

    def find(self, kid: str | None) -> VerificationKey | None:
        """Return the key that a token names; None where there is none of that name."""
        only = self._only
        if only is not None and (kid is None or only.kid is None):
            return only
        return None if kid is None else self._by_name.get(kid)


def secret_key(secret: str) -> VerificationKey:
    """Return the key that a secret is: HS256.

    Raises:
        ValueError: it can be guessed.
    """
    if len(secret.encode()) < _SECRET_BYTES:
        raise ValueError(f"must have {_SECRET_BYTES} bytes or more")
    return VerificationKey(algorithm="HS256", key=secret.encode())


def parse_keys(text: str) -> KeySet:
    """Return the public key of a PEM text, or the keys of a JSON Web Key Set.

    Raises:
        ValueError: there is no key in it that can be used; says why.
    """
    if text.lstrip().startswith("{"):
        return parse_key_set(text)
    if "PRIVATE KEY-----" in text:
        raise ValueError("holds a private key; what is needed here is the public one")
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("is neither a public key (PEM) nor a JSON Web Key Set") from error
    return KeySet([VerificationKey(algorithm=_algorithm(key), key=_usable(key))])


def parse_key_set(text: str | bytes) -> KeySet:
    """Return the keys of a JSON Web Key Set.

    Raises:
        ValueError: it is none, or has no key that can be used; says which.
    """
    try:
        keys = json.loads(text)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError("is no JSON Web Key Set") from None
    if not isinstance(keys, list):
        raise ValueError("is no JSON Web Key Set")  # noqa: TRY004 - of what somebody wrote
    found = [key for entry in keys[:MAX_KEYS] if (key := _from_jwk(entry)) is not None]
    if not found:
        raise ValueError(
            "has no key for RS256 (2,048 bits or more), ES256 or EdDSA (Ed25519) signatures"
        )
    return KeySet(found)


def _from_jwk(entry: object) -> VerificationKey | None:
    if not isinstance(entry, dict) or not _is_for_signatures(entry):
        return None
    kind, kid = entry.get("kty"), entry.get("kid")
    if not isinstance(kind, str) or kind not in _MEMBERS:
        return None
    if kid is not None and not (isinstance(kid, str) and len(kid) <= _MAX_KID):
        return None
    algorithm = _JWK_ALGORITHMS[kind]
    if entry.get("alg", algorithm) != algorithm:
        return None
    public = {"kty": kind} | {name: entry.get(name) for name in _MEMBERS[kind]}
    try:
        key = jwt.PyJWK(public, algorithm).key
        return VerificationKey(algorithm=_algorithm(key), key=_usable(key), kid=kid)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        return None


def _is_for_signatures(entry: Mapping[str, Any]) -> bool:
    operations = entry.get("key_ops")
    return entry.get("use", "sig") == "sig" and (
        operations is None or (isinstance(operations, list) and "verify" in operations)
    )


def _algorithm(key: object) -> str:
    if isinstance(key, RSAPublicKey):
        return "RS256"
    return "ES256" if isinstance(key, EllipticCurvePublicKey) else "EdDSA"


def _usable(key: object) -> PublicKey:
    """Return the key.

    Raises:
        ValueError: signatures by it are not believed.
    """
    if isinstance(key, RSAPublicKey):
        if key.key_size not in _RSA_BITS:
            raise ValueError(f"is an RSA key of {key.key_size} bits; 2,048 to 8,192 are allowed")
        return key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    if isinstance(key, Ed25519PublicKey):
        return key
    raise ValueError("is a key of a kind that signs no tokens; RSA, EC P-256 and Ed25519 do")
