"""The helpers do what fault tests rely on."""

from pathlib import Path

import pytest
import redis.asyncio

from tests.support.npm import run_node
from tests.support.processes import running_child
from tests.support.redis_server import RedisServer, running_redis


async def test_redis_comes_back_empty_at_the_same_address() -> None:
    with running_redis() as server:
        async with redis.asyncio.from_url(server.url) as client:
            await client.set("key", "value")
        server.kill()
        server.start()
        async with redis.asyncio.from_url(server.url) as client:
            assert await client.get("key") is None


async def test_paused_redis_answers_after_it_is_resumed() -> None:
    with running_redis() as server:
        async with redis.asyncio.from_url(server.url, socket_timeout=0.1, retry=None) as client:
            server.pause()
            with pytest.raises(redis.TimeoutError):
                await client.ping()
            server.resume()
            assert await client.ping()


async def test_redis_of_a_test_is_empty(redis_server: RedisServer, redis_url: str) -> None:
    async with redis.asyncio.from_url(redis_url) as client:
        assert await client.dbsize() == 0
        await client.set("key", "left for the next test")
        redis_server.flush()
        assert await client.dbsize() == 0


async def test_child_that_was_paused_is_ended() -> None:
    with running_child(["sleep", "60"]) as child:
        child.pause()
    assert await child.exit_status() == -15


async def test_node_program_is_talked_to_in_lines_of_json(tmp_path: Path) -> None:
    script = tmp_path / "echo.js"
    script.write_text("console.log('{\"ready\": true}'); process.stdin.pipe(process.stdout)")
    async with run_node(str(script)) as program:
        assert await program.read() == {"ready": True}
        await program.send({"length": 100_000, "text": "x" * 100_000})
        assert (await program.read())["length"] == 100_000


async def test_error_of_a_node_program_is_in_the_failure(tmp_path: Path) -> None:
    script = tmp_path / "broken.js"
    script.write_text("throw new Error('it is broken')")
    async with run_node(str(script)) as program:
        with pytest.raises(AssertionError, match="it is broken"):
            await program.read()
