"""Registered repositories and their sealed credentials."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, literal_column, select, update

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.repository import Repository
from treadle.store import secrets as sealed
from treadle.store.prepared import Prepared, Row, insert_into
from treadle.store.session import Dangling, Executor, Session, Taken
from treadle.store.tables import repositories
from treadle.store.values import date_of, micros, plain

_INSERT = Prepared(insert_into(repositories).returning(repositories.c.id))
#: One that was removed stays as a row without an address: runs refer to it.
_IS_THERE = repositories.c.url != literal_column("''")
_whole = select(*repositories.columns).where(_IS_THERE).order_by(repositories.c.id)
_IN_ORGANIZATION = Prepared(_whole.where(repositories.c.organization_id == bindparam("organization")))
_BY_URL = Prepared(
    _whole.where(
        repositories.c.organization_id == bindparam("organization"), repositories.c.url == bindparam("address")
    )
)
_UUID = Prepared(select(repositories.c.uuid).where(repositories.c.id == bindparam("repository")))
_that_one = update(repositories).where(repositories.c.id == bindparam("repository"), _IS_THERE)
_UPDATE = Prepared(
    _that_one.values(
        url=bindparam("address", type_=repositories.c.url.type),
        default_branch=bindparam("branch", type_=repositories.c.default_branch.type),
    )
)
_REMOVE = Prepared(_that_one.values(name=repositories.c.uuid, url=literal_column("''")).returning(repositories.c.uuid))


class Repositories:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_repository(self, repository: Repository, secrets: Mapping[str, str]) -> Repository:
        def work(session: Session) -> Repository:
            rows = session.all(
                _INSERT,
                uuid=str(repository.uuid),
                organization_id=repository.organization_id,
                name=plain(repository.name),
                url=plain(repository.url),
                default_branch=plain(repository.default_branch),
                date_created=micros(repository.date_created),
            )
            sealed.add(session, repository.uuid, repository.organization_id, secrets, repository.date_created)
            return replace(repository, id=rows[0][0])

        try:
            return await self._executor.write(work)
        except Taken as error:
            raise Conflict(f"The organization has a repository {repository.name} already.") from error
        except Dangling as error:
            raise NotFound(f"There is no organization {repository.organization_id}.") from error

    async def update_repository(self, repository: Repository, secrets: Mapping[str, str] | None, now: datetime) -> None:
        def work(session: Session) -> None:
            address, branch = plain(repository.url), plain(repository.default_branch)
            if not session.run(_UPDATE, repository=repository.id, address=address, branch=branch):
                raise NotFound(f"There is no repository {repository.id}.")
            if secrets is not None:
                sealed.erase(session, repository.uuid)
                sealed.add(session, repository.uuid, repository.organization_id, secrets, now)

        await self._executor.write(work, again=work)

    async def remove_repository(self, repository_id: int) -> None:
        def work(session: Session) -> None:
            row = session.one(_REMOVE, repository=repository_id)
            if row is None:
                raise NotFound(f"There is no repository {repository_id}.")
            sealed.erase(session, UUID(row[0]))

        await self._executor.write(work)

    async def repositories(self, organization_id: int) -> Sequence[Repository]:
        rows = await self._executor.read(lambda session: session.all(_IN_ORGANIZATION, organization=organization_id))
        return tuple(_repository_of(row) for row in rows)

    async def find_repository(self, organization_id: int, url: str) -> Repository | None:
        row = await self._executor.glance(
            lambda session: session.one(_BY_URL, organization=organization_id, address=url)
        )
        return None if row is None else _repository_of(row)

    async def repository_secrets(self, repository_id: int) -> Mapping[str, str]:
        def work(session: Session) -> Mapping[str, str]:
            row = session.one(_UUID, repository=repository_id)
            if row is None:
                raise NotFound(f"There is no repository {repository_id}.")
            return sealed.by_owner(session, UUID(row[0]))

        return await self._executor.read(work)


def _repository_of(row: Row) -> Repository:
    id_, uuid, organization_id, name, url, default_branch, created = row
    return Repository(id_, UUID(uuid), organization_id, name, url, default_branch, date_of(created))
