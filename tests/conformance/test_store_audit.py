"""The audit log, on each database: added to, listed, and never changed."""

from dataclasses import replace
from datetime import datetime

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from tests.support.stores import NOW, World, a_draft, later

from treadle.ids import RandomUuids
from treadle.ports.trust import AuditEntry

pytestmark = pytest.mark.anyio


def an_entry(action: str = "key.created", *, organization: int | None = 1, seconds: float = 0) -> AuditEntry:
    return AuditEntry(
        "ada@example.org", action, "7", {"name": "CI", "n": [1, None]}, "page", later(seconds), organization, 1, "::1"
    )


async def actions(world: World, organization: int | None = 1, **given: object) -> list[str]:
    found = await world.store.audit(organization, limit=10, **given)  # type: ignore[arg-type]  # passed on as it came
    return [entry.action for entry in found]


async def test_an_entry_comes_back_as_it_was(world: World) -> None:
    bare = AuditEntry("operator", "service.pruned", None, {}, "cli", NOW)
    for entry in (an_entry(), bare):
        await world.store.add_audit(entry)
    newest, oldest = await world.store.audit(None, limit=10)
    assert (replace(newest, id=0), replace(oldest, id=0)) == (bare, an_entry())
    assert 0 < oldest.id < newest.id


async def test_what_no_database_takes_is_taken_out(world: World) -> None:
    await world.store.add_audit(replace(an_entry(), actor="a\0b\ud800", target="\0"))
    (found,) = await world.store.audit(1, limit=1)
    assert "\0" not in found.actor + (found.target or "")


async def test_they_are_listed_by_what_is_asked_for(world: World) -> None:
    await world.stranger()  # organization 2
    people = [None, (await world.somebody()).user_id, *[None] * 3]
    given = [("key.created", 1), ("key.revoked", 1), ("keyring.odd", 1), ("run.created", 2), ("service.pruned", None)]
    for second, (action, organization) in enumerate(given):
        entry = an_entry(action, organization=organization, seconds=second)
        await world.store.add_audit(replace(entry, user_id=people[second]))
    assert await actions(world) == ["keyring.odd", "key.revoked", "key.created"]
    assert await actions(world, 2) == ["run.created"]
    assert await actions(world, None) == [action for action, _ in reversed(given)]
    assert await actions(world, action="key.") == ["key.revoked", "key.created"]
    assert await actions(world, action="key.created") == ["key.created"]
    assert await actions(world, action="key") == []
    assert await actions(world, None, action="%.") == []
    assert await actions(world, None, action="k_y.") == []
    assert await actions(world, user_id=people[1]) == ["key.revoked"]
    assert await actions(world, since=later(1)) == ["keyring.odd", "key.revoked"]


async def test_pages_follow_one_another(world: World) -> None:
    for number in range(25):
        await world.store.add_audit(replace(an_entry(), target=str(number)))
    seen, before = list[str | None](), None
    while page := await world.store.audit(1, limit=10, before=before):
        seen += [entry.target for entry in page]
        before = page[-1].id
    assert seen == [str(number) for number in reversed(range(25))]


@pytest.mark.parametrize(
    "statement", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "DELETE FROM audit WHERE id = 1"]
)
async def test_the_database_itself_refuses_to_change_an_entry(world: World, statement: str) -> None:
    await world.store.add_audit(an_entry())
    _refused(world, statement)
    assert await actions(world) == ["key.created"]


async def test_it_refuses_to_replace_an_entry(world: World) -> None:
    if world.url.startswith("postgresql"):
        pytest.skip("PostgreSQL has no REPLACE: what it has instead is an UPDATE, which is refused above")
    await world.store.add_audit(an_entry())
    columns = "organization_id, user_id, 'nobody', action, target, detail, door, address, date"
    _refused(world, f"REPLACE INTO audit SELECT id, {columns} FROM audit")
    _refused(world, f"INSERT OR REPLACE INTO audit SELECT id, {columns} FROM audit")
    assert [entry.actor for entry in await world.store.audit(1, limit=10)] == [an_entry().actor]


async def test_it_refuses_to_empty_the_log(world: World) -> None:
    if not world.url.startswith("postgresql"):
        pytest.skip("SQLite has no TRUNCATE: its DELETE without a WHERE is refused above")
    await world.store.add_audit(an_entry())
    _refused(world, "TRUNCATE audit")
    _refused(world, "TRUNCATE organizations, audit CASCADE")
    assert await actions(world) == ["key.created"]


def _refused(world: World, statement: str) -> None:
    engine = create_engine(world.url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


async def test_a_run_and_its_entry_are_one(world: World) -> None:
    async def create(now: datetime) -> int:
        run, _ = await world.store.create_run(
            draft,
            world.principal,
            uuid=uuid,
            step_ids=[new_uuid()],
            secrets={},
            now=now,
            audit=an_entry("run.created", organization=world.principal.organization_id),
        )
        return run.id

    new_uuid = RandomUuids()
    uuid, draft = new_uuid(), a_draft("one")
    run_id = await create(NOW)
    assert await create(later(1)) == run_id  # repeated: neither a second run nor a second entry
    found = await world.store.audit(world.principal.organization_id, limit=10)
    assert [(entry.action, entry.target) for entry in found] == [("run.created", str(run_id))]
