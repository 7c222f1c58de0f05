"""Requests made up from the description, right ones and wrong ones, to a server of its own."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.support.processes import running_server

SETTINGS = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.timeout(300)
async def test_the_server_does_what_it_says_it_does(tmp_path: Path) -> None:
    env = {"STOCKSTREAM_MAX_REQUESTS_PER_SECOND": "100000", "STOCKSTREAM_LOG_LEVEL": "warning"}
    async with running_server(env=env) as server:
        schemathesis = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("st")),
            f"--config-file={SETTINGS}",
            "run",
            f"{server.url}/api/docs/openapi.json",
            # It never ends; its own tests ask it for what is wrong.
            "--exclude-path=/api/stream",
            "--checks=all",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=15",
            "--generation-deterministic",
            "--continue-on-failure",
            "--warnings=off",
            "--no-color",
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await schemathesis.communicate()
        assert schemathesis.returncode == 0, output.decode()
        assert "Traceback" not in server.child.output()
        assert "exc_type" not in server.child.output()
