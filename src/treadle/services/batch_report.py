"""A batch's report: a row for each of its repositories, as a table, as JSON, or as a page to read. Made a page of rows
at a time, however many there are."""

import csv
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

from treadle.domain.batch import Batch, BatchItem
from treadle.domain.events import JsonObject, JsonValue
from treadle.domain.money import dollars
from treadle.services.batches import Batches

#: Rows that are read at a time.
REPORT_PAGE = 100

#: Decimals of dollars.
DECIMALS: Final = 6

#: With these a spreadsheet takes a cell for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")

_COLUMNS: Final = (
    "position", "name", "url", "repositoryId", "status", "attempt", "runId", "processId", "branch", "commits",
    "pullRequestUrl", "changedFiles", "costUsd", "failureDetails", "earlierRuns", "variables", "dateStarted",
    "dateCompleted",
)  # fmt: skip


class ReportForm(StrEnum):
    CSV = "csv"
    JSON = "json"
    MARKDOWN = "md"


async def report(batches: Batches, batch: Batch, form: ReportForm) -> AsyncGenerator[bytes, None]:
    """Of a batch that the caller was already let see, in pieces."""
    pages = _pages(batches, batch)
    made = {ReportForm.CSV: _table, ReportForm.JSON: _json, ReportForm.MARKDOWN: _markdown}[form]
    async for piece in made(batch, pages):
        yield piece.encode(errors="backslashreplace")


async def _pages(batches: Batches, batch: Batch) -> AsyncGenerator[Sequence[BatchItem], None]:
    after = 0
    while page := await batches.items(batch, limit=REPORT_PAGE, after=after):
        yield page
        if len(page) < REPORT_PAGE:
            return
        after = page[-1].position


# ---- JSON ------------------------------------------------------------------------------------------------------------


def batch_json(batch: Batch, *, whole: bool = True) -> JsonObject:
    """`whole`: with its plan and its variables."""
    counts = batch.counts
    shown: dict[str, JsonValue] = {
        "id": batch.id,
        "uuid": str(batch.uuid),
        "name": batch.name,
        "status": batch.status,
        "failureDetails": batch.failure_details,
        "userId": batch.user_id,
        "attempt": batch.attempt,
        "counts": {
            "items": counts.items,
            "notStarted": counts.not_started,
            "running": counts.running,
            "succeeded": counts.succeeded,
            "failed": counts.failed,
            "killed": counts.killed,
            "skipped": counts.skipped,
        },
        "concurrency": batch.concurrency,
        "stopAfterFailures": batch.stop_after_failures,
        "maxCostUsd": batch.max_cost_usd,
        "costUsd": round(batch.cost_usd, DECIMALS),
        "isKillRequested": batch.date_kill_requested is not None,
        "dateCreated": _date(batch.date_created),
        "dateUpdated": _date(batch.date_updated),
        "dateCompleted": _date(batch.date_completed),
    }
    if whole:
        shown |= {"plan": batch.plan, "variables": dict(batch.variables)}
    return shown


def item_json(item: BatchItem) -> JsonObject:
    return {
        "position": item.position,
        "name": item.name,
        "url": item.url,
        "repositoryId": item.repository_id,
        "status": item.status,
        "attempt": item.attempt,
        "runId": item.run_id,
        "processId": str(item.run_uuid) if item.run_uuid is not None else None,
        "branch": item.branch,
        "commits": list(item.commits),
        "pullRequestUrl": item.pull_request_url,
        "changedFiles": item.changed_files,
        "costUsd": round(item.cost_usd, DECIMALS),
        "failureDetails": item.failure_details,
        "earlierRuns": list(item.earlier_runs),
        "variables": dict(item.variables),
        "dateStarted": _date(item.date_started),
        "dateCompleted": _date(item.date_completed),
    }


async def _json(batch: Batch, pages: AsyncIterator[Sequence[BatchItem]]) -> AsyncGenerator[str, None]:
    yield f'{{"batch":{json.dumps(batch_json(batch))},"items":['
    before = ""
    async for page in pages:
        yield before + ",".join(json.dumps(item_json(item)) for item in page)
        before = ","
    yield "]}"


# ---- a table ---------------------------------------------------------------------------------------------------------


async def _table(batch: Batch, pages: AsyncIterator[Sequence[BatchItem]]) -> AsyncGenerator[str, None]:
    del batch
    yield _lines([_COLUMNS])
    async for page in pages:
        yield _lines([_row(item_json(item)) for item in page])


def _row(item: Mapping[str, JsonValue]) -> Sequence[object]:
    return [_cell(name, item[name]) for name in _COLUMNS]


def _cell(name: str, value: JsonValue) -> object:
    """A text that would be a formula gets an apostrophe: names, branches and failures are anybody's."""
    if name == "variables":
        value = json.dumps(value) if value else ""
    elif isinstance(value, list):
        value = " ".join(map(str, value))
    elif isinstance(value, float):
        return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _lines(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


# ---- a page to read --------------------------------------------------------------------------------------------------


async def _markdown(batch: Batch, pages: AsyncIterator[Sequence[BatchItem]]) -> AsyncGenerator[str, None]:
    counts = batch.counts
    said = {
        "Status": f"{batch.status}, attempt {batch.attempt}",
        "Repositories": f"{counts.items:,}: {counts.succeeded:,} succeeded, {counts.failed:,} failed, "
        f"{counts.killed:,} killed, {counts.skipped:,} skipped, {counts.running:,} running, "
        f"{counts.not_started:,} not started",
        "Cost": dollars(batch.cost_usd)
        + (f" of {dollars(batch.max_cost_usd)}" if batch.max_cost_usd is not None else ""),
        "Failure": _text(batch.failure_details or ""),
    }
    yield f"# {_text(batch.name)}\n\n"
    yield "".join(f"- {name}: {value}\n" for name, value in said.items() if value)
    yield "\n| # | Repository | Status | Run | Commits | Files | Pull request | Cost | Failure |\n"
    yield "| ---: | --- | --- | ---: | ---: | ---: | --- | ---: | --- |\n"
    async for page in pages:
        yield "".join(map(_markdown_row, page))


def _markdown_row(item: BatchItem) -> str:
    cells = [
        str(item.position),
        _text(item.name),
        str(item.status),
        str(item.run_id or ""),
        str(len(item.commits) or ""),
        "" if item.changed_files is None else str(item.changed_files),
        _text(item.pull_request_url or ""),
        dollars(item.cost_usd) if item.cost_usd else "",
        _text(item.failure_details or ""),
    ]
    return f"| {' | '.join(cells)} |\n"


def _text(value: str) -> str:
    """In one cell, and as text: what it holds makes no link, no picture, no table."""
    one_line = " ".join(value.split())
    return "".join(f"\\{each}" if each in "\\`*_{}[]<>#|!~" else each for each in one_line)


def _date(date: datetime | None) -> str | None:
    return date.isoformat() if date is not None else None
