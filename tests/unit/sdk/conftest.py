"""Both clients over a scripted server: a test that takes `sdk` runs once with each."""

from collections.abc import AsyncIterator

import pytest
from tests.support.scripted_api import AnyClient, ScriptedApi


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> ScriptedApi:
    for name in ("TREADLE_URL", "TREADLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return ScriptedApi()


@pytest.fixture(params=["sync", "async"])
async def sdk(request: pytest.FixtureRequest, api: ScriptedApi, anyio_backend: str) -> AsyncIterator[AnyClient]:
    made = AnyClient(api, request.param)
    yield made
    await made.close()
