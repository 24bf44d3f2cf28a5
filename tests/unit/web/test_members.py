"""/settings/members: an ADMIN adds, changes, removes; the last ADMIN stays."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.deployment import deployed
from tests.support.pages import Pages, field_errors, looking, refuses_forged, roles_of, text

from treadle.domain.errors import Conflict, Unauthenticated
from treadle.domain.identity import Role
from treadle.services.administration import Administration
from treadle.web.pages import members
from treadle.web.pages.members import PATH

pytestmark = pytest.mark.anyio


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path) as here, looking(here, members) as pages:
        yield pages


async def roles(there: Pages, organization: int = 1) -> dict[str, Role]:
    return {user.email: role for user, role in await there.here.services.identity.users(organization)}


async def id_of(there: Pages, email: str) -> int:
    return (await there.here.services.identity.find_user(email)).id


async def test_each_role_may_what_the_table_says(there: Pages) -> None:
    people = await roles_of(there)
    member = await id_of(there, "member@treadle.test")
    forms = {
        PATH: {"email": "new@treadle.test", "role": "MEMBER"},
        f"{PATH}/{member}/role": {"role": "MEMBER"},
        f"{PATH}/{member}/sign-out": {},
        f"{PATH}/{member}/remove": {},
    }
    for role in (Role.MEMBER, Role.MANAGER, Role.ADMIN):
        page = await people[role].get(PATH)
        assert page.status_code == 200
        assert "member@treadle.test" in text(page)
        for path, fields in forms.items():
            assert (f'action="{path}"' in page.text) is (role is Role.ADMIN)
            assert (await people[role].post(path, **fields)).status_code == (303 if role is Role.ADMIN else 403)
    assert (await there.anybody().get(PATH)).headers["location"] == f"/sign-in?next={PATH}"


async def test_only_our_own_forms_count(there: Pages) -> None:
    person = await there.signed_in()
    await there.here.member("somebody@treadle.test")
    somebody, before = await id_of(there, "somebody@treadle.test"), await roles(there)
    for path, fields in (
        (PATH, {"email": "new@treadle.test", "role": "ADMIN"}),
        (f"{PATH}/{somebody}/role", {"role": "ADMIN"}),
        (f"{PATH}/{somebody}/remove", {}),
        (f"{PATH}/{somebody}/sign-out", {}),
    ):
        await refuses_forged(person, path, fields)
    assert await roles(there) == before


async def test_somebody_new_gets_a_key_that_is_shown_once(there: Pages) -> None:
    person = await there.signed_in()
    answer = await person.post(PATH, email="New@Treadle.test", role="MANAGER", with_key="1")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    key = re.search(r"trd_[\w-]+", text(answer))
    assert key is not None
    assert "good until 2026-10-08" in text(answer)
    assert key[0] not in (await person.get(PATH)).text
    there_now = await there.signed_in(key[0])
    assert (await there_now.get(PATH)).status_code == 200
    assert (await roles(there))["New@Treadle.test"] is Role.MANAGER
    there.here.clock.advance(8 * 86_400)
    assert (await there.anybody().send("/sign-in", {"by": "key", "key": key[0]})).status_code == 400


async def test_nobody_gets_a_key_of_somebody_who_is_known(there: Pages) -> None:
    """An ADMIN of one organization must not act as a user of another one."""
    identity = there.here.services.identity
    other = await identity.add_organization("Foreign")
    await identity.add_user("boss@foreign.test", other.id, Role.ADMIN)
    person = await there.signed_in()
    answer = await person.post(PATH, email="boss@foreign.test", role="MEMBER", with_key="1")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}?done=added")
    assert (await roles(there))["boss@foreign.test"] is Role.MEMBER
    assert (await roles(there, other.id))["boss@foreign.test"] is Role.ADMIN


async def test_adding_a_member_changes_no_role(there: Pages) -> None:
    person = await there.signed_in()
    answer = await person.post(PATH, email=there.here.admin.user.email.upper(), role="MEMBER")
    assert answer.status_code == 400
    assert field_errors(answer) == {"new-email": "Is a member already."}
    assert set((await roles(there)).values()) == {Role.ADMIN}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"email": "nobody", "role": "MEMBER"}, ["new-email"]),
        ({"email": "", "role": "MEMBER"}, ["new-email"]),
        ({"email": "a@b.test", "role": "OWNER"}, ["new-role"]),
        ({"email": "a@b.test", "role": "MEMBER", "name": "\x07"}, ["new-name"]),
        ({"email": "a@b.test", "role": "MEMBER", "name": "x" * 201}, ["new-name"]),
    ],
)
async def test_faults_stand_beside_their_fields(there: Pages, fields: dict[str, str], wrong: list[str]) -> None:
    person = await there.signed_in()
    answer = await person.post(PATH, **fields)
    assert answer.status_code == 400
    assert list(field_errors(answer)) == wrong
    assert len(await roles(there)) == 1


async def test_a_role_counts_at_once(there: Pages) -> None:
    people = await roles_of(there)
    member = await id_of(there, "member@treadle.test")
    assert (await people[Role.MEMBER].get(PATH)).status_code == 200
    assert (await people[Role.ADMIN].post(f"{PATH}/{member}/role", role="ADMIN")).status_code == 303
    assert (await roles(there))["member@treadle.test"] is Role.ADMIN
    assert f'action="{PATH}/{member}/role"' in (await people[Role.MEMBER].get(PATH)).text
    assert (await people[Role.ADMIN].post(f"{PATH}/{member}/role", role="OWNER")).status_code == 400


async def test_the_last_admin_stays(there: Pages) -> None:
    person = await there.signed_in()
    me = there.here.admin.user.id
    for path, fields in ((f"{PATH}/{me}/role", {"role": "MANAGER"}), (f"{PATH}/{me}/remove", {})):
        answer = await person.post(path, **fields)
        assert answer.status_code == 409
        assert "this is the last one" in text(answer)
    assert (await roles(there))[there.here.admin.user.email] is Role.ADMIN
    assert (await person.post(f"{PATH}/{me}/role", role="ADMIN")).status_code == 303


async def test_two_admins_cannot_end_each_other(there: Pages) -> None:
    """However their requests fall together."""
    here = there.here
    other = await here.member("other@treadle.test", Role.ADMIN)
    administration = Administration(here.services.identity, here.services.sessions, here.clock)
    first, second = [await here.services.identity.authenticate(key) for key in (here.admin.key, other.key)]
    ended = await asyncio.gather(
        administration.set_role(first, second.user_id, Role.MEMBER),
        administration.remove_member(second, first.user_id),
        return_exceptions=True,
    )
    assert Role.ADMIN in (await roles(there)).values()
    assert any(isinstance(each, Conflict) for each in ended)


async def test_a_removed_member_is_out_with_its_keys(there: Pages) -> None:
    people = await roles_of(there)
    here = there.here
    gone = await here.member("gone@treadle.test")
    signed_in = await there.signed_in(gone.key)
    assert (await signed_in.get(PATH)).status_code == 200
    answer = await people[Role.ADMIN].post(f"{PATH}/{gone.user.id}/remove")
    assert answer.headers["location"] == f"{PATH}?done=removed"
    assert "gone@treadle.test" not in await roles(there)
    assert (await signed_in.get(PATH)).status_code == 303
    assert (await there.anybody().send("/sign-in", {"by": "key", "key": gone.key})).status_code == 400
    await here.services.identity.add_user("gone@treadle.test", 1, Role.ADMIN)  # back again, its old key is not
    assert (await there.anybody().send("/sign-in", {"by": "key", "key": gone.key})).status_code == 400


async def test_others_organizations_are_out_of_reach(there: Pages) -> None:
    identity = there.here.services.identity
    other = await identity.add_organization("Foreign")
    user = await identity.add_user("boss@foreign.test", other.id, Role.ADMIN)
    person = await there.signed_in()
    assert "boss@foreign.test" not in text(await person.get(PATH))
    assert (await person.post(f"{PATH}/{user.id}/role", role="MEMBER")).status_code == 404
    assert (await person.post(f"{PATH}/{user.id}/remove")).status_code == 404
    signed_in = await there.signed_in((await identity.create_key("boss@foreign.test", other.id, name="x"))[1])
    assert (await person.post(f"{PATH}/{user.id}/sign-out")).status_code == 404
    assert (await signed_in.get(PATH)).status_code == 200
    assert (await roles(there, other.id))["boss@foreign.test"] is Role.ADMIN


async def test_a_member_is_signed_out_everywhere(there: Pages) -> None:
    """Its sessions, here and on another device, and its tokens; its keys and all others stay."""
    people, here = await roles_of(there), there.here
    ada = await here.member("ada@treadle.test")
    devices = [await there.signed_in(ada.key) for _ in range(2)]
    here.clock.advance(2)
    principal = await here.services.identity.authenticate(ada.key)
    token = (await here.services.tokens.issue(principal)).text
    assert (await here.services.tokens.verify(token)).email == "ada@treadle.test"
    here.clock.advance(2)
    answer = await people[Role.ADMIN].post(f"{PATH}/{ada.user.id}/sign-out")
    assert answer.headers["location"] == f"{PATH}?done=signed-out"
    for device in devices:
        assert (await device.get(PATH)).status_code == 303
    with pytest.raises(Unauthenticated):
        await here.services.tokens.verify(token)
    for person in people.values():
        assert (await person.get(PATH)).status_code == 200
    assert (await (await there.signed_in(ada.key)).get(PATH)).status_code == 200
