"""What becomes of the answer of a run that was made for setup commands."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.stores import NOW, World, a_draft, later, open_world

from treadle.clock import SystemClock
from treadle.domain.errors import LeaseLost, StepUnsuccessful
from treadle.domain.events import EventType
from treadle.domain.repository import Repository, SetupStatus
from treadle.domain.run import Run, RunPurpose, RunSource
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.ports import Fence, StepUpdate
from treadle.queues.database import ProcessSignals
from treadle.runner.answers import store_setup_commands
from treadle.runner.patience import Hold, PatientStore, now_on_this_machine
from treadle.services.progress import Progress
from treadle.services.secrets import RunRedactor
from treadle.store.address import sqlite_url

pytestmark = pytest.mark.anyio


@dataclass
class Asked:
    world: World
    run: Run
    repository: Repository
    store: PatientStore
    progress: Progress
    redactor: RunRedactor

    async def answers(self, text: str | None) -> None:
        await self.progress.record(step=StepUpdate(1, status=StepStatus.RUNNING, phase=Phase.ANALYSIS))
        await self.progress.record(step=StepUpdate(1, status=StepStatus.SUCCESS, output=text))

    async def stores(self) -> None:
        await store_setup_commands(self.store, self.progress, self.run)

    async def now(self) -> Repository:
        return await self.world.store.repository(self.repository.organization_id, self.repository.id)


@asynccontextmanager
async def asked(world: World, purpose: RunPurpose = RunPurpose.SETUP_COMMANDS) -> AsyncIterator[Asked]:
    organization = world.principal.organization_id
    given = Repository(0, uuid4(), organization, "acme/shop", "https://git.example.org/shop.git", "main", NOW)
    repository = await world.store.add_repository(given, {})
    await world.store.set_setup(repository.id, SetupStatus.GENERATING, commands="old")
    draft = a_draft("Find them", repository_id=repository.id)
    run, fence = await world.claimed(replace(draft, purpose=purpose, source=RunSource.SETUP_COMMANDS))
    store, redactor = PatientStore(world.store, Hold(3600, now_on_this_machine())), RunRedactor()
    async with Progress.open(store, ProcessSignals(), SystemClock(), fence, redactor) as progress:
        yield Asked(world, run, repository, store, progress, redactor)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(sqlite_url(tmp_path / "store.db")) as found:
        yield found


async def test_they_are_the_repositorys_from_then_on(world: World) -> None:
    async with asked(world) as run:
        run.redactor.learn(["secret-word"])
        await run.answers("Here:\n```sh\nnpm ci\nexport TOKEN=secret-word\n```")
        await run.stores()
        found = await run.now()
        assert (found.setup_status, found.setup_commands) == (SetupStatus.READY, "npm ci\nexport TOKEN=***")
        last = (await world.told(run.run.id))[-1]
        assert (last.type, last.data) == (
            EventType.SETUP_COMMANDS_STORED,
            {"repository": run.repository.id, "lines": 2},
        )


@pytest.mark.parametrize("answer", ["I could not find any.", None])
async def test_an_answer_without_any_fails_the_run_and_keeps_the_old(world: World, answer: str | None) -> None:
    async with asked(world) as run:
        await run.answers(answer)
        with pytest.raises(StepUnsuccessful, match="no setup commands"):
            await run.stores()
        await world.store.finish(run.progress.fence, RunStatus.FAILED, "none", later(1))
        found = await run.now()
        assert (found.setup_status, found.setup_commands) == (SetupStatus.READY, "old")


async def test_a_repository_that_was_removed_is_told(world: World) -> None:
    async with asked(world) as run:
        await run.answers("```\nmake\n```")
        await world.store.remove_repository(run.repository.id)
        with pytest.raises(StepUnsuccessful, match="not registered any more"):
            await run.stores()
        await world.store.finish(run.progress.fence, RunStatus.FAILED, "none", later(1))


async def test_a_worker_that_lost_the_run_stores_nothing(world: World) -> None:
    async with asked(world) as run:
        await run.answers("```\nmake\n```")
        await world.store.release(Fence(run.run.id, run.run.lease), later(1))
        with pytest.raises(LeaseLost):
            await run.stores()
        assert (await run.now()).setup_commands == "old"


async def test_other_runs_have_nothing_to_do_with_it(world: World) -> None:
    async with asked(world, RunPurpose.CODE) as run:
        await run.answers("```\nmake\n```")
        await run.stores()
        await world.store.finish(run.progress.fence, RunStatus.FAILED, "none", later(1))
        assert (await run.now()).setup_status is SetupStatus.GENERATING
