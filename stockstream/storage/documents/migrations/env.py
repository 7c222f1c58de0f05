"""What Alembic runs: the steps that are missing, on the connection that it was given."""

from alembic import context

from stockstream.storage.documents.migrate import SCHEMA
from stockstream.storage.documents.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=SCHEMA.version_table,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
