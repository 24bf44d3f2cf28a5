"""What deliveries are about: runs by their branches, issues and pull requests, and checks that failed."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import itemgetter

from sqlalchemy import bindparam, case, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or  # SQLite's dialect writes its ON CONFLICT the same way

from treadle.domain.deliveries import Subject
from treadle.domain.errors import NotFound
from treadle.domain.events import JsonObject
from treadle.domain.run import Run
from treadle.domain.triggers import Thread
from treadle.ports.triggers import CheckState, CheckWanted
from treadle.store.automation_tables import check_tries, threads
from treadle.store.branch_key import branch_key
from treadle.store.prepared import Prepared, Row, only
from treadle.store.run_rows import load
from treadle.store.session import Dangling, Executor, Session
from treadle.store.tables import IS_CODE, pull_requests, runs, steps
from treadle.store.values import json_of, micros, plain

#: Runs of which a commit is looked for among the steps, the newest.
NEWEST_RUNS = 5_000

ON_BRANCH = Prepared(
    select(runs.c.id)
    .where(
        only(runs.c.branch_key, bindparam("on", type_=runs.c.branch_key.type)),
        IS_CODE,
        # Not `IS NOT NULL`: where few runs have one, PostgreSQL counts on finding none, and sorts all of the branch.
        func.coalesce(runs.c.repository_id, literal_column("0")) > literal_column("0"),
    )
    .order_by(runs.c.branch_key.desc(), runs.c.id.desc())
    .limit(literal_column("1"))
)
#: Branches that one statement looks up.
_ON_BRANCHES = 256


@lru_cache(maxsize=16)
def on_any(count: int) -> Prepared:
    wanted = [bindparam(f"on{number}", type_=runs.c.branch_key.type) for number in range(count)]
    return Prepared(
        select(runs.c.branch_key, func.max(runs.c.id))
        .where(runs.c.branch_key.in_(wanted), IS_CODE)
        .group_by(runs.c.branch_key)
    )


_newest = select(func.max(runs.c.id) - literal_column(str(NEWEST_RUNS))).scalar_subquery()
_PUSHED = Prepared(
    select(runs.c.id)
    .join_from(runs, steps, steps.c.run_id == runs.c.id)
    .where(
        runs.c.id > _newest, runs.c.repository_id == bindparam("repository"), steps.c.commit_sha == bindparam("commit")
    )
    .order_by(runs.c.id.desc())
    .limit(literal_column("1"))
)
_OPENED = Prepared(
    select(pull_requests.c.run_id).where(
        pull_requests.c.repository_id == bindparam("repository"), pull_requests.c.number == bindparam("number")
    )
)

_COLUMNS = (
    threads.c.id, threads.c.repository_id, threads.c.subject, threads.c.number, threads.c.trigger_id, threads.c.run_id,
    threads.c.last_step, threads.c.answered_step, threads.c.detail,
)  # fmt: skip
_THREAD = Prepared(select(*_COLUMNS).where(threads.c.id == bindparam("row")))
_ABOUT = Prepared(
    select(*_COLUMNS)
    .where(
        threads.c.repository_id == bindparam("repository"),
        threads.c.subject == bindparam("what"),
        threads.c.number == bindparam("number"),
    )
    .order_by(threads.c.date_updated.desc(), threads.c.id.desc())
)
_OF_RUN = Prepared(select(*_COLUMNS).where(threads.c.run_id == bindparam("run")).order_by(threads.c.id))
_put = insert_or(threads).values(
    {
        column.name: bindparam(column.name, type_=column.type)
        for column in threads.columns
        if column.name not in {"id", "answered_step"}
    }
    | {"answered_step": literal_column("0")}
)
_is_same = threads.c.run_id == _put.excluded.run_id
_later = case((threads.c.last_step > _put.excluded.last_step, threads.c.last_step), else_=_put.excluded.last_step)
_PUT = Prepared(
    _put.on_conflict_do_update(
        index_elements=[threads.c.repository_id, threads.c.subject, threads.c.number, threads.c.trigger_id],
        set_={
            "run_id": _put.excluded.run_id,
            "last_step": case((_is_same, _later), else_=_put.excluded.last_step),
            "answered_step": case((_is_same, threads.c.answered_step), else_=literal_column("0")),
            "detail": _put.excluded.detail,
            "date_updated": _put.excluded.date_updated,
        },
    ).returning(*_COLUMNS)
)
_ANSWERED = Prepared(
    update(threads)
    .where(
        threads.c.id == bindparam("row"),
        threads.c.run_id == bindparam("run"),
        threads.c.answered_step < bindparam("step", type_=threads.c.answered_step.type),
    )
    .values(
        answered_step=bindparam("step", type_=threads.c.answered_step.type),
        date_updated=bindparam("now", type_=threads.c.date_updated.type),
    )
)

_CHECKS = Prepared(
    select(
        check_tries.c.name,
        check_tries.c.tries,
        check_tries.c.sha,
        check_tries.c.delivery,
        check_tries.c.run_id,
        check_tries.c.wakes,
    ).where(check_tries.c.branch == bindparam("on"))
)
_take = insert_or(check_tries).values(
    {column.name: bindparam(column.name, type_=column.type) for column in check_tries.columns}
)
_TAKE = Prepared(
    _take.on_conflict_do_update(
        index_elements=[*check_tries.primary_key],
        set_={name: _take.excluded[name] for name in ("tries", "wakes", "sha", "delivery", "run_id", "date_updated")},
    )
)
_PASS = Prepared(
    update(check_tries)
    .where(
        check_tries.c.branch == bindparam("on"),
        check_tries.c.name == bindparam("called"),
        check_tries.c.tries > literal_column("0"),
    )
    .values(tries=literal_column("0"), sha=literal_column("''"), delivery=literal_column("0"))
)


class Threads:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def newest_run_on(self, organization_id: int, git_url: str, branch: str) -> Run | None:
        key = branch_key(organization_id, plain(git_url), plain(branch))
        return await self._run(ON_BRANCH, on=key)

    async def run_on_any(self, organization_id: int, git_url: str, branches: Sequence[str]) -> tuple[int, str] | None:
        keys = {branch_key(organization_id, plain(git_url), plain(branch)): branch for branch in branches}
        if not keys:
            return None
        rows = await self._executor.read(lambda session: _made_on(session, list(keys)))
        newest = max(rows, key=itemgetter(1), default=None)
        return None if newest is None else (newest[1], keys[newest[0]])

    async def run_that_pushed(self, repository_id: int, sha: str) -> Run | None:
        return await self._run(_PUSHED, repository=repository_id, commit=plain(sha))

    async def run_of_pull_request(self, repository_id: int, number: int) -> int | None:
        row = await self._executor.glance(lambda session: session.one(_OPENED, repository=repository_id, number=number))
        return None if row is None else int(row[0])

    async def thread(self, thread_id: int) -> Thread | None:
        row = await self._executor.glance(lambda session: session.one(_THREAD, row=thread_id))
        return None if row is None else _thread_of(row)

    async def threads_about(self, repository_id: int, subject: Subject, number: int) -> Sequence[Thread]:
        rows = await self._executor.read(
            lambda session: session.all(_ABOUT, repository=repository_id, what=str(subject), number=number)
        )
        return tuple(map(_thread_of, rows))

    async def threads_of_run(self, run_id: int) -> Sequence[Thread]:
        rows = await self._executor.read(lambda session: session.all(_OF_RUN, run=run_id))
        return tuple(map(_thread_of, rows))

    async def put_thread(
        self,
        repository_id: int,
        subject: Subject,
        number: int,
        trigger_id: int,
        *,
        run_id: int,
        step: int,
        detail: JsonObject,
        now: datetime,
    ) -> Thread:
        def work(session: Session) -> Thread:
            rows = session.all(
                _PUT,
                repository_id=repository_id,
                subject=str(subject),
                number=number,
                trigger_id=trigger_id,
                run_id=run_id,
                last_step=step,
                detail=json_of(detail),
                date_created=micros(now),
                date_updated=micros(now),
            )
            return _thread_of(rows[0])

        try:
            return await self._executor.write(work, again=work)
        except Dangling as error:
            raise NotFound("The trigger does not exist any more.") from error

    async def answered(self, thread_id: int, run_id: int, step: int, now: datetime) -> None:
        def work(session: Session) -> None:
            session.run(_ANSWERED, row=thread_id, run=run_id, step=step, now=micros(now))

        await self._executor.write(work, again=work)

    async def take_checks(
        self,
        organization_id: int,
        git_url: str,
        branch: str,
        sha: str,
        wanted: Sequence[CheckWanted],
        *,
        most_wakes: int,
        run_id: int,
        delivery: int,
        now: datetime,
    ) -> tuple[Sequence[str], Mapping[str, CheckState]]:
        key = branch_key(organization_id, plain(git_url), plain(branch))

        def work(session: Session) -> tuple[Sequence[str], Mapping[str, CheckState]]:
            session.lock(f"checks {key}", wait=True)
            known = {row[0]: CheckState(*row) for row in session.all(_CHECKS, on=key)}
            taken, wakes = list[str](), sum(state.wakes for state in known.values())
            is_counted = any((state.sha, state.delivery) == (sha, delivery) for state in known.values())
            for check in wanted:
                name = plain(check.name)
                state = known.get(name)
                if state is not None and state.sha == sha:
                    if state.delivery == delivery:
                        taken.append(check.name)
                    continue
                tries, woken = (0, 0) if state is None else (state.tries, state.wakes)
                if tries >= check.most or (wakes >= most_wakes and not is_counted):
                    continue
                woken, is_counted = woken + (not is_counted), True
                known[name] = CheckState(name, tries + 1, sha, delivery, run_id, woken)
                session.run(
                    _TAKE,
                    branch=key,
                    name=name,
                    organization_id=organization_id,
                    tries=tries + 1,
                    wakes=woken,
                    sha=sha,
                    delivery=delivery,
                    run_id=run_id,
                    date_updated=micros(now),
                )
                taken.append(check.name)
            return tuple(taken), known

        return await self._executor.write(work, again=work)

    async def pass_check(self, organization_id: int, git_url: str, branch: str, name: str) -> bool:
        key = branch_key(organization_id, plain(git_url), plain(branch))

        def work(session: Session) -> bool:
            return session.run(_PASS, on=key, called=plain(name)) > 0

        return await self._executor.write(work, again=work)

    async def _run(self, statement: Prepared, **asked: object) -> Run | None:
        def look(session: Session) -> Run | None:
            row = session.one(statement, **asked)
            return None if row is None else load(session, run_id=row[0])

        return await self._executor.read(look)


def _made_on(session: Session, keys: Sequence[str]) -> Sequence[Row]:
    rows: list[Row] = []
    for start in range(0, len(keys), _ON_BRANCHES):
        wanted = keys[start : start + _ON_BRANCHES]
        count = 1 << (len(wanted) - 1).bit_length()  # few statements to compile: the rest is filled up
        padded = [*wanted, *[wanted[-1]] * (count - len(wanted))]
        rows += session.all(on_any(count), **{f"on{number}": key for number, key in enumerate(padded)})
    return rows


def _thread_of(row: Row) -> Thread:
    id_, repository_id, subject, number, trigger_id, run_id, last_step, answered_step, detail = row
    return Thread(
        id_, repository_id, Subject(subject), number, trigger_id, run_id, last_step, answered_step, json.loads(detail)
    )
