"""Work branches whose checks wake nobody any more, and the living runs on one."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, null, or_, select, union_all
from sqlalchemy.dialects.postgresql import insert as insert_or  # SQLite's dialect writes its ON CONFLICT the same way

from treadle.domain.errors import NotFound
from treadle.domain.states import RunStatus
from treadle.store.branch_key import branch_key
from treadle.store.prepared import Prepared, Row, constant
from treadle.store.session import Dangling, Executor, Session
from treadle.store.tables import IS_BLOCKED, IS_CLAIMABLE, banned_branches, runs
from treadle.store.values import micros, plain

_BAN = Prepared(
    insert_or(banned_branches)
    .values({column.name: bindparam(column.name, type_=column.type) for column in banned_branches.columns})
    .on_conflict_do_nothing(index_elements=[*banned_branches.primary_key])
)
_UNBAN = Prepared(delete(banned_branches).where(banned_branches.c.branch == bindparam("on")))
_IS_BANNED = Prepared(select(banned_branches.c.run_id).where(banned_branches.c.branch == bindparam("on")))

_HAS_KEY = runs.c.branch_key == bindparam("on", type_=runs.c.branch_key.type)
# A run of a process of schema 0001 has no key until somebody gives it one; whose address it has is seen later.
_MAY_BE_ON_IT = and_(
    runs.c.organization_id == bindparam("organization"),
    or_(_HAS_KEY, and_(runs.c.branch_key.is_(null()), runs.c.branch_work == bindparam("work_branch"))),
)


def _living(*where: ColumnElement[bool]) -> Select[int, str | None, str]:
    return select(runs.c.id, runs.c.branch_key, runs.c.git_url).where(*where)


#: One statement, so that a run which the branch is given to meanwhile is not missed. Each part has an index that holds
#: living runs alone.
LIVING = Prepared(
    union_all(
        _living(IS_BLOCKED, _HAS_KEY),
        _living(IS_CLAIMABLE, _MAY_BE_ON_IT),
        _living(runs.c.status == constant(RunStatus.RUNNING), _MAY_BE_ON_IT),
    )
)


class Bans:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def ban_branch(
        self, organization_id: int, git_url: str, branch: str, *, run_id: int, user_id: int, now: datetime
    ) -> Sequence[int]:
        key = _key(organization_id, git_url, branch)

        def flag(session: Session) -> None:
            session.run(
                _BAN,
                branch=key,
                organization_id=organization_id,
                run_id=run_id,
                user_id=user_id,
                date_created=micros(now),
            )

        try:
            await self._executor.write(flag, again=flag)
        except Dangling as error:
            raise NotFound("The run, its user or its organization does not exist.") from error
        rows = await self._executor.read(
            lambda session: session.all(LIVING, organization=organization_id, work_branch=plain(branch), on=key)
        )
        return sorted(row[0] for row in rows if _is_on(key, row, organization_id, branch))

    async def unban_branch(self, organization_id: int, git_url: str, branch: str) -> bool:
        key = _key(organization_id, git_url, branch)
        was_flagged = False

        def work(session: Session) -> bool:
            nonlocal was_flagged
            was_flagged = session.run(_UNBAN, on=key) > 0
            return was_flagged

        def again(session: Session) -> bool:
            """The first try may have removed it: then it was there."""
            return session.run(_UNBAN, on=key) > 0 or was_flagged

        return await self._executor.write(work, again=again)

    async def is_banned(self, organization_id: int, git_url: str, branch: str) -> bool:
        key = _key(organization_id, git_url, branch)
        return await self._executor.glance(lambda session: session.one(_IS_BANNED, on=key)) is not None


def _key(organization_id: int, git_url: str, branch: str) -> str:
    """As runs have it."""
    return branch_key(organization_id, plain(git_url), plain(branch))


def _is_on(key: str, row: Row, organization_id: int, branch: str) -> bool:
    _, known, git_url = row
    return key == (known or branch_key(organization_id, git_url, plain(branch)))
