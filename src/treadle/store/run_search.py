"""Searches among runs, for lists that people look at: pages by keyset, and never more than so many runs looked at by
one call, however rare what is searched for."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import NullType

from treadle.domain.run import Run
from treadle.domain.states import RUN_ALIVE, RunStatus
from treadle.ports.page import RunPage, RunSearch
from treadle.store.prepared import Prepared, constant, only
from treadle.store.run_list import steps_of
from treadle.store.run_rows import RUN_COLUMNS, run_of
from treadle.store.session import Executor, Session
from treadle.store.tables import IS_ENDED, runs, steps
from treadle.store.values import micros, plain

#: Runs that one call looks at, at most, where no index knows which are searched for.
MAX_LOOKED_AT = 2000
#: Of those, at a time: what is found among the newest is shown without a look at the others.
PORTION = 250
#: Words of a search; those behind them are not looked for.
MAX_WORDS = 8
#: Characters of a search; what is behind them is not looked for.
MAX_TEXT = 200

#: Runs that ended since then which one look at changes finds at most, the first of them; the next look finds others.
MAX_ENDED = 1000

#: Above every id.
_LAST = 1 << 62
_ALIVE = tuple(sorted(RUN_ALIVE))
_organization: ColumnElement[int] = bindparam("organization")


class holds(ColumnElement[Any]):  # noqa: N801 - read as a function, like SQLAlchemy's own constructs
    """Whether a text holds `part`, which is in small letters. Only the letters of ASCII are alike when capitalized: so
    both databases agree, whatever locale the server was set up with, and what is not ASCII is found as it is written.
    No pattern, so that nothing in `part` is special."""

    inherit_cache = True
    type = NullType()

    def __init__(self, text: ColumnElement[Any], part: ColumnElement[Any]) -> None:
        self.text = text
        self.part = part


@compiles(holds, "sqlite")
def _in_sqlite(element: holds, compiler: SQLCompiler, **options: Any) -> str:
    text, part = compiler.process(element.text, **options), compiler.process(element.part, **options)
    return f"instr(lower({text}), {part}) > 0"


@compiles(holds, "postgresql")
def _in_postgres(element: holds, compiler: SQLCompiler, **options: Any) -> str:
    text, part = compiler.process(element.text, **options), compiler.process(element.part, **options)
    return f"""strpos(lower({text} COLLATE "C"), {part}) > 0"""


def _newest(statuses: frozenset[RunStatus], *, is_of_user: bool) -> Select[int]:
    """Ids of the newest, merged as `run_list` does it."""
    branches = []
    for status in sorted(statuses):
        found = (
            select(runs.c.id)
            .where(
                runs.c.organization_id == bindparam("organization"),
                runs.c.status == constant(status),
                runs.c.id < bindparam("before"),
            )
            .order_by(runs.c.id.desc())
            .limit(bindparam("portion", type_=Integer))
        )
        if is_of_user:
            found = found.where(runs.c.user_id == bindparam("user"))
        branches.append(select(found.subquery().c.id))
    merged = union_all(*branches).subquery()
    return select(merged.c.id).order_by(merged.c.id.desc()).limit(bindparam("portion", type_=Integer))


@lru_cache(maxsize=64)
def newest_statement(statuses: frozenset[RunStatus], *, is_of_user: bool) -> Prepared:
    return Prepared(_newest(statuses, is_of_user=is_of_user))


@lru_cache(maxsize=256)
def look_statement(
    statuses: frozenset[RunStatus], words: int, *, is_of_user: bool, has_repository: bool, has_source: bool
) -> Prepared:
    """The ids of the newest runs, and whether each is searched for."""
    seen = _newest(statuses, is_of_user=is_of_user).subquery("seen")
    wanted: list[ColumnElement[bool]] = [true()]
    if has_repository:
        wanted.append(runs.c.repository_id == bindparam("repository"))
    if has_source:
        wanted.append(runs.c.source == bindparam("asked_by"))
    for number in range(words):
        part = bindparam(f"word{number}", type_=runs.c.git_url.type)
        step = exists().where(steps.c.run_id == runs.c.id, holds(steps.c.text, part)).correlate(runs)
        wanted.append(or_(holds(runs.c.git_url, part), holds(runs.c.branch_work, part), step))
    is_wanted = and_(*wanted)
    return Prepared(
        select(seen.c.id, func.coalesce(is_wanted, False))
        .join_from(seen, runs, runs.c.id == seen.c.id)
        .order_by(seen.c.id.desc())
    )


@lru_cache(maxsize=16)
def _runs_statement(count: int) -> Prepared:
    wanted = [bindparam(f"run{number}", type_=runs.c.id.type) for number in range(count)]
    return Prepared(select(*RUN_COLUMNS).where(runs.c.id.in_(wanted)).order_by(runs.c.id.desc()))


_COUNTS = (
    select(runs.c.status, func.count())
    .where(runs.c.organization_id == bindparam("organization"))
    .group_by(runs.c.status)
)
COUNTS, COUNTS_OF_USER = Prepared(_COUNTS), Prepared(_COUNTS.where(runs.c.user_id == bindparam("user")))


def _changed(*, is_of_user: bool) -> Prepared:
    """Among those that are alive, and those that ended since then: an index has either, and each is short."""
    ids = select(runs.c.id, runs.c.date_updated).where(runs.c.date_updated >= bindparam("since"))
    if is_of_user:
        ids = ids.where(runs.c.user_id == bindparam("user"))
    # In the order of their index, and no more than a number that is written out: PostgreSQL, which does not know how
    # long ago `since` is, would rather read the whole table.
    ended = (
        ids.where(IS_ENDED, only(runs.c.organization_id, _organization), runs.c.date_completed >= bindparam("since"))
        .order_by(runs.c.organization_id, runs.c.date_completed)
        .limit(literal_column(str(MAX_ENDED)))
    ).subquery("ended")
    alive = [ids.where(runs.c.organization_id == _organization, runs.c.status == constant(one)) for one in _ALIVE]
    merged = union_all(*alive, select(ended.c.id, ended.c.date_updated)).subquery("found")
    return Prepared(
        select(merged.c.id).order_by(merged.c.date_updated, merged.c.id).limit(bindparam("limit", type_=Integer))
    )


CHANGED, CHANGED_OF_USER = _changed(is_of_user=False), _changed(is_of_user=True)


class RunSearches:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def search_runs(self, which: RunSearch, *, limit: int, before: int | None = None) -> RunPage:
        start = _LAST if before is None else before
        return await self._executor.read(lambda session: _search(session, which, limit=limit, before=start))

    async def count_by_status(self, organization_id: int, user_id: int | None) -> Mapping[RunStatus, int]:
        asked = COUNTS if user_id is None else COUNTS_OF_USER
        rows = await self._executor.read(lambda session: session.all(asked, organization=organization_id, user=user_id))
        return dict.fromkeys(RunStatus, 0) | {RunStatus(status): count for status, count in rows}

    async def runs_changed(
        self, organization_id: int, user_id: int | None, *, since: datetime, limit: int
    ) -> Sequence[Run]:
        asked = CHANGED if user_id is None else CHANGED_OF_USER
        most = min(limit, MAX_ENDED)  # or what ended would be passed over for what changed later

        def work(session: Session) -> Sequence[Run]:
            rows = session.all(asked, organization=organization_id, user=user_id, since=micros(since), limit=most)
            found = _runs(session, [row[0] for row in rows])
            return tuple(sorted(found, key=lambda run: (run.date_updated, run.id)))

        return await self._executor.read(work)


def words_of(text: str | None) -> tuple[str, ...]:
    """What is looked for: each word once, in small letters."""
    if text is None:
        return ()
    # Of ASCII alone, as the databases do it.
    small = "".join(char.lower() if char.isascii() else char for char in plain(text)[:MAX_TEXT])
    return tuple(dict.fromkeys(small.split()))[:MAX_WORDS]


def _search(session: Session, which: RunSearch, *, limit: int, before: int) -> RunPage:
    statuses = frozenset(RunStatus) if which.statuses is None else which.statuses
    words = words_of(which.text)
    if not statuses or limit < 1:
        return RunPage((), None)
    if not words and which.repository_id is None and which.source is None:
        newest = newest_statement(statuses, is_of_user=which.user_id is not None)
        rows = session.all(
            newest, organization=which.organization_id, user=which.user_id, before=before, portion=limit + 1
        )
        found = _runs(session, [row[0] for row in rows[:limit]])
        return RunPage(found, rows[limit - 1][0] if len(rows) > limit else None)
    look = look_statement(
        statuses,
        len(words),
        is_of_user=which.user_id is not None,
        has_repository=which.repository_id is not None,
        has_source=which.source is not None,
    )
    values = {
        "organization": which.organization_id,
        "user": which.user_id,
        "repository": which.repository_id,
        "asked_by": None if which.source is None else which.source.value,
        **{f"word{number}": word for number, word in enumerate(words)},
    }
    wanted: list[int] = []
    for _ in range(MAX_LOOKED_AT // PORTION):
        rows = session.all(look, before=before, portion=PORTION, **values)
        wanted += [run_id for run_id, is_wanted in rows if is_wanted]
        if len(wanted) > limit:
            return RunPage(_runs(session, wanted[:limit]), wanted[limit - 1])
        if len(rows) < PORTION:
            return RunPage(_runs(session, wanted), None)
        before = rows[-1][0]
    return RunPage(_runs(session, wanted), before)


def _runs(session: Session, run_ids: Sequence[int]) -> Sequence[Run]:
    """Newest first. Asked for by their ids, which are few: with the search inside that statement PostgreSQL may rather
    read the whole table."""
    if not run_ids:
        return ()
    count = 1 << (len(run_ids) - 1).bit_length()  # few statements to compile: the rest is filled up
    padded = [*run_ids, *[run_ids[-1]] * (count - len(run_ids))]
    rows = session.all(_runs_statement(count), **{f"run{number}": run_id for number, run_id in enumerate(padded)})
    found = steps_of(session, run_ids, with_outputs=False)
    return tuple(run_of(row, found.get(row[0], ())) for row in rows)
