"""Fixtures every test may use."""

import os
import signal
from importlib import import_module
from pkgutil import walk_packages

import pytest
from hypothesis import HealthCheck, settings

import treadle

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


#: Those that do something when they are imported.
_PROGRAMS = frozenset({"treadle.__main__", "treadle.store.migrations.env"})


def pytest_collection_finish() -> None:
    """Hypothesis makes some of its examples of constants in the modules that are loaded. Where they are to be the same
    each time, all of ours are, whichever tests this process has run before."""
    if os.environ.get("CI"):
        for module in walk_packages(treadle.__path__, "treadle."):
            if module.name not in _PROGRAMS:
                import_module(module.name)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
