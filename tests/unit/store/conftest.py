"""The fixtures of the store's own tests."""

from tests.support.postgres import postgres_server
from tests.support.stores import database_url

__all__ = ["database_url", "postgres_server"]
