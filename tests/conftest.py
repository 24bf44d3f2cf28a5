"""Fixtures every test may use."""

import pytest
from hypothesis import HealthCheck, settings

# A busy machine makes examples slow; that is no fault of theirs.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
