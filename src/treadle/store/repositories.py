"""Registered repositories, their sealed secrets and what is set for them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Integer, bindparam, func, literal_column, null, select, update

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.repository import CheckSuiteSettings, Repository, SetupStatus
from treadle.ports import Fence
from treadle.store import secrets as sealed
from treadle.store.prepared import Prepared, insert_into
from treadle.store.repository_rows import (
    CHANGEABLE,
    COLUMNS,
    changeable,
    repository_of,
    settings_json,
    settings_of,
    whole,
)
from treadle.store.session import Dangling, Executor, Session, Taken
from treadle.store.tables import repositories
from treadle.store.transitions import held
from treadle.store.values import json_of, plain

_INSERT = Prepared(insert_into(repositories).returning(*COLUMNS))
#: One that was removed stays as a row without an address: runs refer to it.
_IS_THERE = repositories.c.url != literal_column("''")
_IS_OURS = repositories.c.organization_id == bindparam("organization")
_IS_IT = repositories.c.id == bindparam("repository")
_whole = select(*COLUMNS).where(_IS_THERE).order_by(repositories.c.id)
_ONE = Prepared(_whole.where(_IS_OURS, _IS_IT))
IN_ORGANIZATION = Prepared(_whole.where(_IS_OURS))
PAGE = Prepared(
    _whole.where(_IS_OURS).limit(bindparam("limit", type_=Integer)).offset(bindparam("skip", type_=Integer))
)
COUNT = Prepared(select(func.count()).where(_IS_OURS, _IS_THERE))
_BY_URL = Prepared(_whole.where(_IS_OURS, repositories.c.url == bindparam("address")))
_BY_UUID = Prepared(select(*COLUMNS).where(repositories.c.uuid == bindparam("named")))
_UUID = Prepared(select(repositories.c.uuid).where(_IS_IT))
_that_one = update(repositories).where(_IS_IT, _IS_THERE)
_UPDATE = Prepared(_that_one.values({name: bindparam(name, type_=repositories.c[name].type) for name in CHANGEABLE}))
_REMOVE = Prepared(
    _that_one.values(
        name=repositories.c.uuid,
        url=literal_column("''"),
        rules=null(),
        setup_commands=null(),
        setup_status=literal_column(f"'{SetupStatus.NONE}'"),
    ).returning(repositories.c.uuid)
)


def _set(name: str) -> Prepared:
    return Prepared(_that_one.values({name: bindparam("value", type_=repositories.c[name].type)}))


_SET_STATUS = _set("setup_status")
_SET_COMMANDS = _set("setup_commands")
_SET_SETTINGS = _set("check_suite_settings")
_SET_NAMES = _set("check_names")
_SETTINGS = Prepared(select(repositories.c.check_suite_settings).where(_IS_IT, _IS_THERE).with_for_update())


class Repositories:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_repository(self, repository: Repository, secrets: Mapping[str, str]) -> Repository:
        def work(session: Session) -> Repository:
            made = repository_of(session.all(_INSERT, **whole(repository))[0])
            sealed.add(session, repository.uuid, repository.organization_id, secrets, repository.date_created)
            return made

        def again(session: Session) -> Repository:
            row = session.one(_BY_UUID, named=str(repository.uuid))
            return work(session) if row is None else repository_of(row)

        try:
            return await self._executor.write(work, again=again)
        except Taken as error:
            raise Conflict(f"The organization has a repository {repository.name} already.") from error
        except Dangling as error:
            raise NotFound(f"There is no organization {repository.organization_id}.") from error

    async def update_repository(
        self, repository: Repository, secrets: Mapping[str, str | None] | None, now: datetime
    ) -> None:
        def work(session: Session) -> None:
            if not session.run(_UPDATE, repository=repository.id, **changeable(repository)):
                raise _missing(repository.id)
            if secrets:
                sealed.put(session, repository.uuid, repository.organization_id, secrets, now)

        await self._executor.write(work, again=work)

    async def remove_repository(self, repository_id: int) -> None:
        def work(session: Session) -> None:
            row = session.one(_REMOVE, repository=repository_id)
            if row is None:
                raise _missing(repository_id)
            sealed.erase(session, UUID(row[0]))

        def again(session: Session) -> None:
            """It is gone if the first try removed it; nobody asks here for one that was gone before."""
            if session.one(_UUID, repository=repository_id) is None:
                raise _missing(repository_id)
            row = session.one(_REMOVE, repository=repository_id)
            if row is not None:
                sealed.erase(session, UUID(row[0]))

        await self._executor.write(work, again=again)

    async def repository(self, organization_id: int, repository_id: int) -> Repository:
        row = await self._executor.glance(
            lambda session: session.one(_ONE, organization=organization_id, repository=repository_id)
        )
        if row is None:
            raise _missing(repository_id)
        return repository_of(row)

    async def repositories(self, organization_id: int) -> Sequence[Repository]:
        rows = await self._executor.read(lambda session: session.all(IN_ORGANIZATION, organization=organization_id))
        return tuple(map(repository_of, rows))

    async def repository_page(
        self, organization_id: int, *, limit: int, skip: int = 0
    ) -> tuple[Sequence[Repository], int]:
        def work(session: Session) -> tuple[Sequence[Repository], int]:
            rows = session.all(PAGE, organization=organization_id, limit=limit, skip=skip)
            count = session.all(COUNT, organization=organization_id)
            return tuple(map(repository_of, rows)), count[0][0]

        return await self._executor.read(work)

    async def find_repository(self, organization_id: int, url: str) -> Repository | None:
        row = await self._executor.glance(
            lambda session: session.one(_BY_URL, organization=organization_id, address=plain(url))
        )
        return None if row is None else repository_of(row)

    async def repository_secrets(self, repository_id: int) -> Mapping[str, str]:
        def work(session: Session) -> Mapping[str, str]:
            row = session.one(_UUID, repository=repository_id)
            if row is None:
                raise _missing(repository_id)
            return sealed.by_owner(session, UUID(row[0]))

        return await self._executor.read(work)

    async def set_setup(
        self,
        repository_id: int,
        status: SetupStatus,
        *,
        commands: str | None = None,
        fence: Fence | None = None,
    ) -> None:
        def work(session: Session) -> None:
            if fence is not None:
                held(session, fence)
            if not session.run(_SET_STATUS, repository=repository_id, value=status.value):
                raise _missing(repository_id)
            if commands is not None:
                session.run(_SET_COMMANDS, repository=repository_id, value=plain(commands) or None)

        await self._executor.write(work, again=work)

    async def change_check_suite_settings(
        self, repository_id: int, change: Callable[[CheckSuiteSettings], CheckSuiteSettings]
    ) -> CheckSuiteSettings:
        def work(session: Session) -> CheckSuiteSettings:
            row = session.one(_SETTINGS, repository=repository_id)
            if row is None:
                raise _missing(repository_id)
            changed = change(settings_of(row[0]))
            session.run(_SET_SETTINGS, repository=repository_id, value=settings_json(changed))
            return changed

        return await self._executor.write(work, again=work)

    async def set_check_names(self, repository_id: int, names: Sequence[str]) -> None:
        await self._change(_SET_NAMES, repository_id, json_of(names))

    async def _change(self, statement: Prepared, repository_id: int, value: str | None) -> None:
        def work(session: Session) -> None:
            if not session.run(statement, repository=repository_id, value=value):
                raise _missing(repository_id)

        await self._executor.write(work, again=work)


def _missing(repository_id: int) -> NotFound:
    return NotFound(f"There is no repository {repository_id}.")
