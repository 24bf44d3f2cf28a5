"""Hooks, triggers and deliveries on each database: what arrives twice is one, and a check is taken once."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from tests.support.directory import a_repository, another_process
from tests.support.stores import NOW, World, a_draft, later

from treadle.domain.deliveries import Subject
from treadle.domain.errors import NotFound
from treadle.domain.plan import Plan, StepSpec
from treadle.domain.repository import Repository
from treadle.domain.run import Run
from treadle.domain.trigger_settings import TriggerSettings
from treadle.domain.triggers import DeliveryStatus, Hook, HookKind, Trigger, TriggerKind
from treadle.ports.chores import ChoreKind
from treadle.ports.triggers import Arrival, CheckWanted

pytestmark = pytest.mark.anyio

BRANCH = "treadle/1-work"


async def a_hook(world: World, *, kind: HookKind = HookKind.GITHUB) -> tuple[Hook, Repository]:
    who = world.principal
    repository = await world.store.add_repository(a_repository(who.organization_id, f"group/{uuid4()}"), {})
    hook = Hook(0, uuid4(), who.organization_id, who.organization_uuid, repository.id, kind, NOW, sealed="v1:one")
    return await world.store.add_hook(hook), repository


async def a_trigger(world: World, hook: Hook) -> Trigger:
    who = world.principal
    plan = Plan(steps=(StepSpec("Do it"),))
    return await world.store.add_trigger(
        Trigger(
            0,
            uuid4(),
            who.organization_id,
            who.user_id,
            hook.id,
            "a \0 name",
            TriggerKind.ISSUE,
            TriggerSettings(labels=("bug",)),
            plan,
            True,
            NOW,
            NOW,
        )
    )


async def a_run(world: World, repository: Repository, branch: str = BRANCH, *, is_registered: bool = True) -> Run:
    repository_id = repository.id if is_registered else None
    draft = replace(a_draft(repository_id=repository_id, branch=branch), git_url=repository.url)
    made, _ = await world.store.create_run(
        draft, world.principal, uuid=uuid4(), step_ids=[uuid4() for _ in draft.steps], secrets={}, now=NOW
    )
    return made


def arrival(delivery: str = "one", digest: str | None = "d1") -> Arrival:
    return Arrival(delivery, digest, "issues", {"x": "y"}, b'{"a": "\x00\xff"}')


async def test_a_repository_has_one_hook_for_its_forge_and_any_number_of_urls(world: World) -> None:
    hook, _ = await a_hook(world)
    same = await world.store.add_hook(replace(hook, id=0, uuid=uuid4()))
    assert same == hook
    other = await world.store.add_hook(replace(hook, id=0, uuid=uuid4(), kind=HookKind.URL))
    third = await world.store.add_hook(replace(hook, id=0, uuid=uuid4(), kind=HookKind.URL))
    assert len({hook.id, other.id, third.id}) == 3
    assert await world.store.hook(hook.uuid) == hook
    assert await world.store.rotate_hook(hook.id, "v1:two", was="v1:one", before_ends=later(9))
    assert not await world.store.rotate_hook(hook.id, "v1:three", was="v1:one", before_ends=later(9))


async def test_a_trigger_comes_back_as_it_was_and_goes_with_its_hook(world: World) -> None:
    hook, repository = await a_hook(world)
    trigger = await a_trigger(world, hook)
    assert await world.store.trigger(trigger.organization_id, trigger.uuid) == trigger
    await world.store.update_trigger(replace(trigger, is_enabled=False, plan=None))
    [found] = await world.store.triggers_of_hook(hook.id)
    assert (found.is_enabled, found.plan, found.settings) == (False, None, trigger.settings)
    run = await a_run(world, repository)
    await world.store.put_thread(repository.id, Subject.ISSUE, 5, trigger.id, run_id=run.id, step=1, detail={}, now=NOW)
    await world.store.add_delivery(hook.id, arrival(), NOW)
    await world.store.remove_hook(hook.id)
    assert await world.store.hook(hook.uuid) is None
    with pytest.raises(NotFound):
        await world.store.update_trigger(trigger)


async def test_what_arrives_at_two_processes_at_once_is_one_delivery_with_one_chore(world: World) -> None:
    hook, _ = await a_hook(world)
    async with another_process(world) as other:
        found = await asyncio.gather(
            *(store.add_delivery(hook.id, arrival(), NOW) for store in (world.store, other) for _ in range(5))
        )
    assert [is_new for _, is_new in found].count(True) == 1
    assert len({id_ for id_, _ in found}) == 1
    assert (await world.store.add_delivery(hook.id, arrival("two"), NOW))[1] is False, "the same body"
    assert (await world.store.add_delivery(hook.id, arrival("three", None), later(1)))[1]
    assert (await world.store.add_delivery(hook.id, arrival("four", None), later(2)))[1]
    id_ = found[0][0]
    chore = await world.store.claim_chore("w", NOW, lease_seconds=9, kinds=frozenset({ChoreKind.DELIVERY}))
    assert chore is not None
    assert chore.subject == id_
    stored = await world.store.delivery(id_)
    assert stored is not None
    assert (stored.body, stored.status) == (b'{"a": "\x00\xff"}', DeliveryStatus.WAITING)


async def test_deliveries_are_listed_ended_repeated_and_pruned(world: World) -> None:
    hook, repository = await a_hook(world)
    run = await a_run(world, repository)
    ids = [(await world.store.add_delivery(hook.id, arrival(str(at), str(at)), NOW))[0] for at in range(3)]
    assert await world.store.waiting_deliveries(hook.id, limit=2) == ids[:2]
    await world.store.end_delivery(ids[0], DeliveryStatus.DONE, "a \0", run.id, later(1))
    assert [each.id for each in await world.store.deliveries(hook.id, limit=2, before=ids[2])] == [ids[1], ids[0]]
    assert await world.store.prune_deliveries(hook.id, NOW) == 0
    await world.store.repeat_delivery(ids[0], later(2))
    assert await world.store.prune_deliveries(hook.id, later(9)) == 0, "they wait"
    await world.store.end_delivery(ids[0], DeliveryStatus.IGNORED, None, None, later(3))
    assert await world.store.prune_deliveries(hook.id, later(9)) == 1


async def test_a_branch_is_its_newest_runs(world: World) -> None:
    _, repository = await a_hook(world)
    organization = world.principal.organization_id
    assert await world.store.newest_run_on(organization, repository.url, BRANCH) is None
    await a_run(world, repository)
    run, _ = await a_run(world, repository), await a_run(world, repository, "other")
    found = await world.store.newest_run_on(organization, repository.url, BRANCH)
    assert found is not None
    assert found.id == run.id
    many = [f"b{number}" for number in range(600)]
    for names, expected in (([], None), (many, None), ([*many, BRANCH], (run.id, BRANCH))):
        assert await world.store.run_on_any(organization, repository.url, names) == expected
        assert await world.store.run_on_any(organization + 1, repository.url, names) is None
    assert await world.store.run_that_pushed(repository.id, "c" * 40) is None
    assert await world.store.run_of_pull_request(repository.id, 7) is None


async def test_a_branch_is_some_runs_though_nobody_registered_its_address(world: World) -> None:
    _, repository = await a_hook(world)
    organization = world.principal.organization_id
    run = await a_run(world, repository, is_registered=False)
    assert await world.store.run_on_any(organization, repository.url, ["main", BRANCH]) == (run.id, BRANCH)
    assert await world.store.newest_run_on(organization, repository.url, BRANCH) is None, "checks wake it not"
    known = await a_run(world, repository)
    later_one = await a_run(world, repository, is_registered=False)
    assert await world.store.run_on_any(organization, repository.url, [BRANCH]) == (later_one.id, BRANCH)
    found = await world.store.newest_run_on(organization, repository.url, BRANCH)
    assert found is not None
    assert found.id == known.id


async def test_a_thread_is_answered_for_the_run_and_step_that_it_is_at(world: World) -> None:
    hook, repository = await a_hook(world)
    trigger, run, other = await a_trigger(world, hook), await a_run(world, repository), await a_run(world, repository)

    async def put(run_id: int, step: int) -> tuple[int, int, int]:
        found = await world.store.put_thread(
            repository.id, Subject.ISSUE, 5, trigger.id, run_id=run_id, step=step, detail={"kind": "x"}, now=NOW
        )
        return found.id, found.last_step, found.answered_step

    id_, *steps = await put(run.id, 2)
    assert steps == [2, 0]
    await world.store.answered(id_, run.id, 2, NOW)
    assert await put(run.id, 1) == (id_, 2, 2)
    assert await put(run.id, 3) == (id_, 3, 2)
    await world.store.answered(id_, other.id, 3, NOW)
    assert await put(other.id, 1) == (id_, 1, 0), "another run begins without an answer"
    [found] = await world.store.threads_about(repository.id, Subject.ISSUE, 5)
    assert await world.store.thread(id_) == found
    assert await world.store.threads_of_run(other.id) == (found,)
    assert await world.store.threads_about(repository.id, Subject.PULL_REQUEST, 5) == ()


async def test_a_check_of_a_commit_is_one_deliverys_however_many_ask(world: World) -> None:
    _, repository = await a_hook(world)
    run = await a_run(world, repository)
    place = (world.principal.organization_id, repository.url, BRANCH)

    async def take(delivery: int, sha: str = "s1", most: int = 2) -> list[str]:
        taken, _ = await world.store.take_checks(
            *place, sha, [CheckWanted("tests", most)], most_wakes=9, run_id=run.id, delivery=delivery, now=NOW
        )
        return list(taken)

    found = await asyncio.gather(*(take(delivery) for delivery in range(1, 9)))
    assert [len(each) for each in found].count(1) == 1
    first = next(at for at, each in enumerate(found, 1) if each)
    assert await take(first) == ["tests"], "again by the same"
    assert await take(20, "s2") == ["tests"]
    assert await take(21, "s3") == [], "twice is the most"
    assert await world.store.pass_check(*place, "tests")
    assert not await world.store.pass_check(*place, "tests")
    assert await take(22, "s3") == ["tests"]


async def test_checks_that_fail_and_pass_in_turn_wake_a_branchs_run_so_often_and_no_more(world: World) -> None:
    _, repository = await a_hook(world)
    run = await a_run(world, repository)
    place = (world.principal.organization_id, repository.url, BRANCH)

    async def take(delivery: int, *names: str) -> tuple[list[str], int]:
        wanted = [CheckWanted(name, 9) for name in names]
        taken, states = await world.store.take_checks(
            *place, f"s{delivery}", wanted, most_wakes=3, run_id=run.id, delivery=delivery, now=NOW
        )
        return list(taken), sum(state.wakes for state in states.values())

    assert await take(1, "tests", "lint") == (["tests", "lint"], 1), "together they wake it once"
    assert await take(1, "tests", "types") == (["tests", "types"], 1), "and so they do when it is tried again"
    for name in ("tests", "lint"):
        await world.store.pass_check(*place, name)
    assert await take(2, "tests") == (["tests"], 2)
    await world.store.pass_check(*place, "tests")
    assert await take(3, "another") == (["another"], 3)
    assert await take(4, "tests", "one more") == ([], 3)
    assert await take(3, "another", "late") == (["another", "late"], 3), "what it has woken for is not taken back"
