"""/settings/keys: one's own, for an ADMIN everybody's; shown once, revoked for good."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.deployment import deployed
from tests.support.pages import Pages, Person, field_errors, looking, refuses_forged, roles_of, text

from treadle.domain.identity import ApiKey, Role
from treadle.web.pages import keys
from treadle.web.pages.keys import PATH

pytestmark = pytest.mark.anyio


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path) as here, looking(here, keys) as pages:
        yield pages


async def made(person: Person, **fields: str) -> str:
    answer = await person.post(PATH, **{"name": "CI", "days": "30", **fields})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found = re.search(r'id="new-key">(trd_[\w-]+)<', answer.text)
    assert found is not None
    return found[1]


async def newest(there: Pages) -> ApiKey:
    return max(await there.here.services.identity.keys(1), key=lambda key: key.id)


async def test_everybody_makes_and_revokes_their_own(there: Pages) -> None:
    for role, person in (await roles_of(there)).items():
        key = await made(person, name=f"{role} & Co")
        assert key not in (await person.get(PATH)).text
        assert (await there.here.services.identity.authenticate(key)).role is role
        with_key = await there.signed_in(key)
        assert (await with_key.get(PATH)).status_code == 200
        record = await newest(there)
        assert record.date_expires is not None
        assert (await person.post(f"{PATH}/{record.id}/revoke")).headers["location"] == f"{PATH}?done=revoked"
        assert (await there.anybody().send("/sign-in", {"by": "key", "key": key})).status_code == 400
        assert (await with_key.get(PATH)).status_code == 303
    assert (await there.anybody().get(PATH)).headers["location"] == f"/sign-in?next={PATH}"


async def test_an_admin_sees_all_and_others_their_own(there: Pages) -> None:
    people = await roles_of(there)
    await made(people[Role.MEMBER], name="of the member")
    record = await newest(there)
    assert "of the member" in text(await people[Role.MEMBER].get(PATH))
    assert "of the member" not in text(await people[Role.MANAGER].get(PATH))
    page = text(await people[Role.ADMIN].get(PATH))
    assert "of the member" in page
    assert "member@treadle.test" in page
    assert (await people[Role.MANAGER].post(f"{PATH}/{record.id}/revoke")).status_code == 404
    assert (await newest(there)).date_revoked is None
    assert (await people[Role.ADMIN].post(f"{PATH}/{record.id}/revoke")).status_code == 303
    assert (await newest(there)).date_revoked is not None


async def test_others_organizations_are_out_of_reach(there: Pages) -> None:
    identity = there.here.services.identity
    other = await identity.add_organization("Foreign")
    await identity.add_user("boss@foreign.test", other.id, Role.ADMIN)
    record, key = await identity.create_key("boss@foreign.test", other.id, name="theirs")
    person = await there.signed_in()
    assert "theirs" not in text(await person.get(PATH))
    assert (await person.post(f"{PATH}/{record.id}/revoke")).status_code == 404
    assert (await identity.authenticate(key)).email == "boss@foreign.test"


async def test_only_our_own_forms_count(there: Pages) -> None:
    person = await there.signed_in()
    record = await newest(there)
    await refuses_forged(person, PATH, {"name": "CI", "days": "30"})
    await refuses_forged(person, f"{PATH}/{record.id}/revoke", {})
    assert await newest(there) == record


async def test_a_key_reaches_no_further_than_who_makes_it(there: Pages) -> None:
    by_key = await there.signed_in()
    assert 'name="reaches_all"' not in (await by_key.get(PATH)).text
    assert (await by_key.post(PATH, name="CI", days="30", reaches_all="1")).status_code == 403
    await there.here.services.sessions.reset_password(there.here.admin.user.email, "correct horse battery")
    person = there.anybody()
    await person.send(
        "/sign-in",
        {"by": "password", "email": there.here.admin.user.email, "password": "correct horse battery"},
    )
    await made(person, reaches_all="1")
    assert (await newest(there)).reaches_all
    assert "all organizations" in text(await person.get(PATH))


async def test_ends_are_chosen(there: Pages) -> None:
    person = await there.signed_in()
    await made(person, days="")
    assert (await newest(there)).date_expires is None
    key = await made(person, days="30", name="ends")
    there.here.clock.advance(31 * 86_400)
    assert (await there.anybody().send("/sign-in", {"by": "key", "key": key})).status_code == 400
    again = await there.signed_in()
    page = text(await again.get(PATH))
    assert "1 that counts no more" in page
    assert "expired 2026-10-31" in page


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"name": "", "days": "30"}, ["new-name"]),
        ({"name": "x" * 201, "days": "30"}, ["new-name"]),
        ({"name": "CI", "days": "31"}, ["new-days"]),
        ({"name": "CI", "days": "-1"}, ["new-days"]),
    ],
)
async def test_faults_stand_beside_their_fields(there: Pages, fields: dict[str, str], wrong: list[str]) -> None:
    before = await newest(there)
    answer = await (await there.signed_in()).post(PATH, **fields)
    assert answer.status_code == 400
    assert list(field_errors(answer)) == wrong
    assert await newest(there) == before


async def test_names_are_text(there: Pages) -> None:
    person = await there.signed_in()
    await made(person, name="<img src=x onerror=alert(1)>")
    page = await person.get(PATH)
    assert "<img src=x" not in page.text
    assert "&lt;img src=x" in page.text


async def test_a_key_counts_no_longer_than_what_its_maker_came_with(there: Pages) -> None:
    expires = there.here.clock.now() + timedelta(days=3)
    admin = there.here.admin
    _, short = await there.here.services.identity.create_key(
        admin.user.email, admin.organization.id, name="short", expires=expires
    )
    person = await there.signed_in(short)
    for days in ("", "30"):
        await made(person, days=days)
        assert (await newest(there)).date_expires == expires
    assert (await made(await there.signed_in(), days="30")) is not None
    assert (await newest(there)).date_expires == there.here.clock.now() + timedelta(days=30)
