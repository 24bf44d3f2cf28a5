"""The fixtures of the store's own tests."""

from tests.support.postgres import postgres_server
from tests.support.stores import database_url, sqlite_template

__all__ = ["database_url", "postgres_server", "sqlite_template"]
