"""Schedules fire once a time, never beside themselves, and make up for what was missed as they are told."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.chores import work_off
from tests.support.deployment import START, Deployment, deployed
from tests.support.stores import World

from treadle.domain.errors import Conflict, InvalidInput, NotFound, Unavailable
from treadle.domain.events import JsonObject
from treadle.domain.identity import Principal, Role
from treadle.domain.schedule import Firing, Missed, Outcome, Overlap, Schedule
from treadle.domain.states import RunStatus
from treadle.ports import RunFilter
from treadle.ports.chores import Chore, ChoreKind
from treadle.ports.schedules import ScheduleDraft
from treadle.services import schedule_clock, schedules
from treadle.services.schedules import ScheduleRequest

pytestmark = pytest.mark.anyio

TARGET: JsonObject = {
    "plan": {
        "repo": "https://git.example/acme/shop.git",
        "source": "main",
        "engine": "Dummy",
        "steps": ["Tidy up on ${{ schedule.date }}"],
    }
}


async def me(here: Deployment) -> Principal:
    return await here.services.identity.authenticate(here.admin.key)


async def add(here: Deployment, cron: str = "*/10 * * * *", **fields: object) -> Schedule:
    values: dict[str, object] = {"name": "tidy", "cron": cron, "kind": "plan", "target": TARGET} | fields
    return await here.services.schedules.add(
        await me(here),
        ScheduleRequest(**values),  # type: ignore[arg-type]  # by their names
    )


async def fired(here: Deployment, schedule: Schedule) -> list[tuple[str, Outcome]]:
    """The times since START, in minutes, and what became of them, the oldest first."""
    found = await here.services.schedules.firings(await me(here), schedule.id)
    return [(f"{(each.date_due - START) / timedelta(minutes=1):.0f}", each.outcome) for each in reversed(found)]


async def runs(here: Deployment) -> int:
    return await here.store.count_runs(RunFilter(1))


async def pass_minutes(here: Deployment, minutes: float) -> None:
    here.clock.advance(minutes * 60)
    await work_off(here, ChoreKind.SCHEDULE)


async def end_runs(here: Deployment) -> None:
    while (run := await here.store.claim("worker", here.clock.now())) is not None:
        await here.services.runs.kill_seen(run)
        await here.store.sweep(
            here.clock.now() + timedelta(seconds=60), lease_seconds=30, kill_seconds=5, max_lost_workers=3
        )


async def test_each_time_starts_one_run_in_its_makers_name(here: Deployment) -> None:
    schedule = await add(here)
    for _ in range(3):
        await pass_minutes(here, 10)
        await end_runs(here)
    assert await fired(here, schedule) == [("10", Outcome.STARTED), ("20", Outcome.STARTED), ("30", Outcome.STARTED)]
    found = await here.store.list_runs(RunFilter(1), limit=9)
    assert [run.steps[0].text for run in found] == ["Tidy up on 2026-10-01"] * 3
    assert {run.user_id for run in found} == {here.admin.user.id}
    (latest, *_) = await here.services.schedules.firings(await me(here), schedule.id)
    assert latest.run_id == found[0].id


async def test_nothing_happens_before_its_time_nor_when_it_is_off(here: Deployment) -> None:
    schedule = await add(here)
    await pass_minutes(here, 9.9)
    off = await here.services.schedules.update(await me(here), schedule.id, ScheduleRequest(is_enabled=False))
    assert off.date_next is None
    await pass_minutes(here, 60)
    assert await fired(here, schedule) == []
    on = await here.services.schedules.update(await me(here), schedule.id, ScheduleRequest(is_enabled=True))
    assert on.date_next is not None
    assert on.date_next > here.clock.now()


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("plan.url", {"plan": {"steps": ["x"]}, "url": "https://ada:token@git.example/acme/shop.git"}),
        ("plan.plan.repo", {"plan": {"steps": ["x"], "repo": "https://token@git.example/acme/shop.git"}}),
        ("plan.url", {"repositoryPlan": "x", "repositoryId": 1, "url": "https://ada:token@git.example/acme/shop.git"}),
        ("plan.variables.v", {"plan": {"steps": ["x"]}, "variables": {"v": "https://token@git.example/a.git"}}),
        ("script.inputs.a", {"script": "night", "inputs": {"a": "https://ada:token@git.example/a.git"}}),
        ("script.inputs.a[0].b", {"script": "night", "inputs": {"a": [{"b": "https://token@git.example/a.git"}]}}),
        ("plan", {"plan": {"steps": ["x" * schedules.MAX_SCHEDULE_TARGET_BYTES]}}),
    ],
)
async def test_nothing_is_kept_that_wants_a_seal_or_room(here: Deployment, path: str, target: JsonObject) -> None:
    with pytest.raises(InvalidInput) as refused:
        await add(here, kind=path.partition(".")[0], target=target)
    assert refused.value.faults.keys() == {path}
    assert "token" not in refused.value.sentence()
    assert await here.services.schedules.list(await me(here)) == ()


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("plan.url", {"plan": {"steps": ["x"]}, "url": "https://0x7f.1/acme/shop.git"}),
        ("plan.repo", {"plan": {"steps": ["x"], "repo": "git@10.1.1.1:acme/shop.git"}}),
        ("batch.targets[0].url", {"plan": {"steps": ["x"]}, "targets": ["https://[::1]/acme/shop.git"]}),
    ],
)
async def test_a_private_address_is_refused_when_it_is_kept(here: Deployment, path: str, target: JsonObject) -> None:
    with pytest.raises(InvalidInput) as refused:
        await add(here, kind=path.partition(".")[0], target=target)
    assert refused.value.faults.keys() == {path}
    assert "is on a private address, which this service does not connect to." in refused.value.sentence()


async def test_changes_of_two_at_once_both_count(here: Deployment) -> None:
    schedule, who = await add(here), await me(here)
    update = here.services.schedules.update
    await asyncio.gather(
        update(who, schedule.id, ScheduleRequest(is_enabled=False)),
        update(who, schedule.id, ScheduleRequest(name="another")),
        update(who, schedule.id, ScheduleRequest(overlap=Overlap.WAIT)),
    )
    found = await here.services.schedules.get(who, schedule.id)
    assert (found.is_enabled, found.name, found.overlap) == (False, "another", Overlap.WAIT)


async def test_one_that_is_gone_is_not_fired(here: Deployment) -> None:
    schedule = await add(here)
    await here.store.remove_schedule(schedule.id)
    now = here.clock.now()
    with pytest.raises(NotFound):
        await here.store.add_firing(Firing(schedule.id, now, now, Outcome.WAITING))


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        (Missed.SKIP, [("10", Outcome.MISSED), ("50", Outcome.MISSED), ("60", Outcome.STARTED)]),
        (Missed.ONCE, [("10", Outcome.MISSED), ("50", Outcome.STARTED), ("60", Outcome.STARTED)]),
        (Missed.ALL, [(str(each), Outcome.STARTED) for each in (10, 20, 30, 40, 50, 60)]),
    ],
)
async def test_missed_times(here: Deployment, missed: Missed, expected: list[tuple[str, Outcome]]) -> None:
    schedule = await add(here, missed=missed)
    await pass_minutes(here, 55)  # nobody was there
    for _ in range(12):
        await end_runs(here)
        await pass_minutes(here, 0.5)
    assert [each for each in await fired(here, schedule) if int(each[0]) <= 60] == expected


async def test_only_the_last_of_many_missed_times_are_made_up_for(
    here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule_clock, "MAX_MISSED", 3)
    schedule = await add(here, missed=Missed.ALL)
    await pass_minutes(here, 95)
    for _ in range(6):
        await end_runs(here)
        await pass_minutes(here, 0.2)
    started = [time for time, outcome in await fired(here, schedule) if outcome is Outcome.STARTED]
    assert started == ["70", "80", "90"]


async def test_a_time_at_which_the_last_run_is_at_work_is_skipped(here: Deployment) -> None:
    schedule = await add(here)
    await pass_minutes(here, 10)
    await pass_minutes(here, 10)
    assert await fired(here, schedule) == [("10", Outcome.STARTED), ("20", Outcome.SKIPPED)]
    assert await runs(here) == 1
    await end_runs(here)
    await pass_minutes(here, 10)
    assert await runs(here) == 2


async def test_or_waits_for_its_end_one_at_a_time(here: Deployment) -> None:
    schedule = await add(here, overlap=Overlap.WAIT)
    for _ in range(3):
        await pass_minutes(here, 10)
    assert await fired(here, schedule) == [
        ("10", Outcome.STARTED),
        ("20", Outcome.WAITING),
        ("30", Outcome.SKIPPED),
    ]
    assert await runs(here) == 1
    run, fence = await here.claim()
    await here.finish(fence, RunStatus.FAILED, "it broke")
    await work_off(here, ChoreKind.SCHEDULE)  # woken by the run's end
    assert run.is_finished is False
    assert await runs(here) == 2
    assert (await fired(here, schedule))[1] == ("20", Outcome.STARTED)


async def test_asked_for_by_hand_it_fires_at_once_or_after_the_one_before(here: Deployment) -> None:
    schedule = await add(here, "@yearly", is_enabled=False)
    for _ in range(2):
        await here.services.schedules.fire(await me(here), schedule.id)
        await pass_minutes(here, 1)
    assert await runs(here) == 1
    await end_runs(here)
    await pass_minutes(here, 1)
    assert await runs(here) == 2


async def test_a_process_that_dies_in_the_middle_leaves_one_run(here: Deployment) -> None:
    """It had written down that it fires, and had made the run; or had not."""
    schedule = await add(here)
    starter = here.services.schedules._times.starters["plan"]
    here.clock.advance(600)

    class Dies(Exception):
        """As a process does."""

    start, tries = starter.start, list[int]()

    async def dying(*given: object, **named: object) -> int:
        made = await start(*given, **named)  # type: ignore[arg-type]  # whatever it is
        tries.append(made)
        if len(tries) == 1:
            raise Dies
        return made

    starter.start = dying  # type: ignore[method-assign]  # a process that dies right after
    with pytest.raises(Dies):
        await work_off(here, ChoreKind.SCHEDULE)
    assert await fired(here, schedule) == [("10", Outcome.STARTING)]
    here.clock.advance(31)  # its lease has run out
    await work_off(here, ChoreKind.SCHEDULE)
    assert tries == [1, 1]
    assert await runs(here) == 1
    assert await fired(here, schedule) == [("10", Outcome.STARTED)]


async def test_what_cannot_start_says_why_and_the_next_time_is_tried(here: Deployment) -> None:
    boss = await here.member("boss@example.com", Role.ADMIN)
    schedule = await here.services.schedules.add(
        await here.services.identity.authenticate(boss.key),
        ScheduleRequest(name="his", cron="*/10 * * * *", kind="plan", target=TARGET),
    )
    await here.services.identity.set_role(1, boss.user.id, None)
    await pass_minutes(here, 10)
    await pass_minutes(here, 10)
    assert await fired(here, schedule) == [("10", Outcome.FAILED), ("20", Outcome.FAILED)]
    (latest, *_) = await here.services.schedules.firings(await me(here), schedule.id)
    assert latest.detail is not None
    assert "no member any more" in latest.detail
    assert await runs(here) == 0


async def test_a_fault_of_the_services_own_is_given_up_and_the_next_time_is_served(
    here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = await add(here)
    here.clock.advance(600)

    async def fail(*_: object, **__: object) -> int:
        raise ValueError("a fault of ours")

    starter, handler = here.services.schedules._times.starters["plan"], here.services.chores.handlers
    with monkeypatch.context() as patched:
        patched.setattr(starter, "start", fail)
        for tries in range(schedule_clock.MAX_FIRING_TRIES - 1):
            with pytest.raises(ValueError, match="a fault of ours"):
                await handler[ChoreKind.SCHEDULE](Chore(ChoreKind.SCHEDULE, schedule.id, 1, tries))
        assert await fired(here, schedule) == [("10", Outcome.STARTING)]
        last = schedule_clock.MAX_FIRING_TRIES - 1
        await handler[ChoreKind.SCHEDULE](Chore(ChoreKind.SCHEDULE, schedule.id, 1, last))
    (firing,) = await here.services.schedules.firings(await me(here), schedule.id)
    assert (firing.outcome, firing.detail) == (Outcome.FAILED, "The service failed at it, and its log says how.")
    await pass_minutes(here, 10)
    assert (await fired(here, schedule))[-1] == ("20", Outcome.STARTED)


async def test_what_may_pass_is_tried_again(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = await add(here)
    here.clock.advance(600)
    starter, handler = here.services.schedules._times.starters["plan"], here.services.chores.handlers

    async def refuse(*_: object, **__: object) -> int:
        raise Conflict("The Git host is in trouble.")

    with monkeypatch.context() as patched:
        patched.setattr(starter, "start", refuse)
        with pytest.raises(Conflict):
            await handler[ChoreKind.SCHEDULE](Chore(ChoreKind.SCHEDULE, schedule.id, 1, 0))
    await handler[ChoreKind.SCHEDULE](Chore(ChoreKind.SCHEDULE, schedule.id, 1, 1))
    assert await fired(here, schedule) == [("10", Outcome.STARTED)]


async def test_a_script_is_not_changed_under_a_schedule_by_who_may_less(here: Deployment) -> None:
    """A MEMBER's script that an ADMIN had started at times: another version runs with the MEMBER's rights, or not."""
    ada = await here.services.identity.authenticate((await here.member("ada@example.com")).key)
    scripts = here.services.scripts
    await scripts.save(ada, "nightly", 'output("one")')
    target: JsonObject = {"script": "nightly"}
    free = await add(here, kind="script", target=target)
    pinned = await add(here, kind="script", target={**target, "version": 1}, name="pinned")
    await pass_minutes(here, 10)
    assert await fired(here, free) == [("10", Outcome.FAILED)]
    assert await fired(here, pinned) == [("10", Outcome.STARTED)]
    (firing,) = await here.services.schedules.firings(await me(here), free.id)
    assert firing.detail is not None
    assert "may do less than the schedule's maker" in firing.detail
    await scripts.save(await me(here), "nightly", 'output("two")')
    await pass_minutes(here, 10)
    assert await fired(here, free) == [("10", Outcome.FAILED), ("20", Outcome.STARTED)]


async def test_a_database_that_is_away_is_no_failure_of_the_schedule(
    here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = await add(here)
    here.clock.advance(600)

    async def away(*_: object, **__: object) -> int:
        raise Unavailable("not now")

    starter = here.services.schedules._times.starters["plan"]
    with monkeypatch.context() as patched:
        patched.setattr(starter, "start", away)
        with pytest.raises(Unavailable):
            await work_off(here, ChoreKind.SCHEDULE)
    here.clock.advance(31)
    await work_off(here, ChoreKind.SCHEDULE)
    assert await fired(here, schedule) == [("10", Outcome.STARTED)]


async def test_every_fault_is_named(here: Deployment) -> None:
    with pytest.raises(InvalidInput) as refused:
        await add(here, "61 * * * *", name=" ", target={"plan": {"steps": [], "branch": "a b"}})
    assert set(refused.value.faults) >= {"name", "cron", "plan.steps", "plan.branch"}
    with pytest.raises(InvalidInput) as refused:
        await add(here, time_zone="Nowhere", kind="dance")
    assert set(refused.value.faults) == {"timeZone", "target"}
    for name in ("a\nb", "\x1b[31m", "\u202egnp"):
        with pytest.raises(InvalidInput) as refused:
            await add(here, name=name)
        assert set(refused.value.faults) == {"name"}
    await add(here)
    with pytest.raises(Conflict):
        await add(here)


async def test_whose_they_are(here: Deployment) -> None:
    schedule = await add(here)
    member = await here.services.identity.authenticate((await here.member("ada@example.com")).key)
    assert await here.services.schedules.list(member) == ()
    with pytest.raises(NotFound):
        await here.services.schedules.fire(member, schedule.id)
    own = await here.services.schedules.add(
        member, ScheduleRequest(name="mine", cron="@daily", kind="plan", target=TARGET)
    )
    assert [each.name for each in await here.services.schedules.list(await me(here))] == ["mine", "tidy"]
    await here.services.schedules.remove(await me(here), own.id)
    assert await here.services.schedules.list(member) == ()


async def test_the_next_times_are_told(here: Deployment) -> None:
    schedule = await add(here, "0 0 * * *", time_zone="Europe/Paris")
    coming = here.services.schedules.coming(schedule)
    assert len(coming) == 5
    assert {(each.hour, each.minute) for each in coming} == {(22, 0)}


async def test_both_stores_serve_a_time_once(world: World) -> None:
    now = START
    draft = ScheduleDraft("one", "* * * * *", "UTC", Missed.ONCE, Overlap.SKIP, {"kind": "plan"}, True, now)
    who = world.principal
    schedule = await world.store.add_schedule(
        draft, who.organization_id, who.user_id, uuid=who.user_uuid, now=now, most=9
    )
    following = now + timedelta(minutes=1)
    firing = Firing(schedule.id, now, now, Outcome.STARTING)
    assert await world.store.add_firings(schedule.id, [firing], due=now, following=following)
    assert not await world.store.add_firings(schedule.id, [firing], due=now, following=following)
    assert await world.store.firings(schedule.id, limit=9, outcomes=frozenset({Outcome.STARTING})) == (firing,)
    assert await world.store.firings(schedule.id, limit=9, outcomes=frozenset({Outcome.WAITING})) == ()
    claimed = await world.store.claim_chore("w", now, lease_seconds=9, kinds=frozenset({ChoreKind.SCHEDULE}))
    assert claimed == Chore(ChoreKind.SCHEDULE, schedule.id, 1)
    assert await world.store.prune_firings(schedule.id, following) == 0  # it is still to be started
    done = Firing(schedule.id, now, now, Outcome.FAILED, "so")
    await world.store.update_firing(done)
    assert await world.store.firings(schedule.id, limit=9) == (done,)
    assert await world.store.prune_firings(schedule.id, following) == 1
    assert await world.store.remove_schedule(schedule.id)
    assert not await world.store.remove_schedule(schedule.id)


async def test_a_batch_is_started_with_the_days_variables_and_not_beside_itself(tmp_path: Path) -> None:
    async with deployed(tmp_path) as here:
        await here.services.repositories.add(
            here.admin.organization, name="acme/shop", url="https://git.example/acme/shop.git", default_branch="main"
        )
        http, headers = here.http, here.admin.headers
        plan = {"engine": "Dummy", "branch": "tidy/${{ schedule.date }}", "steps": ["Tidy ${{ repository.name }}"]}
        wish = {"plan": plan, "filter": {"name": "acme/*"}}
        sent = {"name": "all", "cron": "*/10 * * * *", "batch": wish}
        answer = await http.post("/schedules", json=sent, headers=headers)
        assert answer.status_code == 200, answer.text
        made = answer.json()
        assert made["target"]["kind"] == "batch"
        await pass_minutes(here, 10)
        await work_off(here, ChoreKind.BATCH)
        (run,) = await here.store.list_runs(RunFilter(1), limit=9)
        assert (run.branch_work, run.steps[0].text) == ("tidy/2026-10-01", "Tidy acme/shop")
        await pass_minutes(here, 10)
        found = (await http.get(f"/schedules/{made['id']}/firings", headers=headers)).json()["firings"]
        assert [each["outcome"] for each in found] == ["skipped", "started"]
        assert found[1]["batchId"] == 1
        await end_runs(here)
        await work_off(here, ChoreKind.BATCH)
        await pass_minutes(here, 10)
        assert (await http.get("/batches", headers=headers)).json()["batches"][0]["id"] == 2
        for batch, where in (
            ({"plan": {"steps": []}, "targets": []}, "batch.targets"),
            ({**wish, "variables": {"schedule.date": "1999-01-01"}}, "batch.variables.schedule.date"),
        ):
            refused = await http.post("/schedules", json={**sent, "name": "other", "batch": batch}, headers=headers)
            assert refused.status_code == 400
            assert where in refused.json()["errors"], refused.text


async def test_the_api(tmp_path: Path) -> None:
    async with deployed(tmp_path) as here:
        http, headers = here.http, here.admin.headers
        sent = {"name": "tidy", "cron": "@daily", "timeZone": "Europe/Paris", "plan": TARGET}
        answer = await http.post("/schedules", json=sent, headers=headers)
        assert answer.status_code == 200, answer.text
        made = answer.json()
        assert made["target"]["kind"] == "plan"
        assert made["target"]["plan"]["steps"] == [{"step": "Tidy up on ${{ schedule.date }}"}]
        assert made["dateNext"] == made["coming"][0] == "2026-10-01T22:00:00.000Z"
        path = f"/schedules/{made['id']}"
        changed = (await http.patch(path, json={"overlap": "wait", "isEnabled": False}, headers=headers)).json()
        assert (changed["overlap"], changed["dateNext"], changed["cron"]) == ("wait", None, "@daily")
        firing = (await http.post(f"{path}/fire", headers=headers)).json()
        assert firing["outcome"] == "waiting"
        await work_off(here, ChoreKind.SCHEDULE)
        (shown,) = (await http.get(f"{path}/firings", headers=headers)).json()["firings"]
        assert (shown["outcome"], shown["runId"]) == ("started", 1)
        assert [each["name"] for each in (await http.get("/schedules", headers=headers)).json()["schedules"]] == [
            "tidy"
        ]
        for wrong, where in (
            ({**sent, "name": "b", "cron": "x"}, "cron"),
            ({**sent, "name": "b", "missed": "maybe"}, "missed"),
            ({**sent, "name": "b", "plan": {"plan": {"steps": []}}}, "plan.steps"),
            ({**sent, "name": "b", "plan": {**TARGET, "metadata": {}}}, "plan.metadata"),
            ({"name": "b", "cron": "@daily"}, "target"),
            ({**sent, "colour": "red"}, "colour"),
        ):
            refused = await http.post("/schedules", json=wrong, headers=headers)
            assert refused.status_code == 400, refused.text
            assert where in refused.json()["errors"], refused.text
        assert (await http.delete(path, headers=headers)).status_code == 204
        assert (await http.get(path, headers=headers)).status_code == 404
