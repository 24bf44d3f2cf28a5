"""Links to one run: who makes them, and what they open."""

from datetime import timedelta
from uuid import UUID

import pytest
from tests.support.deployment import Deployment, Member

from treadle.domain.errors import Conflict, InvalidInput, NotFound
from treadle.domain.identity import Principal, Role
from treadle.domain.run import Run
from treadle.services.sharing import DEFAULT_DAYS, MAX_DAYS, MAX_LINKS, Sharing, seen_by, sees

pytestmark = pytest.mark.anyio

DAY = 86_400


@pytest.fixture
def sharing(here: Deployment) -> Sharing:
    return here.services.sharing


async def who(here: Deployment, member: Member) -> Principal:
    return await here.services.identity.authenticate(member.key)


async def a_run(here: Deployment, member: Member | None = None) -> Run:
    process = await here.start(member)
    admin = await who(here, here.admin)
    return await here.store.get_run(UUID(process["id"]), seen_by(admin))


async def test_a_link_opens_its_run_until_it_expires(here: Deployment, sharing: Sharing) -> None:
    run, me = await a_run(here), await who(here, here.admin)
    link, token = await sharing.make(me, run)
    assert link.date_expires - here.clock.now() == timedelta(days=DEFAULT_DAYS)
    assert (await sharing.open(token)).id == run.id
    assert [step.text for step in (await sharing.open(token)).steps] == ["Write the tests"]
    assert await sharing.list(me, run) == (link,)
    here.clock.advance(DEFAULT_DAYS * DAY)
    with pytest.raises(NotFound):
        await sharing.open(token)
    assert await sharing.list(me, run) == ()


async def test_a_revoked_one_opens_nothing(here: Deployment, sharing: Sharing) -> None:
    run, other, me = await a_run(here), await a_run(here), await who(here, here.admin)
    link, token = await sharing.make(me, run)
    _, kept = await sharing.make(me, run, days=MAX_DAYS)
    with pytest.raises(NotFound):
        await sharing.revoke(me, other, link.id)
    await sharing.revoke(me, run, link.id)
    with pytest.raises(NotFound):
        await sharing.revoke(me, run, link.id)
    with pytest.raises(NotFound):
        await sharing.open(token)
    assert (await sharing.open(kept)).id == run.id


@pytest.mark.parametrize("token", ["", "x", "x" * 100_000, "\ud800"])
async def test_what_is_no_link(sharing: Sharing, token: str) -> None:
    with pytest.raises(NotFound):
        await sharing.open(token)


async def test_it_opens_what_its_maker_may_see(here: Deployment, sharing: Sharing) -> None:
    maker, identity = await here.member("maker@example.com", Role.MANAGER), here.services.identity
    run = await a_run(here)
    _, token = await sharing.make(await who(here, maker), run)
    for role, opens in ((Role.ADMIN, True), (Role.MEMBER, False), (None, False), (Role.MANAGER, True)):
        await identity.set_role(1, maker.user.id, role)
        if opens:
            assert (await sharing.open(token)).id == run.id
        else:
            with pytest.raises(NotFound):
                await sharing.open(token)


async def test_only_who_sees_a_run_shares_it(here: Deployment, sharing: Sharing) -> None:
    owner, member = await here.member("owner@example.com"), await here.member("member@example.com")
    elsewhere = await here.services.identity.add_organization("Elsewhere")
    stranger = await here.member("stranger@example.com", Role.ADMIN, organization=elsewhere)
    run = await a_run(here, owner)
    link, _ = await sharing.make(await who(here, owner), run)
    assert await sharing.list(await who(here, here.admin), run) == (link,)
    for other in (member, stranger):
        principal = await who(here, other)
        assert not sees(principal, run)
        for attempt in (
            sharing.make(principal, run),
            sharing.list(principal, run),
            sharing.revoke(principal, run, link.id),
        ):
            with pytest.raises(NotFound):
                await attempt


@pytest.mark.parametrize("days", [0, -1, MAX_DAYS + 1])
async def test_a_link_has_a_lifetime(here: Deployment, sharing: Sharing, days: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        await sharing.make(await who(here, here.admin), await a_run(here), days=days)
    assert list(caught.value.faults) == ["days"]


async def test_a_run_has_so_many_links(here: Deployment, sharing: Sharing) -> None:
    run, me = await a_run(here), await who(here, here.admin)
    links = [(await sharing.make(me, run))[0] for _ in range(MAX_LINKS)]
    with pytest.raises(Conflict):
        await sharing.make(me, run)
    await sharing.revoke(me, run, links[3].id)
    await sharing.make(me, run)
