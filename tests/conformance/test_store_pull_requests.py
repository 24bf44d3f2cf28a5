"""What runs opened at forges, and the branches whose checks wake nobody any more, on each database."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import null, update
from tests.support.directory import ODD, PLAIN, a_pull_request, a_repository, another_process, losing, rewrite, working
from tests.support.stores import NOW, World, a_draft, later

from treadle.domain.errors import LeaseLost, NotFound
from treadle.domain.repository import PullRequestState, Repository
from treadle.domain.run import Run
from treadle.domain.states import RunStatus
from treadle.ports import Fence
from treadle.store.sql import SqlStore
from treadle.store.tables import pull_requests, runs

pytestmark = pytest.mark.anyio

HOME = 1
URL = "https://git.example.org/group/project.git"


@pytest.fixture
async def repository(world: World) -> Repository:
    return await world.store.add_repository(a_repository(HOME), {})


async def test_a_pull_request_is_its_runs(world: World, repository: Repository) -> None:
    run, fence = await working(world, repository.id)
    given = a_pull_request(run, repository.id)
    made = await world.store.put_pull_request(fence, given, later(1))
    assert made == replace(given, id=made.id)
    assert await world.store.pull_request(HOME, made.id) == made
    second = await world.store.put_pull_request(fence, a_pull_request(run, repository.id, 3), later(2))
    assert await world.store.pull_requests_of([run.id]) == {run.id: [made, second]}


async def test_what_is_put_again_is_brought_up_to_date(world: World, repository: Repository) -> None:
    run, fence = await working(world, repository.id)
    made = await world.store.put_pull_request(fence, a_pull_request(run, repository.id), NOW)
    newer = replace(
        made,
        id=0,
        title="Add more tests",
        url="https://moved.example.org/7",
        state=PullRequestState.MERGED,
        head_branch="renamed",
        date_created=later(5),
    )
    assert await world.store.put_pull_request(fence, newer, later(6)) == replace(newer, id=made.id, date_created=NOW)
    assert await world.store.pull_requests_of([run.id]) == {run.id: [await world.store.pull_request(HOME, made.id)]}


async def test_numbers_are_a_repositorys_own(world: World, repository: Repository) -> None:
    other = await world.store.add_repository(a_repository(HOME, "group/other"), {})
    run, fence = await working(world, repository.id)
    made = [await world.store.put_pull_request(fence, a_pull_request(run, one.id), NOW) for one in (repository, other)]
    assert made[0].id != made[1].id
    assert await world.store.pull_requests_of([run.id]) == {run.id: made}


async def test_a_run_that_finds_one_on_its_branch_lists_it_too(world: World, repository: Repository) -> None:
    first, fence = await working(world, repository.id)
    made = await world.store.put_pull_request(fence, a_pull_request(first, repository.id), NOW)
    await world.store.finish(fence, RunStatus.SUCCESS, None, NOW)
    second, fence = await working(world, repository.id, branch=first.branch_work)
    found = await world.store.put_pull_request(
        fence, a_pull_request(second, repository.id, title="Add more tests"), later(9)
    )
    assert found == replace(made, title="Add more tests")
    none = await world.run()
    assert await world.store.pull_requests_of([none.id, second.id, first.id, second.id, 999]) == {
        first.id: [found],
        second.id: [found],
    }
    assert await world.store.pull_requests_of([]) == {}


async def test_the_pull_requests_of_many_runs_are_found(world: World, repository: Repository) -> None:
    run, fence = await working(world, repository.id)
    made = await world.store.put_pull_request(fence, a_pull_request(run, repository.id), NOW)
    assert await world.store.pull_requests_of(range(5000)) == {run.id: [made]}


async def test_one_pull_request_that_two_processes_put_at_once_is_one(world: World, repository: Repository) -> None:
    worked = [await working(world, repository.id) for _ in range(6)]
    given = a_pull_request(worked[0][0], repository.id)
    async with another_process(world) as other:
        put = await asyncio.gather(
            *(store.put_pull_request(fence, given, NOW) for _, fence in worked for store in (world.store, other))
        )
    assert len({(one.id, one.run_id) for one in put}) == 1
    assert await world.store.pull_requests_of([run.id for run, _ in worked]) == {run.id: [put[0]] for run, _ in worked}


async def test_only_who_has_the_lease_may_put_one(world: World, repository: Repository) -> None:
    run, fence = await working(world, repository.id)
    await world.store.release(fence, NOW)
    for stale in (fence, Fence(999, 1)):
        with pytest.raises(LeaseLost):
            await world.store.put_pull_request(stale, a_pull_request(run, repository.id), NOW)
    assert await world.store.pull_requests_of([run.id]) == {}
    run, fence = await working(world)
    with pytest.raises(NotFound):
        await world.store.put_pull_request(fence, a_pull_request(run, 999), NOW)


async def test_a_pull_request_is_its_organizations_own(world: World, repository: Repository) -> None:
    stranger = await world.stranger()
    run, fence = await working(world, repository.id)
    forged = replace(a_pull_request(run, repository.id), organization_id=stranger.organization_id, run_id=999)
    made = await world.store.put_pull_request(fence, forged, NOW)
    assert (made.organization_id, made.run_id) == (HOME, run.id)
    for organization_id, pull_request_id in ((stranger.organization_id, made.id), (HOME, 999)):
        with pytest.raises(NotFound):
            await world.store.pull_request(organization_id, pull_request_id)


async def test_a_pull_request_changes(world: World, repository: Repository) -> None:
    run, fence = await working(world, repository.id)
    made = await world.store.put_pull_request(fence, a_pull_request(run, repository.id, title=ODD), NOW)
    assert made.title == PLAIN
    other = await world.store.put_pull_request(fence, a_pull_request(run, repository.id, 8), NOW)
    for state in PullRequestState:
        await world.store.update_pull_request(made.id, state, f"It is {state} {ODD}", later(1))
        assert await world.store.pull_request(HOME, made.id) == replace(
            made, state=state, title=f"It is {state} {PLAIN}"
        )
    assert await world.store.pull_request(HOME, other.id) == other
    with pytest.raises(NotFound):
        await world.store.update_pull_request(999, PullRequestState.CLOSED, "x", NOW)


async def test_runs_keep_what_they_opened_in_a_repository_that_was_removed(
    world: World, repository: Repository
) -> None:
    run, fence = await working(world, repository.id)
    made = await world.store.put_pull_request(fence, a_pull_request(run, repository.id), NOW)
    await world.store.remove_repository(repository.id)
    second = await world.store.put_pull_request(fence, a_pull_request(run, repository.id, 8), NOW)
    assert await world.store.pull_requests_of([run.id]) == {run.id: [made, second]}


async def test_a_state_of_another_version_counts_as_open(world: World, repository: Repository) -> None:
    run, fence = await working(world, repository.id)
    made = await world.store.put_pull_request(fence, a_pull_request(run, repository.id), NOW)
    await rewrite(world, update(pull_requests).values(state="locked"))
    assert await world.store.pull_request(HOME, made.id) == made


@pytest.mark.parametrize("was_saved", [True, False])
async def test_an_answer_that_was_lost_changes_nothing_twice(
    world: World, repository: Repository, was_saved: bool
) -> None:
    run, fence = await working(world, repository.id)
    store = losing(world.store, was_saved=was_saved)
    made = await store.put_pull_request(fence, a_pull_request(run, repository.id), NOW)
    assert await world.store.pull_requests_of([run.id]) == {run.id: [made]}
    await store.update_pull_request(made.id, PullRequestState.CLOSED, "Closed", NOW)
    assert (await world.store.pull_request(HOME, made.id)).state is PullRequestState.CLOSED
    assert list(await ban(store, run)) == [run.id]
    assert await world.store.is_banned(HOME, run.git_url, run.branch_work)
    assert await store.unban_branch(HOME, run.git_url, run.branch_work)
    assert not await world.store.is_banned(HOME, run.git_url, run.branch_work)
    assert not await store.unban_branch(HOME, run.git_url, run.branch_work)


# ---- bans ------------------------------------------------------------------------------------------------------------


async def ban(store: SqlStore, run: Run, *, url: str | None = None) -> Sequence[int]:
    return await store.ban_branch(
        run.organization_id, url or run.git_url, run.branch_work, run_id=run.id, user_id=run.user_id, now=NOW
    )


async def test_a_branch_is_flagged_until_it_is_not(world: World) -> None:
    run = await world.run()
    assert not await world.store.is_banned(HOME, run.git_url, run.branch_work)
    for _ in range(2):
        assert list(await ban(world.store, run)) == [run.id]
    # However the address is written; but no other branch, organization or repository.
    assert await world.store.is_banned(HOME, URL.removesuffix(".git"), run.branch_work)
    for organization_id, url, branch in (
        (HOME, URL, "other"),
        (999, URL, run.branch_work),
        (HOME, "https://git.example.org/group/other", run.branch_work),
    ):
        assert not await world.store.is_banned(organization_id, url, branch)
        assert not await world.store.unban_branch(organization_id, url, branch)
    assert await world.store.unban_branch(HOME, URL, run.branch_work)
    assert not await world.store.unban_branch(HOME, URL, run.branch_work)
    assert not await world.store.is_banned(HOME, run.git_url, run.branch_work)


async def test_the_living_runs_of_the_branch_are_told(world: World) -> None:
    stranger = await world.stranger()
    ended, fence = await working(world, branch="work")
    await world.store.finish(fence, RunStatus.SUCCESS, None, NOW)
    running, _ = await working(world, branch="work")
    waiting = [await world.run(a_draft(branch="work")) for _ in range(3)]
    assert all(run.is_blocked for run in waiting)
    await world.store.request_kill(waiting[0].id, NOW)
    await world.run(a_draft(branch="other"))
    await world.run(a_draft(branch="work"), principal=stranger)
    elsewhere = replace(a_draft(branch="work"), git_url="https://git.example.org/group/other")
    await world.run(elsewhere)
    spelt = await world.run(replace(a_draft(branch="work"), git_url=URL.removesuffix(".git") + "/"))
    assert list(await ban(world.store, ended)) == [running.id, waiting[1].id, waiting[2].id, spelt.id]


async def test_one_that_waits_its_turn_alone_is_told(world: World) -> None:
    first = await world.run()
    assert list(await ban(world.store, first)) == [first.id]
    await world.store.request_kill(first.id, NOW)
    assert list(await ban(world.store, first)) == []


async def test_runs_without_a_key_are_told_by_their_address(world: World) -> None:
    """As a process of schema 0001 makes them."""
    running, _ = await working(world)
    new, other = await world.run(), await world.run()
    elsewhere = await world.run(replace(a_draft(), git_url="https://git.example.org/group/other"))
    await rewrite(world, update(runs).values(branch_key=null(), holds_branch=True, branch_work="work"))
    await rewrite(world, update(runs).where(runs.c.id == other.id).values(branch_work="another"))
    asked = replace(running, branch_work="work")
    assert list(await ban(world.store, asked, url=URL.removesuffix(".git"))) == [running.id, new.id]
    assert elsewhere.id not in await ban(world.store, asked)


async def test_who_bans_is_known(world: World) -> None:
    run = await world.run()
    for unknown in (replace(run, id=999), replace(run, user_id=999), replace(run, organization_id=999)):
        with pytest.raises(NotFound):
            await ban(world.store, unknown)
    assert not await world.store.is_banned(HOME, run.git_url, run.branch_work)


async def test_texts_that_no_database_takes_name_a_branch_too(world: World) -> None:
    draft = replace(a_draft(branch=ODD), git_url=f"https://git.example.org/{ODD}")
    run = await world.run(draft)
    asked = replace(run, git_url=draft.git_url, branch_work=draft.branch_work)
    assert list(await ban(world.store, asked)) == [run.id]
    assert await world.store.is_banned(HOME, run.git_url, run.branch_work)


async def test_processes_that_ban_at_once_flag_it_once(world: World) -> None:
    run = await world.run()
    async with another_process(world) as other:
        told = await asyncio.gather(*(ban(store, run) for store in (world.store, other) for _ in range(10)))
        assert {tuple(ids) for ids in told} == {(run.id,)}
        lifted = await asyncio.gather(
            *(store.unban_branch(HOME, URL, run.branch_work) for store in (world.store, other) for _ in range(5))
        )
    assert sorted(lifted) == [False] * 9 + [True]


async def test_no_run_is_missed_while_the_branch_goes_from_one_to_the_next(world: World) -> None:
    """The one whose turn comes and the ones that wait are looked for at one moment."""
    living = [await world.run(a_draft(branch="work")) for _ in range(20)]
    last = living[-1]

    async def end_all() -> None:
        for run in living[:-1]:
            claimed = await world.store.claim("worker", NOW, run_id=run.id)
            assert claimed is not None
            await world.store.finish(Fence(run.id, claimed.lease), RunStatus.SUCCESS, None, NOW)

    ending = asyncio.create_task(end_all())
    async with another_process(world) as other:
        while not ending.done():
            told = await ban(other, last)
            assert last.id in told
            assert list(told) == [run.id for run in living][-len(told) :]
    await ending
    assert list(await ban(world.store, last)) == [last.id]
