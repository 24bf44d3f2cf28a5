"""Executions of setup commands, on each database."""

from dataclasses import replace

import pytest
from sqlalchemy import update
from tests.support.directory import ODD, PLAIN, a_repository, another_process, losing, rewrite, working
from tests.support.stores import NOW, World, a_draft, later

from treadle.domain.errors import LeaseLost, NotFound
from treadle.domain.repository import Repository, SandboxStatus, SetupSandbox, SetupStatus
from treadle.domain.run import Run, RunPurpose
from treadle.domain.states import RunStatus
from treadle.ports import Fence
from treadle.store.tables import sandboxes

pytestmark = pytest.mark.anyio

HOME = 1


@pytest.fixture
async def repository(world: World) -> Repository:
    return await world.store.add_repository(a_repository(HOME), {})


async def test_an_execution_runs_and_ends(world: World, repository: Repository) -> None:
    run, fence = await working(world, repository.id)
    made = await world.store.add_sandbox(fence, repository.id, "digest", later(1))
    assert made == SetupSandbox(
        made.id, HOME, repository.id, run.id, "digest", SandboxStatus.RUNNING, None, None, later(1)
    )
    assert await world.store.sandbox(HOME, made.id) == made
    await world.store.finish_sandbox(
        fence, made.id, SandboxStatus.FAILED, later(2), exit_code=127, log_blob="setup/log"
    )
    ended = replace(made, status=SandboxStatus.FAILED, exit_code=127, log_blob="setup/log", date_completed=later(2))
    assert await world.store.sandbox(HOME, made.id) == ended
    assert list(await world.store.sandboxes(repository.id, limit=10)) == [ended]


async def test_executions_are_newest_first(world: World, repository: Repository) -> None:
    other = await world.store.add_repository(a_repository(HOME, "group/other"), {})
    fences = [(await working(world, repository.id))[1] for _ in range(3)]
    made = [await world.store.add_sandbox(fence, repository.id, "same", NOW) for fence in fences]
    _, elsewhere = await working(world, other.id)
    await world.store.add_sandbox(elsewhere, other.id, "same", NOW)
    assert len({one.id for one in made}) == 3
    assert list(await world.store.sandboxes(repository.id, limit=10)) == made[::-1]
    assert list(await world.store.sandboxes(repository.id, limit=2)) == made[:0:-1]
    assert list(await world.store.sandboxes(999, limit=2)) == []


async def test_an_execution_whose_worker_died_is_over(world: World, repository: Repository) -> None:
    run, fence = await working(world, repository.id)
    left = await world.store.add_sandbox(fence, repository.id, "digest", NOW)
    await world.store.release(fence, NOW)
    assert (await world.store.sandbox(HOME, left.id)).status is SandboxStatus.FAILED
    again = await world.store.claim("other", NOW, run_id=run.id)
    assert again is not None
    current = Fence(run.id, again.lease)
    made = await world.store.add_sandbox(current, repository.id, "digest", later(1))
    found = await world.store.sandboxes(repository.id, limit=10)
    assert [(one.id, one.status) for one in found] == [
        (made.id, SandboxStatus.RUNNING),
        (left.id, SandboxStatus.FAILED),
    ]
    await world.store.finish(current, RunStatus.FAILED, "because", later(2))
    assert (await world.store.sandbox(HOME, made.id)).status is SandboxStatus.FAILED


async def test_only_who_has_the_lease_may_write(world: World, repository: Repository) -> None:
    run, fence = await working(world, repository.id)
    made = await world.store.add_sandbox(fence, repository.id, "digest", NOW)
    await world.store.release(fence, NOW)
    await world.store.claim("other", NOW, run_id=run.id)
    for stale in (fence, Fence(999, 1)):
        with pytest.raises(LeaseLost):
            await world.store.add_sandbox(stale, repository.id, "digest", NOW)
        with pytest.raises(LeaseLost):
            await world.store.finish_sandbox(stale, made.id, SandboxStatus.READY, NOW, exit_code=0, log_blob=None)
        with pytest.raises(LeaseLost):
            await world.store.set_setup(repository.id, SetupStatus.FAILED, commands="no", fence=stale)
    assert list(await world.store.sandboxes(repository.id, limit=10)) == [made]
    assert await world.store.repository(HOME, repository.id) == repository
    current = Fence(run.id, fence.lease + 1)
    await world.store.set_setup(repository.id, SetupStatus.READY, commands="make deps", fence=current)
    await world.store.set_setup(repository.id, SetupStatus.FAILED, fence=current)
    found = await world.store.repository(HOME, repository.id)
    assert (found.setup_status, found.setup_commands) == (SetupStatus.FAILED, "make deps")
    await world.store.finish(current, RunStatus.SUCCESS, None, NOW)
    with pytest.raises(LeaseLost):
        await world.store.set_setup(repository.id, SetupStatus.READY, fence=current)


async def test_a_run_ends_its_own_executions_alone(world: World, repository: Repository) -> None:
    _, fence = await working(world, repository.id)
    _, other = await working(world, repository.id)
    made = await world.store.add_sandbox(fence, repository.id, "digest", NOW)
    for asked, sandbox_id in ((other, made.id), (fence, 999)):
        with pytest.raises(NotFound):
            await world.store.finish_sandbox(asked, sandbox_id, SandboxStatus.READY, NOW, exit_code=0, log_blob=None)
    assert await world.store.sandbox(HOME, made.id) == made
    with pytest.raises(NotFound):
        await world.store.add_sandbox(fence, 999, "digest", NOW)


async def test_an_execution_is_its_organizations_own(world: World, repository: Repository) -> None:
    stranger = await world.stranger()
    _, fence = await working(world, repository.id)
    made = await world.store.add_sandbox(fence, repository.id, ODD, NOW)
    assert made.digest == PLAIN
    for organization_id, sandbox_id in ((stranger.organization_id, made.id), (HOME, 999)):
        with pytest.raises(NotFound):
            await world.store.sandbox(organization_id, sandbox_id)


async def test_executions_go_with_their_repository(world: World, repository: Repository) -> None:
    _, fence = await working(world, repository.id)
    made = await world.store.add_sandbox(fence, repository.id, "digest", NOW)
    await world.store.remove_repository(repository.id)
    with pytest.raises(NotFound):
        await world.store.sandbox(HOME, made.id)
    assert list(await world.store.sandboxes(repository.id, limit=10)) == []
    # The run goes on, and what it has begun may end.
    await world.store.finish_sandbox(fence, made.id, SandboxStatus.READY, NOW, exit_code=0, log_blob=None)
    with pytest.raises(NotFound):
        await world.store.set_setup(repository.id, SetupStatus.READY, fence=fence)


async def test_a_status_of_another_version_is_no_success(world: World, repository: Repository) -> None:
    _, fence = await working(world, repository.id)
    made = await world.store.add_sandbox(fence, repository.id, "digest", NOW)
    await rewrite(world, update(sandboxes).values(status="ASLEEP"))
    assert (await world.store.sandbox(HOME, made.id)).status is SandboxStatus.FAILED


@pytest.mark.parametrize("was_saved", [True, False])
async def test_an_answer_that_was_lost_makes_no_second_one(
    world: World, repository: Repository, was_saved: bool
) -> None:
    _, fence = await working(world, repository.id)
    store = losing(world.store, was_saved=was_saved)
    made = await store.add_sandbox(fence, repository.id, "digest", NOW)
    assert list(await world.store.sandboxes(repository.id, limit=10)) == [made]
    await store.finish_sandbox(fence, made.id, SandboxStatus.READY, later(1), exit_code=0, log_blob="log")
    assert (await world.store.sandbox(HOME, made.id)).status is SandboxStatus.READY
    await store.set_setup(repository.id, SetupStatus.READY, commands="make deps", fence=fence)
    await world.store.release(fence, NOW)
    with pytest.raises(LeaseLost):
        await store.add_sandbox(fence, repository.id, "digest", NOW)


async def test_what_one_process_writes_another_reads(world: World, repository: Repository) -> None:
    _, fence = await working(world, repository.id)
    async with another_process(world) as other:
        made = await other.add_sandbox(fence, repository.id, "digest", NOW)
        assert await world.store.sandbox(HOME, made.id) == made


async def ended(world: World, run: Run, fence: Fence, how: str) -> RunStatus:
    """However a run may end without its commands."""
    match how:
        case "failed":
            await world.store.finish(fence, RunStatus.FAILED, "because", later(1))
        case "killed while new":
            await world.store.release(fence, later(1))
            await world.store.request_kill(run.id, later(2))
        case "killed while released":
            await world.store.request_kill(run.id, later(1))
            await world.store.release(fence, later(2))
        case "killed while silent":
            await world.store.request_kill(run.id, later(1))
            await world.store.sweep(later(99), lease_seconds=999, kill_seconds=4, max_lost_workers=3)
        case _:
            await world.store.sweep(later(99), lease_seconds=30, kill_seconds=4, max_lost_workers=1)
    return (await world.store.get_run_by_id(run.id)).status


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("failed", RunStatus.FAILED),
        ("killed while new", RunStatus.KILLED),
        ("killed while released", RunStatus.KILLED),
        ("killed while silent", RunStatus.KILLED),
        ("lost", RunStatus.FAILED),
    ],
)
async def test_a_run_that_ends_without_commands_leaves_nobody_waiting(
    world: World, repository: Repository, how: str, status: RunStatus
) -> None:
    other = await world.store.add_repository(a_repository(HOME, "group/other"), {})
    for each in (repository, other):
        await world.store.set_setup(each.id, SetupStatus.GENERATING)
    draft = a_draft(repository_id=repository.id)
    run, fence = await world.claimed(replace(draft, purpose=RunPurpose.SETUP_COMMANDS))
    assert await ended(world, run, fence, how) is status
    assert (await world.store.repository(HOME, repository.id)).setup_status is SetupStatus.FAILED
    assert (await world.store.repository(HOME, other.id)).setup_status is SetupStatus.GENERATING


async def test_an_end_that_is_no_failure_leaves_the_status_alone(world: World, repository: Repository) -> None:
    draft = a_draft(repository_id=repository.id)
    for purpose, status in (
        (RunPurpose.SETUP_COMMANDS, RunStatus.SUCCESS),
        (RunPurpose.CODE, RunStatus.FAILED),
        (RunPurpose.LOG_ANALYSIS, RunStatus.FAILED),
    ):
        await world.store.set_setup(repository.id, SetupStatus.READY)
        _, fence = await world.claimed(replace(draft, purpose=purpose))
        await world.store.finish(fence, status, None, later(1))
        assert (await world.store.repository(HOME, repository.id)).setup_status is SetupStatus.READY


async def test_commands_that_there_were_stay_ready_when_none_better_are_found(
    world: World, repository: Repository
) -> None:
    await world.store.set_setup(repository.id, SetupStatus.GENERATING, commands="make deps")
    draft = a_draft(repository_id=repository.id)
    run, fence = await world.claimed(replace(draft, purpose=RunPurpose.SETUP_COMMANDS))
    assert await ended(world, run, fence, "failed") is RunStatus.FAILED
    found = await world.store.repository(HOME, repository.id)
    assert (found.setup_status, found.setup_commands) == (SetupStatus.READY, "make deps")
