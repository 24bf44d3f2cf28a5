"""A scripted model outside, a gateway in front of it, and a run's door."""

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support.gateway_runs import Opened, open_gateway, opened
from tests.support.model_script import say
from tests.support.model_server import ModelServer

from treadle.domain.run import EngineName
from treadle.gateway import door
from treadle.gateway.gateway import Gateway


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who hangs up on a model that never ends is not waited for."""
    monkeypatch.setattr(door, "UNREAD_SECONDS", 0.2)


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer(lambda _: say("hello")) as server:
        yield server


@pytest.fixture
async def gateway(model: ModelServer) -> AsyncIterator[Gateway]:
    async with open_gateway(claude_base_url=model.url, kimi_base_url=model.openai_url) as found:
        yield found


@pytest.fixture
async def run(gateway: Gateway) -> AsyncIterator[Opened]:
    """A Claude run."""
    async with opened(gateway) as found:
        yield found


@pytest.fixture
async def kimi(gateway: Gateway) -> AsyncIterator[Opened]:
    async with opened(gateway, engine=EngineName.KIMI) as found:
        yield found
