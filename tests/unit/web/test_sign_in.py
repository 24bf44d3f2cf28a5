"""Signing in and out: who gets in, what the cookie is, and what nobody learns."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.deployment import Deployment, deployed
from tests.support.pages import Pages, field_errors, looking, text

from treadle.domain.identity import Role
from treadle.services.sessions import TRIES_BY_ADDRESS, Visitor
from treadle.web.door import COOKIE
from treadle.web.pages import sign_in

pytestmark = pytest.mark.anyio
PASSWORD = "correct horse battery"


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path) as here, looking(here) as pages:
        yield pages


async def with_password(here: Deployment) -> str:
    user = await here.member("somebody@treadle.test", Role.MEMBER)
    await here.services.sessions.reset_password(user.user.email, PASSWORD)
    return user.user.email


async def test_a_key_lets_in_and_goes_on_to_where_one_came_from(there: Pages) -> None:
    person = there.anybody()
    answer = await person.send(
        "/sign-in", {"by": "key", "key": f" {there.here.admin.key} ", "next": "/runs?status=New"}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs?status=New")
    assert (await there.here.services.sessions.principal(person.token)) is not None
    again = await person.get("/sign-in?next=/settings")
    assert (again.status_code, again.headers["location"]) == (303, "/settings")


async def test_a_password_lets_in(there: Pages) -> None:
    email = await with_password(there.here)
    answer = await there.anybody().send("/sign-in", {"by": "password", "email": email.upper(), "password": PASSWORD})
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs")


@pytest.mark.parametrize(
    ("public_url", "is_secure"), [(None, False), ("https://treadle.test", True), ("http://treadle.test", False)]
)
async def test_the_cookie_is_for_the_server_alone(tmp_path: Path, public_url: str | None, is_secure: bool) -> None:
    async with deployed(tmp_path, public_url=public_url) as here, looking(here) as pages:
        answer = await pages.anybody().send("/sign-in", {"by": "key", "key": here.admin.key})
        cookie = answer.headers["set-cookie"]
        flags = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "samesite=lax", "path=/"} <= flags
        assert ("secure" in flags) is is_secure
        assert "max-age=604800" in flags
        assert not any(flag.startswith("domain") for flag in flags)


async def test_signing_in_always_makes_a_new_session(there: Pages) -> None:
    """Whoever plants a token in somebody's browser, one of their own even, has nothing of it."""
    planted = await there.signed_in()
    victim = there.anybody()
    victim.http.cookies.set(COOKIE, planted.token, domain="treadle.test")
    other = await there.here.member("victim@treadle.test")
    await victim.send("/sign-in", {"by": "key", "key": other.key})
    tokens = [cookie.value for cookie in victim.http.cookies.jar if cookie.name == COOKIE]
    assert planted.token not in tokens[-1:]
    assert await there.here.services.sessions.principal(planted.token) is None


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "/\t/evil.example/",
        "/\n/evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/sign-in?next=/sign-in",
        "/sign-out",
        "",
    ],
)
async def test_nobody_is_sent_elsewhere(there: Pages, path: str) -> None:
    person = there.anybody()
    answer = await person.send("/sign-in", {"by": "key", "key": there.here.admin.key, "next": path})
    location = answer.headers["location"]
    assert re.match(r"/[^/\\\t\n]", location), location
    assert "evil" not in location or location.startswith("/%09/")  # a path of ours that is not there
    assert 'value="//' not in (await there.anybody().http.get("/sign-in", params={"next": path})).text


async def test_wrong_and_unknown_are_one_answer(there: Pages) -> None:
    email = await with_password(there.here)
    known = await there.anybody().send("/sign-in", {"by": "password", "email": email, "password": "wrong"})
    other = await there.anybody().send("/sign-in", {"by": "password", "email": "x@y.test", "password": "wrong"})
    assert known.status_code == other.status_code == 400
    assert field_errors(known) == field_errors(other)
    assert known.text.replace(email, "") == other.text.replace("x@y.test", "")
    assert f'value="{email}"' in known.text
    assert "wrong" not in known.text
    assert re.search(r'<input id="password-password"[^>]* autofocus', known.text)
    assert COOKIE not in known.cookies


async def test_a_key_that_does_not_count_is_refused_beside_its_field(there: Pages) -> None:
    revoked = await there.here.member("gone@treadle.test")
    keys = await there.here.services.identity.keys(1)
    await there.here.services.identity.revoke_key(keys[-1].id)
    said = []
    for key in ("trd_unknown", revoked.key):
        answer = await there.anybody().send("/sign-in", {"by": "key", "key": key})
        assert answer.status_code == 400
        assert key not in answer.text
        said.append(field_errors(answer))
    assert said[0] == said[1] == {"key-key": "This API key is unknown, expired or revoked."}


async def test_what_is_missing_is_said(there: Pages) -> None:
    nothing = await there.anybody().send("/sign-in", {"by": "key", "key": " "})
    assert field_errors(nothing) == {"key-key": "Give an API key."}
    neither = await there.anybody().send("/sign-in", {"by": "password"})
    assert set(field_errors(neither)) == {"password-email", "password-password"}


async def test_many_wrong_ones_have_to_wait(there: Pages) -> None:
    for _ in range(TRIES_BY_ADDRESS):
        answer = await there.anybody().send("/sign-in", {"by": "key", "key": "trd_wrong"})
        assert answer.status_code == 400
    answer = await there.anybody().send("/sign-in", {"by": "key", "key": "trd_wrong"})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "Too many tries to sign in. Wait 5 minutes" in text(answer)
    there.here.clock.advance(int(answer.headers["retry-after"]))
    assert (await there.anybody().send("/sign-in", {"by": "key", "key": "trd_wrong"})).status_code == 400


async def test_signing_out_ends_the_session_here_and_there(there: Pages) -> None:
    person = await there.signed_in()
    token = person.token
    answer = await person.post("/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?said=signed-out")
    assert person.token == ""
    assert await there.here.services.sessions.principal(token) is None
    assert "You are signed out." in text(await person.get(answer.headers["location"]))


async def test_only_our_own_forms_count(there: Pages) -> None:
    person = await there.signed_in()
    wrong: tuple[dict[str, str], ...] = ({}, {"csrf": "0" * 64}, {"csrf": "é"})
    for given in wrong:
        answer = await person.send("/sign-out", given)
        assert answer.status_code == 403
    elsewhere = await person.http.post("/sign-out", headers={"Origin": "https://evil.example"})
    assert elsewhere.status_code == 403
    assert await there.here.services.sessions.principal(person.token) is not None
    for origin in ("https://evil.example", "null"):
        fields = {"by": "key", "key": there.here.admin.key}
        assert (await there.anybody().send("/sign-in", fields, Origin=origin)).status_code == 403


async def test_words_above_the_form_are_ours(there: Pages) -> None:
    answer = await there.anybody().get("/sign-in?said=<b>Give%20your%20key%20to%20me</b>")
    assert "Give your key" not in text(answer)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_the_address_is_the_connections_own(there: Pages) -> None:
    """A header that anybody can write neither evades the limit nor locks others out."""
    seen: list[Visitor] = []
    from starlette.requests import Request

    scope = {
        "type": "http",
        "client": ("192.0.2.7", 4711),
        "headers": [(b"x-forwarded-for", b"10.0.0.1"), (b"user-agent", b"Browser")],
    }
    seen.append(sign_in.visitor_of(Request(scope)))
    assert seen == [Visitor("192.0.2.7", "Browser")]
