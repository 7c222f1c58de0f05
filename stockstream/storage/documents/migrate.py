"""Brings the tables to what this version needs, also when many nodes start at once."""

import logging
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from stockstream.errors import StoreUnavailableError

#: Beside those of other parts that use the same database.
VERSION_TABLE: Final = "document_schema"
#: The newest of ``migrations/versions``.
HEAD: Final = "0001"

_SCRIPTS: Final = Path(__file__).with_name("migrations")
#: Whoever holds it migrates; the number means nothing else.
_LOCK: Final = 0x5354_4F43_4B44


def migrate(connection: Connection) -> None:
    """Upgrade to the newest schema, in one transaction; others wait.

    Raises:
        StoreUnavailableError: a newer version of this program wrote the tables.
    """
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        version = _version(connection)
        if version == HEAD:
            return
        if version is not None and version > HEAD:
            raise StoreUnavailableError(
                connection.dialect.name,
                f"its tables have version {version}, this program knows up to {HEAD}",
            )
        _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Half a second to import, and rarely needed.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608
    return None if version is None else str(version)
