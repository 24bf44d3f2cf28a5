"""Time for what goes on for long, on a busy machine for longer."""

import pytest
from tests.support.fuzzing import SECONDS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/fuzz/" in item.nodeid:
            item.add_marker(pytest.mark.timeout(SECONDS + 900))
