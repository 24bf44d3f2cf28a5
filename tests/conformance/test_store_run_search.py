"""Searches among runs, their counts, and what of them has changed, on each database."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import uuid4

import pytest
from tests.support.stores import NOW, World, a_draft, later, started

from treadle.domain.repository import Repository
from treadle.domain.run import Run, RunDraft, RunSource
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.ports import Fence, StepUpdate
from treadle.ports.page import RunPage, RunSearch
from treadle.store import run_search
from treadle.store.run_search import MAX_TEXT, MAX_WORDS, words_of

pytestmark = pytest.mark.anyio

ALL = RunSearch(1)


def drafted(text: str = "step", *, url: str | None = None, branch: str | None = None) -> RunDraft:
    draft = a_draft("first", text, branch=branch)
    return replace(draft, git_url=url or draft.git_url)


async def end(world: World, run_id: int, status: RunStatus, *, now: datetime = NOW) -> None:
    run = await world.store.claim("worker", now, run_id=run_id)
    assert run is not None
    details = "why" if status is RunStatus.FAILED else None
    await world.store.finish(Fence(run.id, run.lease), status, details, now)


async def every_page(world: World, which: RunSearch, *, limit: int) -> tuple[list[int], list[RunPage]]:
    """All ids that are found, and the pages on which."""
    ids, pages, before = list[int](), list[RunPage](), None
    while True:
        page = await world.store.search_runs(which, limit=limit, before=before)
        pages.append(page)
        ids += [run.id for run in page.runs]
        before = page.before
        if before is None:
            return ids, pages


async def found(world: World, text: str) -> list[int]:
    page = await world.store.search_runs(RunSearch(1, text=text), limit=100)
    assert page.before is None
    return [run.id for run in page.runs]


def ids(runs: Sequence[Run]) -> list[int]:
    return [run.id for run in runs]


async def test_pages_join_without_a_gap_or_a_double(world: World) -> None:
    made = [(await world.run()).id for _ in range(7)]
    for run_id, status in zip(made, (RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.KILLED), strict=False):
        await end(world, run_id, status)
    for limit in (1, 2, 3, 6, 7, 8):
        found_ids, pages = await every_page(world, ALL, limit=limit)
        assert found_ids == made[::-1]
        assert len(pages) == -(-len(made) // limit)  # none is empty
    page = await world.store.search_runs(ALL, limit=1)
    assert [step.text for step in page.runs[0].steps] == ["Add tests", "Mend them"]
    assert await world.store.search_runs(ALL, limit=0) == RunPage((), None)


async def test_a_page_has_no_outputs(world: World) -> None:
    run, fence = await world.started()
    update = StepUpdate(1, StepStatus.SUCCESS, output="long")
    await world.store.record(fence, [], NOW, step=update)
    for text in (None, "tests"):
        page = await world.store.search_runs(RunSearch(1, text=text), limit=9)
        assert [(one.id, one.steps[0].status, one.steps[0].output) for one in page.runs] == [
            (run.id, StepStatus.SUCCESS, None)
        ]


async def test_it_finds_by_user_status_repository_and_source(world: World) -> None:
    other = await world.somebody()
    repository = await world.store.add_repository(
        Repository(0, uuid4(), 1, "a/b", "https://git.example/a/b", "main", NOW), {}
    )
    mine, theirs = await world.run(), await world.run(principal=other)
    registered = await world.run(a_draft(repository_id=repository.id), principal=other)
    local = await world.run(replace(a_draft(), source=RunSource.LOCAL))
    stranger = await world.stranger()
    strange = await world.run(principal=stranger)
    await end(world, theirs.id, RunStatus.FAILED)
    for which, wanted in (
        (ALL, [local, registered, theirs, mine]),
        (RunSearch(1, other.user_id), [registered, theirs]),
        (RunSearch(1, statuses=frozenset({RunStatus.FAILED})), [theirs]),
        (RunSearch(1, statuses=frozenset()), []),
        (RunSearch(1, repository_id=repository.id), [registered]),
        (RunSearch(1, source=RunSource.LOCAL), [local]),
        (RunSearch(1, source=RunSource.LOCAL, repository_id=repository.id), []),
        (RunSearch(1, other.user_id, frozenset({RunStatus.NEW}), repository.id, RunSource.API, "ADD"), [registered]),
        (RunSearch(stranger.organization_id, text="tests"), [strange]),
    ):
        page = await world.store.search_runs(which, limit=100)
        assert ids(page.runs) == ids(wanted), which


async def test_words_are_in_the_address_the_branch_or_a_step(world: World) -> None:
    first = await world.run(drafted("Mend the Login", url="https://git.example/acme/Shop.git", branch="fix/one"))
    second = await world.run(drafted("tell 100% of_it\\ now", url="https://git.example/acme/api.git", branch="FIX/two"))
    third = await world.run(drafted("Über die Brücke", url="https://git.example/x/y.git", branch="b'; --"))
    for text, wanted in (
        ("shop", [first]),
        ("LOGIN", [first]),
        ("acme", [second, first]),
        ("  acme \n fix/ ", [second, first]),
        ("fix/two", [second]),
        ("acme login", [first]),
        ("shop two", []),
        ("100%", [second]),
        ("1%0", []),
        ("of_it", [second]),
        ("o__it", []),
        ("it\\", [second]),
        ("Über BRücke", [third]),
        ("über", []),  # only the letters of ASCII are alike
        ("';", [third]),
        ("\0", []),
        ("first", [third, second, first]),
        ("", [third, second, first]),
    ):
        assert await found(world, text) == ids(wanted), text


def test_a_search_is_bounded() -> None:
    assert words_of("b A b a") == ("b", "a")
    assert words_of(" ".join(f"w{n}" for n in range(99))) == tuple(f"w{n}" for n in range(MAX_WORDS))
    assert words_of("x" * 999) == ("x" * MAX_TEXT,)
    assert words_of(None) == ()


@pytest.mark.parametrize("every", [1, 3, 20])
async def test_a_call_looks_at_only_so_many(world: World, monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    monkeypatch.setattr(run_search, "PORTION", 3)
    monkeypatch.setattr(run_search, "MAX_LOOKED_AT", 6)
    made = [(await world.run(drafted("wanted" if n % every == 0 else "other"))).id for n in range(20)]
    for run_id in made[::2]:
        await end(world, run_id, RunStatus.SUCCESS)
    for limit in (1, 2, 5, 100):
        found_ids, pages = await every_page(world, RunSearch(1, text="wanted"), limit=limit)
        assert found_ids == made[::every][::-1], limit
        assert all(len(page.runs) <= limit for page in pages)
    first = await world.store.search_runs(RunSearch(1, text="nothing of it"), limit=5)
    assert first == RunPage((), made[-6])


async def test_counts_have_every_status(world: World) -> None:
    other = await world.somebody()
    made = [await world.run() for _ in range(4)]
    await world.run(principal=other)
    await world.run(principal=await world.stranger())
    await end(world, made[0].id, RunStatus.SUCCESS)
    await end(world, made[1].id, RunStatus.KILLED)
    await world.store.claim("worker", NOW, run_id=made[2].id)
    nothing = dict.fromkeys(RunStatus, 0)
    alike = {RunStatus.SUCCESS: 1, RunStatus.KILLED: 1, RunStatus.RUNNING: 1}
    assert await world.store.count_by_status(1, None) == {**nothing, **alike, RunStatus.NEW: 2}
    assert await world.store.count_by_status(1, world.principal.user_id) == {**nothing, **alike, RunStatus.NEW: 1}
    assert await world.store.count_by_status(99, None) == nothing


async def test_what_changed_comes_in_the_order_of_its_writing(world: World) -> None:
    other = await world.somebody()
    idle, told, ended, old, theirs = [await world.run(principal=other if number == 4 else None) for number in range(5)]
    await end(world, old.id, RunStatus.SUCCESS, now=later(5))
    await end(world, ended.id, RunStatus.FAILED, now=later(30))
    run = await world.store.claim("worker", later(20), run_id=told.id)
    assert run is not None
    update = StepUpdate(1, StepStatus.RUNNING, Phase.ANALYSIS)
    await world.store.record(Fence(run.id, run.lease), [started(1)], later(40), step=update)
    await world.store.request_kill(theirs.id, later(25))
    changed = await world.store.runs_changed(1, None, since=later(10), limit=9)
    assert ids(changed) == ids([theirs, ended, told])
    assert [run.status for run in changed] == [RunStatus.KILLED, RunStatus.FAILED, RunStatus.RUNNING]
    assert changed[-1].steps[0].status is StepStatus.RUNNING
    assert ids(await world.store.runs_changed(1, None, since=later(10), limit=2)) == ids([theirs, ended])
    assert ids(await world.store.runs_changed(1, other.user_id, since=later(10), limit=9)) == [theirs.id]
    assert ids(await world.store.runs_changed(1, None, since=NOW, limit=9)) == ids([idle, old, theirs, ended, told])
    assert await world.store.runs_changed(99, None, since=NOW, limit=9) == ()


async def test_what_is_written_at_that_moment_is_told(world: World) -> None:
    run = await world.run(now=later(1))
    assert ids(await world.store.runs_changed(1, None, since=later(1), limit=9)) == [run.id]
    assert await world.store.runs_changed(1, None, since=later(1.001), limit=9) == ()
