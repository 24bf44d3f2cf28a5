"""Creates runs: run, steps, first event, secrets and idempotency key, in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, false, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or  # SQLite's dialect writes its ON CONFLICT the same way

from treadle.domain.errors import AllowanceUsedUp, IdempotencyMismatch, MonthUsedUp, NotFound
from treadle.domain.events import Draft, EventType
from treadle.domain.identity import Principal
from treadle.domain.money import is_used_up, month_sentence
from treadle.domain.run import Run, RunDraft, Step
from treadle.domain.states import RunStatus, StepStatus
from treadle.ports import Idempotency
from treadle.ports.trust import AuditEntry
from treadle.store import branches, costs, events, secrets
from treadle.store.audit import add_entry
from treadle.store.branch_key import branch_key
from treadle.store.prepared import Prepared, Row, constant, insert_into
from treadle.store.run_rows import load
from treadle.store.session import Dangling, Executor, Session, Taken
from treadle.store.tables import allowances, idempotency_keys, run_files, runs, steps
from treadle.store.values import json_of, micros, plain, policy_json, rules_json

_ZERO: ColumnElement[int] = literal_column("0")

_GIVEN = (
    "uuid", "organization_id", "organization_uuid", "user_id", "user_uuid", "repository_id", "git_url", "branch_source",
    "branch_work", "code_guidelines", "file_ids", "generate_diff", "engine", "model", "branch_key", "holds_branch",
    "traceparent", "event_bytes", "source", "purpose", "metadata", "opens_pull_request",
    "max_cost_usd", "network", "validation",
)  # fmt: skip
_INSERT_RUN = Prepared(
    insert_into(
        runs,
        *_GIVEN,
        status=constant(RunStatus.NEW),
        lease=_ZERO,
        lost_workers=_ZERO,
        secrets_version=_ZERO,
        last_event=literal_column("1"),
        last_write=_ZERO,
        has_diff=false(),
        first_step=literal_column("1"),
        date_created=bindparam("now", type_=runs.c.date_created.type),
        date_updated=bindparam("now", type_=runs.c.date_updated.type),
    ).returning(runs.c.id)
)

_NAME_BRANCH = Prepared(
    update(runs)
    .where(runs.c.id == bindparam("run"))
    .values(
        branch_work=bindparam("branch", type_=runs.c.branch_work.type),
        branch_key=bindparam("key", type_=runs.c.branch_key.type),
        holds_branch=bindparam("holds", type_=runs.c.holds_branch.type),
    )
)

_COUNT = Prepared(
    insert_or(allowances)
    .values(
        organization_id=bindparam("organization", type_=allowances.c.organization_id.type),
        month=bindparam("in_month", type_=allowances.c.month.type),
        runs=literal_column("1"),
    )
    .on_conflict_do_update(index_elements=[*allowances.primary_key], set_={"runs": allowances.c.runs + 1})
    .returning(allowances.c.runs)
)

_STEP_GIVEN = ("run_id", "position", "uuid", "text", "is_commitable", "is_structured", "is_follow_up", "file_ids")
INSERT_STEP = Prepared(
    insert_into(
        steps,
        *_STEP_GIVEN,
        status=constant(StepStatus.NOT_STARTED),
        input_tokens=_ZERO,
        output_tokens=_ZERO,
        cost_usd=_ZERO,
        duration_ms=_ZERO,
    )
)

_INSERT_FILE = Prepared(insert_into(run_files))

# Takes the key, or finds it taken: one statement, so that of two at once one waits for the other's end.
_key = insert_or(idempotency_keys).values(
    {column: bindparam(column.name, type_=column.type) for column in idempotency_keys.columns}
)
_TAKE_KEY = Prepared(
    _key.on_conflict_do_update(
        index_elements=[*idempotency_keys.primary_key],
        set_={name: _key.excluded[name] for name in ("digest", "run_uuid", "date_created")},
        where=idempotency_keys.c.date_created < bindparam("not_before"),
    ).returning(idempotency_keys.c.run_uuid)
)
_KEY = Prepared(
    select(idempotency_keys.c.run_uuid, idempotency_keys.c.digest, idempotency_keys.c.date_created).where(
        idempotency_keys.c.organization_id == bindparam("organization"),
        idempotency_keys.c.user_id == bindparam("user"),
        idempotency_keys.c.key == bindparam("called"),
    )
)


@dataclass(frozen=True, slots=True)
class _Made:
    run_id: int
    holds_branch: bool
    branch_work: str


class RunCreation:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def create_run(
        self,
        draft: RunDraft,
        principal: Principal,
        *,
        uuid: UUID,
        step_ids: Sequence[UUID],
        secrets: Mapping[str, str],
        now: datetime,
        idempotency: Idempotency | None = None,
        traceparent: str | None = None,
        audit: AuditEntry | None = None,
        monthly_runs: int | None = None,
        monthly_cost_usd: float | None = None,
    ) -> tuple[Run, bool]:
        steps = tuple(
            Step(step_id, position, plain(step.text), step.is_commitable, step.is_structured)
            for position, (step_id, step) in enumerate(zip(step_ids, draft.steps, strict=True), 1)
        )

        def work(session: Session) -> tuple[Run, bool]:
            if idempotency is not None:
                earlier = earlier_use(session, principal, uuid, idempotency, now)
                if earlier is not None:
                    return load(session, uuid=earlier), earlier == uuid
            if monthly_runs is not None:
                _use_allowance(session, principal.organization_id, monthly_runs, now)
            if monthly_cost_usd is not None:
                _check_month(session, principal.organization_id, monthly_cost_usd, now)
            made = _insert(session, draft, principal, uuid, steps, secrets, now, traceparent=traceparent)
            if audit is not None:
                add_entry(session, replace(audit, target=str(made.run_id)))
            return _run(made, draft, principal, uuid, steps, now, traceparent), True

        def again(session: Session) -> tuple[Run, bool]:
            try:
                return load(session, uuid=uuid), True
            except NotFound:
                return work(session)

        try:
            return await self._executor.write(work, again=again)
        except Taken:  # the call was repeated
            return await self._executor.write(again)
        except Dangling as error:
            raise NotFound("A file, the repository or the owner of this run does not exist any more.") from error

    async def key_use(self, principal: Principal, idempotency: Idempotency) -> UUID | None:
        found = await self._executor.glance(lambda session: _use_of(session, principal, idempotency))
        if found is None or found[2] < micros(idempotency.not_before):
            return None
        return _same_use(found, idempotency)


def _run(
    made: _Made,
    draft: RunDraft,
    principal: Principal,
    uuid: UUID,
    run_steps: tuple[Step, ...],
    now: datetime,
    traceparent: str | None,
) -> Run:
    """The run as it would be read: what was written is known."""
    return Run(
        id=made.run_id,
        uuid=uuid,
        organization_id=principal.organization_id,
        organization_uuid=principal.organization_uuid,
        user_id=principal.user_id,
        user_uuid=principal.user_uuid,
        repository_id=draft.repository_id,
        git_url=plain(draft.git_url),
        branch_source=plain(draft.branch_source),
        branch_work=made.branch_work,
        code_guidelines=plain(draft.code_guidelines),
        file_ids=draft.file_ids,
        generate_diff=draft.generate_diff,
        engine=draft.engine,
        model=plain(draft.model),
        status=RunStatus.NEW,
        failure_details=None,
        lease=0,
        lost_workers=0,
        last_event=1,
        has_diff=False,
        date_created=now,
        date_updated=now,
        date_started=None,
        date_completed=None,
        date_runner_ping=None,
        date_kill_requested=None,
        steps=run_steps,
        is_blocked=not made.holds_branch,
        traceparent=plain(traceparent),
        source=draft.source,
        purpose=draft.purpose,
        metadata=draft.metadata,
        opens_pull_request=draft.opens_pull_request,
        max_cost_usd=draft.max_cost_usd,
        network=draft.network,
        validation=draft.validation,
    )


def _insert(
    session: Session,
    draft: RunDraft,
    principal: Principal,
    uuid: UUID,
    run_steps: Sequence[Step],
    sealed: Mapping[str, str],
    now: datetime,
    *,
    traceparent: str | None,
) -> _Made:
    is_named = draft.branch_words is None
    branch_work = plain(draft.branch_work) if is_named else ""
    key = branch_key(principal.organization_id, plain(draft.git_url), branch_work) if is_named else None
    # First, so that on one branch the runs' ids are in the order of their turns.
    holds_branch = key is None or branches.join(session, key, uuid)
    first = events.Batch([Draft(EventType.RUN_CREATED, {"steps": len(run_steps), "engine": draft.engine})])
    rows = session.all(
        _INSERT_RUN,
        uuid=str(uuid),
        organization_id=principal.organization_id,
        organization_uuid=str(principal.organization_uuid),
        user_id=principal.user_id,
        user_uuid=str(principal.user_uuid),
        repository_id=draft.repository_id,
        git_url=plain(draft.git_url),
        branch_source=plain(draft.branch_source),
        branch_work=branch_work,
        code_guidelines=plain(draft.code_guidelines),
        file_ids=json_of([str(one) for one in draft.file_ids]) if draft.file_ids else "[]",
        generate_diff=draft.generate_diff,
        engine=draft.engine.value,
        model=plain(draft.model),
        branch_key=key,
        holds_branch=holds_branch,
        traceparent=plain(traceparent),
        event_bytes=first.size,
        source=draft.source.value,
        purpose=draft.purpose.value,
        metadata=None if draft.metadata is None else json_of(draft.metadata),
        opens_pull_request=draft.opens_pull_request,
        max_cost_usd=draft.max_cost_usd,
        network=policy_json(draft.network),
        validation=rules_json(draft.validation),
        now=micros(now),
    )
    run_id: int = rows[0][0]
    if key is None:
        branch_work = f"treadle/{run_id}-{plain(draft.branch_words)}"
        key = branch_key(principal.organization_id, plain(draft.git_url), branch_work)
        holds_branch = branches.join(session, key, uuid)
        session.run(_NAME_BRANCH, run=run_id, branch=branch_work, key=key, holds=holds_branch)
    session.many(
        INSERT_STEP,
        [step_row(run_id, step) for step in run_steps],
    )
    events.write(session, run_id, 1, first, now)
    secrets.add(session, uuid, principal.organization_id, sealed, now)
    if draft.file_ids:
        session.many(_INSERT_FILE, [{"file_uuid": str(one), "run_id": run_id} for one in dict.fromkeys(draft.file_ids)])
    return _Made(run_id, holds_branch, branch_work)


def step_row(run_id: int, step: Step) -> Mapping[str, object]:
    """What INSERT_STEP takes."""
    return {
        "run_id": run_id,
        "position": step.position,
        "uuid": str(step.id),
        "text": plain(step.text),
        "is_commitable": step.is_commitable,
        "is_structured": step.is_structured,
        "is_follow_up": step.is_follow_up,
        "file_ids": json_of([str(one) for one in step.file_ids]) if step.file_ids else "[]",
    }


def _use_allowance(session: Session, organization_id: int, monthly_runs: int, now: datetime) -> None:
    """Raises AllowanceUsedUp; then nothing is counted, as nothing of this transaction is."""
    month = now.astimezone(UTC)
    rows = session.all(_COUNT, organization=organization_id, in_month=month.year * 100 + month.month)
    if rows[0][0] > monthly_runs:
        raise AllowanceUsedUp(
            f"The organization has made its {monthly_runs:,} runs of this month.",
            hint="An administrator can change that: `treadle admin org limit`.",
        )


def _check_month(session: Session, organization_id: int, cap: float, now: datetime) -> None:
    """Raises MonthUsedUp."""
    spent = costs.month_cost(session, organization_id, now)
    if is_used_up(spent, cap):
        raise MonthUsedUp(month_sentence(cap, spent, now), hint="An ADMIN can raise that.")


def earlier_use(
    session: Session, principal: Principal, uuid: UUID, idempotency: Idempotency, now: datetime
) -> UUID | None:
    """What this key made before, a run or whatever has a UUID; None once the key is this one's."""
    taken = session.one(
        _TAKE_KEY,
        organization_id=principal.organization_id,
        user_id=principal.user_id,
        key=plain(idempotency.key),
        digest=idempotency.digest,
        run_uuid=str(uuid),
        date_created=micros(now),
        not_before=micros(idempotency.not_before),
    )
    if taken is not None:
        return None
    found = _use_of(session, principal, idempotency)
    if found is None:
        raise RuntimeError("An idempotency key was taken and is not there.")
    return _same_use(found, idempotency)


def _use_of(session: Session, principal: Principal, idempotency: Idempotency) -> Row | None:
    return session.one(
        _KEY, organization=principal.organization_id, user=principal.user_id, called=plain(idempotency.key)
    )


def _same_use(found: Row, idempotency: Idempotency) -> UUID:
    """Raises IdempotencyMismatch."""
    if found[1] != idempotency.digest:
        raise IdempotencyMismatch(
            "This Idempotency-Key was used with another request.", hint="Use a new key for a new request."
        )
    return UUID(found[0])
