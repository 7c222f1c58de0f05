"""In a container the server is process 1, which no signal ends that it has no handler for."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, running_child, wait_until

#: Runs a program as process 1 of a namespace of its own, as root or as a user who may become it.
AS_PROCESS_ONE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")

#: A library that takes for ever to load.
ENDLESS = """
import pathlib, threading
pathlib.Path(__file__).with_name("loads").touch()
threading.Event().wait()
"""


def may_be_process_one() -> bool:
    result = subprocess.run([*AS_PROCESS_ONE, "true"], capture_output=True, check=False)
    return result.returncode == 0


@pytest.mark.skipif(not may_be_process_one(), reason="this machine gives nobody namespaces")
async def test_process_one_that_still_loads_is_ended_by_sigterm(tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text(ENDLESS)
    program = [sys.executable, "-m", "stockstream", "serve"]
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"}
    with running_child([*AS_PROCESS_ONE, *program], env) as unshare:
        await wait_until((tmp_path / "loads").exists, "the server to load")
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split()
        subprocess.run(["kill", "-TERM", *children], check=True)
        assert await unshare.exit_status() == 128 + 15
