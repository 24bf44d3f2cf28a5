"""The pages in this process, on `deployment.deployed`: somebody who loads pages and sends their forms.

async with looking(here, sign_in, account) as anybody:
    person = await anybody.signed_in(here.admin.key)
    page = await person.get("/settings/account")
    answer = await person.post("/settings/account/password", new="…")
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from types import ModuleType

import httpx2
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from tests.support.deployment import Deployment
from treadle.domain.identity import Role
from treadle.web.assets import asset_routes
from treadle.web.door import COOKIE, Door, csrf_of
from treadle.web.render import Renderer
from treadle.web.site import Site

#: As a browser names it: what has a host of another name comes from elsewhere.
HOST = "http://treadle.test"

_HTML = {"Accept": "text/html"}


class Person:
    """Somebody at a browser of their own, with its cookies."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    @property
    def token(self) -> str:
        return self.http.cookies.get(COOKIE) or ""

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.http.get(path, headers={**_HTML, **headers})

    async def post(self, path: str, /, **fields: str | Sequence[str]) -> httpx2.Response:
        """A form, as the page would send it."""
        return await self.send(path, {"csrf": csrf_of(self.token), **fields})

    async def send(self, path: str, fields: Mapping[str, str | Sequence[str]], **headers: str) -> httpx2.Response:
        """A form, just as given."""
        given = {name: list(value) if not isinstance(value, str) else value for name, value in fields.items()}
        return await self.http.post(path, data=given, headers={**_HTML, "Origin": HOST, **headers})


@dataclass(frozen=True, slots=True)
class Pages:
    """Makes people."""

    here: Deployment
    app: Starlette
    site: Site

    def anybody(self) -> Person:
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)
        return Person(httpx2.AsyncClient(transport=transport, base_url=HOST))

    async def signed_in(self, key: str | None = None) -> Person:
        """With an API key; the admin's if none is given."""
        person = self.anybody()
        answer = await person.send("/sign-in", {"by": "key", "key": key or self.here.admin.key})
        assert answer.status_code == httpx2.codes.SEE_OTHER, answer.text
        return person


@asynccontextmanager
async def looking(here: Deployment, *modules: ModuleType) -> AsyncIterator[Pages]:
    """`modules`: of `treadle.web.pages`; `sign_in` is there in any case."""
    from treadle.web.pages import sign_in

    renderer = Renderer(here.clock)
    door = Door(here.services.sessions, renderer, public_url=here.settings.public_url)
    site = Site(here.services, here.settings, renderer, door)
    routes: list[Route] = [Route("/runs", _runs), *asset_routes()]
    for module in dict.fromkeys([sign_in, *modules]):
        routes += module.routes(site)
    yield Pages(here, Starlette(routes=routes), site)


async def _runs(_request: object) -> Response:
    return Response("All runs")


def text(answer: httpx2.Response) -> str:
    """What a person reads of a page, in one line."""
    body = re.sub(r"(?s)<(script|style|head)\b.*?</\1>", " ", answer.text)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def field_errors(answer: httpx2.Response) -> dict[str, str]:
    """What stands beside the fields, by their ids; each must be tied to its field."""
    found = {
        name: " ".join(unescape(re.sub(r"<[^>]+>", "", said)).split())
        for name, said in re.findall(r'(?s)class="field-error" id="([^"]+)-error">(.*?)</p>', answer.text)
    }
    for name in found:
        tag = re.search(rf'(?s)<(?:input|select|textarea)[^>]*\bid="{re.escape(name)}"[^>]*>', answer.text)
        assert tag is not None, name
        assert 'aria-invalid="true"' in tag[0], name
        assert f"{name}-error" in (re.search(r'aria-describedby="([^"]*)"', tag[0]) or ["", ""])[1], name
    return found


async def refuses_forged(person: Person, path: str, fields: Mapping[str, str]) -> None:
    """A form without its token, with a wrong one, from another site, or of somebody signed out changes nothing."""
    right = csrf_of(person.token)
    for token in (None, "", "0" * 64, right.upper(), right[:-1]):
        given = dict(fields) if token is None else {**fields, "csrf": token}
        answer = await person.send(path, given)
        assert answer.status_code == httpx2.codes.FORBIDDEN, (path, token)
    for origin in ("https://evil.example", "null", "http://treadle.test.evil.example", "http://treadle.test:81"):
        answer = await person.send(path, {**fields, "csrf": right}, Origin=origin)
        assert answer.status_code == httpx2.codes.FORBIDDEN, (path, origin)
    stranger = Person(httpx2.AsyncClient(transport=person.http._transport, base_url=HOST))
    answer = await stranger.send(path, {**fields, "csrf": right})
    assert answer.status_code == httpx2.codes.FORBIDDEN, path


async def roles_of(pages: Pages) -> dict[Role, Person]:
    """Somebody of each role, signed in."""
    found = {Role.ADMIN: await pages.signed_in()}
    for role in (Role.MANAGER, Role.MEMBER):
        member = await pages.here.member(f"{role.lower()}@treadle.test", role)
        found[role] = await pages.signed_in(member.key)
    return found
