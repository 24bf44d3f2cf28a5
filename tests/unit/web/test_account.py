"""/settings/account: sessions, the password, the organizations."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.deployment import deployed
from tests.support.pages import Pages, Person, field_errors, looking, refuses_forged, roles_of, text

from treadle.domain.identity import Role
from treadle.services.sessions import SignedIn, Visitor
from treadle.web.door import COOKIE
from treadle.web.pages import account
from treadle.web.pages.account import PATH, browser

pytestmark = pytest.mark.anyio
OLD, NEW = "correct horse battery", "staple battery horse correct"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

FORMS = {
    f"{PATH}/name": {"name": "Another"},
    f"{PATH}/password": {"new": NEW, "again": NEW},
    f"{PATH}/organization": {"organization": "1"},
    f"{PATH}/sign-out-everywhere": {},
    f"{PATH}/sessions/1/revoke": {},
}


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path) as here, looking(here, account) as pages:
        yield pages


async def by_password(there: Pages, email: str = "somebody@treadle.test") -> Person:
    """Signed in without a key: as themselves."""
    await there.here.member(email)
    await there.here.services.sessions.reset_password(email, OLD)
    person = there.anybody()
    answer = await person.send("/sign-in", {"by": "password", "email": email, "password": OLD})
    assert answer.status_code == 303
    return person


async def test_everybody_has_an_account_and_nobody_without_a_session(there: Pages) -> None:
    for role, person in (await roles_of(there)).items():
        answer = await person.get(PATH)
        assert answer.status_code == 200
        assert role in text(answer)
    answer = await there.anybody().get(PATH)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next={PATH}")


@pytest.mark.parametrize("path", FORMS)
async def test_only_our_own_forms_count(there: Pages, path: str) -> None:
    person = await there.signed_in()
    await refuses_forged(person, path, FORMS[path])
    assert await there.here.services.sessions.principal(person.token) is not None


async def test_a_name_is_changed(there: Pages) -> None:
    person = await there.signed_in()
    answer = await person.post(f"{PATH}/name", name=" <b>Name</b> ")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}?done=name")
    shown = await person.get(answer.headers["location"])
    assert "Your name is changed." in text(shown)
    assert 'value="&lt;b&gt;Name&lt;/b&gt;"' in shown.text
    wrong = await person.post(f"{PATH}/name", name=" \x07")
    assert wrong.status_code == 400
    assert "printable" in field_errors(wrong)["name-name"]


async def test_sessions_are_shown_and_end_one_by_one(there: Pages) -> None:
    here, other = await there.signed_in(), there.anybody()
    await other.http.post("/sign-in", data={"by": "key", "key": there.here.admin.key}, headers={"User-Agent": FIREFOX})
    page = text(await here.get(PATH))
    assert "Firefox on Linux API key" in page
    assert "this one" in page
    found = await there.here.services.sessions.principal(other.token)
    own = await there.here.services.sessions.principal(here.token)
    assert found is not None
    assert own is not None
    answer = await here.post(f"{PATH}/sessions/{found.id}/revoke")
    assert answer.headers["location"] == f"{PATH}?done=revoked"
    assert (await other.get(PATH)).status_code == 303
    assert (await here.post(f"{PATH}/sessions/{own.id}/revoke")).status_code == 403


async def test_nobody_ends_the_sessions_of_others(there: Pages) -> None:
    admin, member = await there.signed_in(), await by_password(there)
    found = await there.here.services.sessions.principal(member.token)
    assert found is not None
    assert (await admin.post(f"{PATH}/sessions/{found.id}/revoke")).status_code == 404
    assert (await admin.post(f"{PATH}/sessions/999/revoke")).status_code == 404
    assert "somebody@treadle.test" not in text(await admin.get(PATH))


async def test_signing_out_everywhere_ends_this_one_too(there: Pages) -> None:
    here, other = await there.signed_in(), await there.signed_in()
    answer = await here.post(f"{PATH}/sign-out-everywhere")
    assert answer.headers["location"] == "/sign-in?said=everywhere"
    assert here.token == ""
    assert await there.here.services.sessions.principal(other.token) is None


async def test_a_password_is_changed_by_who_knows_the_old_one(there: Pages) -> None:
    person = await by_password(there)
    wrong = await person.post(f"{PATH}/password", old="not it", new=NEW, again=NEW)
    assert field_errors(wrong) == {"password-old": "Is not your password."}
    short = await person.post(f"{PATH}/password", old=OLD, new="short", again="short")
    assert "12 to 200" in field_errors(short)["password-new"]
    typo = await person.post(f"{PATH}/password", old=OLD, new=NEW, again=f"{NEW}!")
    assert field_errors(typo) == {"password-again": "Is not the same."}
    for answer in (wrong, short, typo):
        assert answer.status_code == 400
        assert OLD not in answer.text
        assert NEW not in answer.text
    again = there.anybody()
    await again.send("/sign-in", {"by": "password", "email": "somebody@treadle.test", "password": OLD})
    done = await person.post(f"{PATH}/password", old=OLD, new=NEW, again=NEW)
    assert done.headers["location"] == f"{PATH}?done=password"
    assert (await person.get(PATH)).status_code == 200
    assert (await again.get(PATH)).status_code == 303
    signed = await there.anybody().send(
        "/sign-in", {"by": "password", "email": "somebody@treadle.test", "password": NEW}
    )
    assert signed.status_code == 303


async def test_who_came_with_a_key_sets_no_first_password(there: Pages) -> None:
    person = await there.signed_in()
    page = await person.get(PATH)
    assert "treadle admin user password" in page.text
    assert 'name="new"' not in page.text
    assert (await person.post(f"{PATH}/password", new=NEW, again=NEW)).status_code == 403


async def test_guessing_the_old_password_has_to_wait(there: Pages) -> None:
    person = await by_password(there)
    statuses = [(await person.post(f"{PATH}/password", old="no", new=NEW, again=NEW)).status_code for _ in range(11)]
    assert statuses[0] == 400
    assert statuses[-1] == 429


async def test_one_switches_between_organizations_of_ones_own(there: Pages) -> None:
    identity = there.here.services.identity
    other = await identity.add_organization("Tools")
    foreign = await identity.add_organization("Foreign")
    person = await by_password(there)
    await identity.add_user("somebody@treadle.test", other.id, Role.ADMIN)
    page = text(await person.get(PATH))
    assert "Tools ADMIN Switch" in page
    assert "Foreign" not in page
    answer = await person.post(f"{PATH}/organization", organization=str(other.id))
    assert answer.headers["location"] == "/runs"
    found = await there.here.services.sessions.principal(person.token)
    assert found is not None
    assert (found.principal.organization_id, found.principal.role) == (other.id, Role.ADMIN)
    for wrong in (str(foreign.id), "999", "", "x", "9" * 40, "-1", "\u0661"):
        assert (await person.post(f"{PATH}/organization", organization=wrong)).status_code == 404


async def test_a_key_of_one_organization_leads_to_no_other(there: Pages) -> None:
    identity = there.here.services.identity
    other = await identity.add_organization("Tools")
    await identity.add_user(there.here.admin.user.email, other.id, Role.ADMIN)
    person = await there.signed_in()
    assert "Tools" not in text(await person.get(PATH))
    assert (await person.post(f"{PATH}/organization", organization=str(other.id))).status_code == 404


async def test_what_browsers_say_of_themselves_is_text(there: Pages) -> None:
    signed: SignedIn = await there.here.services.sessions.sign_in_with_key(
        there.here.admin.key, Visitor("192.0.2.1", '"><script>alert(1)</script>\u202e')
    )
    person = there.anybody()
    person.http.cookies.set(COOKIE, signed.token, domain="treadle.test")
    page = await person.get(PATH)
    assert "<script>alert" not in page.text
    assert "Unknown browser" in text(page)


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36", "Chrome on Windows"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari on iPhone"),
        ("curl/8.9", "curl"),
        ("", "Unknown browser"),
    ],
)
def test_browsers_have_names(agent: str, name: str) -> None:
    assert browser(agent) == name
