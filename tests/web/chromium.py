"""A real browser with pages of the built browser module."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.npm import NodeProgram, run_node

#: What every page begins with: the module, and what happened in a list.
_BEGIN = """
  window.client = await import("@stockstream/client");
  window.heard = [];
"""
_OPEN_DOCUMENTS = """
  window.documents = await client.OfflineDataManager.open(%s);
  for (const name of ["changed", "sync_success", "sync_error", "online_status_changed"]) {
    documents.on(name, (detail) => heard.push([name, detail]));
  }
"""
_UNTIL = """
  for (;;) {
    const value = await (async () => (%s))();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
"""


class Page:
    """A page of the browser; code is JavaScript that runs in it."""

    def __init__(self, program: NodeProgram, name: str) -> None:
        self._program = program
        self.name = name

    async def run(self, code: str) -> Any:
        """Run the body of an async function; returns what it returns."""
        return await command(self._program, {"run": self.name, "code": code})

    async def value(self, expression: str) -> Any:
        return await self.run(f"return ({expression})")

    async def until(self, expression: str) -> Any:
        """Wait until an expression is true in the page."""
        return await self.run(_UNTIL % expression)

    async def reload(self) -> None:
        await command(self._program, {"reload": self.name})
        await self.run(_BEGIN)

    async def crash(self) -> None:
        """End it as the operating system would, in the middle of whatever it does."""
        await command(self._program, {"crash": self.name})

    async def close(self) -> None:
        await command(self._program, {"close": self.name})

    # --- documents ----------------------------------------------------------------------------

    async def open_documents(self, **options: object) -> None:
        await self.run(_OPEN_DOCUMENTS % json.dumps({"retryDelay": 20, **options}))

    async def save(self, kind: str, document: str, data: object, strategy: str = "") -> str:
        args = [kind, document, data, *([strategy] if strategy else [])]
        changed: str = await self.value(f"documents.save(...{json.dumps(args)})")
        return changed

    async def document(self, kind: str, document: str) -> Any:
        return await self.value(f"documents.get({kind!r}, {document!r})")

    async def until_synced(self) -> None:
        await self.until("(await documents.getPendingSyncCount()) === 0")


class Chromium:
    """One profile of a browser."""

    def __init__(self, program: NodeProgram) -> None:
        self._program = program

    async def page(self, name: str, url: str) -> Page:
        """Open a page at a server; it has imported the module as `client`."""
        await command(self._program, {"open": name, "url": url})
        page = Page(self._program, name)
        await page.run(_BEGIN)
        return page

    async def offline(self, offline: bool = True) -> None:  # noqa: FBT001, FBT002 - reads best
        await command(self._program, {"offline": offline})


async def command(program: NodeProgram, line: object) -> Any:
    await program.send(line)
    answer = await program.read()
    assert "error" not in answer, f"{answer['error']}\n{program.errors()}"
    return answer["result"]


@asynccontextmanager
async def chromium(module: Path) -> AsyncIterator[Chromium]:
    """Run a browser whose pages import the module from this folder."""
    async with run_node("chromium.js", json.dumps({"module": str(module)})) as program:
        await program.read()
        yield Chromium(program)


def names(heard: Sequence[Sequence[Any]]) -> list[str]:
    """Return the names of what a page has heard."""
    return [name for name, *_ in heard]
