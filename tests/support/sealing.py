"""Sealed texts of every kind, in a store to test with."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy import select

from tests.support.directory import a_repository
from tests.support.stores import NOW, World, a_draft
from treadle.domain.identity import OAuthProvider
from treadle.domain.messages import Filter, WebhookKind
from treadle.domain.repository import Repository
from treadle.domain.run import Run
from treadle.domain.triggers import Hook, HookKind
from treadle.ports import Vault
from treadle.ports.webhooks import NewWebhook
from treadle.services import connections, messages, repository_secrets, signing_keys
from treadle.services.credentials import CLAUDE, GIT_HTTP, SECRETS_TABLE, row
from treadle.services.trigger_secrets import HookSecrets
from treadle.store.prepared import Prepared
from treadle.store.sealed import SEALED_COLUMNS
from treadle.store.sql import SqlStore
from treadle.store.tables import secrets
from treadle.vault import KeyFile, SealingKey


def key_file(directory: Path, *keys: SealingKey) -> KeyFile:
    path = directory / "secret.key"
    path.write_text("".join(f"{key.text}\n" for key in keys))
    path.chmod(0o600)
    return KeyFile(path)


async def sealed_run(world: World, vault: Vault, clear: str = "user:password") -> Run:
    """A run with credentials of two kinds."""
    uuid, draft = uuid4(), a_draft()
    organization = world.principal.organization_uuid
    made, _ = await world.store.create_run(
        draft,
        world.principal,
        uuid=uuid,
        step_ids=[uuid4() for _ in draft.steps],
        secrets={
            name: vault.seal(clear, organization=organization, table=SECRETS_TABLE, row=row(uuid, name))
            for name in (CLAUDE, GIT_HTTP)
        },
        now=NOW,
        idempotency=None,
    )
    return made


async def sealed_repository(world: World, vault: Vault, name: str = "group/project") -> Repository:
    """With Git credentials and a variable."""
    repository = a_repository(world.principal.organization_id, name)

    def seal(called: str) -> str:
        return vault.seal(
            "password",
            organization=world.principal.organization_uuid,
            table=repository_secrets.TABLE,
            row=row(repository.uuid, called),
        )

    made = await world.store.add_repository(repository, {GIT_HTTP: seal(GIT_HTTP)})
    await world.store.put_repository_environment(made.id, {"TOKEN": seal("env/TOKEN")}, NOW, admit=lambda _: None)
    return made


async def sealed_signing_key(world: World, vault: Vault) -> str:
    key_id = str(uuid4())
    sealed = vault.seal("pem", organization=signing_keys.NOBODY, table=signing_keys.TABLE, row=key_id)
    await world.store.add_signing_key(key_id, sealed, NOW)
    return key_id


async def sealed_token(world: World, vault: Vault) -> UUID:
    provider = await world.store.add_oauth_provider(
        OAuthProvider(0, f"provider {uuid4()}", "https://a", "https://a/b", "https://a/c", None, True, None, NOW)
    )
    uuid = uuid4()
    principal = world.principal
    sealed = vault.seal("token", organization=principal.organization_uuid, table=connections.TABLE, row=str(uuid))
    await world.store.add_oauth_token(uuid, principal.organization_id, principal.user_id, provider.id, sealed, NOW)
    return uuid


async def sealed_webhook(world: World, vault: Vault) -> UUID:
    """With an address, a secret and the one before."""
    uuid, principal = uuid4(), world.principal

    def seal(table: str, clear: str) -> str:
        return vault.seal(clear, organization=principal.organization_uuid, table=table, row=str(uuid))

    new = NewWebhook(
        uuid,
        principal.organization_id,
        principal.user_id,
        "told",
        WebhookKind.WEBHOOK,
        "https://hooks.example.com/…",
        Filter(),
        seal(messages.TARGETS, "https://hooks.example.com/path"),
        seal(messages.SECRETS, "whsec_new"),
    )
    made = await world.store.add_webhook(new, NOW, most=1_000)
    changed = replace(made, sealed_before=seal(messages.SECRETS, "whsec_old"), date_before_ends=NOW)
    await world.store.put_webhook(changed, NOW, seen=NOW)
    return uuid


async def sealed_hook(world: World, vault: Vault) -> UUID:
    """With the secret before."""
    principal, uuid = world.principal, uuid4()
    sealed = HookSecrets("whsec_new", "whsec_old").seal(vault, principal.organization_uuid, uuid)
    hook = Hook(0, uuid, principal.organization_id, principal.organization_uuid, None, HookKind.URL, NOW, sealed=sealed)
    await world.store.add_hook(hook)
    return uuid


async def every_sealed_text(store: SqlStore) -> Sequence[str]:
    """As they are in the tables."""
    return await store._executor.read(
        lambda session: [
            found[0]
            for column in SEALED_COLUMNS
            for found in session.all(Prepared(select(column).where(column.is_not(None))))
        ]
    )


async def secret_rows(store: SqlStore) -> Sequence[tuple[str, str]]:
    """Owner and name of every secret there is."""
    rows = await store._executor.read(lambda session: session.all(Prepared(select(secrets.c.owner, secrets.c.name))))
    return sorted((owner, name) for owner, name in rows)
