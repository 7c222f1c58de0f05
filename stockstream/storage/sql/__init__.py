"""History in a database: SQLite in a file, or PostgreSQL.

Each call is one transaction in a thread of its own; the event loop only waits. See ADR 0007.
"""
