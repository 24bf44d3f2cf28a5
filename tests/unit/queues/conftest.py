"""Brokers for the tests of what only one adapter promises."""

from tests.support.messages import frail_rabbit
from tests.support.rabbit import rabbit_server, rabbit_url

__all__ = ["frail_rabbit", "rabbit_server", "rabbit_url"]
