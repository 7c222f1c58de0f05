"""Brings the tables to what this version needs, also when many nodes start at once."""

import logging
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from stockstream.errors import StoreUnavailableError

VERSION_TABLE: Final = "history_version"
#: The newest of ``migrations/versions``.
HEAD: Final = "0001"

_FOLDER: Final = Path(__file__).with_name("migrations")
#: Whoever holds it migrates; the number means nothing else.
_LOCK: Final = 0x5354_4F43_4B48


def migrate(connection: Connection) -> None:
    """Migrate, within the transaction of ``connection``; in SQLite it has to hold the write lock.

    Raises:
        StoreUnavailableError: a newer version of this program wrote the tables.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    version = _version(connection)
    if version == HEAD:
        return
    # It would say a line for each of its parts.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It takes half a second to import, and is rarely needed.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise StoreUnavailableError(
            "history", f"its tables have version {version}, this program knows up to {HEAD}"
        )
    command.upgrade(config, "head")


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    select = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608 - a name of ours
    version = connection.scalar(text(select))
    return None if version is None else str(version)
