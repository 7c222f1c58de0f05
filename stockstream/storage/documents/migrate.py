"""Which tables documents have; see ``migrations/versions``."""

from pathlib import Path
from typing import Final

from stockstream.storage.schema import Schema

SCHEMA: Final = Schema(
    store="documents",
    folder=Path(__file__).with_name("migrations"),
    head="0001",
    version_table="document_schema",
    lock=0x5354_4F43_4B44,
)
