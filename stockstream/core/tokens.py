"""Who a JSON Web Token says its bearer is (RFC 7519, and RFC 8725 on how not to be fooled).

The algorithm of a signature is that of the key, which the settings or the identity provider give;
what a token says of itself only has to agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from stockstream.core.token_keys import VerificationKey, secret_key
from stockstream.errors import TokenExpiredError, UnauthorizedError
from stockstream.model.identity import Identity, UserRole

#: Longest token that is looked at, in characters.
MAX_TOKEN: Final = 8_192
_MAX_USER: Final = 256
#: 9999-12-31: a time beyond it is not in seconds.
_LATEST: Final = 253_402_300_799
_MISSING: Final = object()

_jwt: Final = jwt.PyJWT(
    {
        # Against the clock that is given, below.
        "verify_exp": False,
        "verify_nbf": False,
        "verify_iat": False,
        "verify_sub": False,
        "verify_jti": False,
    }
)

#: What clients are told of each failure; never anything out of the token.
_PROBLEMS: Final[Mapping[type[jwt.PyJWTError], str]] = {
    jwt.InvalidAlgorithmError: "its algorithm (alg) is not the key's",
    jwt.InvalidSignatureError: "its signature is not right",
    jwt.InvalidAudienceError: "it is meant for others (aud)",
    jwt.InvalidIssuerError: "it is not of the issuer that is trusted here (iss)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """What a token has to say."""

    #: Who must have issued it (``iss``); None: anybody who has the key.
    issuer: str | None = None
    #: Whom it must be meant for (``aud``); None: nobody in particular.
    audience: str | None = None
    #: How far clocks may differ, in ms.
    leeway_ms: int = 0
    #: Claim with the roles: its name, or a path with dots.
    roles_claim: str = "roles"


def key_id_of(token: str) -> str | None:
    """Return which key a token says it is signed with (``kid``); not to be trusted.

    Raises:
        UnauthorizedError: this is no token.
    """
    if len(token) > MAX_TOKEN:
        raise _refused(f"it is longer than {MAX_TOKEN} characters")
    if not token.isascii():
        raise _refused("it is none")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise _refused("it is none") from error
    kid: str | None = header.get("kid")
    return kid


def identity_of(token: str, key: VerificationKey, rules: TokenRules, now_ms: int) -> Identity:
    """Return who the bearer of a token is.

    Args:
        token: as :func:`key_id_of` has accepted it.
        key: what it has to be signed with.
        rules: what it has to say.
        now_ms: the time, in ms since the epoch.

    Raises:
        TokenExpiredError: all of it is right, but its time is over.
        UnauthorizedError: something of it is not right.
    """
    required = ["exp", "sub"] + ["iss"] * bool(rules.issuer) + ["aud"] * bool(rules.audience)
    try:
        claims = _jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            issuer=rules.issuer,
            audience=rules.audience,
            options={"require": required},
        )
    except jwt.MissingRequiredClaimError as error:
        raise _refused(f"it has no {error.claim}") from error
    except jwt.PyJWTError as error:
        raise _refused(_PROBLEMS.get(type(error), "it is none")) from error
    user = _user(claims["sub"])
    expires_at = _time(claims, "exp")
    if "nbf" in claims and now_ms < _time(claims, "nbf") - rules.leeway_ms:
        raise _refused("it is not valid yet (nbf)")
    if now_ms >= expires_at + rules.leeway_ms:
        raise TokenExpiredError("the token has expired")
    roles = _roles(_claim(claims, rules.roles_claim))
    return Identity(user=user, roles=roles, expires_at=expires_at)


def issue(identity: Identity, secret: str, rules: TokenRules) -> str:
    """Return a token that says all this, signed with a secret: for development and tests.

    Raises:
        UnauthorizedError: nobody would believe it; says why.
        ValueError: the secret can be guessed.
    """
    claims: dict[str, Any] = {"sub": _user(identity.user)}
    if identity.expires_at is not None:
        claims["exp"] = identity.expires_at // 1000
    if rules.issuer is not None:
        claims["iss"] = rules.issuer
    if rules.audience is not None:
        claims["aud"] = rules.audience
    claims[rules.roles_claim] = sorted(identity.roles)
    key = secret_key(secret)
    return jwt.encode(claims, secret, algorithm=key.algorithm)


def _refused(why: str) -> UnauthorizedError:
    return UnauthorizedError(f"the token is refused: {why}")


def _user(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_USER or not value.isprintable():
        raise _refused(f"its sub must be text of 1 to {_MAX_USER} printable characters")
    return value


def _time(claims: Mapping[str, Any], name: str) -> int:
    """Return a time of the token in ms."""
    value = claims[name]
    # NaN is in no range.
    if isinstance(value, bool | str) or not isinstance(value, int | float):
        raise _refused(f"its {name} must be a number of seconds since the epoch")
    if not 0 <= value <= _LATEST:
        raise _refused(f"its {name} must be a number of seconds since the epoch")
    return int(value * 1000)


def _claim(claims: Mapping[str, Any], path: str) -> object:
    """Return a claim by its name, which may hold dots, or else by a path through objects."""
    if path in claims:
        return claims[path]
    value: object = claims
    for part in path.split("."):
        value = value.get(part, _MISSING) if isinstance(value, dict) else _MISSING
    return value


def _roles(value: object) -> frozenset[UserRole]:
    """Return the roles that are ours; whoever has none of them is a user."""
    names = value.split() if isinstance(value, str) else value
    if not isinstance(names, list):
        names = []
    known = frozenset(UserRole)
    ours = {UserRole(name) for name in names if isinstance(name, str) and name in known}
    return frozenset(ours or {UserRole.USER})
