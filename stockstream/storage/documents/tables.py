"""The tables of documents. Every row belongs to a user, whose account is locked to change it."""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text, text

#: Names of constraints are ours, not made up by the database: migrations refer to them.
METADATA: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

#: One row a user: what numbers changes, and what is counted.
ACCOUNTS: Final = Table(
    "document_accounts",
    METADATA,
    Column("user", Text, primary_key=True),
    # Changes where ``seq`` begins anew: whoever restores an old backup gives new ones.
    Column("epoch", Text, nullable=False),
    # Number of the last change, and of the last one of those whose deletions are forgotten.
    Column("seq", BigInteger, nullable=False),
    Column("forgotten", BigInteger, nullable=False),
    Column("documents", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("conflicts", Integer, nullable=False),
)

#: Present versions; ``body`` is null where the document is deleted.
DOCUMENTS: Final = Table(
    "documents",
    METADATA,
    Column("user", Text, primary_key=True),
    Column("type", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("stamp", BigInteger, nullable=False),
    Column("author", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("body", Text),
)
Index(None, DOCUMENTS.c.user, DOCUMENTS.c.seq)
_DELETED = text("body IS NULL")
Index(
    "ix_documents_deleted",
    DOCUMENTS.c.stamp,
    sqlite_where=_DELETED,
    postgresql_where=_DELETED,
)

#: Past versions.
PAST: Final = Table(
    "document_versions",
    METADATA,
    Column("user", Text, primary_key=True),
    Column("type", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("stamp", BigInteger, nullable=False),
    Column("author", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("body", Text),
)

#: Items that have been dealt with.
RECEIPTS: Final = Table(
    "document_items",
    METADATA,
    Column("user", Text, primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("sent_checksum", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("stamp", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    # JSON: [[path, client, server], …].
    Column("unmerged", Text),
    Column("sent", Text),
)
Index(None, RECEIPTS.c.stamp)
_SENT = text("sent IS NOT NULL")
Index(
    "ix_document_items_sent",
    RECEIPTS.c.user,
    RECEIPTS.c.type,
    RECEIPTS.c.id,
    sqlite_where=_SENT,
    postgresql_where=_SENT,
)

#: Conflicts; ``decided`` is the stamp of the decision, 0 while they wait.
CONFLICTS: Final = Table(
    "document_conflicts",
    METADATA,
    Column("user", Text, primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("stamp", BigInteger, nullable=False),
    Column("decided", BigInteger, nullable=False),
    # JSON: an array of names, and the version of the server's side.
    Column("fields", Text, nullable=False),
    Column("server_version", Text, nullable=False),
    Column("base_version", Integer),
    Column("size", Integer, nullable=False),
    Column("client", Text),
    Column("server", Text),
)
Index(None, CONFLICTS.c.user, CONFLICTS.c.decided)
Index(None, CONFLICTS.c.decided)
