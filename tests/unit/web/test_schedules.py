"""/automation/schedules: made by a form, shown again, and changed by those whose they are."""

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx2
import pytest
from tests.support.deployment import deployed
from tests.support.pages import Pages, field_errors, looking, text

from treadle.domain.schedule import Missed, Overlap, Schedule
from treadle.web.pages import automation
from treadle.web.pages.automation.schedules import PATH

pytestmark = pytest.mark.anyio

FORM: Mapping[str, str] = {
    "name": "Nightly",
    "cron": "30 6 * * MON-FRI",
    "time_zone": "Europe/Paris",
    "missed": "skip",
    "overlap": "wait",
    "plan": "steps: ['Update it on ${{ schedule.date }}']\n",
    "url": "https://git.example/acme/shop.git",
    "source": "main",
    "max_cost": "2.5",
    "pull_request": "1",
}


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path) as here, looking(here, automation) as pages:
        yield pages


async def made(there: Pages, answer: httpx2.Response) -> Schedule:
    assert answer.status_code == 303, (field_errors(answer), text(answer))
    id_ = answer.headers["location"].removeprefix(f"{PATH}/").partition("?")[0]
    return await there.here.store.schedule(int(id_))


async def test_it_is_made_shown_and_changed(there: Pages) -> None:
    person = await there.signed_in()
    found = await made(there, await person.post(PATH, **FORM))
    assert (found.cron, found.time_zone, found.missed) == (FORM["cron"], FORM["time_zone"], Missed.SKIP)
    assert found.overlap is Overlap.WAIT
    assert found.target == {
        "kind": "plan",
        "plan": {"steps": [{"step": "Update it on ${{ schedule.date }}"}]},
        "url": FORM["url"],
        "branchSource": "main",
        "maxCostUsd": 2.5,
        "pullRequest": True,
    }
    page = await person.get(f"{PATH}/{found.id}")
    assert "Update it on ${{ schedule.date }}" in page.text
    assert 'value="2.50"' in page.text
    assert "Nightly" in text(await person.get(PATH))
    changed = {**FORM, "name": "Daily", "cron": "@daily", "max_cost": "", "variables": ""}
    assert (await person.post(f"{PATH}/{found.id}", **changed)).headers["location"].endswith("?done=changed")
    again = await there.here.store.schedule(found.id)
    assert (again.name, again.cron, "maxCostUsd" in again.target) == ("Daily", "@daily", False)


async def test_faults_stand_beside_their_fields(there: Pages) -> None:
    person = await there.signed_in()
    for field, given, said in (
        ("name", "", "Is required."),
        ("cron", "61 * * * *", "Is no cron expression"),
        ("time_zone", "Mars/Olympus", "time zone"),
        ("plan", "steps: 3", "steps: must be a list"),
        ("plan", "", "Is required"),
        ("plan_name", "nightly", "not both"),
        ("variables", "no value", "is no NAME=VALUE"),
        ("variables", "odd=1", "odd: is not a variable of the plan"),
        ("max_cost", "much", "Must be an amount"),
        ("url", "ftp://git.example/a", "scheme"),
        ("source", "-x", "branch"),
    ):
        answer = await person.post(PATH, **{**FORM, field: given})
        assert answer.status_code == 400, field
        assert said in field_errors(answer).get(f"schedule-{field}", ""), (field, field_errors(answer))
    assert await there.here.store.schedules(1, limit=1) == ()


async def test_a_member_has_its_own(there: Pages) -> None:
    found = await made(there, await (await there.signed_in()).post(PATH, **FORM))
    member = await there.signed_in((await there.here.member("eve@example.org")).key)
    assert (await member.get(f"{PATH}/{found.id}")).status_code == 404
    for deed in ("", "/switch", "/fire", "/remove"):
        assert (await member.post(f"{PATH}/{found.id}{deed}", **FORM)).status_code == 404, deed
    assert "Nightly" not in (await member.get(PATH)).text
    assert "Nightly" not in (await member.get("/automation")).text


async def test_it_is_switched_fired_and_removed(there: Pages) -> None:
    person = await there.signed_in()
    found = await made(there, await person.post(PATH, **FORM))
    assert "Nightly" in text(await person.get("/automation"))
    at, store = f"{PATH}/{found.id}", there.here.store
    await person.post(f"{at}/switch")
    assert (await store.schedule(found.id)).is_enabled is False
    assert "It is off." in text(await person.get(at))
    assert "Nightly" not in text(await person.get("/automation"))
    await person.post(f"{at}/switch", is_on="1")
    assert (await store.schedule(found.id)).is_enabled is True
    token = re.findall('name="token" value="([^"]+)"', (await person.get(at)).text)
    for _ in range(2):  # a double click
        there.here.clock.advance(1)
        await person.post(f"{at}/fire", token=token[0])
    assert len(await store.firings(found.id, limit=9)) == 1
    assert token[0] not in (await person.get(at)).text, "the next is another"
    assert "asked for" in text(await person.get(at))
    assert "waiting" in text(await person.get(PATH))
    assert (await person.post(f"{at}/remove")).headers["location"] == f"{PATH}?done=removed"
    assert (await person.get(at)).status_code == 404


async def test_a_repositorys_own_plan_is_named(there: Pages) -> None:
    add = there.here.services.repositories.add
    repository = await add(there.here.admin.organization, name="a/b", url="https://git.example/a/b")
    person = await there.signed_in()
    named = {**FORM, "plan": "", "plan_name": "nightly", "url": ""}
    assert "schedule-repository" in field_errors(await person.post(PATH, **named))
    found = await made(there, await person.post(PATH, **named, repository=str(repository.id)))
    assert (found.target["repositoryPlan"], found.target["repositoryId"]) == ("nightly", repository.id)
    page = await person.get(f"{PATH}/new?repository={repository.id}&plan=weekly")
    assert 'value="weekly"' in page.text


BATCH: Mapping[str, str] = {
    "kind": "batch",
    "name": "Every Sunday",
    "cron": "0 4 * * SUN",
    "plan": "branch: tidy\nvariables: {year: '2026'}\nsteps: ['Set ${{ year }}']\n",
    "variables": "year=2027",
    "urls": "https://git.example/acme/shop.git 'year=2 0'\nacme/basket\n",
    "pattern": "acme/*",
    "concurrency": "3",
    "stop_after": "2",
    "max_cost": "7.5",
}


async def test_a_batch_is_made_shown_and_changed(there: Pages) -> None:
    add = there.here.services.repositories.add
    basket = await add(there.here.admin.organization, name="acme/basket", url="https://git.example/acme/basket")
    person = await there.signed_in()
    assert 'name="kind" value="batch"' in (await person.get(f"{PATH}/new?kind=batch")).text
    found = await made(there, await person.post(PATH, **BATCH))
    target = {
        "kind": "batch",
        "plan": {
            "branch": "tidy",
            "steps": [{"step": "Set ${{ year }}"}],
            "variables": {"year": {"default": "2026", "required": False}},
        },
        "name": "Every Sunday",
        "targets": [
            {"url": "https://git.example/acme/shop.git", "variables": {"year": "2 0"}},
            {"repository": "acme/basket"},
        ],
        "filter": {"name": "acme/*"},
        "variables": {"year": "2027"},
        "concurrency": 3,
        "stopAfterFailures": 2,
        "maxCostUsd": 7.5,
    }
    assert found.target == target
    page = await person.get(f"{PATH}/{found.id}")
    assert "https://git.example/acme/shop.git &#39;year=2 0&#39;\nacme/basket" in page.text
    assert "batch" in text(await person.get(PATH))
    changed = {**BATCH, "urls": f"{basket.id}", "pattern": "", "all": "1", "max_cost": "", "name": "Sundays"}
    assert (await person.post(f"{PATH}/{found.id}", **changed)).headers["location"].endswith("?done=changed")
    again = (await there.here.store.schedule(found.id)).target
    assert (again["targets"], again["filter"]) == ([{"repository": basket.id}], {"all": True})
    assert ("maxCostUsd" in again, again["name"]) == (False, "Every Sunday")
    assert f">\n{basket.id}</textarea>" in (await person.get(f"{PATH}/{found.id}")).text


async def test_faults_of_a_batch_stand_beside_their_fields(there: Pages) -> None:
    person = await there.signed_in()
    for field, given, said in (
        ("cron", "61 * * * *", "Is no cron expression"),
        ("plan", "", "Is required."),
        ("plan", "steps: 3", "steps: must be a list"),
        ("variables", "odd=1", "odd"),
        ("urls", "https://git.example/a.git\nftp://git.example/b.git", "Line 2"),
        ("urls", "acme/none", "Line 1"),
        ("concurrency", "many", "whole number"),
        ("stop_after", "0", "Must be"),
        ("max_cost", "much", "Must be an amount"),
    ):
        answer = await person.post(PATH, **{**BATCH, "urls": "https://git.example/a.git", field: given})
        assert answer.status_code == 400, field
        assert said in field_errors(answer).get(f"schedule-{field}", ""), (field, field_errors(answer), text(answer))
    nothing = await person.post(PATH, **{**BATCH, "urls": "", "pattern": ""})
    assert field_errors(nothing)["schedule-urls"]
    assert await there.here.store.schedules(1, limit=1) == ()


async def test_a_script_is_made_shown_and_changed(there: Pages) -> None:
    who = await there.here.services.identity.authenticate(there.here.admin.key)
    script = await there.here.services.scripts.save(who, "sweep", 'print("x")\n')
    person = await there.signed_in()
    page = await person.get(f"{PATH}/new?kind=script&script=sweep")
    assert '<option value="sweep" selected>' in page.text
    form = {"kind": "script", "name": "Sweep", "cron": "@daily", "script": "sweep", "inputs": "a=1\nb=two words"}
    found = await made(there, await person.post(PATH, **form))
    assert found.target == {"kind": "script", "script": "sweep", "inputs": {"a": "1", "b": "two words"}}
    assert "two words" in (await person.get(f"{PATH}/{found.id}")).text
    changed = {**form, "version": "1", "inputs": '{"deep": {"n": [1, 2]}}'}
    await person.post(f"{PATH}/{found.id}", **changed)
    target = (await there.here.store.schedule(found.id)).target
    assert (target["version"], target["inputs"]) == (1, {"deep": {"n": [1, 2]}})
    assert "&#34;deep&#34;" in (await person.get(f"{PATH}/{found.id}")).text
    for field, given, said in (
        ("script", "", "Choose"),
        ("version", "newest", "number of a version"),
        ("version", "9", "version"),
        ("inputs", "no value", "NAME=VALUE"),
        ("inputs", "{", "JSON"),
    ):
        answer = await person.post(PATH, **{**form, "name": "x", field: given})
        assert (answer.status_code, said in field_errors(answer).get(f"schedule-{field}", "")) == (400, True), (
            field,
            field_errors(answer),
        )
    secret = await person.post(PATH, **{**form, "name": "x", "inputs": "a=https://bot:hush@git.example/a.git"})
    assert secret.status_code == 400
    assert field_errors(secret)["schedule-inputs"].startswith("a: Holds credentials")
    await there.here.services.scripts.archive(who, script.id)
    assert '<option value="sweep" selected>' in (await person.get(f"{PATH}/{found.id}")).text


async def test_what_its_lines_cannot_say_stays_as_it_is(there: Pages) -> None:
    """A value of several lines would be another one after a save of the name."""
    person = await there.signed_in()
    target = {"targets": [{"url": "https://git.example/a.git", "variables": {"year": "1\n2"}}], "plan": BATCH["plan"]}
    sent = {"name": "odd", "cron": "@daily", "batch": target}
    answer = await there.here.http.post("/schedules", json=sent, headers=there.here.admin.headers)
    made_by_api = answer.json()
    at = f"{PATH}/{made_by_api['id']}"
    assert "is changed through the API" in text(await person.get(at))
    assert (await person.post(at, name="even", cron="@weekly")).status_code == 303
    after = await there.here.store.schedule(made_by_api["id"])
    assert (after.name, after.cron, after.target) == ("even", "@weekly", made_by_api["target"])
