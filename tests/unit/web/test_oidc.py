"""Signing in at a provider: it works, and whatever is not as it should be lets nobody in."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from tests.support.deployment import START, StillClock, deployed
from tests.support.oidc_provider import CLIENT_ID, CLIENT_SECRET, Claims, OidcProvider, new_key
from tests.support.pages import Pages, Person, looking, text

from treadle.domain.errors import ConfigurationError
from treadle.domain.identity import Role
from treadle.services.oidc import FLOW_SECONDS
from treadle.services.oidc_provider import client_of
from treadle.settings import Settings
from treadle.web.door import COOKIE
from treadle.web.pages import oidc
from treadle.web.pages.oidc import CALLBACK, FLOW_COOKIE

pytestmark = pytest.mark.anyio
EMAIL = "somebody@treadle.test"
NOT_WORKED = "Signing in there did not work."
NOT_KNOWN = "Nobody with your verified e-mail address is known here."
NOT_BEGUN = "This sign-in was not begun in this browser"


@dataclass(frozen=True, slots=True)
class There:
    provider: OidcProvider
    pages: Pages
    clock: StillClock

    async def begun(self, person: Person, path: str = "/runs/7") -> str:
        """Sent to the provider; the address that it sends the browser back to."""
        sent = await person.get(f"/sign-in/oidc?next={path}")
        assert sent.status_code == 303, sent.text
        async with httpx2.AsyncClient(timeout=120) as http:
            answer = await http.get(sent.headers["location"])
        assert answer.status_code == 302, answer.text
        return answer.headers["location"].removeprefix("http://treadle.test")

    async def signed_in(self, person: Person) -> httpx2.Response:
        return await person.get(await self.begun(person))


@asynccontextmanager
async def provided(folder: Path, **overrides: object) -> AsyncIterator[There]:
    clock: list[StillClock] = []

    def now() -> float:
        return (clock[0].now() if clock else START).timestamp()

    with OidcProvider(now=now) as provider:
        settings: dict[str, Any] = {**provider.settings, **overrides}
        async with deployed(folder, **settings) as here, looking(here, oidc) as pages:
            clock.append(here.clock)
            await here.member(EMAIL, Role.MANAGER)
            yield There(provider, pages, here.clock)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[There]:
    async with provided(tmp_path) as found:
        yield found


def refused(answer: httpx2.Response, said: str) -> None:
    assert answer.status_code == 400
    assert said in text(answer)
    assert COOKIE not in answer.cookies
    assert FLOW_COOKIE not in answer.cookies


async def test_who_is_known_gets_in_and_goes_on(there: There) -> None:
    person = there.pages.anybody()
    assert "Continue with single sign-on" in text(await person.get("/sign-in?next=/runs/7"))
    answer = await there.signed_in(person)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/7")
    found = await there.pages.here.services.sessions.principal(person.token)
    assert found is not None
    assert (found.principal.email, found.principal.role, found.is_by_key) == (EMAIL, Role.MANAGER, False)
    asked = there.provider.authorizations[0]
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"http://treadle.test{CALLBACK}"
    assert asked["scope"].split()[0] == "openid"


async def test_what_the_flow_remembers_is_the_servers_alone(there: There) -> None:
    answer = await there.pages.anybody().get("/sign-in/oidc")
    cookie = answer.headers["set-cookie"]
    flags = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", f"path={oidc.PATH}", f"max-age={FLOW_SECONDS}"} <= flags
    assert not any(flag.startswith("domain") for flag in flags)
    assert answer.headers["cache-control"] == "no-store"


async def test_over_tls_the_cookies_are_for_tls(tmp_path: Path) -> None:
    async with provided(tmp_path, public_url="https://treadle.example/") as there:
        answer = await there.pages.anybody().get("/sign-in/oidc")
        assert "secure" in answer.headers["set-cookie"].lower()
        assert f"redirect_uri=https%3A%2F%2Ftreadle.example{CALLBACK.replace('/', '%2F')}" in answer.headers["location"]


async def test_an_answer_is_good_once_and_in_its_own_browser(there: There) -> None:
    person, other = there.pages.anybody(), there.pages.anybody()
    back = await there.begun(person)
    refused(await other.get(back), NOT_BEGUN)  # somebody else's link: no cookie, no sign-in
    await there.begun(other)
    refused(await other.get(back), NOT_BEGUN)  # with a flow of its own: another state
    assert (await person.get(back)).status_code == 303
    refused(await person.get(back), NOT_BEGUN)


@pytest.mark.parametrize("spoil", ["x", "", ".", "e30.0", "é"])
async def test_a_cookie_that_we_did_not_sign_is_none(there: There, spoil: str) -> None:
    person = there.pages.anybody()
    back = await there.begun(person)
    kept = person.http.cookies.get(FLOW_COOKIE) or ""
    body, _, mark = kept.partition(".")
    wrong = f"{body[:-2]}AA.{mark}" if spoil == "x" else spoil
    answer = await there.pages.anybody().http.get(back, headers={b"Cookie": f"{FLOW_COOKIE}={wrong}".encode()})
    refused(answer, NOT_BEGUN)


async def test_who_takes_too_long_begins_again(there: There) -> None:
    person = there.pages.anybody()
    back = await there.begun(person)
    there.clock.advance(FLOW_SECONDS)
    refused(await person.get(back), NOT_BEGUN)


def _without(name: str) -> Callable[[Claims], Claims]:
    return lambda claims: {key: value for key, value in claims.items() if key != name}


def _with(**more: object) -> Callable[[Claims], Claims]:
    return lambda claims: {**claims, **more}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("another nonce", _with(nonce="another")),
        ("no nonce", _without("nonce")),
        ("another audience", _with(aud="another")),
        ("several audiences for nobody", _with(aud=[CLIENT_ID, "another"])),
        ("several audiences for another", _with(aud=[CLIENT_ID, "another"], azp="another")),
        ("made for another", _with(azp="another")),
        ("no audience", _without("aud")),
        ("another issuer", _with(iss="https://another.example")),
        ("no issuer", _without("iss")),
        ("expired", lambda claims: {**claims, "exp": claims["iat"] - 600}),
        ("never expires", _without("exp")),
        ("expires at no time", _with(exp="soon")),
        ("from the future", lambda claims: {**claims, "iat": claims["iat"] + 6000, "exp": claims["exp"] + 9000}),
        ("nobody", _with(sub="")),
        ("no subject", _without("sub")),
        ("a number", _with(sub=7)),
        ("a long subject", _with(sub="x" * 256)),
    ],
)
async def test_a_token_that_is_not_ours_lets_nobody_in(
    there: There, name: str, change: Callable[[Claims], Claims]
) -> None:
    there.provider.change = change
    refused(await there.signed_in(there.pages.anybody()), NOT_WORKED)


async def test_several_audiences_are_fine_when_it_is_made_for_us(there: There) -> None:
    there.provider.change = _with(aud=[CLIENT_ID, "another"], azp=CLIENT_ID)
    assert (await there.signed_in(there.pages.anybody())).status_code == 303


@pytest.mark.parametrize(
    "says",
    [
        {"sub": "u-1", "email": EMAIL, "email_verified": False},
        {"sub": "u-1", "email": EMAIL},
        {"sub": "u-1", "email": EMAIL, "email_verified": "yes"},
        {"sub": "u-1"},
        {"sub": "u-1", "email": None, "email_verified": True},
        {"sub": "u-1", "email": "stranger@treadle.test", "email_verified": True},
    ],
)
async def test_only_a_verified_address_of_a_known_user_counts(there: There, says: Claims) -> None:
    there.provider.says = says
    refused(await there.signed_in(there.pages.anybody()), NOT_KNOWN)


async def test_who_signed_in_before_is_the_same_whatever_the_address_is_now(there: There) -> None:
    await there.signed_in(there.pages.anybody())
    there.provider.says = {"sub": "u-1", "email": "renamed@treadle.test", "email_verified": False}
    assert (await there.signed_in(there.pages.anybody())).status_code == 303


async def test_who_is_no_member_any_more_does_not_get_in(there: There) -> None:
    here = there.pages.here
    user, _ = await here.services.identity.member(EMAIL, 1)
    await here.services.identity.set_role(1, user.id, None)
    refused(await there.signed_in(there.pages.anybody()), "You are a member of no organization.")


async def test_keys_may_change(there: There) -> None:
    assert (await there.signed_in(there.pages.anybody())).status_code == 303
    there.provider.rotate()
    there.clock.advance(60)
    assert (await there.signed_in(there.pages.anybody())).status_code == 303
    # One that the provider does not publish is nobody's.
    there.provider.key = new_key()
    there.clock.advance(60)
    refused(await there.signed_in(there.pages.anybody()), NOT_WORKED)


@pytest.mark.parametrize("algorithm", ["HS256", "none"])
async def test_a_token_that_the_provider_did_not_sign_is_none(there: There, algorithm: str) -> None:
    """Not even with the secret that we share."""
    key = OctKey.import_key(CLIENT_SECRET)
    header = {"alg": algorithm, "kid": there.provider.key.kid}
    there.provider.sign = lambda claims: jwt.encode(header, claims, key, algorithms=[algorithm])
    refused(await there.signed_in(there.pages.anybody()), NOT_WORKED)


async def test_a_refusal_of_the_provider_is_one_here(there: There) -> None:
    there.provider.refuses = "access_denied"
    answer = await there.signed_in(there.pages.anybody())
    refused(answer, NOT_WORKED)
    assert "access_denied" not in answer.text


async def test_another_issuers_answer_is_none(there: There) -> None:
    person = there.pages.anybody()
    back = await there.begun(person)
    refused(
        await person.get(back.split("&iss=")[0].replace("iss=", "x=") + "&iss=https%3A%2F%2Fevil.example"), NOT_WORKED
    )


async def test_a_code_that_is_not_ours_is_none(there: There) -> None:
    person = there.pages.anybody()
    back = await there.begun(person)
    refused(await person.get(back.replace("code=", "code=x")), NOT_WORKED)


async def test_a_provider_that_is_away_is_asked_now_and_then(there: There) -> None:
    there.provider.is_away = True
    for _ in range(5):
        refused(await there.pages.anybody().get("/sign-in/oidc"), "The sign-in service does not answer as it should.")
    assert len(there.provider.asked) == 1
    there.provider.is_away = False
    there.clock.advance(30)
    assert (await there.signed_in(there.pages.anybody())).status_code == 303
    there.provider.is_away = True  # what is known stays good
    there.clock.advance(3600)
    assert (await there.pages.anybody().get("/sign-in/oidc")).status_code == 303


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://another.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": 7},
    ],
)
async def test_a_document_that_leads_elsewhere_counts_for_nothing(there: There, document: Claims) -> None:
    there.provider.document = document
    refused(await there.pages.anybody().get("/sign-in/oidc"), "The sign-in service does not answer as it should.")


async def test_providers_that_have_the_address_elsewhere(there: There) -> None:
    there.provider.document = {
        "userinfo_endpoint": f"{there.provider.issuer}/userinfo",
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
    }
    there.provider.says = {"sub": "u-1"}
    there.provider.userinfo = {"sub": "u-2", "email": EMAIL, "email_verified": True}
    refused(await there.signed_in(there.pages.anybody()), NOT_WORKED)
    there.provider.userinfo = {"sub": "u-1", "email": EMAIL, "email_verified": True}
    assert (await there.signed_in(there.pages.anybody())).status_code == 303


@pytest.mark.parametrize("path", ["https://evil.example", "//evil.example", "/sign-out"])
async def test_nobody_is_sent_elsewhere_afterwards(there: There, path: str) -> None:
    person = there.pages.anybody()
    answer = await person.get(await there.begun(person, path))
    assert answer.headers["location"] == "/runs"


async def test_without_a_provider_there_is_nothing(tmp_path: Path) -> None:
    async with deployed(tmp_path) as here, looking(here, oidc) as pages:
        assert (await pages.anybody().get("/sign-in/oidc")).status_code == 404
        assert "Continue with" not in text(await pages.anybody().get("/sign-in"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"oidc_issuer": "https://login.example"}, "only half set"),
        ({"oidc_client_secret": "x"}, "only half set"),
        ({"oidc_issuer": "http://login.example", "oidc_client_id": "a", "oidc_client_secret": "b"}, "https address"),
        ({"oidc_issuer": "login.example", "oidc_client_id": "a", "oidc_client_secret": "b"}, "https address"),
    ],
)
async def test_settings_are_whole_or_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        client_of(Settings.load({}, **given))
