"""/automation/batches: asked for by a form, seen by whom it is for, and changed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path

import httpx2
import pytest
from starlette.requests import Request
from tests.support.deployment import deployed
from tests.support.pages import Pages, Person, field_errors, looking, text

from treadle.domain.batch import Batch, BatchItem, BatchStatus, ItemStatus
from treadle.domain.identity import Role
from treadle.ports.batches import BatchFilter
from treadle.web.door import Visit
from treadle.web.live import Change
from treadle.web.pages import automation
from treadle.web.pages.automation import batch as one
from treadle.web.pages.automation.batches import PATH
from treadle.web.render import View

pytestmark = pytest.mark.anyio

PLAN = "name: Everywhere\nvariables: {what: {default: words}}\nsteps: ['Count ${{ what }}']\n"
FORM: Mapping[str, str] = {"plan": PLAN, "urls": "https://git.example/a/b", "action": "start", "token": "a-token"}


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path) as here, looking(here, automation) as pages:
        yield pages


async def registered(there: Pages, *names: str) -> list[int]:
    add, organization = there.here.services.repositories.add, there.here.admin.organization
    return [(await add(organization, name=name, url=f"https://git.example/{name}")).id for name in names]


async def made(there: Pages, answer: httpx2.Response) -> tuple[Batch, list[BatchItem]]:
    assert answer.status_code == 303, (field_errors(answer), text(answer))
    id_ = int(answer.headers["location"].removeprefix(f"{PATH}/").removesuffix("?done=started"))
    store = there.here.store
    return await store.batch(id_, BatchFilter(1)), [*await store.batch_items(id_, limit=100)]


async def batches(there: Pages) -> list[Batch]:
    return [*await there.here.store.batches(BatchFilter(1), limit=100)]


async def refused(person: Person, **more: str) -> Mapping[str, str]:
    answer = await person.post(PATH, **{**FORM, **more})
    assert answer.status_code == 400
    return field_errors(answer)


async def test_repositories_are_ticked_filtered_and_written(there: Pages) -> None:
    one, *_ = await registered(there, "acme/one", "acme/two", "other/three")
    lines = "other/three what='two words'\nhttps://git.example/x/y  # a comment\n\n"
    asked = {"repositories": [str(one)], "pattern": "acme/*", "urls": lines, "variables": "what=all\n"}
    more = {"concurrency": "3", "stop_after": "2", "max_cost": "$4.50", "name": "Mine"}
    person = await there.signed_in()
    batch, items = await made(there, await person.post(PATH, **{**FORM, **asked, **more}))
    assert [(item.name, item.variables) for item in items] == [
        ("acme/one", {}),
        ("other/three", {"what": "two words"}),
        ("x/y", {}),
        ("acme/two", {}),
    ]
    assert (batch.name, batch.variables, batch.concurrency) == ("Mine", {"what": "all"}, 3)
    assert (batch.stop_after_failures, batch.max_cost_usd) == (2, 4.5)


async def test_a_form_that_is_sent_twice_starts_one(there: Pages) -> None:
    person = await there.signed_in()
    first, _ = await made(there, await person.post(PATH, **FORM))
    second, _ = await made(there, await person.post(PATH, **FORM))
    assert first.id == second.id
    await made(there, await person.post(PATH, **{**FORM, "name": "Another"}))
    assert len(await batches(there)) == 2


async def test_faults_stand_beside_their_fields(there: Pages) -> None:
    person = await there.signed_in()
    found = await refused(person, urls="\nacme/none\nhttps://git.example/a/b odd=1", concurrency="many", plan="")
    assert found["batch-concurrency"] == "Must be a whole number."
    assert found["batch-plan"].startswith("Is required")
    found = await refused(person, urls="\nacme/none\nhttps://git.example/a/b odd=1")
    assert found["batch-urls"].startswith("Line 2: Is no repository of the organization.")
    assert "Line 3, variables.odd: Is not a variable of the plan" in found["batch-urls"]
    assert "steps" in (await refused(person, plan="name: x\n"))["batch-plan"]
    assert "quote" in (await refused(person, urls="a/b 'x"))["batch-urls"]
    assert "batch-plan_name" in await refused(person, plan_name="nightly")
    assert "batch-plan_repository" in await refused(person, plan_name="nightly", plan="")
    assert "from 1 to" in (await refused(person, concurrency="1000"))["batch-concurrency"]
    assert await batches(there) == []


async def test_a_plan_is_checked_and_nothing_starts(there: Pages) -> None:
    answer = await (await there.signed_in()).post(PATH, **{**FORM, "action": "check"})
    assert "The plan is fine: 1 step, with the variables what" in text(answer)
    assert await batches(there) == []


async def test_a_member_has_its_own(there: Pages) -> None:
    batch, _ = await made(there, await (await there.signed_in()).post(PATH, **FORM))
    member = await there.signed_in((await there.here.member("eve@example.org")).key)
    manager = await there.signed_in((await there.here.member("max@example.org", Role.MANAGER)).key)
    for path in ("", "/stream", "/report"):
        assert (await member.get(f"{PATH}/{batch.id}{path}")).status_code == 404, path
    for deed in ("kill", "retry", "concurrency"):
        assert (await member.post(f"{PATH}/{batch.id}/{deed}", concurrency="2")).status_code == 404, deed
    assert "Everywhere" not in (await member.get(PATH)).text
    assert (await member.get(f"{PATH}/new?again={batch.id}")).status_code == 404
    assert "Everywhere" in (await manager.get(PATH)).text
    assert (await manager.get(f"{PATH}/{batch.id}")).status_code == 200


async def test_what_is_not_possible_now_is_said(there: Pages) -> None:
    person = await there.signed_in()
    batch, _ = await made(there, await person.post(PATH, **FORM))
    at, store, now = f"{PATH}/{batch.id}", there.here.store, there.here.clock.now()
    answer = await person.post(f"{at}/retry")
    assert (answer.status_code, "it is still running" in text(answer)) == (409, True)
    answer = await person.post(f"{at}/concurrency", concurrency="0")
    assert (answer.status_code, [*field_errors(answer)]) == (400, ["batch-concurrency"])
    await person.post(f"{at}/concurrency", concurrency="7")
    await person.post(f"{at}/kill")
    assert "being stopped" in text(await person.get(at))
    await store.end_waiting(batch.id, ItemStatus.KILLED, None, now)
    await store.end_batch(batch.id, BatchStatus.KILLED, None, now)
    answer = await person.post(f"{at}/kill")
    assert (answer.status_code, "The batch has ended" in text(answer)) == (409, True)
    assert (await person.post(f"{at}/retry")).status_code == 303
    again = await store.batch(batch.id, BatchFilter(1))
    assert (again.status, again.attempt, again.concurrency) == (BatchStatus.RUNNING, 2, 7)


async def test_the_report_is_a_download_of_three_kinds(there: Pages) -> None:
    person = await there.signed_in()
    batch, _ = await made(there, await person.post(PATH, **FORM))
    for form, media in (("csv", "text/csv"), ("json", "application/json"), ("md", "text/markdown")):
        answer = await person.get(f"{PATH}/{batch.id}/report?format={form}")
        assert answer.headers["content-type"].startswith(media)
        assert f'filename="batch-{batch.id}.{form}"' in answer.headers["content-disposition"]
        assert "a/b" in answer.text
    assert (await person.get(f"{PATH}/{batch.id}/report?format=exe")).status_code == 404


async def test_items_are_filtered_and_paged(there: Pages) -> None:
    person = await there.signed_in()
    urls = "\n".join(f"https://git.example/a/r{at:03}" for at in range(60))
    batch, _ = await made(there, await person.post(PATH, **{**FORM, "urls": urls}))
    first = (await person.get(f"{PATH}/{batch.id}")).text
    assert ("a/r049" in first, "a/r050" in first) == (True, False)
    assert f"{PATH}/{batch.id}?after_item=50" in first
    assert "a/r050" in (await person.get(f"{PATH}/{batch.id}?after_item=50")).text
    assert "None is like that." in text(await person.get(f"{PATH}/{batch.id}?status=Failed"))


async def test_the_form_is_filled_in_from_an_earlier_one(there: Pages) -> None:
    person = await there.signed_in()
    batch, _ = await made(there, await person.post(PATH, **{**FORM, "variables": "what=all"}))
    page = await person.get(f"{PATH}/new?again={batch.id}")
    assert "what=all" in page.text
    assert "Count ${{ what }}" in page.text


async def watched(there: Pages, person: Person, batch: Batch) -> AsyncGenerator[Change, None]:
    """As the stream of its page tells them."""
    session = await there.site.services.sessions.principal(person.token)
    assert session is not None
    visit = Visit(session.principal, session, person.token, View(path=PATH, csrf=""))
    scope = {"type": "http", "query_string": b"", "headers": [], "path_params": {"id": batch.id}}
    return one._Pages(there.site)._changes(Request(scope), visit, one.Sight())


async def test_who_watches_is_told_of_changes_to_the_end(there: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one, "LOOK_SECONDS", 0)
    person, store, now = await there.signed_in(), there.here.store, there.here.clock.now()
    batch, _ = await made(there, await person.post(PATH, **FORM))
    changes = await watched(there, person, batch)
    first = await anext(changes)
    assert ("0</b> of" in first.html, first.is_last) == (True, False)
    await store.end_waiting(batch.id, ItemStatus.SKIPPED, None, now)
    assert "1</b> skipped" in (await anext(changes)).html
    await store.end_batch(batch.id, BatchStatus.FAILED, "Nothing ran.", now)
    last = await anext(changes)
    assert ("Nothing ran." in last.html, last.is_last) == (True, True)
    assert await anext(changes, None) is None


async def test_who_signs_out_is_told_nothing_more(there: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one, "LOOK_SECONDS", 0)
    person = await there.signed_in()
    batch, _ = await made(there, await person.post(PATH, **FORM))
    changes = await watched(there, person, batch)
    await anext(changes)
    await there.site.services.sessions.sign_out(person.token)
    await there.here.store.end_waiting(batch.id, ItemStatus.SKIPPED, None, there.here.clock.now())
    async with asyncio.timeout(60):
        assert await anext(changes, None) is None
