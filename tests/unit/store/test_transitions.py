"""Whatever is called in whatever order: no transition outside of the domain's tables, no gap in a run's events."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from shutil import copyfile
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.support.postgres import PostgresServer
from tests.support.stores import NOW, World, a_draft, open_world, said

from treadle.domain.errors import AlreadyFinished, Conflict, LeaseLost, NotFound
from treadle.domain.events import Event, EventType
from treadle.domain.run import Checkpoint, EngineName, FollowUp, Run, Usage
from treadle.domain.states import (
    RUN_TERMINAL,
    RUN_TRANSITIONS,
    STEP_TRANSITIONS,
    Phase,
    RunStatus,
    StepStatus,
)
from treadle.ports import Fence, StepUpdate
from treadle.store.address import sqlite_url

T = TypeVar("T")

LEASE, KILL, MAX_LOST = 30, 4, 3
MOST_STEPS = 5

#: Which of a run's events tells of which change of its status.
TELLING = {
    (RunStatus.NEW, RunStatus.RUNNING): EventType.RUN_STARTED,
    (RunStatus.RUNNING, RunStatus.NEW): EventType.RUN_REQUEUED,
    **{(ended, RunStatus.NEW): EventType.RUN_RESUMED for ended in RUN_TERMINAL},
    **{
        (before, after): EventType.RUN_FINISHED
        for before, targets in RUN_TRANSITIONS.items()
        for after in targets & RUN_TERMINAL
    },
}


@dataclass(frozen=True)
class Picture:
    """A run as it was seen."""

    run: Run
    events: tuple[Event, ...]
    secrets: frozenset[str]
    checkpoint: Checkpoint | None


class Calls(RuleBasedStateMachine):
    """Calls of the port by workers, users and sweepers, some of them late; after each call every run is looked at."""

    new_database: Callable[[], str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = open_world(self.new_database())
        self.world: World = self.do(self.stack.__aenter__())
        self.now = NOW
        self.seen: dict[int, Picture] = {}
        self.fences: list[Fence] = []

    def do(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def refused(self, call: Coroutine[Any, Any, object], *kinds: type[Exception]) -> bool:
        try:
            self.do(call)
        except kinds:
            return True
        return False

    def teardown(self) -> None:
        self.do(self.stack.__aexit__(None, None, None))
        self.runner.close()

    def tick(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now

    @property
    def store(self) -> Any:
        return self.world.store

    @rule(steps=st.integers(1, 3))
    def create(self, steps: int) -> None:
        draft = a_draft(*(f"step {number}" for number in range(steps)))
        run, _ = self.do(
            self.store.create_run(
                draft,
                self.world.principal,
                uuid=uuid4(),
                step_ids=[uuid4() for _ in range(steps)],
                secrets={"claude": "sealed"},
                now=self.tick(0.1),
            )
        )
        self.seen[run.id] = self.picture(run.id)

    @precondition(lambda self: self.seen)
    @rule(data=st.data(), is_named=st.booleans())
    def claim(self, data: st.DataObject, is_named: bool) -> None:
        named = data.draw(st.sampled_from(sorted(self.seen))) if is_named else None
        run = self.do(self.store.claim("worker", self.tick(0.1), run_id=named))
        new = [run_id for run_id, one in self.seen.items() if one.run.status is RunStatus.NEW]
        if named is None:
            assert (None if run is None else run.id) == min(new, default=None)
        else:
            assert (run is not None) is (named in new)
        if run is not None:
            self.fences.append(Fence(run.id, run.lease))

    @precondition(lambda self: self.fences)
    @rule(data=st.data(), what=st.sampled_from(["ping", "finish", "release", "checkpoint", "record"]))
    def work(self, data: st.DataObject, what: str) -> None:
        """By the worker that has the run, or by one that had it."""
        fence = data.draw(st.sampled_from(self.fences))
        is_current = self.is_current(fence)
        if what == "ping":
            lost = self.refused(self.store.ping(fence, self.tick(1)), LeaseLost)
        elif what == "finish":
            status = data.draw(st.sampled_from(sorted(RUN_TERMINAL)))
            lost = self.finish(fence, status)
        elif what == "release":
            lost = self.refused(self.store.release(fence, self.tick(0.1)), LeaseLost)
        elif what == "checkpoint":
            checkpoint = Checkpoint(fence.run_id, 1, Phase.ANALYSIS, None, EngineName.DUMMY, None, None, "a" * 40)
            lost = self.refused(self.store.save_checkpoint(fence, checkpoint), LeaseLost)
        else:
            drafts = [said(str(number)) for number in range(data.draw(st.integers(0, 3)))]
            lost = self.refused(self.store.record(fence, drafts, self.tick(0.1)), LeaseLost)
        assert lost is not is_current

    def finish(self, fence: Fence, status: RunStatus) -> bool:
        run = self.seen[fence.run_id].run
        call = self.store.finish(fence, status, "because", self.tick(0.1), output="kept")
        try:
            became = self.do(call)
        except LeaseLost:
            return True
        waits = [
            step
            for step in run.steps
            if step.is_follow_up and step.position >= run.first_step and step.status is StepStatus.NOT_STARTED
        ]
        if status is RunStatus.KILLED or not waits:
            assert became is status
        elif run.date_kill_requested is not None:
            assert became is RunStatus.KILLED
        elif status is RunStatus.FAILED and not [step for step in run.steps if step.status is StepStatus.RUNNING]:
            assert became is RunStatus.FAILED
        else:
            assert became is RunStatus.NEW
        return False

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.seen)))
        run = self.seen[run_id].run
        call = self.store.resume_run(
            run_id,
            FollowUp("and more"),
            step_id=uuid4(),
            secrets={"git_http": "sealed again"},
            now=self.tick(0.1),
            most_steps=MOST_STEPS,
        )
        refused = self.refused(call, Conflict)
        is_being_killed = run.date_kill_requested is not None and not run.is_finished
        assert refused is (is_being_killed or len(run.steps) >= MOST_STEPS)

    @precondition(lambda self: self.fences)
    @rule(data=st.data(), position=st.integers(1, 4), wanted=st.none() | st.sampled_from(StepStatus))
    def step(self, data: st.DataObject, position: int, wanted: StepStatus | None) -> None:
        fence = data.draw(st.sampled_from(self.fences))
        update = StepUpdate(position, wanted, usage=Usage(1, 1, 0.5, 1))
        call = self.store.record(fence, [said("step")], self.tick(0.1), step=update)
        refused = self.refused(call, LeaseLost, Conflict, NotFound)
        steps = self.seen[fence.run_id].run.steps
        before = steps[position - 1].status if position <= len(steps) else None
        is_allowed = before is not None and (
            wanted is None or wanted in STEP_TRANSITIONS[before] or before is wanted is StepStatus.RUNNING
        )
        assert refused is not (is_allowed and self.is_current(fence))

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.seen)))
        refused = self.refused(self.store.request_kill(run_id, self.tick(0.1)), AlreadyFinished)
        assert refused is self.seen[run_id].run.is_finished

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def put_secrets(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.seen)))
        call = self.store.put_run_secrets(run_id, {"claude": None, "git_http": "sealed"}, said("new"), self.tick(0.1))
        assert self.refused(call, AlreadyFinished) is self.seen[run_id].run.is_finished

    @rule(seconds=st.sampled_from([0.1, 3, 20, 45]))
    def sweep(self, seconds: float) -> None:
        now = self.tick(seconds)
        swept = self.do(self.store.sweep(now, lease_seconds=LEASE, kill_seconds=KILL, max_lost_workers=MAX_LOST))
        silent = {
            run_id
            for run_id, one in self.seen.items()
            if one.run.status is RunStatus.RUNNING
            and (
                (one.run.date_runner_ping or now) <= now - timedelta(seconds=LEASE)
                or (one.run.date_kill_requested or now) <= now - timedelta(seconds=KILL)
            )
        }
        assert {*swept.requeued, *swept.failed, *swept.killed} == silent

    @invariant()
    def holds(self) -> None:
        for run_id, before in self.seen.items():
            after = self.picture(run_id)
            self.judge(before, after)
            self.seen[run_id] = after

    def picture(self, run_id: int) -> Picture:
        return Picture(
            self.do(self.store.get_run_by_id(run_id)),
            tuple(self.do(self.store.events(run_id))),
            frozenset(self.do(self.store.run_secrets(run_id))),
            self.do(self.store.checkpoint(run_id)),
        )

    def is_current(self, fence: Fence) -> bool:
        run = self.seen[fence.run_id].run
        return run.status is RunStatus.RUNNING and run.lease == fence.lease

    @staticmethod
    def judge(before: Picture, after: Picture) -> None:
        old, new = before.run, after.run
        told = after.events[len(before.events) :]
        types = [event.type for event in told]
        # events: numbered without a gap, none of the old ones touched
        assert [event.number for event in after.events] == list(range(1, new.last_event + 1))
        assert after.events[: len(before.events)] == before.events
        # the run: only what the table allows, told by its event; leases and counters only grow
        assert new.lease - old.lease == (1 if new.status is RunStatus.RUNNING and old.status is RunStatus.NEW else 0)
        is_resumed = EventType.RUN_RESUMED in types
        is_next = any(event.data.get("reason") == "follow_up" for event in told)
        begins_anew = (old.is_finished and is_resumed) or is_next
        done = [
            now.position
            for was, now in zip(old.steps, new.steps, strict=False)
            if now.status is StepStatus.SUCCESS is not was.status
        ]
        assert new.lost_workers == 0 if begins_anew or done else new.lost_workers >= old.lost_workers
        if new.status is not old.status:
            assert new.status in RUN_TRANSITIONS[old.status]
            assert types[-1] is TELLING[old.status, new.status]
        assert new.first_step == (len(new.steps) if old.is_finished and is_resumed else old.first_step)
        # an ending is the last event, unless a resume follows it at once
        for event, following in itertools.zip_longest(after.events, after.events[1:]):
            if event.type is EventType.RUN_FINISHED:
                assert new.is_finished if following is None else following.type is EventType.RUN_RESUMED
        assert (after.events[-1].type is EventType.RUN_FINISHED) is new.is_finished
        assert (new.date_completed is not None) is new.is_finished
        if new.is_finished:
            assert after.secrets == frozenset()
            assert after.checkpoint == before.checkpoint  # a resume goes on from there
            assert not [step for step in new.steps if step.status is StepStatus.RUNNING]
        # the steps: only what the table allows; one that the run's end failed is told
        assert len(new.steps) - len(old.steps) == is_resumed
        for was, now in zip(old.steps, new.steps, strict=False):
            assert (was.id, was.position, was.text) == (now.id, now.position, now.text)
            if now.status is not was.status:
                assert now.status in STEP_TRANSITIONS[was.status]
                if new.is_finished:
                    assert (EventType.STEP_FINISHED, now.position) in [(event.type, event.step) for event in told]
            assert now.usage.input_tokens >= was.usage.input_tokens


def try_calls(new_database: Callable[[], str], *, examples: int) -> None:
    class These(Calls):
        pass

    These.new_database = staticmethod(new_database)
    run_state_machine_as_test(
        These,
        settings=settings(
            max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_no_call_breaks_the_rules_on_sqlite(sqlite_template: Path, tmp_path: Path) -> None:
    count = iter(range(10_000))
    try_calls(lambda: sqlite_url(copyfile(sqlite_template, tmp_path / f"{next(count)}.db")), examples=40)


@pytest.mark.postgres
def test_no_call_breaks_the_rules_on_postgres(postgres_server: PostgresServer) -> None:
    try_calls(postgres_server.upgraded, examples=6)
