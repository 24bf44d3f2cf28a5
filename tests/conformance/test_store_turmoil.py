"""Resumes, kills, claims, ends and sweeps of runs on the same branches, all at once and from two processes: nothing
waits for ever, nothing is lost, and no two runs have one branch."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import select
from tests.support.directory import a_repository, another_process
from tests.support.stores import World, a_draft, started

from treadle.domain.errors import AlreadyFinished, Conflict, LeaseLost
from treadle.domain.run import FollowUp, Run, RunPurpose
from treadle.domain.states import RUN_TERMINAL, RunStatus, StepStatus
from treadle.ports import Fence, StepUpdate
from treadle.store.prepared import Prepared
from treadle.store.sql import SqlStore
from treadle.store.tables import IS_CLAIMABLE, branch_holders, runs

pytestmark = pytest.mark.anyio

SECONDS = 4.0

#: Until all has happened that is to happen, and until all runs have ended.
MOST_SECONDS, MOST_END_SECONDS = 100.0, 150.0

#: What has to have happened.
EVERYTHING = ("resumed", "swept", "New", "Failed", "Killed", "Success")

MOST_STEPS = 100_000

_HAVING_A_BRANCH = Prepared(select(runs.c.branch_key).where((runs.c.status == "Running") | IS_CLAIMABLE))
_HELD = Prepared(select(branch_holders.c.branch))


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Turmoil:
    world: World
    stores: Sequence[SqlStore]
    repository: int
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    over: asyncio.Event = field(default_factory=asyncio.Event)
    ids: list[int] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def store(self) -> SqlStore:
        return self.dice.choice(self.stores)

    async def on_and_on(self, work: Callable[[], Awaitable[None]], pause: float) -> None:
        while not self.over.is_set():
            await work()
            await asyncio.sleep(self.dice.random() * pause)

    async def create(self) -> None:
        draft = a_draft("one", "two", branch=f"shared-{self.dice.randrange(2)}", repository_id=self.repository)
        purpose = self.dice.choice((RunPurpose.CODE, RunPurpose.SETUP_COMMANDS))
        made, _ = await self.store.create_run(
            replace(draft, purpose=purpose),
            self.world.principal,
            uuid=uuid4(),
            step_ids=[uuid4(), uuid4()],
            secrets={"git_http": "sealed"},
            now=now(),
            monthly_runs=MOST_STEPS,
        )
        self.ids.append(made.id)

    async def resume(self) -> None:
        run_id = self.dice.choice(self.ids)
        try:
            await self.store.resume_run(
                run_id,
                FollowUp("more"),
                step_id=uuid4(),
                secrets={"git_http": "sealed"},
                now=now(),
                most_steps=MOST_STEPS,
            )
            self.seen["resumed"] += 1
        except Conflict:  # it is being killed
            pass

    async def kill(self) -> None:
        with suppress(AlreadyFinished):
            await self.store.request_kill(self.dice.choice(self.ids), now())

    async def ban(self) -> None:
        place = (self.world.principal.organization_id, a_draft().git_url, "shared-0")
        await self.store.ban_branch(*place, run_id=self.ids[0], user_id=self.world.principal.user_id, now=now())
        await self.store.unban_branch(*place)

    async def sweep(self) -> None:
        found = await self.store.sweep(now(), lease_seconds=0.2, kill_seconds=0.1, max_lost_workers=MOST_STEPS)
        self.seen["swept"] += len(found.requeued) + len(found.killed)

    async def look(self) -> None:
        rows = await self.world.store._executor.read(lambda session: session.all(_HAVING_A_BRANCH))
        assert len(set(rows)) == len(rows)

    async def work(self) -> None:
        """One run, well or badly."""
        store = self.store
        if (run := await store.claim(uuid4().hex, now())) is None:
            return
        if not await store.run_secrets(run.id):  # it was gone before we could look
            found = await store.get_run_by_id(run.id)
            assert (found.status, found.lease) != (RunStatus.RUNNING, run.lease)
        fence, fate = Fence(run.id, run.lease), self.dice.random()
        try:
            if fate < 0.1:  # its worker dies
                return
            if fate < 0.2:  # or goes
                await store.release(fence, now())
                return
            became = await store.finish(fence, await self.steps(store, run, fence), None, now())
            self.seen[became] += 1
        except LeaseLost:
            self.seen["lost"] += 1

    async def steps(self, store: SqlStore, run: Run, fence: Fence) -> RunStatus:
        for step in run.steps_to_do:
            at = step.position
            if step.status is StepStatus.NOT_STARTED:
                await store.record(fence, [started(at)], now(), step=StepUpdate(at, StepStatus.RUNNING))
            if self.dice.random() < 0.2:  # it goes wrong
                return self.dice.choice((RunStatus.FAILED, RunStatus.KILLED))
            await store.record(fence, [], now(), step=StepUpdate(at, StepStatus.SUCCESS))
        return RunStatus.SUCCESS

    async def settled(self) -> Sequence[Run]:
        """When nobody resumes them any more, they all end."""
        async with asyncio.timeout(MOST_END_SECONDS):
            while True:
                found = [await self.world.store.get_run_by_id(run_id) for run_id in self.ids]
                if all(run.status in RUN_TERMINAL for run in found):
                    return found
                await self.sweep()
                await self.work()


async def test_nothing_is_lost_in_a_turmoil(world: World) -> None:
    repository = await world.store.add_repository(a_repository(world.principal.organization_id), {})
    async with another_process(world) as other:
        here = Turmoil(world, (world.store, other), repository.id)
        for _ in range(12):
            await here.create()
        async with asyncio.TaskGroup() as group:
            pauses = ((here.work, 0.005),) * 4 + ((here.resume, 0.02),) * 4 + ((here.kill, 0.05),) * 2
            for work, pause in (*pauses, (here.create, 0.5), (here.ban, 0.1), (here.sweep, 0.1), (here.look, 0.02)):
                group.create_task(here.on_and_on(work, pause))
            await asyncio.sleep(SECONDS)
            for _ in range(round(MOST_SECONDS)):  # a busy machine takes longer for it
                if all(here.seen[what] for what in EVERYTHING):
                    break
                await asyncio.sleep(1)
            here.over.set()
        found = await here.settled()
        assert not await world.store._executor.read(lambda session: session.all(_HELD))
        for run in found:
            assert await world.store.run_secrets(run.id) == {}
            assert run.status is not RunStatus.SUCCESS or not run.steps_to_do
        assert [what for what in EVERYTHING if not here.seen[what]] == []
