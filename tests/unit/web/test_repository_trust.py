"""/repositories/{id}: its secrets, which no page shows, what its runs may connect to, and what they may commit."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from tests.support.deployment import deployed
from tests.support.pages import Pages, Person, field_errors, looking, refuses_forged, roles_of, text

from treadle.domain.identity import Role
from treadle.domain.repository import Repository
from treadle.domain.validation import ValidationRules
from treadle.ports.trust import AuditEntry
from treadle.services.environment import opened
from treadle.web.pages import repositories

pytestmark = pytest.mark.anyio

URL = "https://git.example/acme/shop.git"
SECRET = "canary-of-a-repository-secret"


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path) as here, looking(here, repositories) as pages:
        yield pages


@pytest.fixture
async def shop(there: Pages) -> Repository:
    here = there.here
    return await here.services.repositories.add(here.admin.organization, name="acme/shop", url=URL)


async def values(there: Pages, shop: Repository) -> dict[str, str]:
    """In the clear, as a run's box has them."""
    here = there.here
    found = await here.store.repository_environment(shop.id)
    return dict(opened(found, here.vault, here.admin.organization.uuid, shop.uuid))


async def now(there: Pages, shop: Repository) -> Repository:
    return await there.here.store.repository(1, shop.id)


async def entries(there: Pages) -> list[AuditEntry]:
    return [*await there.here.store.audit(1, limit=1000)]


def path(shop: Repository, name: str = "") -> str:
    return f"/repositories/{shop.id}{name}"


async def set_secret(person: Person, shop: Repository, name: str = "TOKEN", value: str = SECRET) -> httpx2.Response:
    return await person.post(path(shop, "/secrets"), name=name, value=value)


FORMS = {
    "/network": {"network": "full", "hosts": ""},
    "/validation": {"validate": "make test", "tries": "2"},
    "/secret-scanning": {"scan": ""},
    "/secrets": {"name": "TOKEN", "value": SECRET},
    "/secrets/remove": {"name": "KEPT"},
}


async def test_each_role_may_what_the_table_says(there: Pages, shop: Repository) -> None:
    people = await roles_of(there)
    for role, person in people.items():
        await set_secret(people[Role.ADMIN], shop, "KEPT")
        page = await person.get(path(shop))
        assert "KEPT" in text(page)  # names are for all who see the repository
        for name, fields in FORMS.items():
            answer = await person.post(path(shop, name), **fields)
            assert answer.status_code == (403 if role is Role.MEMBER else 303), (role, name)
            assert (f'action="{path(shop, name)}"' in page.text) is (role is not Role.MEMBER), (role, name)
    member = text(await people[Role.MEMBER].get(path(shop)))
    assert "May connect to the model, and the whole internet" in member
    assert "Keys and tokens that a step commits are only told of." in member


async def test_only_our_own_forms_count(there: Pages, shop: Repository) -> None:
    person = await there.signed_in()
    await set_secret(person, shop, "KEPT")
    for name, fields in FORMS.items():
        await refuses_forged(person, path(shop, name), fields)
    assert await now(there, shop) == shop
    assert list(await values(there, shop)) == ["KEPT"]


async def test_others_organizations_are_out_of_reach(there: Pages) -> None:
    other = await there.here.services.identity.add_organization("Foreign")
    theirs = await there.here.services.repositories.add(other, name="theirs/secret", url=URL)
    person = await there.signed_in()
    for name, fields in FORMS.items():
        assert (await person.post(path(theirs, name), **fields)).status_code == 404, name
    assert await there.here.store.repository(other.id, theirs.id) == theirs


async def test_a_secret_is_kept_replaced_and_removed_and_never_shown(there: Pages, shop: Repository) -> None:
    person = await there.signed_in()
    answers = [await set_secret(person, shop)]
    assert await values(there, shop) == {"TOKEN": SECRET}
    answers.append(await set_secret(person, shop, value=f"{SECRET}-2\r\n"))  # as it is pasted
    assert await values(there, shop) == {"TOKEN": f"{SECRET}-2"}
    answers.append(await set_secret(person, shop, "KEY", value=f"---\r\n{SECRET}\r\n---\r\n"))
    assert (await values(there, shop))["KEY"] == f"---\n{SECRET}\n---\n"
    assert [answer.headers["location"].partition("?")[2] for answer in answers] == [
        "done=secret#secrets",
        "done=secret-replaced#secrets",
        "done=secret#secrets",
    ]
    page = await person.get(path(shop))
    assert "TOKEN set just now" in text(page)
    assert SECRET not in page.text
    await person.post(path(shop, "/secrets/remove"), name="TOKEN")
    assert list(await values(there, shop)) == ["KEY"]
    assert (await person.post(path(shop, "/secrets/remove"), name="TOKEN")).status_code == 404
    noted = [(each.action, dict(each.detail)) for each in reversed(await entries(there))]
    assert ("repository.secret_set", {"names": ["KEY"]}) in noted
    assert ("repository.secret_removed", {"names": ["TOKEN"]}) in noted
    assert SECRET not in str(noted)


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("", SECRET, {"secret-name": "Must be 1 to 128 letters"}),
        ("<b>\u202e", SECRET, {"secret-name": "Must be 1 to 128 letters"}),
        ("PATH", SECRET, {"secret-name": "Is reserved"}),
        ("TOKEN", "", {"secret-value": "Must be at least"}),
        ("TOKEN", "x" * 33_000, {"secret-value": "Must be at most 32,768 bytes."}),
        ("git_askpass", "x", {"secret-name": "Is reserved", "secret-value": "Must be at least"}),
    ],
)
async def test_what_is_wrong_is_said_beside_its_field_and_the_value_is_not_sent_back(
    there: Pages, shop: Repository, name: str, value: str, wrong: dict[str, str]
) -> None:
    answer = await set_secret(await there.signed_in(), shop, name, value)
    assert answer.status_code == 400
    found = field_errors(answer)
    assert list(found) == list(wrong)
    for field, said in wrong.items():
        assert said in found[field]
    assert SECRET not in answer.text
    assert re.search(r'(?s)name="value"[^>]*></textarea>', answer.text)
    assert await values(there, shop) == {}


async def test_there_is_no_room_for_ever_more(there: Pages, shop: Repository) -> None:
    person = await there.signed_in()
    for number in range(4):
        await set_secret(person, shop, f"A{number}", "x" * 32_000)
    answer = await set_secret(person, shop, "B", "x" * 32_000)
    assert "Names and values take at most" in field_errors(answer)["secret-value"]


async def test_validation_is_set_and_taken_away(there: Pages, shop: Repository) -> None:
    person = await there.signed_in()
    answer = await person.post(path(shop, "/validation"), validate="make lint\r\nmake test", tries="5")
    assert answer.headers["location"] == path(shop, "?done=validation")
    assert (await now(there, shop)).validation == ValidationRules(("make lint", "make test"), 5)
    answer = await person.post(path(shop, "/validation"), validate="make", tries="11")
    assert (answer.status_code, [*field_errors(answer)]) == (400, ["validation-tries"])
    assert (await now(there, shop)).validation == ValidationRules(("make lint", "make test"), 5)
    member = await there.signed_in((await there.here.member("eve@example.org")).key)
    assert "make lint make test" in text(await member.get(path(shop)))
    await person.post(path(shop, "/validation"), validate="", tries="5")
    assert (await now(there, shop)).validation is None


async def test_the_network_policy_is_set_and_taken_away(there: Pages, shop: Repository) -> None:
    person = await there.signed_in()
    answer = await person.post(path(shop, "/network"), network="allow", hosts="pkg.test\r\n*.a.example")
    assert answer.headers["location"] == path(shop, "?done=network")
    assert str((await now(there, shop)).network) == "allow:pkg.test,*.a.example"
    page = await person.get(path(shop))
    assert '<option value="allow" selected>' in page.text
    assert ">\npkg.test\n*.a.example</textarea>" in page.text
    assert "As the service is set: the model, and nothing else" in text(page)
    answer = await person.post(path(shop, "/network"), network="allow", hosts="<b>")
    assert answer.status_code == 400
    assert "is no host" in field_errors(answer)["network-hosts"]
    assert "&lt;b&gt;" in answer.text
    assert str((await now(there, shop)).network) == "allow:pkg.test,*.a.example"
    await person.post(path(shop, "/network"), network="", hosts="pkg.test")
    assert (await now(there, shop)).network is None


async def test_the_search_of_commits_is_switched(there: Pages, shop: Repository) -> None:
    person = await there.signed_in()
    assert (await now(there, shop)).scans_secrets
    assert 'id="scan" name="scan" type="checkbox" value="1" checked' in (await person.get(path(shop))).text
    await person.post(path(shop, "/secret-scanning"))
    assert not (await now(there, shop)).scans_secrets
    assert 'id="scan" name="scan" type="checkbox" value="1" aria' in (await person.get(path(shop))).text
    await person.post(path(shop, "/secret-scanning"), scan="1")
    assert (await now(there, shop)).scans_secrets
