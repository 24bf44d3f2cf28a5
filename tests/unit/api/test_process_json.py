"""The hand-written JSON beside the encoder's, for whatever a run may hold."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from treadle.api.maitento.process_json import process_around_diff, process_bytes, processes_bytes
from treadle.domain.network import NetworkPolicy
from treadle.domain.run import EngineName, Run, Step, StructuredOutput, Usage
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.domain.validation import CommandResult, ValidationRules

TEXT = st.text(st.characters(codec=None), max_size=20)  # lone surrogates and control characters too
DATE = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the strategy wants it so
COUNT = st.integers(0, 10**12)

USAGE = st.builds(Usage, COUNT, COUNT, st.floats(min_value=0, max_value=1e9), COUNT)
ANSWER = st.builds(StructuredOutput, TEXT, TEXT, st.booleans(), st.booleans(), st.booleans())
RESULT = st.builds(CommandResult, TEXT, st.none() | st.integers(0, 255), st.none() | TEXT, TEXT, COUNT, COUNT)
STEP = st.builds(
    Step,
    st.uuids(),
    st.integers(1, 20),
    TEXT,
    st.booleans(),
    st.booleans(),
    status=st.sampled_from(StepStatus),
    phase=st.none() | st.sampled_from(Phase),
    output=st.none() | TEXT,
    structured_output=st.none() | ANSWER,
    failure_details=st.none() | TEXT,
    commit_sha=st.none() | st.just("0" * 40),
    date_started=st.none() | DATE,
    date_completed=st.none() | DATE,
    usage=USAGE,
    validation=st.lists(RESULT, max_size=2).map(tuple),
)
POLICY = st.sampled_from(["none", "model", "full", "allow:a.example,*.b.example:8443"]).map(NetworkPolicy.parse)
RUN = st.builds(
    Run,
    **{
        **dict.fromkeys(("id", "organization_id", "user_id", "lease", "lost_workers", "last_event"), COUNT),
        **dict.fromkeys(("uuid", "organization_uuid", "user_uuid"), st.uuids()),
        **dict.fromkeys(("generate_diff", "has_diff"), st.booleans()),
        "repository_id": st.none() | COUNT,
        "model": st.none() | TEXT,
        "git_url": TEXT,
        "branch_source": TEXT,
        "branch_work": TEXT,
        "code_guidelines": st.none() | TEXT,
        "failure_details": st.none() | TEXT,
        "file_ids": st.lists(st.uuids(), max_size=3).map(tuple),
        "status": st.sampled_from(RunStatus),
        "engine": st.sampled_from(EngineName),
        "max_cost_usd": st.none() | st.floats(0.0001, 1_000_000),
        "network": st.none() | POLICY,
        "validation": st.none() | st.builds(ValidationRules, st.lists(TEXT, max_size=2).map(tuple), COUNT),
        "steps": st.lists(STEP, max_size=3).map(tuple),
        **{field.name: DATE for field in fields(Run) if field.name in {"date_created", "date_updated"}},
        **{
            field.name: st.none() | DATE
            for field in fields(Run)
            if field.name.startswith("date_") and field.name not in {"date_created", "date_updated"}
        },
    },
)


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    if isinstance(value, (Usage, StructuredOutput, CommandResult)):
        return {camel(field.name): getattr(value, field.name) for field in fields(value)}
    return value


def expected_step(step: Step) -> dict[str, Any]:
    names = {"text": "step", "is_commitable": "isCommitableStep", "is_structured": "isStructuredOutput"}
    return {
        names.get(field.name, camel(field.name)): plain(getattr(step, field.name))
        for field in fields(Step)
        if field.name not in {"position", "is_follow_up", "file_ids"}  # which this dialect does not have
    }


@given(RUN)
def test_it_says_what_the_run_says(run: Run) -> None:
    found = json.loads(process_bytes(run))
    steps, usage = found.pop("steps"), found.pop("usage")
    assert steps == [expected_step(step) for step in run.steps]
    assert usage == plain(run.usage)
    assert found.pop("diff") is None
    assert found == {
        "id": str(run.uuid),
        "network": run.network.json() if run.network is not None else None,
        "validate": run.validation.json() if run.validation is not None else None,
        "tenantId": str(run.organization_uuid),
        "userCreatedById": str(run.user_uuid),
        "generateDiffOnCompletion": run.generate_diff,
        "fileIds": [str(file_id) for file_id in run.file_ids],
        **{
            camel(name): plain(getattr(run, name))
            for name in (
                "date_created",
                "date_updated",
                "date_started",
                "date_completed",
                "date_runner_ping",
                "status",
                "max_cost_usd",
                "failure_details",
                "git_url",
                "branch_source",
                "branch_work",
                "code_guidelines",
                "engine",
            )
        },
    }


@given(st.lists(RUN, max_size=3))
def test_lists_leave_the_outputs_out(runs: list[Run]) -> None:
    found = json.loads(b"[%b]" % processes_bytes(runs))
    lean = [
        replace(run, steps=tuple(replace(step, output=None, structured_output=None) for step in run.steps))
        for run in runs
    ]
    assert all(step.pop("validation") is None for each in found for step in each["steps"])
    whole = [json.loads(process_bytes(run)) for run in lean]
    for step in (step for each in whole for step in each["steps"]):
        step.pop("validation")
    assert found == whole


@given(RUN)
def test_the_diff_has_its_place(run: Run) -> None:
    head, tail = process_around_diff(run)
    diff = b'{"files":[]}'
    assert head + diff + tail == process_bytes(run, diff)
    assert json.loads(process_bytes(run, diff)) == {**json.loads(process_bytes(run)), "diff": {"files": []}}


@given(RUN)
def test_a_cost_that_json_lacks_is_null(run: Run) -> None:
    steps = tuple(replace(step, usage=replace(step.usage, cost_usd=float("nan"))) for step in run.steps)
    found = json.loads(process_bytes(replace(run, steps=steps)), parse_constant=lambda name: name)
    assert found["usage"]["costUsd"] == (None if steps else 0)
