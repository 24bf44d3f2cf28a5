"""What is revoked counts no more: at once in this process, within seconds in others; also for what is open."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import httpx2
import pytest
from tests.support.deployment import PROCESSES, Deployment, Member, deployed
from tests.support.pages import Person
from tests.unit.api.test_auth import claims_of, forge

from treadle.api.streams import HEARTBEAT, Reader
from treadle.domain.errors import Forbidden, NotFound
from treadle.domain.identity import Role
from treadle.domain.run import Run
from treadle.services.audit import Audit
from treadle.services.identity import CACHE_SECONDS
from treadle.services.signing_keys import SigningKeys
from treadle.services.tokens import Tokens

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ada(here: Deployment) -> Member:
    return await here.member("ada@example.com")


async def token_of(here: Deployment, who: Member) -> str:
    answer = await here.http.post("/auth/token", headers=who.headers)
    assert answer.status_code == 200
    return str(answer.json()["accessToken"])


async def status(here: Deployment, token: str) -> int:
    return (await here.http.get(PROCESSES, headers={"Authorization": f"Bearer {token}"})).status_code


async def page_of(here: Deployment, who: Member) -> Person:
    transport = httpx2.ASGITransport(app=here.app, raise_app_exceptions=False)
    person = Person(httpx2.AsyncClient(transport=transport, base_url="http://treadle.test"))
    answer = await person.send("/sign-in", {"by": "key", "key": who.key})
    assert answer.status_code == httpx2.codes.SEE_OTHER
    return person


async def key_of(here: Deployment, who: Member) -> int:
    (found,) = [key.id for key in await here.services.identity.keys(1) if key.user_id == who.user.id]
    return found


async def elsewhere(here: Deployment) -> Tokens:
    """Another process, which has not seen anything yet."""
    return Tokens(
        here.store,
        SigningKeys(here.store, here.vault, here.clock, new_uuid=lambda: here.admin.user.uuid),
        here.clock,
        audit=Audit(here.store, here.clock),
        issuer="treadle",
        new_uuid=lambda: here.admin.user.uuid,
    )


# ---- a key -----------------------------------------------------------------------------------------------------------


async def test_with_a_key_end_its_tokens_and_its_sessions(here: Deployment, ada: Member) -> None:
    token, person = await token_of(here, ada), await page_of(here, ada)
    assert await status(here, token) == 200
    assert (await person.get("/runs")).status_code == 200
    await here.services.identity.revoke_key(await key_of(here, ada))
    assert await status(here, token) == 401
    assert (await person.get("/runs")).status_code == httpx2.codes.SEE_OTHER  # to sign in
    assert (await here.http.get(PROCESSES, headers=ada.headers)).status_code == 401


async def test_a_token_ends_when_its_key_expires(here: Deployment) -> None:
    await here.member("bob@example.com")
    until = here.clock.now().replace(hour=10)
    record, key = await here.services.identity.create_key("bob@example.com", 1, name="short", expires=until)
    token = await token_of(here, Member(here.admin.organization, here.admin.user, key))
    assert claims_of(token)[1]["keyId"] == record.id
    assert await status(here, token) == 200
    here.clock.advance((until - here.clock.now()).total_seconds())
    assert await status(here, token) == 401


async def test_another_key_s_tokens_stay(here: Deployment, ada: Member) -> None:
    token = await token_of(here, ada)
    record, key = await here.services.identity.create_key("ada@example.com", 1, name="other")
    other = await token_of(here, Member(ada.organization, ada.user, key))
    await here.services.identity.revoke_key(record.id)
    assert (await status(here, token), await status(here, other)) == (200, 401)


async def test_a_token_names_its_own_key(here: Deployment, ada: Member) -> None:
    """Its id is part of what is signed."""
    header, claims = claims_of(await token_of(here, ada))
    signature = (await token_of(here, ada)).rpartition(".")[2]
    assert await status(here, forge(header, {**claims, "keyId": 1}, signature)) == 401
    stranger = {**claims, "keyId": await key_of(here, ada)}
    assert stranger == claims


# ---- a user's tokens -------------------------------------------------------------------------------------------------


async def test_all_tokens_of_a_user_end_at_once(here: Deployment, ada: Member) -> None:
    tokens = [await token_of(here, ada) for _ in range(2)]
    others = await token_of(here, here.admin)
    for token in (*tokens, others):
        assert await status(here, token) == 200
    here.clock.advance(1)
    await here.services.tokens.revoke_of("ADA@example.com")
    assert [await status(here, token) for token in (*tokens, others)] == [401, 401, 200]
    here.clock.advance(1)
    assert await status(here, await token_of(here, ada)) == 200
    assert (await here.http.get(PROCESSES, headers=ada.headers)).status_code == 200  # its key stays


async def test_a_token_of_that_very_second_is_taken_for_an_earlier_one(here: Deployment, ada: Member) -> None:
    here.clock.advance(0.5)
    await here.services.tokens.revoke_of("ada@example.com")
    here.clock.advance(0.3)
    assert await status(here, await token_of(here, ada)) == 401


async def test_who_may_revoke(here: Deployment, ada: Member) -> None:
    tokens, identity = here.services.tokens, here.services.identity
    me, admin = await identity.authenticate(ada.key), await identity.authenticate(here.admin.key)
    with pytest.raises(Forbidden):
        await tokens.revoke(me, here.admin.user.id)
    with pytest.raises(NotFound):
        await tokens.revoke(admin, 99)
    with pytest.raises(NotFound):
        await tokens.revoke_of("nobody@example.com")
    token = await token_of(here, ada)
    here.clock.advance(1)
    await tokens.revoke(me)
    assert await status(here, token) == 401
    here.clock.advance(1)
    token = await token_of(here, ada)
    await tokens.revoke(admin, ada.user.id)
    assert await status(here, token) == 401


async def test_other_processes_notice_within_seconds(here: Deployment, ada: Member) -> None:
    token = await token_of(here, ada)
    assert await status(here, token) == 200
    here.clock.advance(1)
    await (await elsewhere(here)).revoke_of("ada@example.com")
    here.clock.advance(CACHE_SECONDS)
    assert await status(here, token) == 401


# ---- a member --------------------------------------------------------------------------------------------------------


async def test_a_member_who_is_removed_is_out(here: Deployment, ada: Member) -> None:
    token, person = await token_of(here, ada), await page_of(here, ada)
    assert (await person.get("/runs")).status_code == 200
    assert await status(here, token) == 200
    await here.services.identity.set_role(1, ada.user.id, None)
    assert await status(here, token) == 403
    assert (await here.http.get(PROCESSES, headers=ada.headers)).status_code == 403
    assert (await person.get("/runs")).status_code == httpx2.codes.SEE_OTHER


async def test_a_lesser_role_counts_at_once_for_a_token(here: Deployment) -> None:
    boss = await here.member("boss@example.com", Role.ADMIN)
    token = await token_of(here, boss)
    asked = {"Authorization": f"Bearer {token}"}
    assert (await here.http.get("/audit", headers=asked)).status_code == 200
    await here.services.identity.set_role(1, boss.user.id, Role.MEMBER)
    assert (await here.http.get("/audit", headers=asked)).status_code == 403


# ---- what is open ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def quick(tmp_path: Path) -> AsyncIterator[Deployment]:
    """Its streams look again each time that they send something, which is all the time."""
    async with deployed(tmp_path) as found:
        streams = found.app.state.streams
        streams.recheck_seconds = 0.0
        streams._heartbeat_seconds = 0.02
        yield found


@pytest.mark.parametrize("by", ["key", "token"])
@pytest.mark.parametrize("what", ["key", "member", "tokens"])
async def test_an_open_stream_ends_with_what_it_came_with(
    quick: Deployment, monkeypatch: pytest.MonkeyPatch, by: str, what: str
) -> None:
    if (by, what) == ("key", "tokens"):
        pytest.skip("a key outlives the user's tokens")
    ada = await quick.member("ada@example.com")
    process = await quick.start(ada)
    quick.clock.advance(1)
    headers = ada.headers if by == "key" else {"Authorization": f"Bearer {await token_of(quick, ada)}"}
    streams, told = quick.app.state.streams, asyncio.Event()
    frames = streams.frames

    async def watched(run: Run, after: int, reader: Reader) -> AsyncIterator[bytes]:
        async with aclosing(frames(run, after, reader)) as chunks:
            async for chunk in chunks:
                yield chunk
                if chunk != HEARTBEAT:
                    told.set()  # it was sent

    monkeypatch.setattr(streams, "frames", watched)
    reading = asyncio.create_task(_read(quick, f"{PROCESSES}/by-id/{process['id']}/events", headers))
    await asyncio.wait_for(told.wait(), 60)
    assert not reading.done()
    quick.clock.advance(1)
    if what == "key":
        await quick.services.identity.revoke_key(await key_of(quick, ada))
    elif what == "member":
        await quick.services.identity.set_role(1, ada.user.id, None)
    else:
        await quick.services.tokens.revoke_of("ada@example.com")
    async with asyncio.timeout(60):
        read = await reading
    assert b"run.created" in read
    assert b"run.finished" not in read


async def _read(here: Deployment, path: str, headers: dict[str, str]) -> bytes:
    """The transport gives an answer once it is whole: so it comes when the stream ends."""
    return (await here.http.get(path, headers={**headers, "Accept": "text/event-stream"})).content
