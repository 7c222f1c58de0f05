"""How the tables come about and change, for Alembic."""
