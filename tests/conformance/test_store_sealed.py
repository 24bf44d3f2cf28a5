"""Sealed texts of every kind are found, counted and replaced, on each database."""

from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import Text
from tests.support.directory import losing
from tests.support.sealing import (
    every_sealed_text,
    sealed_repository,
    sealed_run,
    sealed_signing_key,
    sealed_token,
    sealed_webhook,
)
from tests.support.stores import NOW, World

from treadle.ports.trust import SealedKind, SealedRow
from treadle.services.sealing import place_of
from treadle.store.sealed import SEALED_COLUMNS
from treadle.store.tables import metadata
from treadle.vault import AesGcmVault, SealingKey

pytestmark = pytest.mark.anyio

OLD, NEW = SealingKey(b"o" * 32), SealingKey(b"n" * 32)
VAULT = AesGcmVault([OLD])


async def rows_of(world: World, kind: SealedKind, *, not_key: str = NEW.id, limit: int = 100) -> list[SealedRow]:
    return list(await world.store.sealed_rows(kind, not_key=not_key, after=None, limit=limit))


async def one_of_each(world: World) -> None:
    await sealed_run(world, VAULT)
    await sealed_repository(world, VAULT)
    await sealed_signing_key(world, VAULT)
    await sealed_token(world, VAULT)
    await sealed_webhook(world, VAULT)


def test_every_column_that_may_hold_sealed_texts_is_known() -> None:
    suspects = {
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, Text) and any(word in column.name for word in ("seal", "secret", "cipher"))
    }
    assert suspects == {
        "secrets.sealed",
        "signing_keys.sealed",
        "oauth_tokens.sealed",
        "hooks.sealed",
        "webhooks.sealed",
        "webhooks.sealed_before",
        "webhooks.sealed_target",
    }
    assert {f"{column.table.name}.{column.name}" for column in SEALED_COLUMNS} == suspects


async def test_each_is_found_with_the_place_that_it_opens_in(world: World) -> None:
    await one_of_each(world)
    found = [row for kind in SealedKind for row in await rows_of(world, kind)]
    assert sorted(row.sealed for row in found) == sorted(await every_sealed_text(world.store))
    opened = []
    for row in found:
        organization, table, place = place_of(row)
        opened.append((row.kind, row.name, VAULT.open(row.sealed, organization=organization, table=table, row=place)))
    assert sorted(opened) == sorted(
        [
            (SealedKind.RUN, "claude", "user:password"),
            (SealedKind.RUN, "git_http", "user:password"),
            (SealedKind.REPOSITORY, "git_http", "password"),
            (SealedKind.REPOSITORY, "env/TOKEN", "password"),
            (SealedKind.SIGNING_KEY, "", "pem"),
            (SealedKind.OAUTH_TOKEN, "", "token"),
            (SealedKind.WEBHOOK, "", "whsec_new"),
            (SealedKind.WEBHOOK_BEFORE, "", "whsec_old"),
            (SealedKind.WEBHOOK_TARGET, "", "https://hooks.example.com/path"),
        ]
    )


async def test_what_the_key_has_sealed_is_left_out(world: World) -> None:
    await one_of_each(world)
    for kind in SealedKind:
        assert not await rows_of(world, kind, not_key=OLD.id)


async def test_all_are_found_a_page_at_a_time(world: World) -> None:
    for _ in range(5):
        await sealed_run(world, VAULT)
        await sealed_signing_key(world, VAULT)
        await sealed_token(world, VAULT)
        await sealed_webhook(world, VAULT)
    await sealed_repository(world, VAULT, "a/b")
    await sealed_repository(world, VAULT, "a/c")
    counts = {SealedKind.RUN: 10, SealedKind.REPOSITORY: 4, SealedKind.HOOK: 0}
    for kind in SealedKind:
        count = counts.get(kind, 5)
        found, after = list[SealedRow](), None
        while page := await world.store.sealed_rows(kind, not_key=NEW.id, after=after, limit=3):
            found += page
            after = page[-1]
        assert len({(row.owner, row.name) for row in found}) == len(found) == count


async def test_a_text_is_replaced_and_nothing_else(world: World) -> None:
    repository = await sealed_repository(world, VAULT)
    before = await world.store.repository_environment(repository.id)
    for row in await rows_of(world, SealedKind.REPOSITORY):
        assert await world.store.reseal(row, f"v1:{NEW.id}:{row.name}")
    assert await world.store.repository_secrets(repository.id) == {"git_http": f"v1:{NEW.id}:git_http"}
    [after] = await world.store.repository_environment(repository.id)
    assert after == replace(before[0], sealed=f"v1:{NEW.id}:env/TOKEN")
    assert after.date_updated == NOW


async def test_each_kind_is_replaced(world: World) -> None:
    await one_of_each(world)
    for kind in SealedKind:
        for row in await rows_of(world, kind):
            assert await world.store.reseal(row, f"v1:{NEW.id}:x")
    assert await world.store.sealing_keys() == {NEW.id: 9}


async def test_a_text_that_was_changed_meanwhile_stays(world: World) -> None:
    run = await sealed_run(world, VAULT)
    [row, _] = await rows_of(world, SealedKind.RUN)
    await world.store.put_run_secrets(run.id, {row.name: "v1:aaaaaaaa:other"}, None, NOW)
    assert not await world.store.reseal(row, f"v1:{NEW.id}:x")
    assert (await world.store.run_secrets(run.id))[row.name] == "v1:aaaaaaaa:other"


async def test_a_text_that_is_gone_does_not_come_back(world: World) -> None:
    run = await sealed_run(world, VAULT)
    [row, _] = await rows_of(world, SealedKind.RUN)
    await world.store.request_kill(run.id, NOW)
    assert not await world.store.reseal(row, f"v1:{NEW.id}:x")
    assert not await every_sealed_text(world.store)


@pytest.mark.parametrize("was_saved", [False, True])
async def test_a_lost_answer_leaves_the_text_replaced(world: World, was_saved: bool) -> None:
    await sealed_signing_key(world, VAULT)
    [row] = await rows_of(world, SealedKind.SIGNING_KEY)
    await losing(world.store, was_saved=was_saved).reseal(row, f"v1:{NEW.id}:x")
    assert await every_sealed_text(world.store) == [f"v1:{NEW.id}:x"]


async def test_keys_are_counted(world: World) -> None:
    assert await world.store.sealing_keys() == {}
    await one_of_each(world)
    await sealed_run(world, AesGcmVault([NEW]))
    assert await world.store.sealing_keys() == {OLD.id: 9, NEW.id: 2}


async def test_a_revoked_token_counts_no_more(world: World) -> None:
    await sealed_token(world, VAULT)
    [provider] = await world.store.oauth_providers()
    principal = world.principal
    await world.store.revoke_oauth_tokens(principal.organization_id, principal.user_id, provider.name, NOW)
    assert await world.store.sealing_keys() == {}
    assert not await rows_of(world, SealedKind.OAUTH_TOKEN)


async def test_a_signing_key_is_nobodys(world: World) -> None:
    key_id = await sealed_signing_key(world, VAULT)
    [row] = await rows_of(world, SealedKind.SIGNING_KEY)
    assert place_of(row) == (UUID(int=0), "signing_keys", key_id)
