"""Runs and steps as rows: which columns, in which order, and back."""

import json
from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import bindparam, null, select

from treadle.domain.errors import NotFound
from treadle.domain.run import EngineName, Run, RunPurpose, RunSource, Step, Usage
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.store.prepared import Prepared, Row
from treadle.store.session import Session
from treadle.store.tables import runs, steps
from treadle.store.values import date_of, optional_date, policy_of, results_of, rules_of, shared_uuid, structured_of

RUN_COLUMNS = (
    runs.c.id,
    runs.c.uuid,
    runs.c.organization_id,
    runs.c.organization_uuid,
    runs.c.user_id,
    runs.c.user_uuid,
    runs.c.repository_id,
    runs.c.git_url,
    runs.c.branch_source,
    runs.c.branch_work,
    runs.c.code_guidelines,
    runs.c.file_ids,
    runs.c.generate_diff,
    runs.c.engine,
    runs.c.model,
    runs.c.status,
    runs.c.failure_details,
    runs.c.lease,
    runs.c.lost_workers,
    runs.c.last_event,
    runs.c.has_diff,
    runs.c.date_created,
    runs.c.date_updated,
    runs.c.date_started,
    runs.c.date_completed,
    runs.c.date_runner_ping,
    runs.c.date_kill_requested,
    runs.c.holds_branch,
    runs.c.traceparent,
    runs.c.source,
    runs.c.purpose,
    runs.c.metadata,
    runs.c.opens_pull_request,
    runs.c.first_step,
    runs.c.max_cost_usd,
    runs.c.network,
    runs.c.validation,
)

STEP_COLUMNS = (
    steps.c.uuid,
    steps.c.position,
    steps.c.text,
    steps.c.is_commitable,
    steps.c.is_structured,
    steps.c.status,
    steps.c.phase,
    steps.c.output,
    steps.c.structured_output,
    steps.c.failure_details,
    steps.c.commit_sha,
    steps.c.date_started,
    steps.c.date_completed,
    steps.c.input_tokens,
    steps.c.output_tokens,
    steps.c.cost_usd,
    steps.c.duration_ms,
    steps.c.is_follow_up,
    steps.c.file_ids,
    steps.c.validation,
)

#: The same without what a list leaves out.
LISTED_STEP_COLUMNS = tuple(
    null() if column.name in {"output", "structured_output", "validation"} else column for column in STEP_COLUMNS
)

# One statement, and so one snapshot and one round trip; a run has few steps, so its columns are not repeated often.
_WHOLE = select(*RUN_COLUMNS, *STEP_COLUMNS).select_from(runs.outerjoin(steps)).order_by(steps.c.position)
BY_UUID = Prepared(_WHOLE.where(runs.c.uuid == bindparam("uuid")))
BY_ID = Prepared(_WHOLE.where(runs.c.id == bindparam("run")))

_WIDTH = len(RUN_COLUMNS)

# Looked up in a dictionary: calling an enum takes five times as long.
_RUN_STATUSES = {status.value: status for status in RunStatus}
_STEP_STATUSES = {status.value: status for status in StepStatus}
_PHASES: dict[str | None, Phase | None] = {None: None, **{phase.value: phase for phase in Phase}}
_ENGINES = {engine.value: engine for engine in EngineName}
_SOURCES = {source.value: source for source in RunSource}
_PURPOSES = {purpose.value: purpose for purpose in RunPurpose}


def run_of(row: Row, run_steps: Iterable[Step]) -> Run:
    (
        id_, uuid, organization_id, organization_uuid, user_id, user_uuid, repository_id, git_url, branch_source,
        branch_work, code_guidelines, file_ids, generate_diff, engine, model, status, failure_details, lease,
        lost_workers, last_event, has_diff, created, updated, started, completed, ping, kill,
        holds_branch, traceparent, source, purpose, metadata, opens_pull_request, first_step,
        max_cost_usd, network, validation,
    ) = row  # fmt: skip
    return Run(
        id_,
        UUID(uuid),
        organization_id,
        shared_uuid(organization_uuid),
        user_id,
        shared_uuid(user_uuid),
        repository_id,
        git_url,
        branch_source,
        branch_work,
        code_guidelines,
        _uuids(file_ids),
        bool(generate_diff),
        _ENGINES[engine],
        model,
        _RUN_STATUSES[status],
        failure_details,
        lease,
        lost_workers,
        last_event,
        bool(has_diff),
        date_of(created),
        date_of(updated),
        optional_date(started),
        optional_date(completed),
        optional_date(ping),
        optional_date(kill),
        tuple(run_steps),
        status == RunStatus.NEW and not holds_branch,
        traceparent,
        _SOURCES.get(source, RunSource.API),  # of a newer version: it is still a run
        _PURPOSES.get(purpose, RunPurpose.CODE),
        None if metadata is None else json.loads(metadata),
        bool(opens_pull_request),
        first_step,
        max_cost_usd,
        policy_of(network),
        rules_of(validation),
    )


def step_of(row: Row) -> Step:
    (
        uuid, position, text, is_commitable, is_structured, status, phase, output, structured_output, failure_details,
        commit_sha, started, completed, input_tokens, output_tokens, cost_usd, duration_ms, is_follow_up, file_ids,
        validation,
    ) = row  # fmt: skip
    return Step(
        UUID(uuid),
        position,
        text,
        bool(is_commitable),
        bool(is_structured),
        _STEP_STATUSES[status],
        _PHASES[phase],
        output,
        structured_of(structured_output),
        failure_details,
        commit_sha,
        optional_date(started),
        optional_date(completed),
        Usage(input_tokens, output_tokens, cost_usd, duration_ms),
        bool(is_follow_up),
        _uuids(file_ids),
        results_of(validation),
    )


def _uuids(text: str) -> tuple[UUID, ...]:
    return () if text == "[]" else tuple(map(UUID, json.loads(text)))


def load(session: Session, *, uuid: UUID | None = None, run_id: int | None = None) -> Run:
    """A whole run by one of its ids. Raises NotFound."""
    rows = session.all(BY_UUID, uuid=str(uuid)) if uuid is not None else session.all(BY_ID, run=run_id)
    if not rows:
        raise NotFound(f"There is no run {uuid or run_id}.")
    return run_of(rows[0][:_WIDTH], [step_of(row[_WIDTH:]) for row in rows if row[_WIDTH] is not None])
