"""When a run that lost its workers is given up."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.stores import a_draft, open_world

from treadle.domain.run import Run
from treadle.domain.states import StepStatus
from treadle.runner.execute import is_hopeless
from treadle.store.address import sqlite_url

pytestmark = pytest.mark.anyio


async def a_run(folder: Path, lost_workers: int) -> Run:
    """Of two steps, none of them done."""
    async with open_world(sqlite_url(folder / "treadle.db")) as world:
        run, _ = await world.claimed(a_draft("one", "two"))
    return replace(run, lost_workers=lost_workers)


async def test_one_of_which_nothing_was_pushed_is_given_up(tmp_path: Path) -> None:
    run = await a_run(tmp_path, 3)
    assert is_hopeless(run, run.steps_to_do, 3)
    assert not is_hopeless(replace(run, lost_workers=2), run.steps_to_do, 3)


async def test_one_of_which_a_step_was_found_on_the_branch_goes_on(tmp_path: Path) -> None:
    run = await a_run(tmp_path, 3)
    assert not is_hopeless(run, run.steps_to_do[1:], 3)
    assert not is_hopeless(run, (), 3)


async def test_one_whose_steps_were_all_done_before_comes_to_its_end(tmp_path: Path) -> None:
    run = await a_run(tmp_path, 3)
    done = replace(run, steps=tuple(replace(step, status=StepStatus.SUCCESS) for step in run.steps))
    assert not is_hopeless(done, done.steps_to_do, 3)
