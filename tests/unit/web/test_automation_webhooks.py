"""/automation/webhooks: who may, secrets and addresses, the filter, and what became of messages."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from tests.support.deployment import deployed
from tests.support.pages import Pages, Person, field_errors, looking, refuses_forged, roles_of, text

from treadle.domain.identity import Role
from treadle.domain.messages import Filter, MessageStatus, Webhook
from treadle.ports.webhooks import Trouble
from treadle.web.pages.automation import webhooks
from treadle.web.pages.automation.webhooks import PATH

pytestmark = pytest.mark.anyio

TARGET = "https://127.0.0.1:9/a/secret/path"


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path, allow_private_hosts=True) as here, looking(here, webhooks) as pages:
        await here.services.repositories.add(here.admin.organization, name="acme/shop", url="https://git.example/s.git")
        yield pages


async def add(person: Person, **fields: str) -> httpx2.Response:
    return await person.post(PATH, **{"name": "told", "kind": "webhook", "target": TARGET, **fields})


async def kept(there: Pages) -> Webhook:
    [found] = await there.here.store.webhooks(1)
    return found


async def test_a_secret_is_told_once_and_an_address_never(there: Pages) -> None:
    person = await there.signed_in()
    answers = [await add(person)]
    at = f"{PATH}/{(await kept(there)).id}"
    answers.append(await person.post(f"{at}/rotate"))
    secrets = [re.findall(r'id="webhook-secret">(whsec_[^<]+)<', answer.text) for answer in answers]
    assert [len(found) for found in secrets] == [1, 1]
    assert secrets[0] != secrets[1]
    assert all(answer.headers["cache-control"] == "no-store" for answer in answers)
    for path in (PATH, at):
        page = await person.get(path)
        assert "whsec_" not in page.text
        assert "secret/path" not in page.text
    refused = await add(person, name="")
    assert "secret/path" not in refused.text
    assert list(field_errors(refused)) == ["webhook-name"]


async def test_the_filter_is_what_is_ticked(there: Pages) -> None:
    person = await there.signed_in()
    ticked = {"type-run.*": "1", "type-git.pushed": "1", "type-webhook.test": "1", "status-Failed": "1"}
    await add(person, repositories="acme/shop\r\n", **ticked)
    found = await kept(there)
    assert found.filter == Filter(("run.*", "git.pushed"), (1,), ("Failed",))
    at = f"{PATH}/{found.id}"
    page = await person.get(at)
    assert set(re.findall(r'name="([\w.*-]+)" value="1" checked', page.text)) == {
        "type-run.*",
        "type-git.pushed",
        "status-Failed",
    }
    assert "run.*, git.pushed; ended in Failed; of acme/shop" in text(page)
    assert "run.*, git.pushed; ended in Failed; of acme/shop" in text(await person.get(PATH))
    # One that is gone stays by its id, and an empty address is as it was.
    await there.here.store.remove_repository(1)
    assert ">\n#1</textarea>" in (await person.get(at)).text
    await person.post(at, name="again", target="", repositories="#1", **{"status-Killed": "1"})
    changed = await kept(there)
    assert (changed.name, changed.filter) == ("again", Filter((), (1,), ("Killed",)))
    assert changed.sealed_target == found.sealed_target
    await person.post(at, name="again", target="https://hooks.example.com/b")
    assert (await kept(there)).shown_target == "https://hooks.example.com/…"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"kind": "pigeon"}, {"webhook-kind": "Is none of these."}),
        ({"kind": "email", "target": "a@example.com"}, {"webhook-kind": "TREADLE_SMTP_URL"}),
        ({"target": "http://a b"}, {"webhook-target": "Must be an https address"}),
        ({"repositories": "acme/none\n<b>"}, {"webhook-repositories": "There is no repository acme/none, "}),
    ],
)
async def test_what_is_wrong_is_said_beside_its_field(
    there: Pages, fields: dict[str, str], wrong: dict[str, str]
) -> None:
    answer = await add(await there.signed_in(), **fields)
    assert answer.status_code == 400
    found = field_errors(answer)
    assert list(found) == list(wrong), found
    assert all(said in found[field] for field, said in wrong.items()), found
    assert "<b>" not in answer.text
    assert await there.here.store.webhooks(1) == ()


async def test_messages_are_shown_by_status_and_sent_again(there: Pages) -> None:
    person, here = await there.signed_in(), there.here
    await add(person)
    hook = await kept(there)
    for _ in range(3):
        await here.start()
    now = here.clock.now()
    first, second, third = await here.store.messages_due(hook.id, now, busy=(), limit=3)
    await here.store.end_try(first, now, None)
    await here.store.end_try(second, now, Trouble("It answered 500: <b>", None))
    await here.store.end_try(third, now, Trouble("Nobody is there.", now + timedelta(minutes=5)))
    at = f"{PATH}/{hook.id}"

    async def rows(status: str) -> list[str]:
        page = (await person.get(f"{at}?status={status}")).text
        return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)) for row in re.findall(r"(?s)<tr>.*?</tr>", page)[1:]]

    [delivered], [dead], [waiting] = await rows("Delivered"), await rows("Dead"), await rows("Waiting")
    assert "delivered" in delivered
    assert "It answered 500: &lt;b&gt;" in dead
    assert "Nobody is there." in waiting
    assert "next try" in waiting
    assert "Send again" not in waiting
    assert len(await rows("")) == 3
    assert (await person.post(f"{at}/messages/{first.id}/resend")).headers["location"] == f"{at}?done=resent#messages"
    refused = await person.post(f"{at}/messages/{third.id}/resend")
    assert refused.status_code == 409
    assert (await person.post(f"{at}/messages/999/resend")).status_code == 404
    await person.post(f"{at}/resend-dead")
    found = await here.store.messages(hook.id, None, before=None, limit=10)
    assert {each.status for each in found} == {MessageStatus.WAITING}


async def test_a_test_says_what_came_back_and_off_is_off(there: Pages) -> None:
    person = await there.signed_in()
    await add(person)
    at = f"{PATH}/{(await kept(there)).id}"
    assert "The test was not taken:" in text(await person.post(f"{at}/test"))
    await person.post(f"{at}/switch")
    assert not (await kept(there)).is_enabled
    await person.post(f"{at}/switch", on="1")
    assert (await kept(there)).is_enabled
    assert (await person.post(f"{at}/remove")).headers["location"] == f"{PATH}?done=removed"
    assert "Nobody is told yet." in text(await person.get(PATH))


async def test_a_manager_looks_and_an_admin_changes(there: Pages) -> None:
    people = await roles_of(there)
    await add(people[Role.ADMIN])
    at = f"{PATH}/{(await kept(there)).id}"
    of_admin = {
        PATH: {"name": "a", "kind": "webhook", "target": TARGET},
        at: {"name": "b"},
        f"{at}/switch": {},
        f"{at}/rotate": {},
        f"{at}/remove": {},
    }
    of_manager: dict[str, dict[str, str]] = {f"{at}/test": {}, f"{at}/resend-dead": {}}
    before = await kept(there)
    for path, fields in (of_admin | of_manager).items():
        assert (await people[Role.MEMBER].post(path, **fields)).status_code == 403, path
        answer = await people[Role.MANAGER].post(path, **fields)
        assert (answer.status_code == 403) is (path in of_admin), path
        await refuses_forged(people[Role.ADMIN], path, fields)
    for path in (PATH, at):
        assert (await people[Role.MEMBER].get(path)).status_code == 403
        page = await people[Role.MANAGER].get(path)
        assert 'action="' + at + '/remove"' not in page.text
        assert f"{PATH}/new" not in page.text
    assert (await people[Role.MANAGER].get(f"{PATH}/new")).status_code == 403
    assert await kept(there) == before
