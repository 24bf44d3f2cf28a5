"""Fixtures every test may use."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# A busy machine makes examples slow, and chance makes them large; that is no fault of theirs. CI tells of a change, and
# so tries the same examples each time; whoever runs the tests at home tries others.
settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("any machine")

# A shell without job control starts what it puts in the background with Ctrl-C ignored, and so would be every command
# that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
