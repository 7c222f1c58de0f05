"""Run by Alembic: migrates the connection that ``migrate.py`` hands over."""

from alembic import context

from stockstream.storage.sql.migrate import SCHEMA
from stockstream.storage.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=SCHEMA.version_table,
)
context.run_migrations()
