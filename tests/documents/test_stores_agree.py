"""A store in memory and one in a database say the same of everything, and count the same."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stockstream.document_ports import DocumentStore
from stockstream.model.document import Change, DocumentHistory, DocumentKey
from stockstream.storage.documents.database import Database
from stockstream.storage.documents.memory import MemoryDocumentStore
from stockstream.storage.documents.store import SqlDocumentStore
from tests.documents.changes import NOW, USER, Changes, rules

VERSIONS = 2
IDS = ("d", "e")
#: Bytes that soon are too few: past versions give way.
ROOM = 6_000

bodies = st.none() | st.dictionaries(
    st.sampled_from("ab"),
    st.integers(0, 3) | st.just("x" * 300) | st.lists(st.sampled_from("AB")),
    max_size=2,
)
changes = st.fixed_dictionaries(
    {
        "data": bodies,
        "document": st.sampled_from(IDS),
        "base": st.none() | st.integers(0, 4),
        "strategy": st.sampled_from(
            ["merge", "client_wins", "server_wins", "last_write_wins", "manual", "manual"]
        ),
        # Now and then one that was sent before, or decides a conflict of one that was.
        "item_id": st.integers(0, 12).map(str),
        "resolves": st.none() | st.integers(0, 12).map(str),
    }
)
#: Batches, and ms that pass before all that is older is forgotten.
steps = st.lists(st.lists(changes, min_size=1, max_size=4) | st.sampled_from([0, 50]), max_size=8)


async def told(store: DocumentStore) -> list[Any]:
    """Return all that a store says of its user."""
    page = await store.changed_since(USER, None, limit=100)
    histories = [_unnumbered(await store.history(USER, DocumentKey("note", i), 100)) for i in IDS]
    conflicts = await store.conflicts(USER, 100)
    # A database has an account even of a user whose changes were all refused.
    figures = replace(await store.figures(), users=1)
    return [page.documents, page.more, histories, list(conflicts), figures]


def _unnumbered(history: DocumentHistory | None) -> DocumentHistory | None:
    """Return a history without the places of past versions: nobody asks for those."""
    if history is None:
        return None
    return replace(history, versions=tuple(replace(each, seq=0) for each in history.versions))


async def apply(store: DocumentStore, batch: Sequence[Change]) -> Any:
    return list(await store.apply(USER, batch, rules(size=ROOM, documents=2, conflicts=2)))


@settings(max_examples=25)
@given(steps)
async def test_a_store_in_memory_and_one_in_a_database_say_the_same(
    given_steps: list[Any],
) -> None:
    make = Changes()
    clock = count(NOW, 20)
    with tempfile.TemporaryDirectory() as folder:
        memory = MemoryDocumentStore(VERSIONS)
        database = SqlDocumentStore(Database(f"sqlite:///{Path(folder) / 'd.db'}"), VERSIONS)
        try:
            for step in given_steps:
                make.now = next(clock)
                if isinstance(step, int):
                    forgotten = [
                        await store.forget(make.now - step) for store in (memory, database)
                    ]
                    assert forgotten[0] == forgotten[1]
                else:
                    batch = [make(**fields) for fields in step]
                    assert await apply(memory, batch) == await apply(database, batch)
                assert await told(memory) == await told(database)
        finally:
            await database.aclose()
