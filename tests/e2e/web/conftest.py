"""Pages of a real service, in a real browser."""

from collections.abc import Iterator

import pytest
from tests.support.browser import Chromium


@pytest.fixture(scope="module")  # its loop must end before tests that are coroutines begin
def chromium() -> Iterator[Chromium]:
    with Chromium() as running:
        yield running
