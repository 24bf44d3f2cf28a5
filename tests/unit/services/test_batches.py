"""Batches through the API, advanced by their chore as a worker would, with runs that a test ends."""

import csv
import io
from uuid import UUID

import httpx2
import pytest
from tests.support.deployment import Deployment, Json, Member

from treadle.domain.batch import run_uuid, share
from treadle.domain.errors import Unavailable
from treadle.domain.identity import Role
from treadle.domain.plan import Plan
from treadle.domain.run import Usage
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.ports import RunFilter, StepUpdate
from treadle.ports.chores import Chore, ChoreKind
from treadle.services.plan_runs import PlanTarget

pytestmark = pytest.mark.anyio

PLAN: Json = {"name": "Tidy", "source": "main", "engine": "dummy", "steps": ["Do it"]}


def urls(count: int) -> list[str]:
    return [f"https://git.example/acme/r{at}.git" for at in range(1, count + 1)]


async def post(here: Deployment, sent: Json, who: Member | None = None, *, key: str | None = None) -> httpx2.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await here.http.post("/batches", headers={**(who or here.admin).headers, **headers}, json=sent)


async def started(here: Deployment, who: Member | None = None, /, **fields: object) -> Json:
    answer = await post(here, {"plan": PLAN, "targets": urls(3), **fields}, who)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def ask(here: Deployment, path: str, who: Member | None = None, status: int = 200) -> Json:
    answer = await here.http.get(f"/batches/{path}".rstrip("/"), headers=(who or here.admin).headers)
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


async def tell(here: Deployment, path: str, status: int = 200) -> Json:
    answer = await here.http.post(f"/batches/{path}", headers=here.admin.headers)
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


async def advance(here: Deployment, batch: Json) -> Json:
    """As a worker does it: what the batch is then."""
    store, chores = here.store, here.services.chores
    while True:
        chore = await store.claim_chore(
            "worker", here.clock.now(), lease_seconds=30, kinds=frozenset({ChoreKind.BATCH})
        )
        if chore is None:
            return await ask(here, str(batch["id"]))
        again = await chores.handlers[ChoreKind.BATCH](chore)
        await store.end_chore(chore, again=again)


async def items(here: Deployment, batch: Json, query: str = "") -> list[Json]:
    found: list[Json] = (await ask(here, f"{batch['id']}/items?{query}"))["items"]
    return found


async def statuses(here: Deployment, batch: Json) -> list[str]:
    return [item["status"] for item in await items(here, batch)]


async def end(here: Deployment, status: RunStatus = RunStatus.SUCCESS, *, cost: float = 0.0, count: int = 1) -> None:
    """The oldest runs that wait."""
    for _ in range(count):
        _, fence = await here.claim()
        usage = Usage(1, 1, cost, 1)
        now = here.clock.now()
        await here.store.record(fence, [], now, step=StepUpdate(1, StepStatus.RUNNING, Phase.ANALYSIS, usage=usage))
        await here.store.record(fence, [], now, step=StepUpdate(1, StepStatus.SUCCESS, commit_sha="a" * 40))
        await here.finish(fence, status, None if status is RunStatus.SUCCESS else "It broke.")


# ---- what is asked for


async def test_faults_are_named_by_their_places_and_nothing_starts(here: Deployment) -> None:
    shop = await here.services.repositories.add(
        here.admin.organization, name="acme/shop", url="https://git.example/acme/shop.git"
    )
    sent = {
        "plan": {**PLAN, "branch": "work/${{ what }}", "variables": {"what": "x"}},
        "variables": {"nothing": "y"},
        "concurrency": 0,
        "targets": [shop.id],
    }
    answer = (await post(here, sent)).json()
    assert set(answer["errors"]) == {"concurrency"}
    sent["concurrency"] = 101
    assert set((await post(here, sent)).json()["errors"]) == {"concurrency", "variables.nothing"}
    del sent["concurrency"], sent["variables"]
    for name in (" ", "a\nb", "\x1b[31m", "\u202egnp", "x" * 201):
        assert set((await post(here, {**sent, "name": name})).json()["errors"]) == {"name"}
    sent["targets"] = [
        shop.id,
        {"url": "ext::sh -c x"},
        {"repository": 999},
        {"repository": "acme/none"},
        {"url": "https://git.example/acme/shop", "variables": {"what": "x"}},
        {"url": "https://user:word@git.example/acme/b.git"},
        {"repository": shop.id, "variables": {"other": "y", "what": "z"}},
        {"repository": shop.id, "variables": {"what": "other"}},
        {"repository": "https://git.example/acme/c.git"},
    ]
    answer = await post(here, sent)
    assert answer.status_code == 400
    faults = answer.json()["errors"]
    assert set(faults) == {
        "targets[1].url",
        "targets[2].repository",
        "targets[3].repository",
        "targets[4]",
        "targets[5].url",
        "targets[6].variables.other",
        "targets[8].repository",
    }
    assert [("`url`" in faults[f"targets[{at}].repository"][0]) for at in (2, 3, 8)] == [False, False, True]
    assert "word" not in answer.text
    assert (await ask(here, ""))["batches"] == []


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ({"plan": PLAN}, "targets"),
        ({"plan": PLAN, "targets": []}, "targets"),
        ({"plan": PLAN, "filter": {}}, "filter"),
        ({"plan": PLAN, "filter": {"name": "nobody/*"}}, "filter"),
        ({"plan": PLAN, "filter": {"topic": "x"}}, "filter.topic"),
        ({"plan": PLAN, "filter": {"name": "?" * 501}}, "filter.name"),
        ({"targets": urls(1)}, "plan"),
        ({"plan": "steps: [", "targets": urls(1)}, "plan"),
        ({"plan": {"steps": []}, "targets": urls(1)}, "plan.steps"),
        ({"plan": PLAN, "targets": urls(1001)}, "targets"),
        ({"plan": PLAN, "targets": [{"url": "x", "repository": 1}]}, "targets[0]"),
        ({"plan": PLAN, "targets": [None]}, "targets[0]"),
        ({"plan": PLAN, "targets": urls(1), "maxCostUsd": 0}, "maxCostUsd"),
        ({"plan": PLAN, "targets": urls(1), "stopAfterFailures": 0}, "stopAfterFailures"),
        ({"plan": PLAN, "targets": urls(1), "variables": {"x": 1}}, "variables.x"),
        ({"plan": PLAN, "targets": urls(1), "name": ""}, "name"),
    ],
)
async def test_what_is_wrong_is_named(here: Deployment, sent: Json, path: str) -> None:
    answer = await post(here, sent)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()["errors"]) == [path]


async def test_a_branch_longer_than_any_is_each_runs_to_refuse(here: Deployment) -> None:
    """To compare those of a thousand repositories took a gigabyte."""
    plan = {**PLAN, "branch": "${{ what }}", "variables": {"what": "x"}}
    targets = [urls(1)[0], {"url": urls(1)[0], "variables": {"what": "y" * 501}}, urls(1)[0]]
    answer = await post(here, {"plan": plan, "targets": targets, "variables": {"what": "y" * 501}})
    assert answer.status_code == 200, answer.text
    items = (await ask(here, f"{(await advance(here, answer.json()))['id']}/items"))["items"]
    assert [item["status"] for item in items] == ["Failed"] * 3
    assert all("500 characters" in item["failureDetails"] for item in items), items


async def test_faults_without_number_are_told_in_an_answer_that_can_be_read(here: Deployment) -> None:
    declared: Json = {f"v{at:02}_{'a' * 60}": {} for at in range(100)}
    unknown = {f"x{at}": "" for at in range(50)}
    sent = {
        "plan": {**PLAN, "variables": declared},
        "targets": [{"url": url, "variables": unknown} for url in urls(1000)],
    }
    answer = await post(here, sent)
    assert answer.status_code == 400
    assert len(answer.content) < 3_000_000, "all of them with all that is declared would be 300 MB"


async def test_repositories_by_id_by_name_and_by_filter(here: Deployment) -> None:
    add, organization = here.services.repositories.add, here.admin.organization
    ids = [
        (await add(organization, name=name, url=f"https://git.example/{name}.git")).id
        for name in ("acme/web-shop", "acme/web-blog", "acme/core")
    ]
    batch = await started(here, targets=["acme/core", ids[1]], filter={"name": "ACME/web-*"})
    found = await items(here, batch)
    assert [(item["name"], item["repositoryId"]) for item in found] == [
        ("acme/core", ids[2]), ("acme/web-blog", ids[1]), ("acme/web-shop", ids[0]),
    ]  # fmt: skip
    everything = await started(here, targets=None, filter={"all": True})
    assert [item["repositoryId"] for item in await items(here, everything)] == ids


async def test_a_key_makes_one_batch(here: Deployment) -> None:
    sent = {"plan": PLAN, "targets": urls(2)}
    first, second = [await post(here, sent, key="once") for _ in range(2)]
    assert first.json()["id"] == second.json()["id"]
    assert (await post(here, {**sent, "name": "Other"}, key="once")).status_code == 409
    run = await here.http.post(
        "/code-generation/processes",
        headers={**here.admin.headers, "Idempotency-Key": "once"},
        json={"gitUrl": urls(1)[0], "branchSource": "main", "branchWork": "w", "steps": [{"step": "x"}]},
    )
    assert run.status_code == 200, "a run's keys are others"


async def test_who_sees_it(here: Deployment) -> None:
    member, other = await here.member("ada@example.com"), await here.member("bob@example.com")
    manager = await here.member("eve@example.com", Role.MANAGER)
    batch = await started(here, member)
    for which in (batch["id"], batch["uuid"]):
        assert (await ask(here, str(which), member))["id"] == batch["id"]
        assert (await ask(here, str(which), manager))["id"] == batch["id"]
        await ask(here, str(which), other, status=404)
    assert [len((await ask(here, "", who))["batches"]) for who in (member, manager, other)] == [1, 1, 0]
    for path in ("nothing", "0", str(UUID(int=1)), f"{batch['id'] + 1}/items"):
        await ask(here, path, status=404)


# ---- how it goes


async def test_it_starts_as_many_as_it_may_and_goes_on_as_they_end(here: Deployment) -> None:
    batch = await started(here, targets=urls(5), concurrency=2)
    assert batch["counts"] == {
        "items": 5, "notStarted": 5, "running": 0, "succeeded": 0, "failed": 0, "killed": 0, "skipped": 0,
    }  # fmt: skip
    batch = await advance(here, batch)
    assert await statuses(here, batch) == ["Running"] * 2 + ["NotStarted"] * 3
    await end(here, cost=0.5)
    batch = await advance(here, batch)
    assert await statuses(here, batch) == ["Success"] + ["Running"] * 2 + ["NotStarted"] * 2
    assert batch["costUsd"] == 0.5
    await end(here, RunStatus.FAILED, count=2)
    batch = await advance(here, batch)
    assert [batch["counts"][name] for name in ("succeeded", "failed", "running")] == [1, 2, 2]
    await end(here, count=2)
    batch = await advance(here, batch)
    assert (batch["status"], batch["failureDetails"]) == ("Failed", "2 of 5 repositories did not succeed.")
    found = await items(here, batch)
    assert [item["status"] for item in found] == ["Success", "Failed", "Failed", "Success", "Success"]
    assert found[0]["commits"] == ["a" * 40]
    assert found[1]["failureDetails"] == "It broke."
    assert [item["position"] for item in await items(here, batch, "status=Failed&limit=1&after=2")] == [3]


async def test_more_at_once_counts_at_once(here: Deployment) -> None:
    batch = await advance(here, await started(here, concurrency=1))
    assert batch["counts"]["running"] == 1
    answer = await here.http.patch(f"/batches/{batch['id']}", headers=here.admin.headers, json={"concurrency": 3})
    assert answer.json()["concurrency"] == 3
    assert (await advance(here, batch))["counts"]["running"] == 3


async def test_a_repository_that_cannot_be_started_fails_alone(here: Deployment) -> None:
    shop = await here.services.repositories.add(
        here.admin.organization, name="acme/shop", url="https://git.example/acme/shop.git"
    )
    plan = {**PLAN, "variables": {"what": {"required": True}}, "branch": "work/${{ what }}"}
    good = {"url": urls(1)[0], "variables": {"what": "x"}}
    batch = await started(
        here,
        plan=plan,
        targets=[
            {"repository": shop.id, "variables": {"what": "x"}},
            {"url": "https://git.example/acme/a.git"},
            {"url": "https://git.example/acme/b.git", "variables": {"what": "a..b"}},
            good,
        ],
    )
    await here.services.repositories.remove(here.admin.organization.id, shop.name)
    batch = await advance(here, batch)
    found = await items(here, batch)
    assert [item["status"] for item in found] == ["Failed", "Failed", "Failed", "Running"]
    assert "Repository not found" in found[0]["failureDetails"]
    assert "variables.what" in found[1]["failureDetails"]
    assert "branch" in found[2]["failureDetails"]
    await end(here)
    batch = await advance(here, batch)
    assert (batch["status"], batch["counts"]["failed"]) == ("Failed", 3)


async def test_it_stops_after_failures_and_lets_the_others_end(here: Deployment) -> None:
    batch = await advance(here, await started(here, targets=urls(6), concurrency=3, stopAfterFailures=2))
    await end(here, RunStatus.FAILED, count=2)
    batch = await advance(here, batch)
    assert await statuses(here, batch) == ["Failed", "Failed", "Running", "Skipped", "Skipped", "Skipped"]
    await end(here)
    batch = await advance(here, batch)
    said = "It was stopped after 2 failures. 5 of 6 repositories did not succeed."
    assert (batch["status"], batch["failureDetails"]) == ("Failed", said)


async def test_a_retry_touches_what_did_not_succeed(here: Deployment) -> None:
    batch = await advance(here, await started(here, targets=urls(4), concurrency=2, stopAfterFailures=1))
    assert (await tell(here, f"{batch['id']}/retry", 409))["code"] == "conflict"
    await end(here, cost=0.25)
    await end(here, RunStatus.FAILED, cost=0.5)
    batch = await advance(here, batch)
    before = await items(here, batch)
    assert [item["status"] for item in before] == ["Success", "Failed", "Skipped", "Skipped"]
    batch = await tell(here, f"{batch['id']}/retry")
    assert (batch["status"], batch["attempt"], batch["counts"]["notStarted"]) == ("Running", 2, 3)
    await advance(here, batch)
    await end(here, cost=0.125, count=2)
    await advance(here, batch)
    await end(here, cost=0.125)
    batch = await advance(here, batch)
    after = await items(here, batch)
    assert (batch["status"], batch["costUsd"], batch["failureDetails"]) == ("Success", 1.125, None)
    assert after[0] == before[0], "what succeeded stays as it was"
    assert [item["earlierRuns"] for item in after] == [[], [before[1]["runId"]], [], []]
    assert [item["costUsd"] for item in after] == [0.25, 0.625, 0.125, 0.125]
    assert [item["attempt"] for item in after] == [1, 2, 2, 2]
    assert (await tell(here, f"{batch['id']}/retry", 409))["code"] == "conflict"


async def test_killed_it_starts_no_more_and_ends_its_runs(here: Deployment) -> None:
    batch = await advance(here, await started(here, targets=urls(5), concurrency=3))
    await end(here)
    run, fence = await here.claim()
    batch = await tell(here, f"{batch['id']}/kill")
    assert (batch["status"], batch["isKillRequested"]) == ("Running", True)
    batch = await advance(here, batch)
    assert await statuses(here, batch) == ["Success", "Running", "Killed", "Killed", "Killed"]
    assert (await here.store.get_run_by_id(run.id)).date_kill_requested is not None
    await here.finish(fence, RunStatus.KILLED)
    batch = await advance(here, batch)
    assert (batch["status"], batch["counts"]["killed"]) == ("Killed", 4)
    assert (await tell(here, f"{batch['id']}/kill", 409))["code"] == "already_finished"
    batch = await advance(here, await tell(here, f"{batch['id']}/retry"))
    assert [batch["counts"][name] for name in ("succeeded", "running", "notStarted")] == [1, 3, 1]


async def test_whoever_has_no_role_any_more_starts_nothing(here: Deployment) -> None:
    member = await here.member("ada@example.com")
    batch = await started(here, member, concurrency=1)
    await here.services.identity.set_role(here.admin.organization.id, member.user.id, None)
    batch = await advance(here, batch)
    assert (batch["status"], batch["counts"]["skipped"]) == ("Failed", 3)
    assert batch["failureDetails"].startswith("Whoever started the batch has no role")


# ---- broken off


@pytest.mark.parametrize("made", [True, False])
async def test_one_that_was_begun_and_not_written_down_is_started_once(here: Deployment, made: bool) -> None:
    """As if the process had died between the two: with its run made, and without."""
    batch = await started(here, targets=urls(2), concurrency=1)
    (item,) = await here.store.take_items(batch["id"], 1, here.clock.now())
    uuid = run_uuid(UUID(batch["uuid"]), item.position, item.attempt)
    if made:
        principal = await here.services.identity.authenticate(here.admin.key)
        plan = here.services.plan_runs
        await plan.start(principal, Plan.from_json(PLAN), PlanTarget(url=item.url), uuid=uuid)
    batch = await advance(here, batch)
    assert await statuses(here, batch) == ["Running", "NotStarted"]
    runs = await here.store.list_runs(RunFilter(1), limit=10)
    assert [run.uuid for run in runs] == [uuid]
    await end(here)
    assert await statuses(here, await advance(here, batch)) == ["Success", "Running"]


async def test_killed_before_it_was_written_down_its_run_is_killed_too(here: Deployment) -> None:
    batch = await started(here, targets=urls(2), concurrency=2)
    one, _ = await here.store.take_items(batch["id"], 2, here.clock.now())
    principal = await here.services.identity.authenticate(here.admin.key)
    uuid = run_uuid(UUID(batch["uuid"]), one.position, one.attempt)
    await here.services.plan_runs.start(principal, Plan.from_json(PLAN), PlanTarget(url=one.url), uuid=uuid)
    await tell(here, f"{batch['id']}/kill")
    batch = await advance(here, batch)
    assert batch["status"] == "Killed"
    (run,) = await here.store.list_runs(RunFilter(1), limit=10)
    assert (run.uuid, run.status) == (uuid, RunStatus.KILLED)


async def test_a_run_that_nobody_watches_is_watched(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process had died before it asked for that."""
    batch = await started(here, targets=urls(1))
    with monkeypatch.context() as patched:
        patched.setattr(here.services.chores, "watch_run", _nothing)
        await advance(here, batch)
    await here.services.chores.plan(ChoreKind.BATCH, batch["id"], here.clock.now())
    await advance(here, batch)
    await end(here)
    assert (await advance(here, batch))["status"] == "Success"


async def _nothing(*_: object) -> None:
    return


async def test_a_service_that_cannot_work_now_fails_no_repository(
    here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await started(here, targets=urls(1))
    with monkeypatch.context() as patched:
        patched.setattr(here.services.plan_runs, "start", _away)
        with pytest.raises(Unavailable):
            await here.services.chores.handlers[ChoreKind.BATCH](Chore(ChoreKind.BATCH, batch["id"], 1))
    assert await statuses(here, batch) == ["Starting"]
    assert await statuses(here, await advance(here, batch)) == ["Running"]


async def _away(*_: object, **__: object) -> None:
    raise Unavailable("The database does not answer.")


async def test_webhooks_are_told_of_its_beginning_and_its_end(here: Deployment) -> None:
    sent = {"name": "CI", "target": "https://hooks.example/batches"}
    made = await here.http.post("/webhooks", headers=here.admin.headers, json=sent)
    assert made.status_code == 200, made.text
    batch = await advance(here, await started(here, targets=urls(1)))
    await end(here)
    await advance(here, batch)
    answer = await here.http.get(f"/webhooks/{made.json()['id']}/messages", headers=here.admin.headers)
    told = [each["type"] for each in answer.json()["messages"] if each["type"].startswith("batch.")]
    assert told == ["batch.finished", "batch.created"]


# ---- the money


def test_what_is_promised_is_never_more_than_there_is() -> None:
    assert share(10, 0, 0, 4) == 2.5
    assert share(10, 0, 7.5, 4) == 2.5
    assert share(10, 0, 10, 4) is None
    assert share(10, 0.5, 7.5, 4) == 2.0  # what the first left
    assert share(10, 2, 7.5, 4) is None  # too little to begin with, while others may leave more
    assert share(10, 9.99995, 0, 4) is None
    assert share(1, 0, 0, 3) == 0.3333


async def test_a_budget_for_the_whole(here: Deployment) -> None:
    batch = await advance(here, await started(here, targets=urls(6), concurrency=2, maxCostUsd=1))
    runs = await here.store.list_runs(RunFilter(1), limit=10)
    assert [run.max_cost_usd for run in runs] == [0.5, 0.5]
    await end(here, cost=0.1)
    batch = await advance(here, batch)
    (newest, *_) = await here.store.list_runs(RunFilter(1), limit=10)
    assert newest.max_cost_usd == pytest.approx(0.4)
    assert batch["counts"]["running"] == 2
    await end(here, cost=0.5, count=1)
    await end(here, RunStatus.FAILED, cost=0.45)  # by its last answer more than its share
    batch = await advance(here, batch)
    said = "Its runs have cost $1.05, and its budget is $1.00. 4 of 6 repositories did not succeed."
    assert (batch["status"], batch["failureDetails"], batch["costUsd"]) == ("Failed", said, 1.05)
    assert await statuses(here, batch) == ["Success", "Success", "Failed", "Skipped", "Skipped", "Skipped"]
    runs = await here.store.list_runs(RunFilter(1), limit=10)
    assert len(runs) == 3


async def test_a_plans_budget_is_each_runs(here: Deployment) -> None:
    await advance(here, await started(here, plan={**PLAN, "maxCostUsd": 0.25}, maxCostUsd=10))
    runs = await here.store.list_runs(RunFilter(1), limit=10)
    assert [run.max_cost_usd for run in runs] == [0.25] * 3


async def test_a_members_runs_have_no_more_than_the_organization_gives(here: Deployment) -> None:
    await here.http.put("/budget", headers=here.admin.headers, json={"defaultMaxCostUsd": 0.125})
    batch = await advance(here, await started(here, await here.member("ada@example.com"), maxCostUsd=50))
    assert batch["counts"]["running"] == 3, await items(here, batch)
    runs = await here.store.list_runs(RunFilter(1), limit=10)
    assert [run.max_cost_usd for run in runs] == [0.125] * 3


# ---- the report


async def test_the_report_in_every_form(here: Deployment) -> None:
    batch = await started(
        here,
        plan={**PLAN, "variables": {"what": "x"}},
        name="=1+1 | [a](b)",
        targets=[{"url": urls(1)[0], "variables": {"what": "=cmd"}}, urls(2)[1]],
    )
    await advance(here, batch)
    await end(here, cost=0.5)
    _, fence = await here.claim()
    await here.finish(fence, RunStatus.FAILED, '=HYPERLINK("x")\n| it | broke')
    batch = await advance(here, batch)
    at = f"/batches/{batch['id']}/report"
    answer = await here.http.get(at, headers=here.admin.headers)
    assert answer.json() == {"batch": batch, "items": await items(here, batch)}
    table = await here.http.get(f"{at}?format=csv", headers=here.admin.headers)
    assert table.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [(row["status"], row["costUsd"], row["commits"]) for row in rows] == [
        ("Success", "0.5", "a" * 40), ("Failed", "0", ""),
    ]  # fmt: skip
    assert rows[1]["failureDetails"].startswith("'=HYPERLINK"), "no spreadsheet runs it"
    assert rows[0]["variables"] == '{"what": "=cmd"}'
    page = await here.http.get(f"{at}?format=md", headers=here.admin.headers)
    assert page.headers["content-type"].startswith("text/markdown")
    assert page.text.startswith("# =1+1 \\| \\[a\\](b)\n")
    assert "| 2 | acme/r2 | Failed | 2 |" in page.text
    assert "\\| it \\| broke |" in page.text
    assert (await here.http.get(f"{at}?format=xml", headers=here.admin.headers)).status_code == 400


async def test_the_report_of_many(here: Deployment) -> None:
    batch = await started(here, targets=urls(250))
    answer = await here.http.get(f"/batches/{batch['id']}/report", headers=here.admin.headers)
    assert [item["position"] for item in answer.json()["items"]] == list(range(1, 251))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "10.1.1.1", "169.254.169.254", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"]
)
async def test_a_private_address_is_refused_before_anything_starts(here: Deployment, host: str) -> None:
    answer = await post(here, {"plan": PLAN, "targets": ["https://git.example/a/b.git", f"https://{host}/a/b.git"]})
    assert answer.status_code == 400
    (said,) = answer.json()["errors"]["targets[1].url"]
    assert said.endswith("is on a private address, which this service does not connect to.")
