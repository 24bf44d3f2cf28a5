"""The fixtures of the suites."""

from tests.support.containers import docker, podman
from tests.support.messages import (
    frail_installation,
    frail_postgres,
    frail_rabbit,
    installation,
    messages,
    shared_installation,
)
from tests.support.postgres import postgres_server
from tests.support.rabbit import rabbit_server
from tests.support.s3 import s3_bucket, s3_server
from tests.support.stores import database_url, sqlite_template, world

__all__ = [
    "database_url",
    "docker",
    "frail_installation",
    "frail_postgres",
    "frail_rabbit",
    "installation",
    "messages",
    "podman",
    "postgres_server",
    "rabbit_server",
    "s3_bucket",
    "s3_server",
    "shared_installation",
    "sqlite_template",
    "world",
]
