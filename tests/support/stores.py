"""Stores to test with, and somebody to own what is in them."""

import itertools
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from treadle.domain.events import Draft, Event, EventType
from treadle.domain.identity import Principal, Role
from treadle.domain.run import EngineName, Run, RunDraft, StepDraft
from treadle.domain.states import Phase, StepStatus
from treadle.ports import Fence, Idempotency, RunFilter, StepUpdate
from treadle.store import schema
from treadle.store.address import sqlite_url
from treadle.store.sql import SqlStore

#: When the tests take place. With microseconds, which a database may round.
NOW = datetime(2031, 4, 5, 6, 7, 8, 123_457, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@dataclass
class World:
    """A store with an organization and a user in it."""

    store: SqlStore
    url: str
    principal: Principal
    _names: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def mine(self) -> RunFilter:
        return RunFilter(self.principal.organization_id, self.principal.user_id)

    @property
    def organization(self) -> RunFilter:
        return RunFilter(self.principal.organization_id)

    async def somebody(self, *, organization_id: int | None = None, role: Role = Role.MEMBER) -> Principal:
        """Another user, of this organization or of that one."""
        name = f"person{next(self._names)}"
        user = await self.store.add_user(f"{name}@example.org", name, uuid4(), NOW)
        home = organization_id or self.principal.organization_id
        await self.store.set_role(home, user.id, role)
        uuid = next(one.uuid for one in await self.store.organizations() if one.id == home)
        found = await self.store.principal_by_uuids(uuid, user.uuid)
        assert found is not None
        return found

    async def stranger(self) -> Principal:
        """A user of another organization."""
        organization = await self.store.add_organization(f"elsewhere{next(self._names)}", uuid4(), NOW)
        return await self.somebody(organization_id=organization.id)

    async def run(
        self,
        draft: RunDraft | None = None,
        *,
        principal: Principal | None = None,
        secrets: Mapping[str, str] | None = None,
        now: datetime = NOW,
        idempotency: Idempotency | None = None,
    ) -> Run:
        """A new run."""
        wanted = draft or a_draft()
        run, _ = await self.store.create_run(
            wanted,
            principal or self.principal,
            uuid=uuid4(),
            step_ids=[uuid4() for _ in wanted.steps],
            secrets=secrets or {},
            now=now,
            idempotency=idempotency,
        )
        return run

    async def claimed(
        self, draft: RunDraft | None = None, *, now: datetime = NOW, **given: object
    ) -> tuple[Run, Fence]:
        """A new run in the hands of a worker."""
        made = await self.run(draft, now=now, **given)  # type: ignore[arg-type]  # passed on as it came
        run = await self.store.claim("worker", now, run_id=made.id)
        assert run is not None
        return run, Fence(run.id, run.lease)

    async def started(self, *, now: datetime = NOW) -> tuple[Run, Fence]:
        """A run whose first step is Running."""
        run, fence = await self.claimed(now=now)
        await self.store.record(fence, [started(1)], now, step=StepUpdate(1, StepStatus.RUNNING, Phase.ANALYSIS))
        return await self.store.get_run_by_id(run.id), fence

    async def told(self, run_id: int) -> list[Event]:
        return list(await self.store.events(run_id))

    async def types(self, run_id: int) -> list[EventType]:
        return [event.type for event in await self.told(run_id)]


_branches = itertools.count(1)


def a_draft(
    *texts: str, file_ids: tuple[UUID, ...] = (), repository_id: int | None = None, branch: str | None = None
) -> RunDraft:
    """`branch`: the work branch; None: one that no other run has."""
    return RunDraft(
        git_url="https://git.example.org/group/project.git",
        branch_source="main",
        branch_work=branch or f"work-{next(_branches)}",
        steps=tuple(StepDraft(text) for text in texts or ("Add tests", "Mend them")),
        engine=EngineName.DUMMY,
        file_ids=file_ids,
        repository_id=repository_id,
    )


def started(step: int) -> Draft:
    return Draft(EventType.STEP_STARTED, {"text": "…", "isCommitable": True}, step, Phase.ANALYSIS)


def said(text: str) -> Draft:
    return Draft(EventType.ENGINE_TEXT, {"text": text}, 1, Phase.ANALYSIS)


@asynccontextmanager
async def open_world(url: str) -> AsyncIterator[World]:
    store = await SqlStore.open(url)
    try:
        organization = await store.add_organization("Example", uuid4(), NOW)
        user = await store.add_user("ada@example.org", "Ada", uuid4(), NOW)
        await store.set_role(organization.id, user.id, Role.ADMIN)
        principal = await store.principal_by_uuids(organization.uuid, user.uuid)
        assert principal is not None
        yield World(store, url, principal)
    finally:
        await store.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, on each kind."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "treadle.db")
    url: str = request.getfixturevalue("postgres_server").database()
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the schema, to copy: migrations take longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "treadle.db"
    schema.upgrade(sqlite_url(path))
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def world(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[World]:
    """On each kind of database."""
    if request.param == "sqlite":
        url = sqlite_url(shutil.copyfile(request.getfixturevalue("sqlite_template"), tmp_path / "treadle.db"))
    else:
        url = request.getfixturevalue("postgres_server").upgraded()
    async with open_world(url) as made:
        yield made
