"""The state of the system, for administrators."""

import pytest
from tests.support.deployment import START, Deployment

from treadle.domain.errors import Forbidden
from treadle.domain.identity import Role
from treadle.ports.page import WorkerReport
from treadle.services.house import WORKER_GONE_SECONDS, WORKER_LATE_SECONDS

pytestmark = pytest.mark.anyio


async def test_it_shows_workers_and_the_queue(here: Deployment) -> None:
    me = await here.services.identity.authenticate(here.admin.key)
    for name, slots, is_paused in (("known", 4, False), ("paused", 3, True)):
        await here.store.report_worker(WorkerReport(name, "1", "none", slots, is_paused, START, START))
    for number in range(4):
        await here.start(branchWork=f"branch-{number}")
    await here.start(branchWork="branch-3")
    for name in ("known", "lost"):
        await here.store.claim(name, here.clock.now())
    here.clock.advance(WORKER_LATE_SECONDS)
    state = await here.services.house.state(me)
    assert [(one.name, one.running) for one in state.workers] == [("known", 1), ("paused", 0)]
    assert (state.unreported, state.slots, state.date) == ({"lost": 1}, 4, here.clock.now())
    found = state.statistics
    assert (found.new, found.running, found.blocked) == (3, 2, 1)
    assert found.waiting_seconds == WORKER_LATE_SECONDS
    here.clock.advance(1)
    state = await here.services.house.state(me)
    assert (state.slots, [state.is_late(one) for one in state.workers]) == (0, [True, True])
    here.clock.advance(WORKER_GONE_SECONDS)
    assert (await here.services.house.state(me)).workers == ()


@pytest.mark.parametrize("role", [Role.MEMBER, Role.MANAGER])
async def test_it_is_for_administrators(here: Deployment, role: Role) -> None:
    member = await here.member("ada@example.com", role)
    with pytest.raises(Forbidden):
        await here.services.house.state(await here.services.identity.authenticate(member.key))


async def test_it_is_for_those_who_run_the_house(here: Deployment) -> None:
    """It is of all organizations: the admin of another one is a tenant."""
    other = await here.services.identity.add_organization("Other")
    tenant = await here.member("tenant@example.com", Role.ADMIN, organization=other)
    principal = await here.services.identity.authenticate(tenant.key)
    with pytest.raises(Forbidden):
        await here.services.house.state(principal)
    with pytest.raises(Forbidden):
        await here.services.house.holders(principal)
