"""The API in this process, on a real store: what the tests of services and API talk to.

    async with deployed(tmp_path) as here:
        answer = await here.http.post(..., headers=here.admin.headers)

Time stands still until a test moves it, and ids count up, so that answers can be compared with files.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
from fastapi import FastAPI

from treadle.api.app import create_app
from treadle.api.deps import Services
from treadle.assembly import Foundation, build_services
from treadle.blobs.directory import DirectoryBlobs
from treadle.domain.identity import Organization, Role, User
from treadle.domain.run import Run
from treadle.domain.states import RunStatus
from treadle.ports import Blobs, Fence, Store, Vault
from treadle.queues.database import DatabaseQueue, ProcessSignals
from treadle.services.audit import Audit
from treadle.services.identity import Identity
from treadle.services.issuers import Fetch
from treadle.settings import Settings
from treadle.store.sql import SqlStore
from treadle.vault import AesGcmVault, SealingKey
from treadle.web.mount import add_pages

Json = dict[str, Any]  # what tests send and read; they assert on every field they use

START = datetime(2026, 10, 1, 9, 30, 0, 125_000, tzinfo=UTC)


class StillClock:
    """ports.Clock: moves when a test says so."""

    def __init__(self, start: datetime = START) -> None:
        self.time = start

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def counting_uuids() -> Callable[[], UUID]:
    """00000000-0000-4000-8000-000000000001 and on."""
    number = 0

    def following() -> UUID:
        nonlocal number
        number += 1
        return UUID(int=(0x4000_8000 << 64) + number)

    return following


@dataclass(frozen=True, slots=True)
class Member:
    """A user in an organization, with a key."""

    organization: Organization
    user: User
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Api-Key": self.key}


@dataclass(frozen=True, slots=True)
class Deployment:
    """`admin` is organization 1's."""

    settings: Settings
    store: Store
    blobs: Blobs
    vault: Vault
    queue: DatabaseQueue
    signals: ProcessSignals
    controls: ProcessSignals
    clock: StillClock
    services: Services
    app: FastAPI
    http: httpx2.AsyncClient
    admin: Member

    async def start(self, who: Member | None = None, /, **fields: object) -> Json:
        """POST a process, the least one with `fields` besides; what is answered."""
        answer = await self.http.post(PROCESSES, headers=(who or self.admin).headers, json=body(**fields))
        assert answer.status_code == httpx2.codes.OK, answer.text
        found: Json = answer.json()
        return found

    async def get(self, process: Json, who: Member | None = None) -> Json:
        answer = await self.http.get(f"{PROCESSES}/by-id/{process['id']}", headers=(who or self.admin).headers)
        assert answer.status_code == httpx2.codes.OK, answer.text
        found: Json = answer.json()
        return found

    async def claim(self) -> tuple[Run, Fence]:
        """As a worker: the oldest New run."""
        run = await self.store.claim("worker", self.clock.now())
        assert run is not None
        return run, Fence(run.id, run.lease)

    async def finish(self, fence: Fence, status: RunStatus = RunStatus.SUCCESS, details: str | None = None) -> None:
        await self.store.finish(fence, status, details, self.clock.now())
        self.signals.notify(fence.run_id)

    async def member(self, email: str, role: Role = Role.MEMBER, *, organization: Organization | None = None) -> Member:
        """A new user of organization 1, or of another one."""
        where = organization or self.admin.organization
        identity = self.services.identity
        user = await identity.add_user(email, where.id, role)
        _, key = await identity.create_key(email, where.id, name="test")
        return Member(where, user, key)


async def no_jwks(url: str) -> bytes:
    raise OSError(f"{url} is not there")


@asynccontextmanager
async def deployed(folder: Path, *, fetch: Fetch = no_jwks, **overrides: object) -> AsyncIterator[Deployment]:
    """The API on SQLite in `folder`. `overrides` are settings."""
    settings = Settings.load({}, data_dir=folder, poll_seconds=0.02, **overrides)
    clock, new_uuid = StillClock(), counting_uuids()
    vault = AesGcmVault([SealingKey(bytes(range(32)))])
    blobs, queue, signals, controls = (
        DirectoryBlobs(folder / "blobs"),
        DatabaseQueue(),
        ProcessSignals(),
        ProcessSignals(),
    )
    store = await SqlStore.open(f"sqlite:///{folder / 'treadle.db'}")
    try:
        identity = Identity(store, clock, audit=Audit(store, clock), new_uuid=new_uuid)
        foundation = Foundation(store, blobs, vault, queue, signals, controls, clock, new_uuid)
        checks = {"store": store.check, "blobs": blobs.check}
        services = build_services(foundation, settings, identity, fetch=fetch, checks=checks)
        first = await identity.bootstrap("test-bootstrap-key-of-the-admin")
        assert first is not None
        app = create_app(services, settings)
        add_pages(app, services, settings)
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://treadle.test") as http:
            admin = Member(first.organization, first.user, first.key)
            yield Deployment(settings, store, blobs, vault, queue, signals, controls, clock, services, app, http, admin)
    finally:
        await queue.close()
        await store.close()


PROCESSES = "/code-generation/processes"

#: The least that a process needs.
LEAST: Json = {
    "gitUrl": "https://git.example/acme/shop.git",
    "branchSource": "main",
    "branchWork": "feature/work",
    "steps": [{"step": "Write the tests"}],
}


def body(**fields: object) -> Json:
    """A request body: the least, with these fields besides."""
    return {**LEAST, **fields}
