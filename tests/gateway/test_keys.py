"""Keys of an identity provider: a real one over HTTP, which changes its keys, and goes away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from stockstream.errors import UnauthorizedError, UnavailableError
from stockstream.gateway.keys import REFRESH_AT_MOST_EVERY, REFRESH_EVERY, RemoteKeys
from tests.gateway.nodes import until
from tests.support.clock import ManualClock
from tests.support.ports import free_port
from tests.support.tokens import IdentityProvider, ec_key, identity_provider, jwk, rsa_key


@asynccontextmanager
async def remote(url: str, clock: ManualClock) -> AsyncIterator[RemoteKeys]:
    keys = RemoteKeys(url, clock)
    task = asyncio.create_task(keys.run())
    try:
        yield keys
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    async with identity_provider() as running:
        running.answer = {"keys": [jwk(rsa_key(), "old")]}
        yield running


async def refreshed(keys: RemoteKeys, clock: ManualClock, seconds: float) -> None:
    """Let time pass until the keys have been asked for once more."""
    before = keys.fetches.total()
    await clock.wait_for_sleepers()
    await clock.advance(seconds)
    await until(lambda: keys.fetches.total() > before)


async def test_the_first_who_comes_waits_for_the_keys(
    provider: IdentityProvider, clock: ManualClock
) -> None:
    async with remote(provider.url, clock) as keys:
        found = await keys.key("old")
        assert (found.kid, found.algorithm) == ("old", "RS256")
        assert provider.asked == 1


async def test_a_new_key_is_asked_for_when_a_token_names_it(
    provider: IdentityProvider, clock: ManualClock
) -> None:
    async with remote(provider.url, clock) as keys:
        await keys.key("old")
        provider.answer = {"keys": [jwk(ec_key(), "new")]}
        await clock.wait_for_sleepers()
        await clock.advance(REFRESH_AT_MOST_EVERY)
        assert (await keys.key("new")).algorithm == "ES256"
        # The old one has been withdrawn.
        await clock.wait_for_sleepers()
        await clock.advance(REFRESH_AT_MOST_EVERY)
        with pytest.raises(UnauthorizedError):
            await keys.key("old")


async def test_names_that_nobody_knows_cost_one_request_in_a_while(
    provider: IdentityProvider, clock: ManualClock
) -> None:
    async with remote(provider.url, clock) as keys:
        await keys.key("old")
        for number in range(50):
            # It might be a new key: who comes back is told for sure.
            with pytest.raises(UnavailableError):
                await keys.key(f"nonsense {number}")
        assert provider.asked == 1
        await clock.wait_for_sleepers()
        await clock.advance(REFRESH_AT_MOST_EVERY)
        answers = await asyncio.gather(
            *(keys.key(f"nonsense {number}") for number in range(50)), return_exceptions=True
        )
        assert {type(answer) for answer in answers} == {UnauthorizedError}
        assert provider.asked == 2


async def test_keys_are_asked_for_now_and_then(
    provider: IdentityProvider, clock: ManualClock
) -> None:
    async with remote(provider.url, clock) as keys:
        await keys.key("old")
        provider.answer = {"keys": [jwk(rsa_key(1), "new")]}
        await refreshed(keys, clock, REFRESH_EVERY)
        assert provider.asked == 2
        await keys.key("new")
        assert provider.asked == 2


@pytest.mark.parametrize(
    ("answer", "status", "problem"),
    [
        ("nonsense", 200, "no JSON Web Key Set"),
        ({"keys": []}, 200, "has no key"),
        ("[" * 100_000, 200, "no JSON Web Key Set"),
        ("x" * 300_000, 200, "larger"),
        ({"keys": [jwk(rsa_key(1), "new")]}, 500, "500"),
        ({"keys": [jwk(rsa_key(1), "new")]}, 302, "302"),
    ],
    ids=["no JSON", "no keys", "deep", "large", "error", "redirect"],
)
async def test_the_keys_of_before_are_kept_while_the_answer_is_of_no_use(
    provider: IdentityProvider, clock: ManualClock, answer: object, status: int, problem: str
) -> None:
    async with remote(provider.url, clock) as keys:
        await keys.key("old")
        right = provider.answer
        provider.answer, provider.status = answer, status
        provider.headers = {"Location": "/keys"}
        await refreshed(keys, clock, REFRESH_EVERY)
        assert problem in keys.problem
        assert (await keys.key("old")).kid == "old"
        provider.answer, provider.status = right, 200
        await refreshed(keys, clock, REFRESH_AT_MOST_EVERY)
        assert keys.problem == ""
        assert keys.fetches == {"ok": 2, "failed": 1}


async def test_an_identity_provider_that_is_gone_makes_nobody_a_stranger(
    clock: ManualClock,
) -> None:
    port = free_port()
    async with remote(f"http://127.0.0.1:{port}/keys", clock) as keys:
        # Nothing is known yet: that is no reason to send anybody away for good.
        with pytest.raises(UnavailableError):
            await keys.key("old")
        async with identity_provider(port) as provider:
            provider.answer = {"keys": [jwk(rsa_key(), "old")]}
            await refreshed(keys, clock, REFRESH_AT_MOST_EVERY)
            await keys.key("old")
            assert urlsplit(provider.url).port == port
        await refreshed(keys, clock, REFRESH_EVERY)
        assert keys.problem
        assert (await keys.key("old")).kid == "old"
        await clock.wait_for_sleepers()
        await clock.advance(REFRESH_AT_MOST_EVERY)
        with pytest.raises(UnavailableError):
            await keys.key("new")


async def test_nobody_waits_for_keys_after_the_end(
    provider: IdentityProvider, clock: ManualClock
) -> None:
    async with remote(provider.url, clock) as keys:
        await keys.key("old")
    await clock.advance(REFRESH_AT_MOST_EVERY)
    with pytest.raises(UnavailableError):
        await keys.key("new")
