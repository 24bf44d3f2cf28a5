"""Alembic's revisions of the schema; `treadle.store.schema` runs them."""
