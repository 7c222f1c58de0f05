"""The browser module as npm builds it, and a browser."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.processes import ROOT
from tests.web.chromium import Chromium, chromium

MODULE = ROOT / "stockstream" / "web"


@pytest.fixture(scope="session")
def built_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module, built from its sources as they are now."""
    assert (MODULE / "node_modules").exists(), "npm packages are missing: run ./scripts/test once"
    folder = tmp_path_factory.mktemp("module")
    command = ["npm", "run", "--silent", "build", "--", "--outDir", str(folder)]
    built = subprocess.run(command, cwd=MODULE, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest_asyncio.fixture
async def browser(built_module: Path) -> AsyncIterator[Chromium]:
    async with chromium(built_module) as running:
        yield running
