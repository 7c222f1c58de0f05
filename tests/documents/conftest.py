"""The stores of documents, each of a test's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stockstream.document_ports import DocumentStore
from stockstream.storage.documents.database import Database
from stockstream.storage.documents.memory import MemoryDocumentStore
from stockstream.storage.documents.store import SqlDocumentStore
from tests.documents.changes import Changes

KINDS = ("memory", "sqlite", "postgresql")
#: Past versions that the stores keep of a document.
VERSIONS = 5


@pytest.fixture
def changes() -> Changes:
    """Makes changes."""
    return Changes()


@pytest.fixture(params=("sqlite", "postgresql"))
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'documents.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DocumentStore]:
    """An empty store of each kind."""
    opened: DocumentStore
    if request.param == "memory":
        opened = MemoryDocumentStore(VERSIONS)
    elif request.param == "sqlite":
        opened = SqlDocumentStore(Database(f"sqlite:///{tmp_path / 'documents.db'}"), VERSIONS)
    else:
        opened = SqlDocumentStore(Database(request.getfixturevalue("postgres_url")), VERSIONS)
    yield opened
    await opened.aclose()
