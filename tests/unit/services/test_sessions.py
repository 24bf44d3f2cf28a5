"""Signing in at the page, and what ends it."""

import pytest
from tests.support.deployment import Deployment, Member

from treadle.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, TooManyRequests, Unauthenticated
from treadle.domain.identity import Role
from treadle.ports.page import PageSession
from treadle.services.passwords import Cost, Passwords
from treadle.services.sessions import (
    CACHE_SECONDS,
    IDLE_HOURS,
    SESSION_SECONDS,
    TRIES_BY_ACCOUNT,
    TRIES_SECONDS,
    ForeignUser,
    Sessions,
    SignedIn,
    Visitor,
)

pytestmark = pytest.mark.anyio

WORD = "correct horse battery"
HERE = Visitor("192.0.2.1", "Browser")
HOUR = 3600


@pytest.fixture
def sessions(here: Deployment) -> Sessions:
    return another(here)


def another(here: Deployment) -> Sessions:
    """In another process."""
    quick = Passwords(cost=Cost(n=1 << 4, r=1, p=1))
    return Sessions(here.store, here.services.identity, here.clock, audit=here.services.audit, passwords=quick)


async def with_password(here: Deployment, sessions: Sessions, email: str = "ada@example.com") -> Member:
    member = await here.member(email)
    await sessions.reset_password(email, WORD)
    return member


async def seen(sessions: Sessions, signed_in: SignedIn) -> PageSession:
    found = await sessions.principal(signed_in.token)
    assert found is not None
    return found


# ---- with a key ------------------------------------------------------------------------------------------------------


async def test_a_key_signs_in_for_as_long_as_it_counts(here: Deployment, sessions: Sessions) -> None:
    signed_in = await sessions.sign_in_with_key(f" {here.admin.key}\n", HERE)
    assert signed_in.token not in repr(signed_in)
    assert (signed_in.expires - here.clock.now()).total_seconds() == SESSION_SECONDS
    found = await seen(sessions, signed_in)
    assert (found.principal.user_id, found.principal.role) == (here.admin.user.id, Role.ADMIN)
    assert (found.agent, found.is_by_key) == ("Browser", True)
    (key,) = await here.services.identity.keys(1)
    await here.services.identity.revoke_key(key.id)
    here.clock.advance(CACHE_SECONDS)
    assert await sessions.principal(signed_in.token) is None


async def test_wrong_keys_are_refused_and_then_throttled_by_address(here: Deployment, sessions: Sessions) -> None:
    for number in range(10):
        with pytest.raises(Unauthenticated):
            await sessions.sign_in_with_key(f"wrong{number}", HERE)
    with pytest.raises(TooManyRequests) as caught:
        await another(here).sign_in_with_key("wrong", HERE)
    assert 0 < caught.value.retry_after <= TRIES_SECONDS
    with pytest.raises(Unauthenticated):
        await sessions.sign_in_with_key("wrong", Visitor("192.0.2.2"))
    for _ in range(12):  # an office behind one address does not lock itself out
        await sessions.sign_in_with_key(here.admin.key, HERE)


async def test_a_key_of_nobody(here: Deployment, sessions: Sessions) -> None:
    member = await here.member("ada@example.com")
    await here.services.identity.set_role(1, member.user.id, None)
    with pytest.raises(Unauthenticated):
        await sessions.sign_in_with_key(member.key, HERE)


# ---- with a password -------------------------------------------------------------------------------------------------


async def test_a_password_signs_in(here: Deployment, sessions: Sessions) -> None:
    member = await with_password(here, sessions)
    found = await seen(sessions, await sessions.sign_in_with_password("ADA@example.com ", WORD, HERE))
    assert (found.principal.user_id, found.is_by_key) == (member.user.id, False)
    assert found.principal.reaches_all


async def test_all_that_is_wrong_is_one_answer(
    here: Deployment, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_password(here, sessions)
    await here.member("without@example.com")
    derived = list[Cost]()
    derive = Passwords._derived

    async def counted(self: Passwords, password: str, salt: bytes, cost: Cost) -> bytes:
        derived.append(cost)
        return await derive(self, password, salt, cost)

    monkeypatch.setattr(Passwords, "_derived", counted)
    said = set[str]()
    for email, password in (
        ("ada@example.com", "wrong"),
        ("ada@example.com", ""),
        ("ada@example.com", WORD + "x" * 200),
        ("without@example.com", WORD),
        ("nobody@example.com", WORD),
        ("\0", "\ud800"),
    ):
        with pytest.raises(Unauthenticated) as caught:
            await sessions.sign_in_with_password(email, password, HERE)
        said.add(caught.value.sentence())
    assert len(said) == 1
    assert len(derived) == 6  # the same work for each, known or not
    assert len(set(derived)) == 1


async def test_an_account_is_throttled_whoever_tries(here: Deployment, sessions: Sessions) -> None:
    await with_password(here, sessions)
    for number in range(TRIES_BY_ACCOUNT):
        with pytest.raises(Unauthenticated):
            await sessions.sign_in_with_password("ada@example.com", "wrong", Visitor(f"192.0.2.{number}"))
    with pytest.raises(TooManyRequests):
        await another(here).sign_in_with_password("Ada@example.com", WORD, Visitor("192.0.2.99"))
    here.clock.advance(TRIES_SECONDS)
    await sessions.sign_in_with_password("ada@example.com", WORD, HERE)


async def test_an_address_is_throttled_whomever_it_tries(here: Deployment, sessions: Sessions) -> None:
    await with_password(here, sessions)
    for number in range(10):
        with pytest.raises(Unauthenticated):
            await sessions.sign_in_with_password(f"user{number}@example.com", "wrong", HERE)
    with pytest.raises(TooManyRequests):
        await sessions.sign_in_with_password("ada@example.com", WORD, HERE)
    await sessions.sign_in_with_password("ada@example.com", WORD, Visitor("192.0.2.2"))


async def test_a_user_without_an_organization(here: Deployment, sessions: Sessions) -> None:
    member = await with_password(here, sessions)
    await here.services.identity.set_role(1, member.user.id, None)
    with pytest.raises(Unauthenticated, match="no organization"):
        await sessions.sign_in_with_password("ada@example.com", WORD, HERE)


@pytest.mark.parametrize("password", ["", "x" * 11, "x" * 201])
async def test_a_password_has_a_length(here: Deployment, sessions: Sessions, password: str) -> None:
    await with_password(here, sessions)
    session = await seen(sessions, await sessions.sign_in_with_password("ada@example.com", WORD, HERE))
    with pytest.raises(InvalidInput, match="not valid") as caught:
        await sessions.set_password(session, WORD, password)
    assert list(caught.value.faults) == ["new"]
    with pytest.raises(InvalidInput):
        await sessions.reset_password("ada@example.com", password)


async def test_another_password_ends_the_other_sessions(here: Deployment, sessions: Sessions) -> None:
    await with_password(here, sessions)
    one, two = [await sessions.sign_in_with_password("ada@example.com", WORD, HERE) for _ in range(2)]
    session = await seen(sessions, one)
    for old in (None, "wrong"):
        with pytest.raises(InvalidInput) as caught:
            await sessions.set_password(session, old, WORD + "2")
        assert list(caught.value.faults) == ["old"]
    assert await sessions.principal(two.token) is not None
    await sessions.set_password(session, WORD, WORD + "2")
    assert await sessions.principal(one.token) is not None
    assert await sessions.principal(two.token) is None
    with pytest.raises(Unauthenticated):
        await sessions.sign_in_with_password("ada@example.com", WORD, HERE)
    await sessions.sign_in_with_password("ada@example.com", WORD + "2", HERE)


async def test_a_first_password_is_not_for_who_has_a_key(here: Deployment, sessions: Sessions) -> None:
    session = await seen(sessions, await sessions.sign_in_with_key(here.admin.key, HERE))
    assert not await sessions.has_password(session.principal)
    with pytest.raises(Forbidden, match="no password yet"):
        await sessions.set_password(session, None, WORD)
    foreign = ForeignUser("https://issuer.example", "a", here.admin.user.email, email_verified=True)
    session = await seen(sessions, await sessions.sign_in_with_identity(foreign, HERE))
    await sessions.set_password(session, None, WORD)
    assert await sessions.has_password(session.principal)


async def test_the_operator_takes_a_password_away(here: Deployment, sessions: Sessions) -> None:
    await with_password(here, sessions)
    signed_in = await sessions.sign_in_with_password("ada@example.com", WORD, HERE)
    assert await sessions.reset_password("ada@example.com", None) == 1
    assert await sessions.principal(signed_in.token) is None
    with pytest.raises(Unauthenticated):
        await sessions.sign_in_with_password("ada@example.com", WORD, HERE)
    with pytest.raises(NotFound):
        await sessions.reset_password("nobody@example.com", WORD)


async def test_what_is_kept_of_a_password() -> None:
    mine = Passwords(cost=Cost(n=16, r=1, p=2), new_salt=lambda: b"0123456789abcdef")
    kept = await mine.hashed("Ko\u0308nig und K\u00f6nigin")
    assert kept.startswith("scrypt$16$1$2$MDEyMzQ1Njc4OWFiY2RlZg==$")
    assert await Passwords(cost=Cost(n=32, r=2, p=1)).is_right("K\u00f6nig und K\u00f6nigin", kept)  # by its own cost
    assert not await mine.is_right("Konig und Konigin", kept)
    for broken in (None, "", "scrypt$16$1$2$x", "md5$16$1$2$eA==$eA==", "scrypt$a$1$2$eA==$eA=="):
        assert not await mine.is_right("", broken)


async def test_it_costs_what_it_says() -> None:
    assert (await Passwords().hashed(WORD)).startswith("scrypt$32768$8$3$")


# ---- by another service ----------------------------------------------------------------------------------------------


async def test_an_identity_signs_in_its_user(here: Deployment, sessions: Sessions) -> None:
    member = await here.member("ada@example.com")
    first = ForeignUser("https://issuer.example", "a1", "Ada@Example.com", email_verified=True)
    found = await seen(sessions, await sessions.sign_in_with_identity(first, HERE))
    assert found.principal.user_id == member.user.id
    moved = ForeignUser("https://issuer.example", "a1", "new@example.com", email_verified=False)
    found = await seen(sessions, await sessions.sign_in_with_identity(moved, HERE))
    assert found.principal.user_id == member.user.id


@pytest.mark.parametrize(
    "foreign",
    [
        ForeignUser("https://issuer.example", "a1", "ada@example.com", email_verified=False),
        ForeignUser("https://issuer.example", "a1", None, email_verified=True),
        ForeignUser("https://issuer.example", "a1", "nobody@example.com", email_verified=True),
    ],
)
async def test_nobody_becomes_a_user_that_way(here: Deployment, sessions: Sessions, foreign: ForeignUser) -> None:
    await here.member("ada@example.com")
    before = await here.services.identity.users(1)
    with pytest.raises(Unauthenticated):
        await sessions.sign_in_with_identity(foreign, HERE)
    assert await here.store.identity("https://issuer.example", "a1") is None
    assert await here.services.identity.users(1) == before


# ---- and out ---------------------------------------------------------------------------------------------------------


async def test_signing_out_counts_at_once(here: Deployment, sessions: Sessions) -> None:
    signed_in = await sessions.sign_in_with_key(here.admin.key, HERE)
    elsewhere = another(here)
    await seen(elsewhere, signed_in)
    await sessions.sign_out(signed_in.token)
    await sessions.sign_out(signed_in.token)
    assert await sessions.principal(signed_in.token) is None
    assert await elsewhere.principal(signed_in.token) is not None  # it has just seen it
    here.clock.advance(CACHE_SECONDS)
    assert await elsewhere.principal(signed_in.token) is None


@pytest.mark.parametrize("token", ["", "x", "x" * 100_000, "\ud800"])
async def test_a_token_of_nobody(sessions: Sessions, token: str) -> None:
    assert await sessions.principal(token) is None


async def test_a_session_lasts_while_it_is_used_and_a_week_at_most(here: Deployment, sessions: Sessions) -> None:
    used, idle = [await sessions.sign_in_with_key(here.admin.key, HERE) for _ in range(2)]
    for _ in range(7 * 24 - 1):
        here.clock.advance(HOUR)
        assert await sessions.principal(used.token) is not None
    assert await sessions.principal(idle.token) is None
    here.clock.advance(HOUR)
    assert await sessions.principal(used.token) is None
    fresh = await sessions.sign_in_with_key(here.admin.key, HERE)
    here.clock.advance(IDLE_HOURS * HOUR)
    assert await sessions.principal(fresh.token) is None


async def test_own_sessions_are_listed_and_revoked(here: Deployment, sessions: Sessions) -> None:
    other = await here.member("bob@example.com")
    mine = [await sessions.sign_in_with_key(here.admin.key, HERE) for _ in range(3)]
    theirs = await sessions.sign_in_with_key(other.key, HERE)
    me, them = (await seen(sessions, mine[0])).principal, (await seen(sessions, theirs)).principal
    listed = await sessions.list(me)
    assert len(listed) == 3
    with pytest.raises(NotFound):
        await sessions.revoke(them, listed[0].id)
    await sessions.revoke(me, listed[0].id)
    assert len(await sessions.list(me)) == 2
    with pytest.raises(Forbidden):
        await sessions.revoke_all(them, me.user_id)
    assert await sessions.revoke_all(me, them.user_id) == 1
    assert await sessions.principal(theirs.token) is None
    assert await sessions.revoke_all(me) == 2
    with pytest.raises(NotFound):
        await sessions.revoke_all(me, 99)


async def test_a_session_goes_to_another_organization(here: Deployment, sessions: Sessions) -> None:
    await with_password(here, sessions)
    other = await here.services.identity.add_organization("Other")
    signed_in = await sessions.sign_in_with_password("ada@example.com", WORD, HERE)
    await seen(sessions, signed_in)
    with pytest.raises(NotFound):
        await sessions.switch(signed_in.token, other.id)
    await here.services.identity.add_user("ada@example.com", other.id, Role.MANAGER)
    await sessions.switch(signed_in.token, other.id)
    found = await seen(sessions, signed_in)
    assert (found.principal.organization_id, found.principal.role) == (other.id, Role.MANAGER)


async def test_a_token_is_nobodys_twice(here: Deployment) -> None:
    sessions = Sessions(
        here.store, here.services.identity, here.clock, audit=here.services.audit, new_token=lambda: "same"
    )
    await sessions.sign_in_with_key(here.admin.key, HERE)
    here.clock.advance(1)
    with pytest.raises(Conflict):
        await sessions.sign_in_with_key(here.admin.key, HERE)
