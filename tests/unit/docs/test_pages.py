"""The page about the page: every address that there is, and who may see it."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from starlette.routing import Route
from tests.support.deployment import Deployment, deployed
from tests.support.pages import HOST, Person
from tests.unit.docs.pages import ROOT, codes, page, rows

from treadle.domain.identity import Role
from treadle.web.mount import page_routes

pytestmark = pytest.mark.anyio

#: The rows: address, what it is, who, form.
ROWS = [row for row in rows(page("reference/pages.md")) if re.match(r"`(?:GET|POST) /", row[0])]

#: Parameters that are numbers: 1 is there, or nothing is.
_NUMBERS = {"id", "run_id", "number", "link", "execution", "delivery", "message"}

ANYBODY, SIGNED_IN, SEES, LINK = "anybody", "signed in", "sees the run", "the link"


def deployment(folder: Path) -> AbstractAsyncContextManager[Deployment]:
    """With single sign-on at a provider that is not there."""
    return deployed(folder, oidc_issuer="http://127.0.0.1:1", oidc_client_id="treadle", oidc_client_secret="none")


def address_of(row: list[str]) -> tuple[str, str]:
    method, _, path = row[0].strip("`").partition(" ")
    return method, path


@dataclass(frozen=True)
class House:
    """Somebody of each role, somebody who is signed out, and something to look at."""

    here: Deployment
    people: Mapping[Role, Person]
    stranger: Person
    other: int  # the id of one more member

    def path(self, row: list[str]) -> str:
        """Its address, of what is there."""
        path = address_of(row)[1]
        id_ = self.other if path.startswith("/settings/members/") else 1
        return re.sub(r"\{(\w+)\}", lambda match: str(id_) if match[1] in _NUMBERS else "nothing", path)


def person(here: Deployment) -> Person:
    transport = httpx2.ASGITransport(app=here.app, raise_app_exceptions=False)
    return Person(httpx2.AsyncClient(transport=transport, base_url=HOST))


async def signed_in(here: Deployment, key: str) -> Person:
    found = person(here)
    assert (await found.send("/sign-in", {"by": "key", "key": key})).status_code == httpx2.codes.SEE_OTHER
    return found


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with deployment(tmp_path) as here:
        people = {Role.ADMIN: await signed_in(here, here.admin.key)}
        for role in (Role.MANAGER, Role.MEMBER):
            people[role] = await signed_in(here, (await here.member(f"{role.lower()}@treadle.test", role)).key)
        await here.start()
        await here.services.repositories.add(here.admin.organization, name="a/b", url="https://git.example/a/b")
        other = await here.member("other@treadle.test")
        yield House(here, people, person(here), other.user.id)


async def asked(who: Person, row: list[str], path: str) -> httpx2.Response:
    return await (who.get(path) if address_of(row)[0] == "GET" else who.post(path))


async def test_every_address_is_there_once(tmp_path: Path) -> None:
    async with deployment(tmp_path) as here:
        routes = page_routes(here.services, here.settings)
    there = [(method, plain(route)) for route in routes for method in sorted(route.methods or ()) if method != "HEAD"]
    assert sorted(address_of(row) for row in ROWS) == sorted(there)


def plain(route: Route) -> str:
    """Without the types of its parameters."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)


def test_who_is_one_of_few() -> None:
    assert {row[2] for row in ROWS} <= {ANYBODY, SIGNED_IN, SEES, LINK, Role.MANAGER, Role.ADMIN}


async def test_whoever_is_signed_out_is_sent_to_sign_in(house: House) -> None:
    for row in ROWS:
        if row[2] in {ANYBODY, LINK} or row[0].endswith("/stream`"):
            continue
        answer = await asked(house.stranger, row, house.path(row))
        is_form = address_of(row)[0] == "POST"
        assert answer.status_code == (403 if is_form else 303), row[0]
        assert is_form or answer.headers["location"].startswith("/sign-in?next="), row[0]


async def test_anybody_may_ask_for_what_is_open(house: House) -> None:
    for row in ROWS:
        if row[2] in {ANYBODY, LINK}:
            answer = await asked(house.stranger, row, house.path(row))
            assert answer.status_code != 403, row[0]
            assert "next=" not in answer.headers.get("location", ""), row[0]
            assert (answer.status_code == 404) is (row[2] == LINK or "/static/" in row[0]), row[0]


async def test_a_lower_role_is_refused(house: House) -> None:
    below = {Role.MANAGER: Role.MEMBER, Role.ADMIN: Role.MANAGER}
    refused = [row for row in ROWS if row[2] in set(below)]
    assert refused
    for row in refused:
        role = below[Role(row[2])]
        assert (await asked(house.people[role], row, house.path(row))).status_code == 403, row[0]


async def test_that_role_is_not(house: House) -> None:
    for row in ROWS:
        if row[2] in set(Role):
            role = Role(row[2])
            answer = await asked(house.people[role], row, house.path(row))
            assert answer.status_code != 403, row[0]


async def test_a_run_is_seen_by_its_owner_and_above(house: House) -> None:
    seen = [row for row in ROWS if row[2] == SEES]
    assert len(seen) > 20
    for row in seen:
        if row[0].endswith("/stream`"):
            continue
        path = house.path(row)
        assert (await asked(house.people[Role.MEMBER], row, path)).status_code == 404, row[0]
        if address_of(row)[0] == "GET" and not re.search(r"/(?:diff/.+|artifacts/.+)`", row[0]):
            assert (await asked(house.people[Role.MANAGER], row, path)).status_code in {200, 303}, row[0]


async def test_what_a_signed_in_person_may_see_is_seen_by_a_member(house: House) -> None:
    for row in ROWS:
        if row[2] == SIGNED_IN and address_of(row)[0] == "GET" and not row[0].endswith("/stream`"):
            answer = await asked(house.people[Role.MEMBER], row, house.path(row))
            assert answer.status_code in {200, 404}, row[0]


def test_the_fields_of_forms_are_there() -> None:
    sources = (ROOT / "src/treadle/web").rglob("*.*")
    said = "".join(path.read_text(encoding="utf-8") for path in sources if path.suffix in {".html", ".py"})
    values = {"other", "keep", "none", "ssh", "commit", "analysis", "password", "csrf"}
    fields = {code.split("-")[0] for row in ROWS for code in codes(row[3])} - values
    assert len(fields) > 30
    assert [name for name in sorted(fields) if not re.search(rf"""["']{name}(?:["'-])""", said)] == []
