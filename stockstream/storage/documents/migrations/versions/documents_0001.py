"""Documents, their versions, items and conflicts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "document_accounts",
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("forgotten", sa.BigInteger, nullable=False),
        sa.Column("documents", sa.Integer, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("conflicts", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("user", name="pk_document_accounts"),
    )
    op.create_table(
        "documents",
        *_version_columns(),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text),
        sa.PrimaryKeyConstraint("user", "type", "id", name="pk_documents"),
    )
    op.create_index("ix_documents_user_seq", "documents", ["user", "seq"])
    _partial_index("ix_documents_deleted", "documents", ["stamp"], "body IS NULL")
    op.create_table(
        "document_versions",
        *_version_columns(),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("body", sa.Text),
        sa.PrimaryKeyConstraint("user", "type", "id", "version", name="pk_document_versions"),
    )
    op.create_table(
        "document_items",
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("item_id", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("sent_checksum", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("stamp", sa.BigInteger, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("unmerged", sa.Text),
        sa.Column("sent", sa.Text),
        sa.PrimaryKeyConstraint("user", "item_id", name="pk_document_items"),
    )
    op.create_index("ix_document_items_stamp", "document_items", ["stamp"])
    _partial_index(
        "ix_document_items_sent", "document_items", ["user", "type", "id"], "sent IS NOT NULL"
    )
    op.create_table(
        "document_conflicts",
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("item_id", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("stamp", sa.BigInteger, nullable=False),
        sa.Column("decided", sa.BigInteger, nullable=False),
        sa.Column("fields", sa.Text, nullable=False),
        sa.Column("server_version", sa.Text, nullable=False),
        sa.Column("base_version", sa.Integer),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("client", sa.Text),
        sa.Column("server", sa.Text),
        sa.PrimaryKeyConstraint("user", "item_id", name="pk_document_conflicts"),
    )
    op.create_index("ix_document_conflicts_user_decided", "document_conflicts", ["user", "decided"])
    op.create_index("ix_document_conflicts_decided", "document_conflicts", ["decided"])


def downgrade() -> None:
    """Drop the tables, and what users kept in them."""
    for table in (
        "document_conflicts",
        "document_items",
        "document_versions",
        "documents",
        "document_accounts",
    ):
        op.drop_table(table)


def _version_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("stamp", sa.BigInteger, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("checksum", sa.Text, nullable=False),
        sa.Column("item_id", sa.Text, nullable=False),
    ]


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
