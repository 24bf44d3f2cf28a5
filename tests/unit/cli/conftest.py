"""Servers for the doctor."""

from tests.support.postgres import postgres_server
from tests.support.rabbit import rabbit_server, rabbit_url
from tests.support.s3 import s3_bucket, s3_server
from tests.support.stores import sqlite_template

__all__ = ["postgres_server", "rabbit_server", "rabbit_url", "s3_bucket", "s3_server", "sqlite_template"]
