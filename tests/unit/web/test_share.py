"""A run shared by a link: read by whoever has it, nothing else, and no longer than it counts."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from tests.support.deployment import Deployment, deployed
from tests.support.pages import Pages, Person, looking, text

from treadle.domain.identity import Role
from treadle.domain.run import Run
from treadle.ports import RunFilter
from treadle.web.guests import GUEST_HEADERS
from treadle.web.pages import diff, run, shared, sign_in

pytestmark = pytest.mark.anyio

#: Below a link, everything that somebody may ask for.
PARTS = ["", "/trace", "/search?q=tests", "/events/1", "/diff", "/diff/tree", "/stream"]


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path) as here, looking(here, sign_in, run, diff, shared) as pages:
        yield pages


async def started(here: Deployment, **fields: object) -> Run:
    made = await here.start(**fields)
    return next(each for each in await here.store.list_runs(RunFilter(1), limit=100) if str(each.uuid) == made["id"])


async def link_to(person: Person, made: Run, **fields: str) -> str:
    """The path of a new link, as the page shows it."""
    page = await person.post(f"/runs/{made.id}/share", **fields)
    assert page.status_code == 200, text(page)
    found = re.search(r"http://treadle\.test(/shared/[\w-]+)", page.text)
    assert found is not None
    return found[1]


async def test_whoever_has_the_link_reads_the_run(there: Pages) -> None:
    made = await started(there.here)
    path = await link_to(await there.signed_in(), made)
    guest = there.anybody()
    page = await guest.get(path)
    assert page.status_code == 200
    assert "Write the tests" in text(page)
    assert "feature/work" in text(page)
    for part in PARTS[:-1]:
        answer = await guest.get(path + part)
        assert answer.status_code in {200, 404}, part
        for name, value in GUEST_HEADERS.items():
            assert answer.headers[name] == value, part


async def test_nothing_but_the_run_is_shown(there: Pages) -> None:
    other = await started(there.here, branchWork="another")
    made = await started(there.here)
    path = await link_to(await there.signed_in(), made)
    for part in ("", "/diff"):
        page = await there.anybody().get(path + part)
        assert there.here.admin.user.email not in page.text
        assert there.here.admin.key[:12] not in page.text
        assert "csrf" not in page.text
        assert not re.search(r'<form[^>]*method="post"', page.text)
        links = re.findall(r'(?:href|src|action|data-[a-z]+)="(/[^"]*)"', page.text)
        assert all(link.startswith(("/static/", path)) or link == "/runs" for link in links), links
        assert f"/runs/{other.id}" not in page.text
        assert f"/runs/{made.id}" not in page.text
        assert "curl" not in page.text


async def test_a_link_ends_and_nobody_learns_why(there: Pages) -> None:
    here, person = there.here, await there.signed_in()
    made = await started(here)
    brief = await link_to(person, made, days="1")
    revoked = await link_to(person, made)
    guest = there.anybody()
    assert (await guest.get(brief)).status_code == 200
    here.clock.advance(86_401)
    person = await there.signed_in()
    links = re.findall(rf'action="(/runs/{made.id}/share/\d+)"', (await person.get(f"/runs/{made.id}")).text)
    assert len(links) == 1
    assert (await guest.get(revoked)).status_code == 200
    assert (await person.post(links[0])).status_code == 303
    answers = [
        await guest.get(path + part)
        for path in (brief, revoked, "/shared/wrong", "/shared/" + "x" * 300)
        for part in PARTS
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert all(answer.headers["X-Robots-Tag"].startswith("noindex") for answer in answers)


async def test_a_link_opens_no_more_than_its_maker_sees(there: Pages) -> None:
    here = there.here
    member = await here.member("member@treadle.test", Role.MEMBER)
    made = await started(here)
    person = await there.signed_in(member.key)
    assert (await person.post(f"/runs/{made.id}/share")).status_code == 404
    own = await here.start(member, branchWork="own")
    run_id = next(r.id for r in await here.store.list_runs(RunFilter(1), limit=9) if str(r.uuid) == own["id"])
    mine = await here.store.get_run_seen(run_id, RunFilter(1))
    path = await link_to(person, mine)
    assert (await there.anybody().get(path)).status_code == 200
    await here.services.identity.set_role(1, member.user.id, None)
    assert (await there.anybody().get(path)).status_code == 404


async def test_a_link_lets_nobody_do_anything(there: Pages) -> None:
    made = await started(there.here)
    path = await link_to(await there.signed_in(), made)
    guest = there.anybody()
    for action in ("kill", "resume", "again", "share", "ban", ""):
        answer = await guest.send(f"{path}/{action}".rstrip("/"), {"prompt": "x", "csrf": ""})
        assert answer.status_code in {404, 405}, action
    assert (await guest.get(f"/runs/{made.id}")).status_code == 303
    assert (await there.here.services.runs.seen(made.id, RunFilter(1))).date_kill_requested is None


@pytest.mark.parametrize("days", ["0", "31", "-1", "soon"])
async def test_days_have_bounds(there: Pages, days: str) -> None:
    made = await started(there.here)
    person = await there.signed_in()
    answer = await person.post(f"/runs/{made.id}/share", days=days)
    assert answer.status_code == 400
    assert "1 to 30" in text(answer)


async def test_it_is_live_until_the_link_is_revoked(there: Pages) -> None:
    """Each link has its own addresses in what is swapped in."""
    here, person = there.here, await there.signed_in()
    made = await started(here)
    paths = [await link_to(person, made) for _ in range(2)]
    assert paths[0] != paths[1]
    claimed, fence = await here.claim()
    assert claimed.id == made.id
    await here.finish(fence)
    for path in paths:
        answer: httpx2.Response = await asyncio.wait_for(here.http.get(f"{path}/stream?after=0"), 60)
        assert answer.status_code == 200
        assert "event: end" in answer.text
        assert path in answer.text
        assert f"/runs/{made.id}" not in answer.text
        assert all(other not in answer.text for other in paths if other != path)
