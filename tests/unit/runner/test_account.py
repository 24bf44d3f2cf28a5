"""Whose bill it is, over claims: a passed budget is told once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
from tests.support.stores import NOW, World, a_draft, later, open_world, started
from tests.support.webhooks import a_webhook

from treadle.clock import SystemClock
from treadle.domain.errors import BudgetExceeded
from treadle.domain.events import EventType, JsonObject
from treadle.domain.messages import Filter, MessageStatus
from treadle.domain.prices import Tokens
from treadle.domain.run import FollowUp, Run
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.ports import Fence, StepUpdate
from treadle.ports.gateway import ModelAnswer
from treadle.queues.database import ProcessSignals
from treadle.redaction import Redactor
from treadle.runner.account import RunAccount
from treadle.services.budgets import RunBudget
from treadle.services.progress import Progress
from treadle.services.secrets import RunSecrets
from treadle.store.address import sqlite_url

pytestmark = pytest.mark.anyio

LEASE_SECONDS = 30.0


@pytest.fixture
async def world(tmp_path: Path, anyio_backend: str) -> AsyncIterator[World]:
    async with open_world(sqlite_url(tmp_path / "treadle.db")) as made:
        yield made


@asynccontextmanager
async def account_of(world: World, run: Run) -> AsyncIterator[RunAccount]:
    """As the worker that has claimed it; leaving is its death."""
    fence, clock = Fence(run.id, run.lease), SystemClock()
    async with Progress.open(world.store, ProcessSignals(), clock, fence, Redactor([])) as progress:
        # Of the run's secrets nothing is asked.
        account = RunAccount(run.engine, cast("RunSecrets", None), progress, RunBudget(run, world.store, clock))
        account.bill_to(1, Phase.ANALYSIS)
        yield account


def an_answer(cost: float) -> ModelAnswer:
    return ModelAnswer("a-model", Tokens(10, 5), cost, 200, is_estimated=False, duration_ms=1)


async def claimed(world: World, run_id: int) -> Run:
    run = await world.store.claim("worker", NOW, run_id=run_id)
    assert run is not None
    return run


async def told(world: World, run: Run) -> list[JsonObject]:
    return [event.data for event in await world.told(run.id) if event.type is EventType.BUDGET_PASSED]


async def test_a_worker_that_died_between_a_passed_budget_and_the_end_has_told_it(world: World) -> None:
    webhook = await a_webhook(world, Filter(types=("budget.*",)))
    run, _ = await world.claimed(replace(a_draft("x"), max_cost_usd=0.01))
    async with account_of(world, run) as account:
        await account.charge(an_answer(0.02))
    swept = await world.store.sweep(
        later(LEASE_SECONDS + 1), lease_seconds=LEASE_SECONDS, kill_seconds=5, max_lost_workers=4
    )
    assert list(swept.requeued) == [run.id]
    async with account_of(world, await claimed(world, run.id)) as account:
        with pytest.raises(BudgetExceeded, match=r"its budget is \$0\.01"):
            await account.permit()
        assert (await account.passed()).limit_usd == 0.01
    assert await told(world, run) == [{"of": "run", "limitUsd": 0.01, "spentUsd": 0.02}]
    messages = await world.store.messages(webhook.id, MessageStatus.WAITING, before=None, limit=9)
    assert [message.type for message in messages] == ["budget.passed"]


async def test_a_follow_up_in_the_line_is_not_told_again(world: World) -> None:
    run, fence = await world.claimed(replace(a_draft("x"), max_cost_usd=0.01))
    await world.store.record(fence, [started(1)], NOW, step=StepUpdate(1, StepStatus.RUNNING))
    await world.store.resume_run(run.id, FollowUp("more"), step_id=uuid4(), secrets={}, now=NOW, most_steps=9)
    async with account_of(world, run) as account:
        await account.charge(an_answer(0.02))
    assert await world.store.finish(fence, RunStatus.FAILED, "why", NOW) is RunStatus.NEW
    async with account_of(world, await claimed(world, run.id)) as account:
        with pytest.raises(BudgetExceeded):
            await account.permit()
    assert len(await told(world, run)) == 1


async def test_answers_that_come_at_once_after_a_restart_are_told_once(world: World) -> None:
    run, fence = await world.claimed(replace(a_draft("x"), max_cost_usd=0.01))
    await world.store.release(fence, NOW)
    async with account_of(world, await claimed(world, run.id)) as account:
        await asyncio.gather(*(account.charge(an_answer(0.02)) for _ in range(5)))
    assert len(await told(world, run)) == 1


async def test_one_that_died_before_it_was_told_leaves_it_to_the_next(world: World) -> None:
    run, fence = await world.claimed(replace(a_draft("x"), max_cost_usd=0.01))
    async with account_of(world, run) as account:
        await account.charge(an_answer(0.01))
    await world.store.release(fence, NOW)
    async with account_of(world, await claimed(world, run.id)) as account:
        with pytest.raises(BudgetExceeded):
            await account.permit()
    assert len(await told(world, run)) == 1


async def test_a_larger_budget_that_is_passed_too_is_told_as_well(world: World) -> None:
    run, fence = await world.claimed(replace(a_draft("x"), max_cost_usd=0.01))
    async with account_of(world, run) as account:
        await account.charge(an_answer(0.02))
    await world.store.finish(fence, RunStatus.FAILED, "why", NOW)
    await world.store.resume_run(
        run.id, FollowUp("more"), step_id=uuid4(), secrets={}, now=NOW, most_steps=9, max_cost_usd=0.03
    )
    async with account_of(world, await claimed(world, run.id)) as account:
        await account.charge(an_answer(0.02))
        await account.charge(an_answer(0.02))
    assert [data["limitUsd"] for data in await told(world, run)] == [0.01, 0.03]
