"""The fixtures of the suites."""

from tests.support.postgres import postgres_server
from tests.support.s3 import s3_bucket, s3_server
from tests.support.stores import database_url, sqlite_template, world

__all__ = ["database_url", "postgres_server", "s3_bucket", "s3_server", "sqlite_template", "world"]
