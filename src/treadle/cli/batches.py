"""What the commands do with batches."""

import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from treadle import AsyncClient, Batch, BatchItem, BatchStatus
from treadle.cli import output
from treadle.cli.batch_targets import Target
from treadle.cli.failures import Stopped
from treadle.cli.interrupts import Interrupts
from treadle.cli.lines import when
from treadle.cli.output import FAILED
from treadle.cli.remote import work_with
from treadle.cli.text import one_line
from treadle.domain.money import dollars

_HEAD = ("ID", "STATUS", "DONE", "FAILED", "COST", "CREATED", "NAME")
_ITEMS = ("#", "STATUS", "RUN", "COST", "REPOSITORY", "FAILURE")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A batch as the command line has it."""

    plan: str
    targets: Sequence[Target]
    name_like: str | None
    language: str | None
    everywhere: bool
    variables: Mapping[str, str]
    name: str | None
    concurrency: int | None
    stop_after_failures: int | None
    max_cost_usd: float | None


class Batches:
    """One command's dealings with batches of a service."""

    def __init__(self, url: str, key: str | None, *, is_json: bool) -> None:
        self._url = url
        self._key = key
        self._is_json = is_json

    def start(self, wanted: Wanted, *, waits: bool) -> None:
        async def work(client: AsyncClient) -> None:
            batch = await client.batches.start(
                wanted.plan,
                wanted.targets,
                name_like=wanted.name_like,
                language=wanted.language,
                everywhere=wanted.everywhere,
                variables=wanted.variables,
                name=wanted.name,
                concurrency=wanted.concurrency,
                stop_after_failures=wanted.stop_after_failures,
                max_cost_usd=wanted.max_cost_usd,
            )
            await self._told(client, batch, waits=waits)

        self._do(work)

    def list(self, limit: int) -> None:
        async def work(client: AsyncClient) -> None:
            found = await client.batches.list(limit=limit)
            if self._is_json:
                output.as_json([dict(batch.raw) for batch in found])
                return
            output.table(_HEAD, map(_row, found))
            if not found and output.is_terminal():
                output.note("There are none. `treadle batch start` starts one.")

        self._do(work)

    def show(self, batch_id: str, statuses: Sequence[str]) -> None:
        async def work(client: AsyncClient) -> None:
            batch = await client.batches.get(_which(batch_id))
            items = [item async for item in client.batches.items(batch.id, status=statuses)]
            if self._is_json:
                output.as_json({"batch": dict(batch.raw), "items": [dict(item.raw) for item in items]})
                return
            for line in _lines(batch):
                output.line(line)
            output.line()
            output.table(_ITEMS, map(_item_row, items))

        self._do(work)

    def watch(self, batch_id: str) -> None:
        async def work(client: AsyncClient) -> None:
            await self._watch(client, await client.batches.get(_which(batch_id)))

        self._do(work)

    def report(self, batch_id: str, form: str) -> None:
        async def work(client: AsyncClient) -> None:
            sys.stdout.buffer.write(await client.batches.report(_which(batch_id), form))
            sys.stdout.buffer.flush()

        self._do(work)

    def retry(self, batch_id: str, *, waits: bool) -> None:
        async def work(client: AsyncClient) -> None:
            await self._told(client, await client.batches.retry(_which(batch_id)), waits=waits)

        self._do(work)

    def kill(self, batch_id: str) -> None:
        async def work(client: AsyncClient) -> None:
            batch = await client.batches.wait((await client.batches.kill(_which(batch_id))).id)
            if self._is_json:
                output.as_json(dict(batch.raw))
            else:
                output.line(_progress(batch))
            if batch.status != BatchStatus.KILLED:
                output.note("It had ended before the kill reached it.")
                raise Stopped(FAILED)

        self._do(work)

    async def _told(self, client: AsyncClient, batch: Batch, *, waits: bool) -> None:
        if waits:
            await self._watch(client, batch)
        elif self._is_json:
            output.as_json(dict(batch.raw))
        else:
            output.line(str(batch.id))

    async def _watch(self, client: AsyncClient, batch: Batch) -> None:
        """Raises Stopped unless it succeeds."""
        with Interrupts():
            async with aclosing(_followed(client, batch)) as seen:
                async for now in seen:
                    batch = now
                    self._show_progress(now)
        if output.is_terminal() and not self._is_json:
            output.line()
        for item in [] if self._is_json else await _not_succeeded(client, batch):
            output.line("  ".join(one_line(cell) for cell in _item_row(item) if cell))
        if batch.failure_details and not self._is_json:
            output.note(batch.failure_details)
        if batch.status != BatchStatus.SUCCESS:
            raise Stopped(FAILED)

    def _show_progress(self, batch: Batch) -> None:
        if self._is_json:
            output.as_json(dict(batch.raw), indent=False)
        elif output.is_terminal():  # one line, written over
            sys.stdout.write(f"\r\x1b[2K{one_line(_progress(batch))[: max(20, output.width() - 1)]}")
            sys.stdout.flush()
        else:
            output.line(_progress(batch))

    def _do(self, work: Callable[[AsyncClient], Coroutine[object, object, None]]) -> None:
        work_with(self._url, self._key, work)


async def _followed(client: AsyncClient, batch: Batch) -> AsyncGenerator[Batch, None]:
    async for seen in client.batches.follow(batch.id):
        yield seen


async def _not_succeeded(client: AsyncClient, batch: Batch) -> Sequence[BatchItem]:
    if batch.counts.succeeded == batch.counts.items:
        return ()
    return [item async for item in client.batches.items(batch.id, status=["Failed", "Killed"])]


def _which(batch_id: str) -> int | str:
    return int(batch_id) if batch_id.isascii() and batch_id.isdecimal() else batch_id


def _progress(batch: Batch) -> str:
    counts = batch.counts
    parts = {
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "killed": counts.killed,
        "skipped": counts.skipped,
        "running": counts.running,
    }
    said = ", ".join(f"{count:,} {name}" for name, count in parts.items() if count)
    cost = f", {dollars(batch.cost_usd)}" if batch.cost_usd else ""
    return f"{batch.id} {batch.status} {counts.ended:,}/{counts.items:,}" + (f": {said}{cost}" if said else "")


def _lines(batch: Batch) -> Sequence[str]:
    budget = f" of {dollars(batch.max_cost_usd)}" if batch.max_cost_usd is not None else ""
    facts = {
        "Batch": f"{batch.id} ({batch.uuid})",
        "Name": batch.name,
        "Status": f"{batch.status}, attempt {batch.attempt}",
        "Done": _progress(batch).partition(" ")[2].partition(" ")[2],
        "Cost": dollars(batch.cost_usd) + budget,
        "At once": str(batch.concurrency),
        "Failure": batch.failure_details or "",
        "Created": when(batch.date_created),
    }
    return [f"{name:<8}  {one_line(value)}" for name, value in facts.items() if value]


def _row(batch: Batch) -> Sequence[str]:
    counts = batch.counts
    return (
        str(batch.id),
        str(batch.status),
        f"{counts.ended}/{counts.items}",
        str(counts.failed),
        dollars(batch.cost_usd),
        when(batch.date_created),
        batch.name,
    )


def _item_row(item: BatchItem) -> Sequence[str]:
    return (
        str(item.position),
        str(item.status),
        str(item.run_id or ""),
        dollars(item.cost_usd) if item.cost_usd else "",
        item.name,
        item.failure_details or "",
    )
