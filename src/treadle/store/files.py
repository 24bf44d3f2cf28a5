"""What is known of uploaded files."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Integer, bindparam, delete, or_, select

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.run import StoredFile
from treadle.domain.states import RUN_ALIVE
from treadle.store.prepared import Prepared, Row, among, insert_into
from treadle.store.session import Dangling, Executor, Session, Taken
from treadle.store.tables import files, run_files, runs
from treadle.store.values import date_of, micros, plain

_COLUMNS = (
    files.c.uuid, files.c.organization_id, files.c.user_id, files.c.name, files.c.content_type, files.c.size,
    files.c.sha256, files.c.date_created,
)  # fmt: skip

_INSERT = Prepared(insert_into(files))

_user = bindparam("user", type_=files.c.user_id.type)
_IS_SEEN = (files.c.organization_id == bindparam("organization"), or_(_user.is_(None), files.c.user_id == _user))
_one = select(*_COLUMNS).where(files.c.uuid == bindparam("file"), *_IS_SEEN)
_ONE = Prepared(_one)
_ONE_LOCKED = Prepared(_one.with_for_update())
_DELETE = Prepared(delete(files).where(files.c.uuid == bindparam("file")))
_IS_IN_USE = Prepared(
    select(run_files.c.run_id)
    .join_from(run_files, runs)
    .where(run_files.c.file_uuid == bindparam("file"), among(runs.c.status, RUN_ALIVE))
    .limit(1)
)

# Two statements, so that each list has an index of its own.
_whole = (
    select(*_COLUMNS)
    .where(files.c.organization_id == bindparam("organization"))
    .order_by(files.c.id.desc())
    .limit(bindparam("limit", type_=Integer))
    .offset(bindparam("skip", type_=Integer))
)
_ALL = Prepared(_whole)
_OF_USER = Prepared(_whole.where(files.c.user_id == bindparam("user")))


class Files:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_file(self, file: StoredFile) -> None:
        try:
            await self._executor.write(
                lambda session: session.run(
                    _INSERT,
                    uuid=str(file.id),
                    organization_id=file.organization_id,
                    user_id=file.user_id,
                    name=plain(file.name),
                    content_type=plain(file.content_type),
                    size=file.size,
                    sha256=file.sha256,
                    date_created=micros(file.date_created),
                )
            )
        except Taken as error:
            raise Conflict(f"There is a file {file.id} already.") from error
        except Dangling as error:
            raise NotFound("The file's organization or user does not exist.") from error

    async def get_file(self, file_id: UUID, organization_id: int, user_id: int | None) -> StoredFile:
        return await self._executor.glance(lambda session: _load(session, file_id, organization_id, user_id))

    async def list_files(
        self, organization_id: int, user_id: int | None, *, limit: int, skip: int = 0
    ) -> Sequence[StoredFile]:
        statement = _ALL if user_id is None else _OF_USER
        rows = await self._executor.read(
            lambda session: session.all(statement, organization=organization_id, user=user_id, limit=limit, skip=skip)
        )
        return tuple(_file_of(row) for row in rows)

    async def known_files(self, file_ids: Sequence[UUID], organization_id: int, user_id: int | None) -> frozenset[UUID]:
        def work(session: Session) -> frozenset[UUID]:
            return frozenset(
                file_id
                for file_id in file_ids
                if session.one(_ONE, file=str(file_id), organization=organization_id, user=user_id) is not None
            )

        return await self._executor.read(work) if file_ids else frozenset()

    async def delete_file(self, file_id: UUID, organization_id: int, user_id: int | None) -> StoredFile:
        def work(session: Session) -> StoredFile:
            # Locked, so that no new run can come to refer to it.
            file = _load(session, file_id, organization_id, user_id, statement=_ONE_LOCKED)
            if session.one(_IS_IN_USE, file=str(file_id)) is not None:
                raise Conflict(f"A run that has not ended uses the file {file_id}.")
            session.run(_DELETE, file=str(file_id))
            return file

        return await self._executor.write(work)


def _load(
    session: Session, file_id: UUID, organization_id: int, user_id: int | None, *, statement: Prepared = _ONE
) -> StoredFile:
    row = session.one(statement, file=str(file_id), organization=organization_id, user=user_id)
    if row is None:
        raise NotFound(f"There is no file {file_id}.")
    return _file_of(row)


def _file_of(row: Row) -> StoredFile:
    uuid, organization_id, user_id, name, content_type, size, sha256, created = row
    return StoredFile(UUID(uuid), organization_id, user_id, name, content_type, size, sha256, date_of(created))
