"""/automation/triggers: who may, what each kind asks for, secrets told once, and what becomes of deliveries."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from tests.support.deployment import deployed
from tests.support.pages import Pages, Person, field_errors, looking, refuses_forged, roles_of, text

from treadle.domain.identity import Principal, Role
from treadle.domain.repository import ForgeAccess, ForgeKind
from treadle.domain.trigger_settings import TriggerSettings
from treadle.domain.triggers import DeliveryStatus, Trigger, TriggerKind
from treadle.web.pages.automation import triggers
from treadle.web.pages.automation.trigger_forms import KINDS
from treadle.web.pages.automation.triggers import HOOKS, PATH, ROWS

pytestmark = pytest.mark.anyio

URL = "https://git.example/acme/shop.git"
PLAN = f"repo: {URL}\nsource: main\nsteps:\n  - Mend what ${{{{ trigger.body }}}} tells of\n"
REVIEW = "steps:\n  - analysis: ${{ trigger.text }}\n"


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path, public_url="http://treadle.test") as here, looking(here, triggers) as pages:
        await here.services.repositories.add(
            here.admin.organization,
            name="acme/shop",
            url=URL,
            forge=ForgeAccess(ForgeKind.GITEA, "https://git.example/api/v1"),
        )
        yield pages


async def add(person: Person, kind: str, **fields: str) -> httpx2.Response:
    given = {"name": f"by {kind}", "repository": "1", "who": "members", "mention": "@treadle", **fields}
    return await person.post(PATH, kind=kind, **given)


async def kept(there: Pages) -> list[Trigger]:
    return [*await there.here.store.triggers(1)]


def secret_in(answer: httpx2.Response) -> str:
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found = re.search(r'id="hook-secret">([^<]+)<', answer.text)
    assert found is not None
    return found[1]


async def test_each_kind_asks_for_what_is_its_own(there: Pages) -> None:
    person = await there.signed_in()
    asked = {"labels", "assignees", "mention", "reviewers", "who", "people", "pull_request", "plan"}
    seen = {}
    for kind in TriggerKind:
        page = await person.get(f"{PATH}/new?kind={kind}")
        seen[kind] = {name for name in asked if f'name="{name}"' in page.text}
    assert seen == {
        TriggerKind.CHECK: set(),
        TriggerKind.ISSUE: {"labels", "assignees", "who", "people", "pull_request", "plan"},
        TriggerKind.COMMENT: {"mention", "who", "people", "pull_request", "plan"},
        TriggerKind.REVIEW: {"reviewers", "who", "people", "plan"},
        TriggerKind.URL: {"plan"},
    }
    chooser = text(await person.get(f"{PATH}/new"))
    assert all(shown.wakes in chooser for shown in KINDS.values())


async def test_a_repository_has_one_hook_whose_secret_is_told_once(there: Pages) -> None:
    person = await there.signed_in()
    answer = await add(person, "issue", labels="bug\r\n agent ", assignees="", who="named", people="ada\nbob")
    secret = secret_in(answer)
    assert "Events to choose Issues, labelled, assigned" in text(answer)
    other = await add(person, "comment", mention="@mend", who="anyone", pull_request="1", token_owner="1")
    issue, comment = await kept(there)
    assert other.headers["location"] == f"{PATH}/{comment.uuid}?done=added"
    assert issue.hook_id == comment.hook_id
    assert issue.settings == TriggerSettings(("bug", "agent"), allowed=("ada", "bob"), opens_pull_request=False)
    assert comment.settings == TriggerSettings(mention="@mend", allowed=("anyone",), heeds_token_owner=True)
    assert "Events to choose there Issue and pull request comments" in text(await person.get(f"{PATH}/{comment.uuid}"))
    for path in (PATH, f"{PATH}/{issue.uuid}", f"{PATH}/new"):
        page = await person.get(path)
        assert secret not in page.text
    assert f"http://treadle.test/hooks/{(await there.here.store.hooks(1))[0].uuid}" in (await person.get(PATH)).text
    rotated = secret_in(await person.post(f"{HOOKS}/{(await there.here.store.hooks(1))[0].uuid}/rotate"))
    assert rotated != secret
    assert "The secret before counts too until" in text(await person.get(PATH))
    assert secret not in str(await there.here.store.audit(1, limit=1000))


async def test_a_trigger_url_has_an_address_with_a_token(there: Pages) -> None:
    person = await there.signed_in()
    answer = await add(person, "url", repository="", plan=PLAN)
    assert secret_in(answer)
    assert re.search(r'id="hook-token-url">http://treadle.test/hooks/[\w-]+\?token=[\w-]+<', answer.text)
    assert "token=" not in (await person.get(PATH)).text


@pytest.mark.parametrize(
    ("kind", "fields", "wrong"),
    [
        ("issue", {"name": " "}, {"trigger-name": "Must be 1 to 200 printable characters."}),
        ("issue", {"name": "a\x1b[31m"}, {"trigger-name": "Must be 1 to 200 printable characters."}),
        ("issue", {"who": "named"}, {"trigger-people": "Name somebody"}),
        ("issue", {"who": "all"}, {"trigger-who": "Is none of these."}),
        ("issue", {"labels": "x" * 300}, {"trigger-labels": "texts of 1 to 255 characters"}),
        ("comment", {"mention": "two words"}, {"trigger-mention": "Must be one word"}),
        ("url", {}, {"trigger-plan": "Must be given"}),
        ("url", {"plan": "steps: [<u>"}, {"trigger-plan": "not valid YAML"}),
        ("url", {"plan": "source: main\nsteps: [a]\nengine: none"}, {"trigger-plan": "engine:"}),
        ("review", {"plan": "steps: [a]"}, {"trigger-plan": "its steps are all `analysis`"}),
    ],
)
async def test_what_is_wrong_is_said_beside_its_field(
    there: Pages, kind: str, fields: dict[str, str], wrong: dict[str, str]
) -> None:
    answer = await add(await there.signed_in(), kind, **fields)
    assert answer.status_code == 400, answer.text
    found = field_errors(answer)
    assert list(found) == list(wrong), found
    assert all(said in found[field] for field, said in wrong.items()), found
    assert await kept(there) == []
    assert "<u>" not in answer.text


async def test_a_trigger_is_changed_switched_and_removed(there: Pages) -> None:
    person = await there.signed_in()
    await add(person, "review", plan=REVIEW, reviewers="agent")
    [trigger] = await kept(there)
    at = f"{PATH}/{trigger.uuid}"
    page = await person.get(at)
    assert "analysis: ${{ trigger.text }}" in text(page)
    assert ">\nagent</textarea>" in page.text
    answer = await person.post(at, name="Reads", reviewers="other", who="members", people="", plan="")
    assert answer.headers["location"] == f"{at}?done=changed"
    [changed] = await kept(there)
    assert (changed.name, changed.settings.reviewers, changed.plan) == ("Reads", ("other",), None)
    assert (await person.post(at, name="", reviewers="x", who="members")).status_code == 400
    await person.post(f"{at}/switch")
    assert not (await kept(there))[0].is_enabled
    assert (await kept(there))[0].settings == changed.settings
    await person.post(f"{at}/switch", on="1")
    assert (await kept(there))[0].is_enabled
    assert (await person.post(f"{at}/remove")).headers["location"] == f"{PATH}?done=removed"
    assert (await person.get(at)).status_code == 404
    assert "There is no trigger yet." in text(await person.get(PATH))


async def test_deliveries_say_what_followed_and_are_worked_off_again(there: Pages) -> None:
    person, here = await there.signed_in(), there.here
    secret = secret_in(await add(person, "url", repository="", plan=PLAN))
    [trigger] = await kept(there)
    at = f"{PATH}/{trigger.uuid}"
    [hook] = await here.store.hooks(1)
    for number in range(ROWS + 1):
        bearer = {"Authorization": f"Bearer {secret}"}
        assert (await here.http.post(f"/hooks/{hook.uuid}", json={"a": number}, headers=bearer)).status_code == 202
    told = await here.store.deliveries(hook.id, limit=ROWS + 1)
    run = await here.start()
    run_id = (await here.services.runs.list(await admin(there), limit=1))[0].id
    assert run
    await here.store.end_delivery(told[0].id, DeliveryStatus.DONE, "It started it.", run_id, here.clock.now())
    await here.store.end_delivery(told[1].id, DeliveryStatus.IGNORED, "<b>Nobody asked.", None, here.clock.now())
    page = await person.get(at)
    assert f'<a href="/runs/{run_id}">' in page.text
    assert "ignored &lt;b&gt;Nobody asked." in re.sub(r"\s+", " ", re.sub(r"</?(?:td|span)[^>]*>", " ", page.text))
    older = re.search(r'rel="next" href="([^"#]+)', page.text)
    assert older is not None
    assert text(await person.get(older[1])).count("Redeliver") == 1
    again = f"{at}/deliveries/{told[1].id}/redeliver"
    assert (await person.post(again)).headers["location"] == f"{at}?done=redelivered#deliveries"
    found = await here.store.delivery(told[1].id)
    assert found is not None
    assert found.status is DeliveryStatus.WAITING
    assert (await person.post(f"{at}/deliveries/999999/redeliver")).status_code == 404


async def admin(there: Pages) -> Principal:
    return await there.here.services.identity.authenticate(there.here.admin.key)


async def test_it_takes_a_manager_and_our_own_forms(there: Pages) -> None:
    people = await roles_of(there)
    await add(people[Role.ADMIN], "issue")
    [trigger], [hook] = await kept(there), await there.here.store.hooks(1)
    at = f"{PATH}/{trigger.uuid}"
    forms = {
        PATH: {"kind": "issue", "name": "a", "repository": "1", "who": "anyone"},
        at: {"name": "a", "who": "anyone"},
        f"{at}/switch": {},
        f"{at}/deliveries/1/redeliver": {},
        f"{HOOKS}/{hook.uuid}/rotate": {},
        f"{at}/remove": {},
        f"{HOOKS}/{hook.uuid}/remove": {},
    }
    for path, fields in forms.items():
        assert (await people[Role.MEMBER].post(path, **fields)).status_code == 403, path
        await refuses_forged(people[Role.MANAGER], path, fields)
    for path in (PATH, f"{PATH}/new", at):
        assert (await people[Role.MEMBER].get(path)).status_code == 403, path
        assert (await people[Role.MANAGER].get(path)).status_code == 200, path
    assert await kept(there) == [trigger]
    assert (await people[Role.MANAGER].post(f"{HOOKS}/{hook.uuid}/remove")).status_code == 303
    assert await there.here.store.hooks(1) == ()


async def test_a_forge_is_needed_for_what_forges_tell(there: Pages) -> None:
    await there.here.store.remove_repository(1)
    page = text(await (await there.signed_in()).get(f"{PATH}/new?kind=issue"))
    assert "none is registered with a forge" in page
