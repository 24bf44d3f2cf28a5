"""Every container that runs Treadle, of both ways to deploy it."""

from pathlib import Path

import pytest
from tests.unit.deploy import parts
from tests.unit.deploy.parts import Map, Process


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The `.env` of an operator who did as env.example says."""
    return parts.filled_environment(Path(tmp_path_factory.mktemp("env")))


@pytest.fixture(scope="session")
def compose(given: dict[str, str]) -> Map:
    return parts.compose(given)


@pytest.fixture(scope="session")
def processes(compose: Map) -> list[Process]:
    return [*parts.compose_processes(compose), *parts.kubernetes_processes()]
