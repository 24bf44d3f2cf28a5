"""People, roles and keys."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.deployment import Deployment

from treadle.clock import SystemClock
from treadle.domain.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from treadle.domain.identity import Role
from treadle.ids import RandomUuids
from treadle.services.audit import Audit
from treadle.services.identity import CACHE_SECONDS, FirstAdmin, Identity, digest_of, generate_key
from treadle.store.sql import SqlStore


@pytest.mark.anyio
async def test_an_empty_store_gets_an_admin_once(here: Deployment) -> None:
    identity = here.services.identity
    assert await identity.bootstrap("another-key-of-sixteen") is None  # the fixture's was the first
    principal = await identity.authenticate(here.admin.key)
    assert principal.organization_id == 1
    assert principal.role is Role.ADMIN
    assert (await identity.organization(1)).name == "Default"


@pytest.mark.anyio
async def test_a_key_is_made_when_none_is_given(tmp_path: Path) -> None:
    store = await SqlStore.open(f"sqlite:///{tmp_path / 'new.db'}")
    try:
        identity = Identity(store, SystemClock(), audit=Audit(store, SystemClock()), new_uuid=RandomUuids())
        made = await identity.bootstrap(None)
        assert made is not None
        assert made.is_generated
        assert made.key not in repr(made)
        assert made.key.startswith("trd_")
        assert len(made.key) == 4 + 43
        assert (await identity.authenticate(made.key)).user_id == made.user.id
        (record,) = await identity.keys(1)
        assert record.prefix == made.key[:10]
        assert await identity.bootstrap(None) is None
    finally:
        await store.close()


@pytest.mark.anyio
async def test_of_processes_that_start_at_once_one_makes_the_admin(database_url: str) -> None:
    stores = [await SqlStore.open(database_url) for _ in range(4)]
    try:
        barrier = asyncio.Barrier(len(stores))

        async def start(store: SqlStore) -> FirstAdmin | None:
            await store.is_empty()  # so that its connection is there
            await barrier.wait()
            return await Identity(
                store, SystemClock(), audit=Audit(store, SystemClock()), new_uuid=RandomUuids()
            ).bootstrap("key-of-sixteen-letters")

        made = [admin for admin in await asyncio.gather(*map(start, stores)) if admin is not None]
        assert len(made) == 1
        assert len(await stores[0].organizations()) == 1
        assert len(await stores[0].users(made[0].organization.id)) == 1
    finally:
        for store in stores:
            await store.close()


@pytest.mark.anyio
async def test_little_of_a_chosen_key_is_shown(here: Deployment) -> None:
    (record,) = await here.services.identity.keys(1)
    assert record.prefix == here.admin.key[:4]


@pytest.mark.anyio
async def test_only_hashes_are_kept(here: Deployment, tmp_path: Path) -> None:
    user = await here.member("user@example.com")
    await here.store.close()
    assert not stored(tmp_path, user.key.encode())
    assert not stored(tmp_path, here.admin.key.encode())
    assert stored(tmp_path, digest_of(user.key).encode())


def stored(folder: Path, text: bytes) -> bool:
    return any(text in path.read_bytes() for path in folder.iterdir() if path.is_file())


@pytest.mark.anyio
async def test_people_and_roles(here: Deployment) -> None:
    identity = here.services.identity
    organization = await identity.add_organization("  Acme ")
    assert organization.name == "Acme"
    user = await identity.add_user("a@example.com", organization.id, Role.MANAGER)
    assert user.name == "a"
    assert await identity.add_user("a@example.com", 1, Role.MEMBER) == user
    assert [(member.email, role) for member, role in await identity.users(organization.id)] == [
        ("a@example.com", Role.MANAGER)
    ]
    _, key = await identity.create_key("a@example.com", organization.id, name="laptop")
    assert (await identity.authenticate(key)).role is Role.MANAGER
    await identity.set_role(organization.id, user.id, Role.ADMIN)
    assert (await identity.authenticate(key)).role is Role.ADMIN
    await identity.set_role(organization.id, user.id, None)
    assert (await identity.authenticate(key)).role is None
    assert await identity.users(organization.id) == ()
    assert await identity.find_user("a@example.com") == user


@pytest.mark.anyio
async def test_what_is_refused(here: Deployment) -> None:
    identity = here.services.identity
    for name in ("", " ", "x" * 201, "a\nb"):
        with pytest.raises(InvalidInput):
            await identity.add_organization(name)
    for email in ("", "a", "@b", "a@", "a@b@c", "a\n@b", "a" * 320 + "@b"):
        with pytest.raises(InvalidInput):
            await identity.add_user(email, 1, Role.MEMBER)
    with pytest.raises(NotFound):
        await identity.add_user("a@example.com", 99, Role.MEMBER)
    with pytest.raises(NotFound):
        await identity.users(99)
    with pytest.raises(NotFound):
        await identity.find_user("nobody@example.com")
    with pytest.raises(NotFound):
        await identity.create_key("nobody@example.com", 1)
    other = await identity.add_organization("Other")
    with pytest.raises(NotFound, match="not a member"):
        await identity.create_key("admin@localhost", other.id)
    with pytest.raises(InvalidInput):
        await identity.create_key("admin@localhost", 1, expires=here.clock.now())
    with pytest.raises(NotFound):
        await identity.revoke_key(99)


@pytest.mark.anyio
async def test_an_expiry_counts_within_the_cache_s_seconds(here: Deployment) -> None:
    identity = here.services.identity
    record, key = await identity.create_key("admin@localhost", 1, expires=here.clock.now() + timedelta(seconds=60))
    assert record.date_expires == here.clock.now() + timedelta(seconds=60)
    here.clock.advance(58)
    assert (await identity.authenticate(key)).email == "admin@localhost"
    here.clock.advance(CACHE_SECONDS)
    with pytest.raises(Unauthenticated):
        await identity.authenticate(key)


def test_keys_are_random() -> None:
    keys = {generate_key() for _ in range(100)}
    assert len(keys) == 100


@pytest.mark.anyio
async def test_the_same_key_twice_is_a_conflict(here: Deployment) -> None:
    identity = Identity(
        here.store,
        here.clock,
        audit=here.services.audit,
        new_uuid=RandomUuids(),
        new_key=lambda: "trd_the-same-each-time",
    )
    await identity.create_key("admin@localhost", 1)
    with pytest.raises(Conflict):
        await identity.create_key("admin@localhost", 1)
