"""The history of the votes database's form, for Alembic."""
