"""Runs, files and events as the code-generation API shows them. No secret is in any of them, so none can come back."""

from collections.abc import Sequence

from treadle.api.json_bytes import date_text, encode
from treadle.domain.events import Event, JsonObject
from treadle.domain.run import Run, Step, StoredFile, StructuredOutput, Usage

#: Where a process has room for its diff. Inside a JSON string the quotes would be escaped, so it stands only there.
_NO_DIFF = b'"diff":null'

#: No line breaks to the standard, but to many a client that is written with `splitlines`.
_LINE_BREAKS = (("\x85".encode(), rb"\u0085"), ("\u2028".encode(), rb"\u2028"), ("\u2029".encode(), rb"\u2029"))


def process_bytes(run: Run, diff: bytes | None = None) -> bytes:
    """A process, whole. `diff` is JSON already and goes in as it is."""
    head, tail = process_around_diff(run)
    return b"".join((head, diff if diff is not None else b"null", tail))


def process_around_diff(run: Run) -> tuple[bytes, bytes]:
    """A process's JSON before and after the value of `diff`, for one that is too large to hold."""
    head, _, tail = encode(_process(run, is_whole=True)).partition(_NO_DIFF)
    return head + _NO_DIFF[: -len(b"null")], tail


def processes_bytes(runs: Sequence[Run]) -> bytes:
    """Processes for a list: without diffs and the steps' outputs; what stands between the brackets."""
    return b",".join(encode(_process(run, is_whole=False)) for run in runs)


def _process(run: Run, *, is_whole: bool) -> JsonObject:
    return {
        "id": str(run.uuid),
        "tenantId": str(run.organization_uuid),
        "userCreatedById": str(run.user_uuid),
        "dateCreated": date_text(run.date_created),
        "dateUpdated": date_text(run.date_updated),
        "dateStarted": date_text(run.date_started),
        "dateCompleted": date_text(run.date_completed),
        "dateRunnerPing": date_text(run.date_runner_ping),
        "status": run.status,
        "failureDetails": run.failure_details,
        "gitUrl": run.git_url,
        "branchSource": run.branch_source,
        "branchWork": run.branch_work,
        "codeGuidelines": run.code_guidelines,
        "fileIds": [str(file_id) for file_id in run.file_ids],
        "generateDiffOnCompletion": run.generate_diff,
        "engine": run.engine,
        "diff": None,
        "steps": [_step(step, is_whole=is_whole) for step in run.steps],
        "usage": _usage(run.usage),
    }


def _step(step: Step, *, is_whole: bool) -> JsonObject:
    return {
        "id": str(step.id),
        "step": step.text,
        "isCommitableStep": step.is_commitable,
        "isStructuredOutput": step.is_structured,
        "status": step.status,
        "phase": step.phase,
        "output": step.output if is_whole else None,
        "structuredOutput": _structured(step.structured_output) if is_whole else None,
        "failureDetails": step.failure_details,
        "commitSha": step.commit_sha,
        "dateStarted": date_text(step.date_started),
        "dateCompleted": date_text(step.date_completed),
        "usage": _usage(step.usage),
    }


def _structured(answer: StructuredOutput | None) -> JsonObject | None:
    if answer is None:
        return None
    return {
        "output": answer.output,
        "thinking": answer.thinking,
        "wasSuccessful": answer.was_successful,
        "didGenerateCode": answer.did_generate_code,
        "isAdditionalWorkRequiredToContinue": answer.is_additional_work_required_to_continue,
    }


def _usage(usage: Usage) -> JsonObject:
    return {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "costUsd": usage.cost_usd,
        "durationMs": usage.duration_ms,
    }


def file(stored: StoredFile) -> JsonObject:
    """An uploaded file."""
    return {
        "id": str(stored.id),
        "name": stored.name,
        "contentType": stored.content_type,
        "size": stored.size,
        "sha256": stored.sha256,
        "dateCreated": date_text(stored.date_created),
    }


def event(happened: Event) -> JsonObject:
    """An event."""
    return {
        "number": happened.number,
        "type": happened.type,
        "date": date_text(happened.date),
        "step": happened.step,
        "phase": happened.phase,
        "data": happened.data,
    }


def event_frame(happened: Event) -> bytes:
    """An event as a server-sent one. JSON holds no line break, so it is one line of `data`."""
    data = encode(event(happened))
    for character, escape in _LINE_BREAKS:
        data = data.replace(character, escape)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (happened.number, happened.type.encode(), data)
