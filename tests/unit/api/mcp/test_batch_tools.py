"""What tools do with batches: the caller's own rights, faults by the arguments' names, bounded pages and waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp.client.client import Client
from tests.support.chores import work_off
from tests.support.deployment import Deployment, Member, deployed
from tests.support.mcp_doors import Told, call, connected, refused

from treadle.api.mcp import batch_waiting
from treadle.domain.identity import Role
from treadle.ports.chores import ChoreKind
from treadle.server import listening

pytestmark = pytest.mark.anyio

PLAN = """
source: main
engine: dummy
variables: {what: {default: cats}}
steps: ["Add ${{ what }}"]
"""
TARGETS = [f"https://git.example/acme/r{at}.git" for at in range(1, 4)]


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Deployment]:
    monkeypatch.setattr(batch_waiting, "BATCH_LOOK_SECONDS", 0.02)
    async with deployed(tmp_path, public_url="https://treadle.example") as found:
        yield found


@asynccontextmanager
async def client_of(here: Deployment, who: Member) -> AsyncIterator[Client]:
    async with listening(here.app, "127.0.0.1", 0) as url, connected("http", url, who.key) as client:
        yield client


async def advance(here: Deployment) -> None:
    await work_off(here, ChoreKind.BATCH)


async def test_batches_of_others_are_as_if_there_were_none(here: Deployment) -> None:
    ada, bob = await here.member("ada@example.com"), await here.member("bob@example.com")
    other = await here.services.identity.add_organization("Other")
    eve = await here.member("eve@example.com", Role.ADMIN, organization=other)
    async with client_of(here, ada) as client:
        batch = await call(client, "start_batch", plan=PLAN, targets=TARGETS)
        assert batch["page"] == f"https://treadle.example/automation/batches/{batch['id']}"
    for stranger in (bob, eve):
        async with client_of(here, stranger) as client:
            said = set[str]()
            for tool in ("get_batch", "wait_for_batch", "batch_report", "retry_batch", "kill_batch"):
                for which in (batch["id"], batch["uuid"], str(batch["id"]), 10**30, -1, "nonsense", "0" * 32):
                    said.add((await refused(client, tool, batch=which)).partition(": ")[2])
            assert len(said) == 1, said
            assert await call(client, "list_batches") == {"batches": [], "before": None}
    for who in (here.admin, ada):
        async with client_of(here, who) as client:
            assert await call(client, "list_batches") == {"batches": [batch], "before": None}
    async with client_of(here, here.admin) as client:
        assert (await call(client, "get_batch", batch=str(batch["id"])))["uuid"] == batch["uuid"]


async def test_batches_are_listed_page_by_page_newest_first(here: Deployment) -> None:
    async with client_of(here, here.admin) as client:
        made = [(await call(client, "start_batch", plan=PLAN, targets=TARGETS))["id"] for _ in range(3)]
        first = await call(client, "list_batches", limit=2)
        second = await call(client, "list_batches", limit=2, before=first["before"])
        assert [[each["id"] for each in page["batches"]] for page in (first, second)] == [made[:0:-1], made[:1]]
        assert second["before"] is None
        for wrong in ({"limit": 0}, {"limit": 101}, {"before": -1}, {"before": 10**30}):
            (name,) = wrong
            assert name in await refused(client, "list_batches", **wrong)


async def test_faults_are_named_by_the_arguments(here: Deployment) -> None:
    async with client_of(here, here.admin) as client:
        assert "targets: Give targets" in await refused(client, "start_batch", plan=PLAN)
        assert "targets: Names no repository" in await refused(client, "start_batch", plan=PLAN, everywhere=True)
        assert "steps: " in await refused(client, "start_batch", plan="steps: []", targets=TARGETS)
        said = await refused(
            client,
            "start_batch",
            plan=PLAN,
            targets=[{"url": TARGETS[0], "variables": {"trigger.name": "x", "what": "\0"}}],
            name_like="\0",
            variables={"a.b": "c"},
            idempotency_key="é",
        )
        for name in ("targets[0].variables.trigger.name", "targets[0].variables.what", "name_like", "idempotency_key"):
            assert f"{name}: " in said, (name, said)
        said = await refused(client, "start_batch", plan=PLAN, targets=TARGETS, max_cost_usd=-1, name="\u202e")
        assert "max_cost_usd: " in said
        assert "name: " in said
        said = await refused(client, "start_batch", plan=PLAN, targets=["nobody/such", {}, "https://u:p@git.example/a"])
        for name in ("targets[0].repository", "targets[1]", "targets[2].url"):
            assert f"{name}: " in said, (name, said)
    assert await here.services.batches.list(await here.services.identity.authenticate(here.admin.key), limit=9) == ()


async def test_repositories_are_chosen_by_id_by_name_and_by_their_names(here: Deployment) -> None:
    added = [
        await here.services.repositories.add(
            here.admin.organization, name=name, url=f"https://git.example/{name}.git", default_branch="main"
        )
        for name in ("acme/a", "acme/b", "other/c")
    ]
    async with client_of(here, here.admin) as client:
        asked = {"plan": PLAN, "targets": [added[2].id, "acme/b"], "name_like": "ACME/*", "concurrency": 2}
        batch = await call(client, "start_batch", **asked)
        report = await call(client, "batch_report", batch=batch["id"])
        assert [each["name"] for each in report["items"]] == ["other/c", "acme/b", "acme/a"]
        assert (batch["concurrency"], report["next_after"]) == (2, None)
        everywhere = await call(client, "start_batch", plan=PLAN, everywhere=True)
        assert everywhere["counts"]["items"] == 3


async def test_a_key_makes_one_batch(here: Deployment) -> None:
    asked = {"plan": PLAN, "targets": TARGETS, "idempotency_key": "one"}
    async with client_of(here, here.admin) as client:
        first = await call(client, "start_batch", **asked)
        assert (await call(client, "start_batch", **asked))["id"] == first["id"]
        assert "Idempotency-Key" in await refused(client, "start_batch", **{**asked, "concurrency": 2})


async def test_a_wait_tells_how_many_have_ended_and_ends_with_the_batch(here: Deployment) -> None:
    async with client_of(here, here.admin) as client:
        batch = await call(client, "start_batch", plan=PLAN, targets=TARGETS)
        told = Told()
        wait = asyncio.create_task(call(client, "wait_for_batch", told, batch=batch["id"], seconds=600))
        await told.heard("0 of 3 repositories have ended")
        await advance(here)
        for ended in range(1, 4):
            _, fence = await here.claim()
            await here.finish(fence)
            await advance(here)
            if ended < 3:
                await told.heard(f"{ended} of 3 repositories have ended")
        waited = await wait
        assert (waited["advice"], waited["batch"]["status"]) == (None, "Success")
        assert told.totals == {3}
        assert told.numbers == sorted(set(told.numbers))


async def test_a_wait_ends_in_time_and_a_batch_when_it_is_killed(here: Deployment) -> None:
    async with client_of(here, here.admin) as client:
        batch = await call(client, "start_batch", plan=PLAN, targets=TARGETS)
        waited = await call(client, "wait_for_batch", batch=batch["id"], seconds=1)
        assert "call wait_for_batch again" in waited["advice"]
        assert (await call(client, "kill_batch", batch=batch["id"]))["is_kill_requested"]
        await advance(here)
        assert (await call(client, "get_batch", batch=batch["id"]))["status"] == "Killed"
        assert (await call(client, "retry_batch", batch=batch["id"]))["status"] == "Running"


async def test_a_wait_ends_when_the_server_stops(here: Deployment) -> None:
    async with client_of(here, here.admin) as client:
        batch = await call(client, "start_batch", plan=PLAN, targets=TARGETS)
        told = Told()
        wait = asyncio.create_task(call(client, "wait_for_batch", told, batch=batch["id"], seconds=600))
        await told.heard("0 of 3")
        here.app.state.streams.close()
        assert "about to stop" in (await wait)["advice"]


async def test_a_wait_ends_with_the_role(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.api.mcp.waiting.RECHECK_SECONDS", 0.05)
    monkeypatch.setattr(batch_waiting, "BATCH_LOOK_SECONDS", 600.0)
    ada = await here.member("ada@example.com")
    async with client_of(here, ada) as client:
        batch = await call(client, "start_batch", plan=PLAN, targets=TARGETS)
        told = Told()
        wait = asyncio.create_task(refused(client, "wait_for_batch", told, batch=batch["id"], seconds=600))
        await told.heard("0 of 3")
        identity = here.services.identity
        (key,) = [each for each in await identity.keys(1) if each.user_id == ada.user.id]
        await identity.revoke_key(key.id)
        assert "do not hold any more" in await wait
