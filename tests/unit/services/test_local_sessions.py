"""Sessions of CLIs on people's own machines: who may report and see what, and how much."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.deployment import Deployment, Member

from treadle.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, TooLarge
from treadle.domain.events import JsonObject
from treadle.domain.identity import FIRST_LOCAL_SESSION, Principal, Role
from treadle.services import local_sessions
from treadle.services.local_sessions import MAX_LOG_BYTES, MAX_LOG_DEPTH, STATUSES, LocalSessions

pytestmark = pytest.mark.anyio


@pytest.fixture
def sessions(here: Deployment) -> LocalSessions:
    return LocalSessions(here.store, here.clock)


async def principal(here: Deployment, who: Member | Role = Role.MEMBER) -> Principal:
    member = who if isinstance(who, Member) else await here.member(f"{who}@example.com", who)
    return await here.services.identity.authenticate(member.key)


async def test_a_session_says_what_it_does(here: Deployment, sessions: LocalSessions) -> None:
    me = await principal(here)
    session = await sessions.open(me, "abc")
    assert (session.session_id, session.status, session.id > FIRST_LOCAL_SESSION) == ("abc", "ACTIVE", True)
    here.clock.advance(5)
    assert await sessions.open(me, "abc") == session
    for status in (*STATUSES, "ACTIVE", "ERROR"):  # the last word counts
        await sessions.set_status(me, "abc", status)
        assert (await sessions.get(me, session.id)).status == status
    assert (await sessions.get(me, session.id)).date_updated - session.date_created == timedelta(seconds=5)
    assert [await sessions.add_log(me, "abc", {"type": text}) for text in ("user", "assistant")] == [1, 2]
    found, entries, total = await sessions.log(me, session.id, limit=1, reverse=True)
    assert (found.id, [(one.number, one.data) for one in entries], total) == (
        session.id,
        [(2, {"type": "assistant"})],
        2,
    )


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "a\0"])
async def test_a_name_that_is_none(here: Deployment, sessions: LocalSessions, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await sessions.open(await principal(here), name)
    assert list(caught.value.faults) == ["session_id"]


async def test_the_longest_name(here: Deployment, sessions: LocalSessions) -> None:
    assert (await sessions.open(await principal(here), "x" * 200)).session_id == "x" * 200


@pytest.mark.parametrize("status", ["", "active", "RUNNING", "COMPLETE "])
async def test_a_status_that_is_none(here: Deployment, sessions: LocalSessions, status: str) -> None:
    me = await principal(here)
    await sessions.open(me, "abc")
    with pytest.raises(InvalidInput, match="not valid") as caught:
        await sessions.set_status(me, "abc", status)
    assert "ACTIVE, COMPLETE" in caught.value.faults["status"][0]


@pytest.mark.parametrize(("role", "is_seen"), [(Role.MEMBER, False), (Role.MANAGER, True), (Role.ADMIN, True)])
async def test_others_see_it_who_see_everybodys(
    here: Deployment, sessions: LocalSessions, role: Role, is_seen: bool
) -> None:
    owner = await principal(here, await here.member("owner@example.com"))
    other = await principal(here, role)
    session = await sessions.open(owner, "abc")
    own = await sessions.open(other, "own")
    if is_seen:
        assert await sessions.get(other, session.id) == session
        assert (await sessions.log(other, session.id, limit=1))[0] == session
        assert await sessions.page(other, limit=9) == ((own, session), 2)
        assert await sessions.page(other, user_id=owner.user_id, limit=9) == ((session,), 1)
    else:
        for attempt in (sessions.get(other, session.id), sessions.log(other, session.id, limit=1)):
            with pytest.raises(NotFound) as caught:
                await attempt
            assert caught.value.message == f"There is no local session {session.id}."
        assert await sessions.page(other, limit=9) == ((own,), 1)
        assert await sessions.page(other, user_id=owner.user_id, limit=9) == ((), 0)
    assert await sessions.page(other, user_id=other.user_id, limit=9) == ((own,), 1)


@pytest.mark.parametrize(("role", "refusal"), [(Role.MEMBER, NotFound), (Role.ADMIN, Forbidden)])
async def test_nobody_reports_for_another(
    here: Deployment, sessions: LocalSessions, role: Role, refusal: type[Exception]
) -> None:
    owner = await principal(here, await here.member("owner@example.com"))
    other = await principal(here, role)
    await sessions.open(owner, "abc")
    with pytest.raises(refusal):
        await sessions.set_status(other, "abc", "COMPLETE")
    with pytest.raises(refusal):
        await sessions.add_log(other, "abc", {})
    with pytest.raises(Conflict):
        await sessions.open(other, "abc")


async def test_another_organizations_are_not_there(here: Deployment, sessions: LocalSessions) -> None:
    elsewhere = await here.services.identity.add_organization("Elsewhere")
    stranger = await principal(here, await here.member("x@example.com", Role.ADMIN, organization=elsewhere))
    session = await sessions.open(await principal(here), "abc")
    with pytest.raises(NotFound):
        await sessions.get(stranger, session.id)
    with pytest.raises(NotFound):
        await sessions.set_status(stranger, "abc", "COMPLETE")
    assert await sessions.page(stranger, limit=9) == ((), 0)
    assert (await sessions.open(stranger, "abc")).id != session.id


async def test_whoever_has_no_role_may_nothing(here: Deployment, sessions: LocalSessions) -> None:
    me = await principal(here)
    session = await sessions.open(me, "abc")
    former = replace(me, role=None)
    for attempt in (
        sessions.open(former, "abc"),
        sessions.get(former, session.id),
        sessions.page(former, limit=1),
        sessions.set_status(former, "abc", "ACTIVE"),
        sessions.add_log(former, "abc", {}),
    ):
        with pytest.raises(Forbidden):
            await attempt


def size(data: JsonObject) -> int:
    return len(json.dumps(data, separators=(",", ":")))


async def kept(here: Deployment, sessions: LocalSessions, data: JsonObject) -> JsonObject:
    me = await principal(here)
    session = await sessions.open(me, "abc")
    await sessions.add_log(me, "abc", data)
    _, (entry,), _ = await sessions.log(me, session.id, limit=1)
    return entry.data


async def test_an_entry_that_fits_is_kept_as_it_is(here: Deployment, sessions: LocalSessions) -> None:
    data = {"text": "x" * (MAX_LOG_BYTES - len('{"text":""}'))}
    assert size(data) == MAX_LOG_BYTES
    assert await kept(here, sessions, data) == data


async def test_the_texts_of_a_larger_one_are_cut(here: Deployment, sessions: LocalSessions) -> None:
    data: JsonObject = {
        "type": "user",
        "message": {"content": [{"type": "tool_result", "content": "y" * 100_000}, "é" * 2_000]},
        "number": 1.5,
    }
    found = await kept(here, sessions, data)
    assert found == {
        "type": "user",
        "message": {"content": [{"type": "tool_result", "content": "y" * 16_384}, "é" * 2_000]},
        "number": 1.5,
        "clipped": 100_000 - 16_384,
    }


async def test_many_long_texts_are_cut_shorter(here: Deployment, sessions: LocalSessions) -> None:
    found = await kept(here, sessions, {str(number): "z" * 3_000 for number in range(30)})
    assert found["0"] == "z" * 2_048
    assert found["clipped"] == 30 * (3_000 - 2_048)
    assert size(found) <= MAX_LOG_BYTES


def nested(depth: int) -> JsonObject:
    """Objects `depth` deep; the innermost has something in it."""
    found: JsonObject = {"": 1}
    for _ in range(depth - 1):
        found = {"": found}
    return found


async def test_the_deepest_entry(here: Deployment, sessions: LocalSessions) -> None:
    deepest = nested(MAX_LOG_DEPTH)
    assert await kept(here, sessions, deepest) == deepest
    me = await principal(here, Role.MANAGER)
    await sessions.open(me, "other")
    with pytest.raises(InvalidInput, match="not valid") as caught:
        await sessions.add_log(me, "other", {"": deepest})
    assert "100 deep" in caught.value.faults["log"][0]


async def test_what_cannot_be_cut_is_too_large(here: Deployment, sessions: LocalSessions) -> None:
    me = await principal(here)
    await sessions.open(me, "abc")
    with pytest.raises(TooLarge, match="65,536"):
        await sessions.add_log(me, "abc", {"numbers": list(range(20_000))})
    wrong: Sequence[JsonObject] = (
        {"number": float("nan")},
        nested(100_000),
        {"text": "x" * MAX_LOG_BYTES, "in": nested(MAX_LOG_DEPTH)},
    )
    for data in wrong:
        with pytest.raises(InvalidInput):
            await sessions.add_log(me, "abc", data)


async def test_a_session_has_so_many_entries(
    here: Deployment, sessions: LocalSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_sessions, "MAX_LOGS", 2)
    me = await principal(here)
    await sessions.open(me, "abc")
    for _ in range(2):
        await sessions.add_log(me, "abc", {})
    with pytest.raises(TooLarge):
        await sessions.add_log(me, "abc", {})
