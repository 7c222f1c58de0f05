"""The examples of the documentation run as they are pasted."""

import os
import re
import sys
from pathlib import Path

from tests.support.processes import ROOT, running_child, running_server

DOCUMENT = ROOT / "docs" / "client.md"


async def test_every_example_runs_as_it_is_pasted(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(examples) >= 3
    async with running_server("--update-interval", "0.05") as server:
        for number, example in enumerate(examples):
            code = example.replace("http://127.0.0.1:8000", server.url)
            assert code != example
            script = tmp_path / f"example_{number}.py"
            script.write_text(code)
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
            with running_child((sys.executable, str(script)), environment) as child:
                assert await child.exit_status() == 0, child.output()
                assert "Traceback" not in child.output()
                assert child.output()
