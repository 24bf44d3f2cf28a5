"""Brokers for the tests of what only one adapter promises."""

from tests.support.messages import frail_rabbit
from tests.support.postgres import postgres_server
from tests.support.rabbit import rabbit_server, rabbit_url

__all__ = ["frail_rabbit", "postgres_server", "rabbit_server", "rabbit_url"]
