"""Which keys are used, and for what."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.token_keys import MAX_KEYS, parse_key_set, parse_keys
from tests.support.tokens import ec_key, ed_key, jwk, private_pem, public_pem, rsa_key


def key_set(*keys: Any) -> str:
    return json.dumps({"keys": keys})


def test_each_key_of_a_set_has_its_own_algorithm() -> None:
    keys = parse_keys(
        key_set(jwk(rsa_key(), "r"), jwk(ec_key(), "e", use="sig"), jwk(ed_key(), "d"))
    )
    found = {kid: keys.find(kid) for kid in "red"}
    assert {kid: key.algorithm for kid, key in found.items() if key} == {
        "r": "RS256",
        "e": "ES256",
        "d": "EdDSA",
    }
    assert keys.find("x") is None
    assert keys.find(None) is None


@pytest.mark.parametrize(
    "useless",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "a"},
        jwk(rsa_key(), "a", alg="HS256"),
        jwk(rsa_key(), "a", alg="none"),
        jwk(rsa_key(), "a", alg="RS512"),
        jwk(rsa_key(), "a", use="enc"),
        jwk(rsa_key(), "a", key_ops=["encrypt"]),
        jwk(rsa_key(0, 1_024), "a"),
        jwk(rsa_key(), "a" * 257),
        {**jwk(rsa_key(), None), "kid": 7},
        {**jwk(ec_key(), "a"), "x": "AAAA"},
        {**jwk(ec_key(), "a"), "crv": "P-521"},
        {"kty": "RSA", "kid": "a"},
        {"kty": ["RSA"], "kid": "a"},
        {"kty": "RSA", "kid": "a", "n": 7, "e": []},
        "a",
        None,
    ],
)
def test_what_signs_no_tokens_is_passed_over(useless: Any) -> None:
    keys = parse_key_set(key_set(useless, jwk(ed_key(), "d")))
    assert keys.find("a") is None
    assert keys.find("d") is not None
    with pytest.raises(ValueError, match="has no key"):
        parse_key_set(key_set(useless))


def test_of_two_keys_of_one_name_the_first_counts() -> None:
    keys = parse_key_set(key_set(jwk(rsa_key(), "a"), jwk(ec_key(), "a")))
    found = keys.find("a")
    assert found is not None
    assert found.algorithm == "RS256"


def test_the_size_of_a_set_is_bounded() -> None:
    many = [jwk(ed_key(), str(number)) for number in range(MAX_KEYS + 50)]
    assert len(parse_key_set(key_set(*many))) == MAX_KEYS


def test_a_private_key_is_refused() -> None:
    with pytest.raises(ValueError, match="private key"):
        parse_keys(private_pem(rsa_key()))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "neither a public key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "neither a public key"),
        (public_pem(rsa_key(0, 1_024)), "1024 bits"),
        (public_pem(ec.generate_private_key(ec.SECP384R1())), "signs no tokens"),
        ("{", "no JSON Web Key Set"),
        ('{"keys": 7}', "no JSON Web Key Set"),
        ('{"a": []}', "no JSON Web Key Set"),
        ('{"keys": []}', "has no key"),
    ],
)
def test_what_can_not_be_used_is_said(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_keys(text)


@given(st.binary() | st.text())
def test_anything_is_refused_as_a_key_set(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - what it says depends on what it is
        parse_key_set(text)
