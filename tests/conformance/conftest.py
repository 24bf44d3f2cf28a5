"""The fixtures of the store's suite."""

from tests.support.postgres import postgres_server
from tests.support.stores import database_url, world

__all__ = ["database_url", "postgres_server", "world"]
