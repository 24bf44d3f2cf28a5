"""/system: for those who run the house, and nothing of others' runs but how many there are."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.deployment import START, deployed
from tests.support.pages import Pages, looking, roles_of, text

from treadle.domain.errors import Unavailable
from treadle.domain.identity import Role
from treadle.ports.page import WorkerReport
from treadle.services.house import WORKER_LATE_SECONDS
from treadle.version import __version__
from treadle.web.pages import system
from treadle.web.pages.system import PATH

pytestmark = pytest.mark.anyio


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path) as here, looking(here, system) as pages:
        yield pages


def worker(name: str, *, slots: int = 4, is_paused: bool = False, version: str = __version__) -> WorkerReport:
    return WorkerReport(name, version, "bubblewrap", slots, is_paused, START, START)


async def test_each_role_may_what_the_table_says(there: Pages) -> None:
    for role, person in (await roles_of(there)).items():
        answer = await person.get(PATH)
        assert answer.status_code == (200 if role is Role.ADMIN else 403)
        assert ('href="/system"' in answer.text) is (role is Role.ADMIN)
    other = await there.here.services.identity.add_organization("Other")
    tenant = await there.here.member("tenant@treadle.test", Role.ADMIN, organization=other)
    assert (await (await there.signed_in(tenant.key)).get(PATH)).status_code == 403
    assert (await there.anybody().get(PATH)).headers["location"] == f"/sign-in?next={PATH}"


async def test_it_shows_who_works_on_what_and_what_waits(there: Pages) -> None:
    here, person = there.here, await there.signed_in()
    for each in (worker("one"), worker("full", is_paused=True), worker("old", slots=2, version="0.0.9")):
        await here.store.report_worker(each)
    await here.start(branchWork="a", steps=[{"step": "Do <b>this</b>"}])
    await here.store.claim("one", here.clock.now())
    await here.start(branchWork="a", steps=[{"step": "Wait for the branch"}])
    await here.start(branchWork="b", steps=[{"step": "Wait for a worker"}])
    here.clock.advance(20)
    answer = await person.get(PATH)
    page = text(answer)
    assert "1 running 5 of 6 slots are free 2 queued 1 wait for their branch 20 s" in page
    assert "one at work 1 of 4 1 of 4 bubblewrap" in page
    assert "full paused: its disk is full 0 of 4" in page
    assert "old free 0 of 2 0 of 2 bubblewrap 0.0.9 not this one" in page
    assert "Do <b>this</b> acme/shop, Admin one 1" in page
    assert "Wait for the branch acme/shop, Admin another run has its work branch a" in page
    assert "Wait for a worker acme/shop, Admin the next free worker b" in page
    assert "Database can be reached File store can be reached" in page
    assert "<b>this" not in answer.text


async def test_what_is_not_as_it_should_be_is_said_first(there: Pages) -> None:
    here, person = there.here, await there.signed_in()
    await here.start(branchWork="a")
    assert "No worker is there." in text(await person.get(PATH))
    await here.store.report_worker(worker("one", slots=1))
    await here.store.claim("one", here.clock.now())
    await here.start(branchWork="b")
    assert "Every slot is taken, and 1 run waits for one." in text(await person.get(PATH))
    here.clock.advance(WORKER_LATE_SECONDS + 1)
    page = text(await person.get(PATH))
    assert "one says nothing" in page
    assert "ran out" in page
    here.clock.advance(1000)
    assert "The worker one holds 1 run and says nothing of itself" in text(await person.get(PATH))


async def test_of_other_organizations_there_are_numbers(there: Pages) -> None:
    here, person = there.here, await there.signed_in()
    other = await here.services.identity.add_organization("Other")
    tenant = await here.member("tenant@treadle.test", organization=other)
    for branch in ("a", "b"):
        await here.start(tenant, branchWork=branch, steps=[{"step": "A secret wish"}])
    await here.store.claim("one", here.clock.now())
    page = text(await person.get(PATH))
    assert "1 more, of other organizations or older." in page
    assert "Nothing of this organization waits. 1 of others does." in page
    assert "A secret wish" not in page


async def test_a_part_that_is_away_is_said(there: Pages) -> None:
    async def away() -> None:
        raise Unavailable("the broker is away")

    from dataclasses import replace

    from treadle.web.site import Site

    site = there.site
    services = replace(site.services, checks={**site.services.checks, "broker": away})
    there.app.router.routes[:0] = system.routes(Site(services, site.settings, site.renderer, site.door))
    page = text(await (await there.signed_in()).get(PATH))
    assert "Broker cannot be reached" in page
    assert "Database can be reached" in page


async def test_a_worker_without_a_sandbox_is_warned_of(there: Pages) -> None:
    here, person = there.here, await there.signed_in()
    await here.store.report_worker(worker("safe"))
    assert "no sandbox" not in text(await person.get(PATH))
    await here.store.report_worker(replace(worker("<open>"), sandbox="none"))
    page = text(await person.get(PATH))
    assert "One worker has no sandbox: <open> . What an agent does there it does as the service" in page
    await here.store.report_worker(replace(worker("second"), sandbox="none"))
    assert "2 workers have no sandbox" in text(await person.get(PATH))
