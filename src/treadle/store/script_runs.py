"""Runs of scripts, with the journal and the log of each."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, bindparam, delete, func, literal_column, null, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or  # SQLite's dialect writes its ON CONFLICT the same way

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.events import JsonObject, JsonValue
from treadle.domain.identity import Principal
from treadle.domain.script_runs import (
    SCRIPT_RUN_ALIVE,
    ScriptLogLine,
    ScriptRun,
    ScriptRunDraft,
    ScriptRunStatus,
)
from treadle.ports import Idempotency
from treadle.ports.chores import ChoreKind
from treadle.ports.script_runs import ScriptFilter
from treadle.ports.scripting import Answer, ScriptLine
from treadle.ports.scripting import JsonObject as CallArguments
from treadle.ports.trust import AuditEntry
from treadle.store import chores
from treadle.store.audit import add_entry
from treadle.store.automation_tables import firings, script_calls, script_logs, script_runs
from treadle.store.prepared import Prepared, Row, insert_into
from treadle.store.run_creation import earlier_use
from treadle.store.session import Dangling, Executor, Session, Taken
from treadle.store.values import date_of, json_of, micros, optional_date, plain

#: So many that have ended are forgotten by one that begins, at most.
_FORGOTTEN = 100


def _word(status: ScriptRunStatus) -> ColumnElement[str]:
    return literal_column(f"'{status}'")


_IS_ALIVE = script_runs.c.status.in_([_word(status) for status in sorted(SCRIPT_RUN_ALIVE)])
_ZERO: ColumnElement[int] = literal_column("0")
_NAMES = (
    "id", "uuid", "organization_id", "user_id", "script_id", "version", "name", "source", "inputs", "status", "outputs",
    "failure_details", "waits_for", "calls", "log_lines", "date_created", "date_started", "date_completed",
)  # fmt: skip
_WHOLE = tuple(script_runs.c[name] for name in _NAMES)
#: Without what may be large.
_SHORT = tuple(
    {"source": literal_column("''"), "inputs": literal_column("'{}'"), "outputs": null()}.get(name, script_runs.c[name])
    for name in _NAMES
)
_IN_ORGANIZATION = script_runs.c.organization_id == bindparam("organization")
_IS_MINE = script_runs.c.user_id == bindparam("user")
_IS_IT = script_runs.c.id == bindparam("row")
_AT = bindparam("now", type_=script_runs.c.date_created.type)

_ADD = Prepared(
    insert_into(
        script_runs,
        "uuid", "organization_id", "user_id", "script_id", "version", "name", "source", "inputs", "date_created",
        status=_word(ScriptRunStatus.NEW),
        calls=_ZERO,
        log_lines=_ZERO,
    ).returning(*_WHOLE)
)  # fmt: skip
_BY_UUID = Prepared(select(*_WHOLE).where(script_runs.c.uuid == bindparam("named")))
_BY_ID = Prepared(select(*_WHOLE).where(_IS_IT))
_ALIVE = Prepared(select(func.count()).select_from(script_runs).where(_IN_ORGANIZATION, _IS_ALIVE))
_OLD = Prepared(
    select(script_runs.c.id)
    .where(_IN_ORGANIZATION, ~_IS_ALIVE)
    .order_by(script_runs.c.id.desc())
    .limit(bindparam("most", type_=Integer))
    .offset(bindparam("keep", type_=Integer))
)
_FORGET = (
    Prepared(update(firings).where(firings.c.script_run_id == bindparam("row")).values(script_run_id=null())),
    Prepared(delete(script_calls).where(script_calls.c.script_run_id == bindparam("row"))),
    Prepared(delete(script_logs).where(script_logs.c.script_run_id == bindparam("row"))),
    Prepared(delete(script_runs).where(_IS_IT)),
)

_BEGIN = Prepared(
    update(script_runs)
    .where(_IS_IT, _IS_ALIVE)
    .values(status=_word(ScriptRunStatus.RUNNING), date_started=func.coalesce(script_runs.c.date_started, _AT))
)
_WAIT = Prepared(
    update(script_runs)
    .where(_IS_IT, _IS_ALIVE)
    .values(waits_for=bindparam("waiting", type_=script_runs.c.waits_for.type))
)
_END = Prepared(
    update(script_runs)
    .where(_IS_IT, _IS_ALIVE)
    .values(
        status=bindparam("ended_as", type_=script_runs.c.status.type),
        outputs=bindparam("given", type_=script_runs.c.outputs.type),
        failure_details=bindparam("details", type_=script_runs.c.failure_details.type),
        waits_for=null(),
        date_completed=_AT,
    )
)

_OF_IT = script_calls.c.script_run_id == bindparam("row")
_put = insert_or(script_calls).values(
    {column: bindparam(column.name, type_=column.type) for column in script_calls.columns}
)
_PUT_CALL = Prepared(_put.on_conflict_do_nothing(index_elements=[*script_calls.primary_key]))
_ANSWER = (script_calls.c.number, script_calls.c.name, script_calls.c.digest, script_calls.c.answer)
_ONE_ANSWER = Prepared(select(*_ANSWER).where(_OF_IT, script_calls.c.number == bindparam("called")))
_ANSWERS = Prepared(select(*_ANSWER).where(_OF_IT).order_by(script_calls.c.number))
#: Locks the row too: whoever ends the run and whoever answers a call of it take turns.
_COUNT_CALL = Prepared(
    update(script_runs)
    .where(_IS_IT, _IS_ALIVE)
    .values(
        calls=func.coalesce(
            select(func.max(script_calls.c.number)).where(script_calls.c.script_run_id == script_runs.c.id)
            .scalar_subquery(),
            _ZERO,
        ),
        waits_for=null(),
    )
)  # fmt: skip

_line = insert_or(script_logs).values(
    {column: bindparam(column.name, type_=column.type) for column in script_logs.columns}
)
_PUT_LINE = Prepared(_line.on_conflict_do_nothing(index_elements=[*script_logs.primary_key]))
_COUNT_LINE = Prepared(
    update(script_runs)
    .where(_IS_IT, script_runs.c.log_lines < bindparam("lines"))
    .values(log_lines=bindparam("lines", type_=script_runs.c.log_lines.type))
)
_LOG = Prepared(
    select(script_logs.c.number, script_logs.c.text, script_logs.c.date)
    .where(script_logs.c.script_run_id == bindparam("row"), script_logs.c.number > bindparam("after"))
    .order_by(script_logs.c.number)
    .limit(bindparam("limit", type_=Integer))
)


@lru_cache(maxsize=4)
def _seen(*, by_uuid: bool, is_own: bool) -> Prepared:
    which = script_runs.c.uuid == bindparam("named") if by_uuid else _IS_IT
    found = select(*_WHOLE).where(_IN_ORGANIZATION, which)
    return Prepared(found.where(_IS_MINE) if is_own else found)


@lru_cache(maxsize=4)
def _newest(*, is_own: bool, of_script: bool) -> Prepared:
    found = select(*_SHORT).where(_IN_ORGANIZATION, script_runs.c.id < bindparam("before"))
    found = found.where(_IS_MINE) if is_own else found
    found = found.where(script_runs.c.script_id == bindparam("script")) if of_script else found
    return Prepared(found.order_by(script_runs.c.id.desc()).limit(bindparam("limit", type_=Integer)))


class ScriptRuns:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_script_run(
        self,
        draft: ScriptRunDraft,
        principal: Principal,
        *,
        uuid: UUID,
        now: datetime,
        keep: int,
        most_alive: int,
        idempotency: Idempotency | None = None,
        audit: AuditEntry | None = None,
    ) -> tuple[ScriptRun, bool]:
        organization = principal.organization_id

        def work(session: Session) -> tuple[ScriptRun, bool]:
            session.lock(f"scripts {organization}", wait=True)
            known = session.one(_BY_UUID, named=str(uuid))
            if known is not None:
                return _run_of(known), False
            if (
                idempotency is not None
                and (earlier := earlier_use(session, principal, uuid, idempotency, now)) is not None
            ):
                return _earlier(session, earlier), False
            _make_room(session, organization, keep=keep, most_alive=most_alive)
            made = _run_of(session.all(_ADD, **_values(draft, principal, uuid, now))[0])
            if audit is not None:
                add_entry(session, replace(audit, target=str(made.id)))
            chores.plan(session, ChoreKind.SCRIPT, made.id, now)
            return made, True

        def again(session: Session) -> tuple[ScriptRun, bool]:
            row = session.one(_BY_UUID, named=str(uuid))
            return work(session) if row is None else (_run_of(row), True)

        try:
            return await self._executor.write(work, again=again)
        except Taken:  # the call was repeated
            return await self._executor.write(work)
        except Dangling as error:
            raise NotFound("The script or its owner does not exist any more.") from error

    async def script_run(self, which: int | UUID, seen_by: ScriptFilter) -> ScriptRun:
        asked = _seen(by_uuid=isinstance(which, UUID), is_own=seen_by.user_id is not None)
        row = await self._executor.glance(
            lambda session: session.one(
                asked,
                row=which if isinstance(which, int) else 0,
                named=str(which),
                organization=seen_by.organization_id,
                user=seen_by.user_id,
            )
        )
        return _found(row)

    async def script_run_by_id(self, script_run_id: int) -> ScriptRun:
        return _found(await self._executor.glance(lambda session: session.one(_BY_ID, row=script_run_id)))

    async def script_runs(
        self, seen_by: ScriptFilter, *, script_id: int | None = None, limit: int, before: int | None = None
    ) -> Sequence[ScriptRun]:
        asked = _newest(is_own=seen_by.user_id is not None, of_script=script_id is not None)
        rows = await self._executor.read(
            lambda session: session.all(
                asked,
                organization=seen_by.organization_id,
                user=seen_by.user_id,
                script=script_id,
                before=before if before is not None else 1 << 62,
                limit=limit,
            )
        )
        return tuple(map(_run_of, rows))

    async def begin_script_run(self, script_run_id: int, now: datetime) -> bool:
        def work(session: Session) -> bool:
            return session.run(_BEGIN, row=script_run_id, now=micros(now)) > 0

        return await self._executor.write(work, again=work)

    async def wait_script_run(self, script_run_id: int, waits_for: JsonObject) -> None:
        def work(session: Session) -> None:
            session.run(_WAIT, row=script_run_id, waiting=json_of(waits_for))

        await self._executor.write(work, again=work)

    async def end_script_run(
        self,
        script_run_id: int,
        status: ScriptRunStatus,
        now: datetime,
        *,
        outputs: JsonValue = None,
        details: str | None = None,
    ) -> bool:
        given = None if outputs is None else json_of(outputs)

        def work(session: Session) -> bool:
            changed = session.run(
                _END, row=script_run_id, ended_as=str(status), given=given, details=plain(details), now=micros(now)
            )
            return changed > 0

        return await self._executor.write(work, again=work)

    async def answer_call(
        self, script_run_id: int, answer: Answer, arguments: CallArguments, now: datetime
    ) -> Answer | None:
        row = {
            "script_run_id": script_run_id,
            "number": answer.number,
            "name": answer.name,
            "digest": answer.digest,
            "arguments": json_of(arguments),
            "answer": json_of(answer.result),
            "date_created": micros(now),
            "date_answered": micros(now),
        }

        def work(session: Session) -> Answer | None:
            if session.run(_COUNT_CALL, row=script_run_id) == 0:
                return None
            session.run(_PUT_CALL, **row)
            session.run(_COUNT_CALL, row=script_run_id)
            return _answer_of(session.all(_ONE_ANSWER, row=script_run_id, called=answer.number)[0])

        return await self._executor.write(work, again=work)

    async def journal(self, script_run_id: int) -> Sequence[Answer]:
        rows = await self._executor.read(lambda session: session.all(_ANSWERS, row=script_run_id))
        return tuple(map(_answer_of, rows))

    async def tell_script_line(self, script_run_id: int, line: ScriptLine, now: datetime) -> None:
        def work(session: Session) -> None:
            session.run(
                _PUT_LINE, script_run_id=script_run_id, number=line.number, text=plain(line.text), date=micros(now)
            )
            session.run(_COUNT_LINE, row=script_run_id, lines=line.number)

        await self._executor.write(work, again=work)

    async def script_log(self, script_run_id: int, *, after: int, limit: int) -> Sequence[ScriptLogLine]:
        rows = await self._executor.read(lambda session: session.all(_LOG, row=script_run_id, after=after, limit=limit))
        return tuple(ScriptLogLine(number, text, date_of(date)) for number, text, date in rows)


def _earlier(session: Session, uuid: UUID) -> ScriptRun:
    row = session.one(_BY_UUID, named=str(uuid))
    if row is None:
        raise NotFound("What this Idempotency-Key started is not kept any more.")
    return _run_of(row)


def _make_room(session: Session, organization_id: int, *, keep: int, most_alive: int) -> None:
    """Raises Conflict where there is none, and forgets what ended long ago."""
    (alive,) = session.all(_ALIVE, organization=organization_id)[0]
    if alive >= most_alive:
        raise Conflict(
            f"The organization has {most_alive:,} runs of scripts that have not ended.",
            hint="Wait for one to end, or kill one.",
        )
    for (old,) in session.all(_OLD, organization=organization_id, keep=keep, most=_FORGOTTEN):
        for statement in _FORGET:
            session.run(statement, row=old)


def _values(draft: ScriptRunDraft, principal: Principal, uuid: UUID, now: datetime) -> dict[str, object]:
    return {
        "uuid": str(uuid),
        "organization_id": principal.organization_id,
        "user_id": principal.user_id,
        "script_id": draft.script_id,
        "version": draft.version,
        "name": plain(draft.name),
        "source": plain(draft.source),
        "inputs": json_of(draft.inputs),
        "date_created": micros(now),
    }


def _found(row: Row | None) -> ScriptRun:
    if row is None:
        raise NotFound("There is no such run of a script.")
    return _run_of(row)


def _run_of(row: Row) -> ScriptRun:
    (
        id_, uuid, organization, user, script, version, name, source, inputs, status, outputs, details, waits_for,
        calls, lines, created, started, completed,
    ) = row  # fmt: skip
    return ScriptRun(
        id=id_,
        uuid=UUID(uuid),
        organization_id=organization,
        user_id=user,
        script_id=script,
        version=version,
        name=name,
        source=source,
        inputs=json.loads(inputs),
        status=ScriptRunStatus(status),
        outputs=None if outputs is None else json.loads(outputs),
        failure_details=details,
        waits_for=None if waits_for is None else json.loads(waits_for),
        calls=calls,
        log_lines=lines,
        date_created=date_of(created),
        date_started=optional_date(started),
        date_completed=optional_date(completed),
    )


def _answer_of(row: Row) -> Answer:
    number, name, digest, answer = row
    return Answer(number, name, digest, json.loads(answer))
