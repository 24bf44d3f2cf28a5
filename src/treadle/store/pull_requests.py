"""What runs opened at forges."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or  # SQLite's dialect writes its ON CONFLICT the same way

from treadle.domain.errors import NotFound
from treadle.domain.repository import PullRequest, PullRequestState
from treadle.ports import Fence
from treadle.store.known import member
from treadle.store.prepared import Prepared, Row
from treadle.store.session import Dangling, Executor, Session
from treadle.store.tables import pull_request_runs, pull_requests
from treadle.store.transitions import held
from treadle.store.values import date_of, micros, plain

#: Runs whose pull requests are fetched by one statement; SQLite takes at most 32,766 parameters.
_OF_RUNS = 1024

_COLUMNS = (
    pull_requests.c.id, pull_requests.c.organization_id, pull_requests.c.repository_id, pull_requests.c.run_id,
    pull_requests.c.number, pull_requests.c.title, pull_requests.c.url, pull_requests.c.state,
    pull_requests.c.head_branch, pull_requests.c.date_created,
)  # fmt: skip
_put = insert_or(pull_requests).values(
    {column.name: bindparam(column.name, type_=column.type) for column in pull_requests.columns if not column.identity}
)
# The first run that had it stays the one that opened it.
_PUT = Prepared(
    _put.on_conflict_do_update(
        index_elements=[pull_requests.c.repository_id, pull_requests.c.number],
        set_={name: _put.excluded[name] for name in ("title", "url", "state", "head_branch", "date_updated")},
    ).returning(*_COLUMNS)
)
_LIST = Prepared(
    insert_or(pull_request_runs)
    .values({column.name: bindparam(column.name, type_=column.type) for column in pull_request_runs.columns})
    .on_conflict_do_nothing(index_elements=[*pull_request_runs.primary_key])
)
_ONE = Prepared(
    select(*_COLUMNS).where(
        pull_requests.c.id == bindparam("pull_request"), pull_requests.c.organization_id == bindparam("organization")
    )
)
_UPDATE = Prepared(
    update(pull_requests)
    .where(pull_requests.c.id == bindparam("pull_request"))
    .values(
        {
            name: bindparam(parameter, type_=pull_requests.c[name].type)
            for name, parameter in (("state", "became"), ("title", "called"), ("date_updated", "now"))
        }
    )
)


@lru_cache(maxsize=16)
def of_runs(count: int) -> Prepared:
    wanted = [bindparam(f"run{number}", type_=pull_request_runs.c.run_id.type) for number in range(count)]
    return Prepared(
        select(pull_request_runs.c.run_id, *_COLUMNS)
        .join_from(pull_request_runs, pull_requests)
        .where(pull_request_runs.c.run_id.in_(wanted))
        .order_by(pull_request_runs.c.run_id, pull_request_runs.c.pull_request_id)
    )


class PullRequests:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def put_pull_request(self, fence: Fence, pull_request: PullRequest, now: datetime) -> PullRequest:
        def work(session: Session) -> PullRequest:
            run = held(session, fence)
            rows = session.all(
                _PUT,
                organization_id=run.organization_id,
                repository_id=pull_request.repository_id,
                run_id=fence.run_id,
                number=pull_request.number,
                title=plain(pull_request.title),
                url=plain(pull_request.url),
                state=pull_request.state.value,
                head_branch=plain(pull_request.head_branch),
                date_created=micros(pull_request.date_created),
                date_updated=micros(now),
            )
            found = _pull_request_of(rows[0])
            session.run(_LIST, run_id=fence.run_id, pull_request_id=found.id)
            return found

        try:
            return await self._executor.write(work, again=work)
        except Dangling as error:
            raise NotFound(f"There is no repository {pull_request.repository_id}.") from error

    async def pull_request(self, organization_id: int, pull_request_id: int) -> PullRequest:
        row = await self._executor.glance(
            lambda session: session.one(_ONE, organization=organization_id, pull_request=pull_request_id)
        )
        if row is None:
            raise _missing(pull_request_id)
        return _pull_request_of(row)

    async def update_pull_request(
        self, pull_request_id: int, state: PullRequestState, title: str, now: datetime
    ) -> None:
        def work(session: Session) -> None:
            values = {"became": state.value, "called": plain(title), "now": micros(now)}
            if not session.run(_UPDATE, pull_request=pull_request_id, **values):
                raise _missing(pull_request_id)

        await self._executor.write(work, again=work)

    async def pull_requests_of(self, run_ids: Sequence[int]) -> Mapping[int, Sequence[PullRequest]]:
        if not run_ids:
            return {}
        rows = await self._executor.read(lambda session: _rows_of(session, run_ids))
        found: dict[int, list[PullRequest]] = {}
        for row in rows:
            found.setdefault(row[0], []).append(_pull_request_of(row[1:]))
        return found


def _rows_of(session: Session, run_ids: Sequence[int]) -> Sequence[Row]:
    rows: list[Row] = []
    unique = list(dict.fromkeys(run_ids))
    for start in range(0, len(unique), _OF_RUNS):
        wanted = unique[start : start + _OF_RUNS]
        count = 1 << (len(wanted) - 1).bit_length()  # few statements to compile: the rest is filled up
        padded = [*wanted, *[wanted[-1]] * (count - len(wanted))]
        rows += session.all(of_runs(count), **{f"run{number}": run_id for number, run_id in enumerate(padded)})
    return rows


def _pull_request_of(row: Row) -> PullRequest:
    id_, organization_id, repository_id, run_id, number, title, url, state, head_branch, created = row
    return PullRequest(
        id_,
        organization_id,
        repository_id,
        run_id,
        number,
        title,
        url,
        member(PullRequestState, state) or PullRequestState.OPEN,
        head_branch,
        date_of(created),
    )


def _missing(pull_request_id: int) -> NotFound:
    return NotFound(f"There is no pull request {pull_request_id}.")
