"""What applications do with a JavaScript client, each case of client_cases.js by its name.

All cases of one way to connect run in one process, side by side.
"""

import json
import re
import subprocess
from functools import cache

import pytest

from tests.support.js_client import ClientKind
from tests.support.target_process import JAVASCRIPT, TargetProcess

PROGRAM = JAVASCRIPT / "client_cases.js"
CASES = re.findall(r"^  async (\w+)\(bench\)", PROGRAM.read_text(), re.MULTILINE)
KINDS = [
    ClientKind(version=4, transports=transports, upgrade=len(transports) == 2)
    for transports in (("polling",), ("websocket",), ("polling", "websocket"))
]


@cache
def outcomes(port: int, kind: ClientKind) -> dict[str, str | None]:
    """Why each case failed, None where it did not."""
    options = {"port": port, "transports": kind.transports, "upgrade": kind.upgrade}
    ended = subprocess.run(
        ["node", str(PROGRAM), json.dumps(options)], capture_output=True, timeout=50, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()
    result: dict[str, str | None] = json.loads(ended.stdout)
    return result


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_client_gets_what_its_application_expects(
    target: TargetProcess, kind: ClientKind, case: str
) -> None:
    why_not = outcomes(target.port("ordinary"), kind)[case]
    assert why_not is None, why_not
