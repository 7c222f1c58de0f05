"""Which tokens are believed, and what they say."""

import hmac
import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.token_keys import KeySet, VerificationKey, parse_keys, secret_key
from stockstream.core.tokens import MAX_TOKEN, TokenRules, identity_of, issue, key_id_of
from stockstream.errors import TokenExpiredError, UnauthorizedError
from stockstream.model.identity import Identity, UserRole
from tests.support.tokens import (
    ISSUER,
    SECRET,
    ec_key,
    ed_key,
    forged,
    public_pem,
    rsa_key,
    token,
)

NOW = 1_800_000_000
_RULES = TokenRules(leeway_ms=10_000)
_HS = secret_key(SECRET)
_HEADER = {"alg": "HS256", "typ": "JWT"}


def read(
    text: str, key: VerificationKey = _HS, rules: TokenRules = _RULES, now: float = NOW
) -> Identity:
    key_id_of(text)
    return identity_of(text, key, rules, int(now * 1000))


def made(user: object = "alice", *roles: str, **options: Any) -> str:
    return token(user, *roles, **{"exp": NOW + 60, **options})


def refusal(text: str, key: VerificationKey = _HS, rules: TokenRules = _RULES) -> str:
    with pytest.raises(UnauthorizedError) as caught:
        read(text, key, rules)
    assert caught.value.code == "unauthorized"
    return str(caught.value)


def key_of(text: str) -> VerificationKey:
    found = parse_keys(text).find(None)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("algorithm", "private"), [("RS256", rsa_key()), ("ES256", ec_key()), ("EdDSA", ed_key())]
)
def test_signatures_of_each_kind_of_key_are_believed(algorithm: str, private: Any) -> None:
    text = made(key=private, algorithm=algorithm)
    assert read(text, key_of(public_pem(private))).user == "alice"


def test_a_token_says_who_what_and_until_when() -> None:
    identity = read(made("alice", "ops", "user", "king"))
    assert identity == Identity(
        user="alice",
        roles=frozenset({UserRole.OPS, UserRole.USER}),
        expires_at=(NOW + 60) * 1000,
    )


def test_the_public_key_is_no_secret_to_sign_with() -> None:
    # Algorithm confusion: the attacker signs with what everybody knows.
    pem = public_pem(rsa_key())
    signing_input = made(key=SECRET).rpartition(".")[0]
    text = f"{signing_input}.{_hs256(signing_input, pem)}"
    assert "alg" in refusal(text, key_of(pem))


def test_the_header_does_not_choose_the_algorithm() -> None:
    text = made(key=rsa_key(), algorithm="RS256")
    assert "alg" in refusal(text, _HS)
    for name in ("none", "None", "NONE", "", "HS512", "RS256", None, 1, ["HS256"]):
        refusal(forged({"alg": name}, {"sub": "eve", "exp": NOW + 60}))
    assert "signature" in refusal(forged(_HEADER, {"sub": "eve", "exp": NOW + 60}, b"x" * 32))


def test_other_algorithms_of_the_same_key_are_refused() -> None:
    for algorithm in ("RS384", "RS512", "PS256"):
        text = made(key=rsa_key(), algorithm=algorithm)
        assert "alg" in refusal(text, key_of(public_pem(rsa_key())))
    assert "alg" in refusal(made(algorithm="HS512"))


def test_a_token_of_another_key_is_refused() -> None:
    text = made(key=rsa_key(1), algorithm="RS256")
    assert "signature" in refusal(text, key_of(public_pem(rsa_key())))
    assert "signature" in refusal(made(key="another secret of more than 32 bytes"))


def test_issuer_and_audience_must_be_those_of_the_settings() -> None:
    rules = TokenRules(issuer=ISSUER, audience="quotes")
    read(made(iss=ISSUER, aud="quotes"), rules=rules)
    read(made(iss=ISSUER, aud=["mail", "quotes"]), rules=rules)
    assert "(iss)" in refusal(made(iss="https://evil.example.com", aud="quotes"), rules=rules)
    assert "(aud)" in refusal(made(iss=ISSUER, aud="mail"), rules=rules)
    assert "no iss" in refusal(made(aud="quotes"), rules=rules)
    assert "no aud" in refusal(made(iss=ISSUER), rules=rules)
    strange: Any
    for strange in (1, {"quotes": 1}, [["quotes"]], [1], []):
        refusal(made(iss=ISSUER, aud=strange), rules=rules)


def test_a_token_for_others_is_refused_where_no_audience_is_set() -> None:
    assert "(aud)" in refusal(made(aud="mail"))


def test_a_token_must_have_an_end() -> None:
    assert "no exp" in refusal(made(exp=None))
    strange: Any
    # The last one is in milliseconds.
    for strange in ("1800000060", True, [1], {}, -1, 1e300, NOW * 1000):
        assert "exp" in refusal(made(exp=strange))
    claims = '{"sub":"a","exp":%s}'
    for strange in ("NaN", "Infinity", "-Infinity", "1e999"):
        assert "exp" in refusal(_signed(claims % strange))


def test_clocks_may_differ_by_the_leeway() -> None:
    text = made(nbf=NOW - 60)
    read(text, now=NOW + 60 + 9.999)
    with pytest.raises(TokenExpiredError):
        read(text, now=NOW + 70)
    read(text, now=NOW - 70)
    with pytest.raises(UnauthorizedError, match="nbf"):
        read(text, now=NOW - 70.001)


def test_a_forged_token_is_not_said_to_have_expired() -> None:
    assert "signature" in refusal(made(key="another secret of more than 32 bytes", exp=NOW - 60))


@pytest.mark.parametrize("user", ["", "x" * 257, "a\nb", "a\x00", 7, ["alice"], {}, None])
def test_a_user_has_a_printable_name(user: object) -> None:
    assert "sub" in refusal(made(user))


def test_a_huge_token_is_not_looked_at() -> None:
    assert str(MAX_TOKEN) in refusal("x" * (MAX_TOKEN + 1))
    assert str(MAX_TOKEN) in refusal(made(padding="x" * MAX_TOKEN))


def test_json_as_deep_as_fits_is_refused() -> None:
    deep = "[" * 2_500 + "]" * 2_500
    refusal(forged('{"alg":"HS256","x":' + deep[:4_000] + "}", {}))
    refusal(forged(deep, {}))
    refusal(_signed(deep))


def test_what_a_token_deems_critical_is_understood_or_it_is_refused() -> None:
    refusal(made(header={"crit": ["exp"], "exp": 1}))
    refusal(made(header={"crit": []}))


@pytest.mark.parametrize("kid", [1, None, ["a"], {"a": 1}])
def test_the_name_of_a_key_must_be_text(kid: object) -> None:
    refusal(forged({**_HEADER, "kid": kid}, {"sub": "eve", "exp": NOW + 60}))


def test_roles_may_be_text_or_lie_deeper() -> None:
    def roles(claim: str, **claims: Any) -> set[str]:
        rules = TokenRules(roles_claim=claim)
        return set(read(made(roles=None, **claims), rules=rules).roles)

    assert roles("scope", scope="openid ops feed") == {"ops", "feed"}
    assert roles("realm.roles", realm={"roles": ["ops"]}) == {"ops"}
    name = "https://example.com/roles"
    assert roles(name, **{name: ["ops"]}) == {"ops"}
    assert roles("realm.roles", realm=["ops"]) == {"user"}


@pytest.mark.parametrize("roles", [None, [], 7, {"ops": 1}, [["ops"], 1, None, "OPS"], "opsy"])
def test_whoever_has_none_of_our_roles_is_a_user(roles: Any) -> None:
    assert read(made(roles=roles)).roles == {UserRole.USER}


@given(st.text() | st.text(alphabet="abcdefghij._-=A0", max_size=60))
def test_any_text_is_refused(text: str) -> None:
    refusal(text)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "iss", "aud", "roles", "iat"]), _json))
def test_whatever_is_signed_is_believed_or_refused(claims: dict[str, Any]) -> None:
    text = _signed(json.dumps(claims))
    try:
        identity = read(text, rules=TokenRules(issuer=ISSUER))
    except UnauthorizedError:
        return
    assert identity.user == claims["sub"]
    assert claims["iss"] == ISSUER


@given(st.binary(max_size=40), st.dictionaries(st.text(max_size=5), _json, max_size=4))
def test_whatever_a_header_says_is_refused_without_a_signature(
    signature: bytes, header: dict[str, Any]
) -> None:
    text = forged({**_HEADER, **header}, {"sub": "eve", "exp": NOW + 60}, signature)
    refusal(text)


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=256),
    st.sets(st.sampled_from(list(UserRole)), min_size=1),
    st.sampled_from([None, ISSUER]),
    st.sampled_from(["roles", "realm.roles", "https://example.com/roles"]),
)
def test_what_is_issued_is_believed(
    user: str, roles: set[UserRole], issuer: str | None, claim: str
) -> None:
    rules = TokenRules(issuer=issuer, audience="quotes", roles_claim=claim)
    identity = Identity(user=user, roles=frozenset(roles), expires_at=(NOW + 60) * 1000)
    assert read(issue(identity, SECRET, rules), rules=rules) == identity


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _signed(claims: str) -> str:
    """Return a token with a right signature over any claims."""
    text = f"{_b64(json.dumps(_HEADER).encode())}.{_b64(claims.encode())}"
    return f"{text}.{_hs256(text, SECRET)}"


def _hs256(text: str, secret: str) -> str:
    return _b64(hmac.digest(secret.encode(), text.encode(), "sha256"))


def test_the_only_key_need_not_be_named() -> None:
    keys = KeySet([VerificationKey(algorithm="HS256", key=b"x", kid="a")])
    assert keys.find(None) is keys.find("a")
    assert keys.find("b") is None
