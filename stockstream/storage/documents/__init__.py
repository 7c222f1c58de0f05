"""Documents: in memory, in an SQLite file, or in PostgreSQL. See ADR 0011."""
