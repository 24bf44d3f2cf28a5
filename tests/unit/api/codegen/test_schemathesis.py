"""Requests that schemathesis makes up from the published specification, bounded and the same every time: no answer
contradicts it."""

import asyncio
import threading
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok
from tests.support.agent_run_contract import GENERAL, document
from tests.unit.api.codegen.calls import SPECIFIED
from tests.unit.api.codegen.scene import Scene, scene

from treadle.server import listening

EXAMPLES = 10

#: No contradiction: what is refused although the specification, which has no limits, would take it (a prompt of spaces,
#: an image that is none); and ids that it makes up and are nobody's.
LEFT_OUT = {"positive_data_acceptance", "ensure_resource_availability", "use_after_free"}


def specification() -> dict[str, Any]:
    """With what any operation may answer by the contract beside it."""
    found = deepcopy(document())
    for methods in found["paths"].values():
        for operation in methods.values():
            for status, schema in GENERAL.items():
                operation["responses"].setdefault(
                    str(status), {"description": "As everywhere.", "content": {"application/json": {"schema": schema}}}
                )
    return found


@dataclass
class Served:
    """The API on loopback, in a thread and a loop of its own: schemathesis waits for each answer."""

    folder: Path
    address: str = ""
    there: Scene | None = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _loop: asyncio.AbstractEventLoop | None = None
    _stop: asyncio.Event | None = None

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="api")
        thread.start()
        assert self._ready.wait(60)
        return thread

    def stop(self) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with scene(self.folder) as self.there, listening(self.there.here.app, "127.0.0.1", 0) as self.address:
            self._ready.set()
            await self._stop.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("served"))
    thread = found.start()
    yield found
    found.stop()
    thread.join(60)
    assert not thread.is_alive()


load_all_checks()
SCHEMA = schemathesis.openapi.from_dict(specification())
FOUND = [each.ok() for each in SCHEMA.get_all_operations() if isinstance(each, Ok)]
EVERY = {f"{operation.method.upper()} {operation.path}": operation for operation in FOUND}
CHECKED = [check for check in CHECKS.get_all() if not isinstance(check, type) and check.__name__ not in LEFT_OUT]


def test_every_operation_is_asked() -> None:
    assert set(EVERY) == set(SPECIFIED)
    assert {check.__name__ for check in CHECKED} >= {"status_code_conformance", "response_schema_conformance"}


def asked() -> Iterator[tuple[str, bool, GenerationMode]]:
    """With ids of what is there and with others, valid and invalid; where there is nothing to get wrong, only valid."""
    for name in sorted(EVERY):
        yield name, False, GenerationMode.POSITIVE
        is_open = EVERY[name].query or EVERY[name].body
        if "{" in name:
            yield name, True, GenerationMode.POSITIVE
            yield name, False, GenerationMode.NEGATIVE
        if is_open:
            yield name, "{" in name, GenerationMode.NEGATIVE


@pytest.mark.parametrize(("name", "is_known", "mode"), list(asked()))
def test_no_answer_contradicts_the_specification(
    served: Served, name: str, is_known: bool, mode: GenerationMode
) -> None:
    operation, there = EVERY[name], served.there
    assert there is not None
    known = {key: value for key, value in there.ids.items() if is_known and f"{{{key}}}" in operation.path}

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode, path_parameters=known or None))
    def ask(case: Case[Any]) -> None:
        case.path_parameters = {**case.path_parameters, **known}
        case.call_and_validate(
            served.address, headers={"Authorization": f"Bearer {there.here.admin.key}"}, checks=CHECKED
        )

    ask()
