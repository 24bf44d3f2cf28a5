"""The variables of repositories' environments: sealed, among the secrets of the repository."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, delete, literal_column, select

from treadle.domain.errors import NotFound
from treadle.ports.trust import SealedVariable
from treadle.store import secrets as sealed_secrets
from treadle.store.prepared import Prepared
from treadle.store.secrets import VARIABLES
from treadle.store.session import Executor, Session
from treadle.store.tables import repositories, secrets
from treadle.store.values import date_of

_repository = select(repositories.c.uuid, repositories.c.organization_id).where(
    repositories.c.id == bindparam("repository"), repositories.c.url != literal_column("''")
)
_REPOSITORY = Prepared(_repository)
_LOCKED = Prepared(_repository.with_for_update())
_variables = select(secrets.c.name, secrets.c.date_updated, secrets.c.sealed).where(
    secrets.c.name.startswith(VARIABLES)
)
_OF_OWNER = Prepared(_variables.where(secrets.c.owner == bindparam("of")))
_OF_REPOSITORY = Prepared(
    _variables.join_from(secrets, repositories, repositories.c.uuid == secrets.c.owner).where(
        repositories.c.id == bindparam("repository")
    )
)
_REMOVE = Prepared(delete(secrets).where(secrets.c.owner == bindparam("of"), secrets.c.name == bindparam("called")))


class Environments:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def repository_environment(self, repository_id: int) -> Sequence[SealedVariable]:
        rows = await self._executor.read(lambda session: session.all(_OF_REPOSITORY, repository=repository_id))
        found = (SealedVariable(name.removeprefix(VARIABLES), date_of(date), sealed) for name, date, sealed in rows)
        return tuple(sorted(found, key=lambda variable: variable.name))

    async def put_repository_environment(
        self,
        repository_id: int,
        sealed: Mapping[str, str],
        now: datetime,
        *,
        admit: Callable[[Mapping[str, str]], None],
    ) -> None:
        def work(session: Session) -> None:
            uuid, organization_id = _owner(session, _LOCKED, repository_id)
            there = {name.removeprefix(VARIABLES): text for name, _, text in session.all(_OF_OWNER, of=uuid)}
            admit({**there, **sealed})
            put = {f"{VARIABLES}{name}": text for name, text in sealed.items()}
            sealed_secrets.put(session, UUID(uuid), organization_id, put, now)

        await self._executor.write(work, again=work)

    async def remove_repository_variable(self, repository_id: int, name: str) -> bool:
        def work(session: Session) -> bool:
            uuid, _ = _owner(session, _REPOSITORY, repository_id)
            return bool(session.run(_REMOVE, of=uuid, called=f"{VARIABLES}{name}"))

        def again(session: Session) -> bool:
            """What is not there any more has been removed."""
            work(session)
            return True

        return await self._executor.write(work, again=again)


def _owner(session: Session, asked: Prepared, repository_id: int) -> tuple[str, int]:
    row = session.one(asked, repository=repository_id)
    if row is None:
        raise NotFound(f"There is no repository {repository_id}.")
    return row[0], row[1]
