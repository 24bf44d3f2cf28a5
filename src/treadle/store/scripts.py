"""Scripts and their versions."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from sqlalchemy import bindparam, delete, func, select, update

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.identity import Principal
from treadle.domain.script_runs import Script, ScriptVersion
from treadle.ports.script_runs import ScriptFilter
from treadle.store.automation_tables import script_versions, scripts
from treadle.store.prepared import Prepared, Row, insert_into
from treadle.store.session import Executor, Session
from treadle.store.values import date_of, micros, plain

_COLUMNS = tuple(
    scripts.c[name]
    for name in (
        "id", "uuid", "organization_id", "user_id", "name", "description", "version", "is_archived", "date_created",
        "date_updated",
    )
)  # fmt: skip
_IN_ORGANIZATION = scripts.c.organization_id == bindparam("organization")
_IS_MINE = scripts.c.user_id == bindparam("user")
_IS_IT = scripts.c.id == bindparam("row")
_IS_CALLED = scripts.c.name == bindparam("called")

_ADD = Prepared(insert_into(scripts, *(column.name for column in _COLUMNS[1:])).returning(*_COLUMNS))
_BY_NAME = Prepared(select(*_COLUMNS).where(_IN_ORGANIZATION, _IS_CALLED))
_COUNT = Prepared(select(func.count()).select_from(scripts).where(_IN_ORGANIZATION, ~scripts.c.is_archived))
_SET = ("description", "version", "is_archived", "date_updated")
_UPDATE = Prepared(
    update(scripts)
    .where(_IS_IT)
    .values({name: bindparam(name, type_=scripts.c[name].type) for name in _SET})
    .returning(*_COLUMNS)
)
_ARCHIVE = Prepared(
    update(scripts)
    .where(_IS_IT, ~scripts.c.is_archived)
    .values(is_archived=True, date_updated=bindparam("now", type_=scripts.c.date_updated.type))
)

_VERSION = tuple(script_versions.columns)
_OF_IT = script_versions.c.script_id == bindparam("row")
_ADD_VERSION = Prepared(insert_into(script_versions))
_ONE_VERSION = Prepared(select(*_VERSION).where(_OF_IT, script_versions.c.version == bindparam("number")))
_VERSIONS = Prepared(select(*_VERSION).where(_OF_IT).order_by(script_versions.c.version.desc()))
_FORGET_VERSIONS = Prepared(delete(script_versions).where(_OF_IT, script_versions.c.version <= bindparam("last")))


@lru_cache(maxsize=4)
def _seen(*, by_name: bool, is_own: bool) -> Prepared:
    found = select(*_COLUMNS).where(_IN_ORGANIZATION, _IS_CALLED if by_name else _IS_IT)
    return Prepared(found.where(_IS_MINE) if is_own else found)


@lru_cache(maxsize=2)
def _listed(*, is_own: bool) -> Prepared:
    found = select(*_COLUMNS).where(_IN_ORGANIZATION, ~scripts.c.is_archived).order_by(scripts.c.name)
    return Prepared(found.where(_IS_MINE) if is_own else found)


class Scripts:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def save_script(
        self,
        principal: Principal,
        name: str,
        source: str,
        *,
        description: str | None,
        uuid: UUID,
        now: datetime,
        keep: int,
        most: int,
        if_version: int | None = None,
    ) -> Script:
        kept_source = plain(source)

        def work(session: Session) -> Script:
            session.lock(f"scripts {principal.organization_id}", wait=True)
            row = session.one(_BY_NAME, organization=principal.organization_id, called=plain(name))
            if row is None:
                _refuse_another(if_version, 0)
                _make_room(session)
                saved = _add(session)
            else:
                known = _script_of(row)
                newest = session.one(_ONE_VERSION, row=known.id, number=known.version)
                is_same = (
                    newest is not None
                    and newest[2] == kept_source
                    and (description is None or plain(description) == (known.description or ""))
                )
                if not is_same or known.is_archived:
                    _refuse_another(if_version, 0 if known.is_archived else known.version)
                if known.is_archived:
                    _make_room(session)
                saved = _script_of(
                    session.all(
                        _UPDATE,
                        row=known.id,
                        description=plain(description) if description is not None else known.description,
                        version=known.version if is_same else known.version + 1,
                        is_archived=False,
                        date_updated=micros(now),
                    )[0]
                )
                if is_same:
                    return saved
            session.run(
                _ADD_VERSION,
                script_id=saved.id,
                version=saved.version,
                source=kept_source,
                user_id=principal.user_id,
                date_created=micros(now),
            )
            session.run(_FORGET_VERSIONS, row=saved.id, last=saved.version - keep)
            return saved

        def _make_room(session: Session) -> None:
            if session.all(_COUNT, organization=principal.organization_id)[0][0] >= most:
                raise Conflict(f"The organization has {most} scripts already.", hint="Remove one that is not needed.")

        def _add(session: Session) -> Script:
            return _script_of(
                session.all(
                    _ADD,
                    uuid=str(uuid),
                    organization_id=principal.organization_id,
                    user_id=principal.user_id,
                    name=plain(name),
                    description=plain(description),
                    version=1,
                    is_archived=False,
                    date_created=micros(now),
                    date_updated=micros(now),
                )[0]
            )

        return await self._executor.write(work, again=work)

    async def script(self, which: int | str, seen_by: ScriptFilter) -> Script:
        asked = _seen(by_name=isinstance(which, str), is_own=seen_by.user_id is not None)
        row = await self._executor.glance(
            lambda session: session.one(
                asked,
                row=which if isinstance(which, int) else 0,
                called=plain(str(which)),
                organization=seen_by.organization_id,
                user=seen_by.user_id,
            )
        )
        if row is None:
            raise NotFound("There is no such script.")
        return _script_of(row)

    async def scripts(self, seen_by: ScriptFilter) -> Sequence[Script]:
        asked = _listed(is_own=seen_by.user_id is not None)
        rows = await self._executor.read(
            lambda session: session.all(asked, organization=seen_by.organization_id, user=seen_by.user_id)
        )
        return tuple(map(_script_of, rows))

    async def script_version(self, script_id: int, version: int) -> ScriptVersion:
        row = await self._executor.glance(lambda session: session.one(_ONE_VERSION, row=script_id, number=version))
        if row is None:
            raise NotFound("The script has no such version, or it is not kept any more.")
        return _version_of(row)

    async def script_versions(self, script_id: int) -> Sequence[ScriptVersion]:
        rows = await self._executor.read(lambda session: session.all(_VERSIONS, row=script_id))
        return tuple(map(_version_of, rows))

    async def archive_script(self, script_id: int, now: datetime) -> bool:
        return await self._executor.write(lambda session: session.run(_ARCHIVE, row=script_id, now=micros(now)) > 0)


def _refuse_another(wanted: int | None, version: int) -> None:
    """Raises Conflict for a script that has been changed since somebody looked at it."""
    if wanted is None or wanted == version:
        return
    if version == 0:
        raise Conflict("There is no script of that name any more.", hint="Saving it without a version makes one.")
    found = "There is a script of that name" if wanted == 0 else "The script was changed meanwhile"
    raise Conflict(
        f"{found}: it has version {version:,}.", hint="Look at that one; saving over it makes yours the newest."
    )


def _script_of(row: Row) -> Script:
    id_, uuid, organization, user, name, description, version, archived, created, updated = row
    return Script(
        id_,
        UUID(uuid),
        organization,
        user,
        name,
        description,
        version,
        bool(archived),
        date_of(created),
        date_of(updated),
    )


def _version_of(row: Row) -> ScriptVersion:
    script_id, version, source, user, created = row
    return ScriptVersion(script_id, version, source, user, date_of(created))
