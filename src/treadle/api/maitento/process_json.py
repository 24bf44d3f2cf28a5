"""A process as JSON, written by hand: it is what is asked for most often, and a dictionary with an encoder takes twice
as long. No secret is in a run, so none can come back."""

import json
import math
from collections.abc import Sequence
from uuid import UUID

from treadle.api.json_bytes import date_text
from treadle.domain.run import Run, Step, StructuredOutput, Usage
from treadle.domain.validation import CommandResult

#: Text in quotes. Texts that an encoding could not write are escaped by `_bytes`.
_text = json.JSONEncoder(ensure_ascii=False).encode

#: What is an object or a list in the answer, too.
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_FLAGS = {False: "false", True: "true"}


def process_bytes(run: Run, diff: bytes | None = None) -> bytes:
    """A process, whole. `diff` is JSON already and goes in as it is."""
    head, tail = process_around_diff(run)
    return b"".join((head, b"null" if diff is None else diff, tail))


def process_around_diff(run: Run) -> tuple[bytes, bytes]:
    """A process's JSON before and after the value of `diff`, for one that is too large to hold."""
    return _bytes(_head(run)), _bytes(_tail(run, is_whole=True))


def processes_bytes(runs: Sequence[Run]) -> bytes:
    """Processes for a list: without diffs and the steps' outputs; what stands between the brackets."""
    return _bytes(",".join(f"{_head(run)}null{_tail(run, is_whole=False)}" for run in runs))


def _bytes(text: str) -> bytes:
    """A lone surrogate, which UTF-8 lacks, is inside a JSON string: there its escape stands for it."""
    return text.encode(errors="backslashreplace")


def _head(run: Run) -> str:
    return (
        f'{{"id":"{run.uuid}","tenantId":"{run.organization_uuid}","userCreatedById":"{run.user_uuid}",'
        f'"dateCreated":"{date_text(run.date_created)}","dateUpdated":"{date_text(run.date_updated)}",'
        f'"dateStarted":{_quoted(date_text(run.date_started))},'
        f'"dateCompleted":{_quoted(date_text(run.date_completed))},'
        f'"dateRunnerPing":{_quoted(date_text(run.date_runner_ping))},'
        f'"status":"{run.status}","failureDetails":{_optional(run.failure_details)},'
        f'"gitUrl":{_text(run.git_url)},"branchSource":{_text(run.branch_source)},'
        f'"branchWork":{_text(run.branch_work)},"codeGuidelines":{_optional(run.code_guidelines)},'
        f'"fileIds":[{_ids(run.file_ids)}],"generateDiffOnCompletion":{_FLAGS[run.generate_diff]},'
        f'"engine":"{run.engine}","diff":'
    )


def _tail(run: Run, *, is_whole: bool) -> str:
    steps = ",".join([_step(step, is_whole=is_whole) for step in run.steps])
    return (
        f',"steps":[{steps}],"usage":{_usage(run.usage)},'
        f'"maxCostUsd":{"null" if run.max_cost_usd is None else run.max_cost_usd},"network":{_network(run)},'
        f'"validate":{_rules(run)}}}'
    )


def _step(step: Step, *, is_whole: bool) -> str:
    return (
        f'{{"id":"{step.id}","step":{_text(step.text)},"isCommitableStep":{_FLAGS[step.is_commitable]},'
        f'"isStructuredOutput":{_FLAGS[step.is_structured]},"status":"{step.status}","phase":{_quoted(step.phase)},'
        f'"output":{_optional(step.output) if is_whole else "null"},'
        f'"structuredOutput":{_structured(step.structured_output) if is_whole else "null"},'
        f'"failureDetails":{_optional(step.failure_details)},"commitSha":{_optional(step.commit_sha)},'
        f'"dateStarted":{_quoted(date_text(step.date_started))},'
        f'"dateCompleted":{_quoted(date_text(step.date_completed))},"usage":{_usage(step.usage)},'
        f'"validation":{_results(step.validation) if is_whole else "null"}}}'
    )


def _structured(answer: StructuredOutput | None) -> str:
    if answer is None:
        return "null"
    return (
        f'{{"output":{_text(answer.output)},"thinking":{_text(answer.thinking)},'
        f'"wasSuccessful":{_FLAGS[answer.was_successful]},"didGenerateCode":{_FLAGS[answer.did_generate_code]},'
        f'"isAdditionalWorkRequiredToContinue":{_FLAGS[answer.is_additional_work_required_to_continue]}}}'
    )


def _usage(usage: Usage) -> str:
    cost = usage.cost_usd if math.isfinite(usage.cost_usd) else "null"  # which JSON lacks
    return (
        f'{{"inputTokens":{usage.input_tokens},"outputTokens":{usage.output_tokens},"costUsd":{cost},'
        f'"durationMs":{usage.duration_ms}}}'
    )


def _network(run: Run) -> str:
    return "null" if run.network is None else json.dumps(run.network.json(), separators=(",", ":"))


def _rules(run: Run) -> str:
    return "null" if run.validation is None else _json(run.validation.json())


def _results(results: Sequence[CommandResult]) -> str:
    return _json([result.json() for result in results]) if results else "[]"


def _optional(text: str | None) -> str:
    return "null" if text is None else _text(text)


def _quoted(plain: str | None) -> str:
    """For texts of ours, which need no escapes."""
    return "null" if plain is None else f'"{plain}"'


def _ids(ids: Sequence[UUID]) -> str:
    return ",".join([f'"{one}"' for one in ids])
