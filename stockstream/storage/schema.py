"""Brings tables to what this version needs, also when many nodes start at once."""

import logging
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from stockstream.errors import StoreUnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Tables that belong together; others may be in the same database."""

    #: What errors name.
    store: str
    #: Alembic's ``env.py`` and ``versions``.
    folder: Path
    #: The newest of them.
    head: str
    #: Says which of them the tables have.
    version_table: str
    #: Whoever holds it in PostgreSQL migrates; the number means nothing else.
    lock: int


def migrate(connection: Connection, schema: Schema) -> None:
    """Migrate, within the transaction of ``connection``; in SQLite it has to hold the write lock.

    Raises:
        StoreUnavailableError: a newer version of this program wrote the tables.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": schema.lock})
    version = _version(connection, schema)
    if version == schema.head:
        return
    # It would say a line for each of its parts.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It takes half a second to import, and is rarely needed.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(schema.folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise StoreUnavailableError(
            schema.store,
            f"its tables have version {version}, this program knows up to {schema.head}",
        )
    command.upgrade(config, "head")


def _version(connection: Connection, schema: Schema) -> str | None:
    if not inspect(connection).has_table(schema.version_table):
        return None
    select = f"SELECT version_num FROM {schema.version_table}"  # noqa: S608 - a name of ours
    version = connection.scalar(text(select))
    return None if version is None else str(version)
