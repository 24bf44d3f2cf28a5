"""However a run ends, its secrets are gone with the transaction that ends it, on each database."""

from collections.abc import Awaitable, Callable, Mapping
from uuid import uuid4

import pytest
from tests.support.directory import a_repository
from tests.support.sealing import secret_rows
from tests.support.stores import NOW, World, later, started

from treadle.domain.errors import AlreadyFinished
from treadle.domain.run import FollowUp, Run
from treadle.domain.states import RUN_TERMINAL, Phase, RunStatus, StepStatus
from treadle.ports import Fence, StepUpdate

pytestmark = pytest.mark.anyio

SECRETS = {"git_http": "v1:a:1", "git_ssh": "v1:a:2", "claude": "v1:a:3"}


async def claimed(world: World, run: Run) -> Fence:
    found = await world.store.claim("worker", NOW, run_id=run.id)
    assert found is not None
    return Fence(found.id, found.lease)


async def sweep(world: World, *, most_lost: int = 99) -> None:
    await world.store.sweep(later(100), lease_seconds=30, kill_seconds=5, max_lost_workers=most_lost)


async def succeed(world: World, run: Run) -> None:
    await world.store.finish(await claimed(world, run), RunStatus.SUCCESS, None, later(1))


async def fail(world: World, run: Run) -> None:
    await world.store.finish(await claimed(world, run), RunStatus.FAILED, "It broke.", later(1))


async def be_killed(world: World, run: Run) -> None:
    fence = await claimed(world, run)
    await world.store.request_kill(run.id, NOW)
    await world.store.finish(fence, RunStatus.KILLED, None, later(1))


async def be_killed_while_new(world: World, run: Run) -> None:
    await world.store.request_kill(run.id, NOW)


async def be_killed_at_a_release(world: World, run: Run) -> None:
    fence = await claimed(world, run)
    await world.store.request_kill(run.id, NOW)
    await world.store.release(fence, later(1))


async def be_killed_by_a_sweep(world: World, run: Run) -> None:
    await claimed(world, run)
    await world.store.request_kill(run.id, NOW)
    await sweep(world)


async def be_given_up_by_a_sweep(world: World, run: Run) -> None:
    await claimed(world, run)
    await sweep(world, most_lost=1)


async def be_killed_after_a_lost_worker(world: World, run: Run) -> None:
    await claimed(world, run)
    await sweep(world)
    await world.store.request_kill(run.id, later(101))


async def be_killed_with_a_follow_up_waiting(world: World, run: Run) -> None:
    fence = await claimed(world, run)
    await follow_up(world, run, {})
    await world.store.request_kill(run.id, NOW)
    await world.store.finish(fence, RunStatus.SUCCESS, None, later(1))


async def fail_after_a_follow_up(world: World, run: Run) -> None:
    fence = await claimed(world, run)
    await follow_up(world, run, {})
    await world.store.finish(fence, RunStatus.SUCCESS, None, later(1))
    assert (await world.store.get_run_by_id(run.id)).status is RunStatus.NEW
    await fail_at_the_follow_up(world, run)


async def end_a_resume(world: World, run: Run) -> None:
    await succeed(world, run)
    await follow_up(world, run, SECRETS)
    assert await world.store.run_secrets(run.id) == SECRETS
    await fail_at_the_follow_up(world, run)


async def kill_a_resume(world: World, run: Run) -> None:
    await fail(world, run)
    await follow_up(world, run, SECRETS)
    await world.store.request_kill(run.id, NOW)


async def fail_at_the_follow_up(world: World, run: Run) -> None:
    fence, position = await claimed(world, run), len(run.steps) + 1
    step = StepUpdate(position, StepStatus.RUNNING, Phase.ANALYSIS)
    await world.store.record(fence, [started(position)], NOW, step=step)
    await world.store.finish(fence, RunStatus.FAILED, "It broke.", later(2))


async def follow_up(world: World, run: Run, secrets: Mapping[str, str]) -> None:
    await world.store.resume_run(
        run.id, FollowUp("And more"), step_id=uuid4(), secrets=secrets, now=NOW, most_steps=200
    )


@pytest.mark.parametrize(
    "end",
    [
        succeed,
        fail,
        be_killed,
        be_killed_while_new,
        be_killed_at_a_release,
        be_killed_by_a_sweep,
        be_given_up_by_a_sweep,
        be_killed_after_a_lost_worker,
        be_killed_with_a_follow_up_waiting,
        fail_after_a_follow_up,
        end_a_resume,
        kill_a_resume,
    ],
)
async def test_nothing_is_left_of_its_secrets(world: World, end: Callable[[World, Run], Awaitable[None]]) -> None:
    repository = await world.store.add_repository(a_repository(world.principal.organization_id), {"git_http": "theirs"})
    other = await world.run(secrets=SECRETS)
    theirs = await secret_rows(world.store)
    run = await world.run(secrets=SECRETS)
    assert len(await secret_rows(world.store)) == len(theirs) + len(SECRETS)
    await end(world, run)
    assert (await world.store.get_run_by_id(run.id)).status in RUN_TERMINAL
    assert await secret_rows(world.store) == theirs
    with pytest.raises(AlreadyFinished):
        await world.store.put_run_secrets(run.id, SECRETS, None, NOW)
    assert await secret_rows(world.store) == theirs
    assert await world.store.run_secrets(other.id) == SECRETS
    assert await world.store.repository_secrets(repository.id) == {"git_http": "theirs"}


async def test_a_run_that_goes_on_keeps_them(world: World) -> None:
    run = await world.run(secrets=SECRETS)
    await world.store.release(await claimed(world, run), NOW)
    await claimed(world, run)
    await sweep(world)
    assert (await world.store.get_run_by_id(run.id)).status is RunStatus.NEW
    assert await world.store.run_secrets(run.id) == SECRETS
