"""Tools for batches: one plan on many repositories."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated
from uuid import UUID

from anyio import to_thread
from mcp.server.mcpserver import Context
from pydantic import Field

from treadle.api.bodies import whole_number
from treadle.api.deps import Services
from treadle.api.mcp.batch_shapes import BatchesShape, BatchId, BatchReportShape, BatchShape, TargetGiven
from treadle.api.mcp.calls import Call, told
from treadle.api.mcp.inputs import MOST_NUMBER, key_fault
from treadle.domain.batch import (
    DEFAULT_BATCH_CONCURRENCY,
    MAX_BATCH_CONCURRENCY,
    MAX_BATCH_ITEMS,
    MAX_BATCH_NAME,
    Batch,
    ItemStatus,
)
from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, require
from treadle.services.batch_targets import Reach, RepositoryFilter, Target
from treadle.services.batches import BatchRequest
from treadle.services.plan_texts import read_plan_text
from treadle.services.run_rules import text_fault
from treadle.services.runs import Repeatable

#: Batches of one answer, and unless another number is asked for.
MAX_BATCHES = 100
DEFAULT_BATCHES = 20

#: Repositories of a page of a report, and unless another number is asked for.
MAX_REPORT_ITEMS = 200
DEFAULT_REPORT_ITEMS = 50

_NOT_STARTED = "Nothing was started."

#: Characters of a variable's name in a fault.
_SHOWN = 100

#: Where the service's words for what was given differ from the tools'.
_ARGUMENTS: Mapping[str, str] = {
    "stopAfterFailures": "stop_after_failures",
    "maxCostUsd": "max_cost_usd",
    "filter": "targets",
    "filter.name": "name_like",
}


class BatchTools:
    """The caller sees and does what it could through the API."""

    def __init__(self, services: Services, *, allow_local: bool, public_url: str | None) -> None:
        self._services = services
        self._allow_local = allow_local
        self._public_url = public_url

    @told
    async def start_batch(
        self,
        context: Context,
        plan: Annotated[str, Field(description="YAML, as start_plan takes it: steps, variables, validate, …")],
        targets: Annotated[
            list[int | str | TargetGiven] | None,
            Field(description="Repositories: ids, names OWNER/NAME, addresses, or objects."),
        ] = None,
        name_like: Annotated[
            str | None, Field(description="And every registered one whose name matches, such as `acme/*`.")
        ] = None,
        language: Annotated[str | None, Field(description="Of those, the ones of this language.")] = None,
        everywhere: Annotated[bool, Field(description="Or every registered one.")] = False,
        variables: Annotated[dict[str, str] | None, Field(description="Values for the plan's variables.")] = None,
        name: Annotated[str | None, Field(max_length=MAX_BATCH_NAME, description="null: the plan's.")] = None,
        concurrency: Annotated[
            int, Field(ge=1, le=MAX_BATCH_CONCURRENCY, description="Runs under way at once, at most.")
        ] = DEFAULT_BATCH_CONCURRENCY,
        stop_after_failures: Annotated[
            int | None, Field(ge=1, le=MAX_BATCH_ITEMS, description="Start no more after so many; null: all are tried.")
        ] = None,
        max_cost_usd: Annotated[
            float | None, Field(description="US dollars that all its runs together may cost.")
        ] = None,
        idempotency_key: Annotated[
            str | None, Field(description="Your own id for this call: repeated with it, it starts no second batch.")
        ] = None,
    ) -> BatchShape:
        """Start a plan on many repositories, a run for each. Answers at once; wait_for_batch waits for its end."""
        principal = Call.of(context).principal
        require(principal, Permission.RUN)
        chosen = RepositoryFilter(name_like, language) if everywhere or name_like or language else None
        faults = _text_faults({"name_like": name_like, "language": language})
        faults |= _variable_faults("variables", variables or {})
        for at, given in enumerate(targets or ()):
            if isinstance(given, TargetGiven):
                faults |= _variable_faults(f"targets[{at}].variables", given.variables)
        if idempotency_key is not None and (fault := key_fault(idempotency_key)):
            faults["idempotency_key"] = [fault]
        if not targets and chosen is None:
            faults["targets"] = ["Give targets, name_like, language or everywhere."]
        if len(targets or ()) > MAX_BATCH_ITEMS:
            faults["targets"] = [f"A batch has at most {MAX_BATCH_ITEMS:,} repositories."]
        if faults:
            raise InvalidInput(faults, _NOT_STARTED)
        reading = await to_thread.run_sync(lambda: read_plan_text(plan, allow_local=self._allow_local))
        request = BatchRequest(
            plan=reading.checked(),
            reach=Reach(tuple(map(_target, targets or ())), chosen),
            variables=variables or {},
            name=name,
            concurrency=concurrency,
            stop_after_failures=stop_after_failures,
            max_cost_usd=max_cost_usd,
        )
        asked = [
            plan,
            [each.model_dump() if isinstance(each, TargetGiven) else each for each in targets or ()],
            [name_like, language, everywhere],
            [variables, name, concurrency, stop_after_failures, max_cost_usd],
        ]
        repeatable = _repeatable(idempotency_key, asked) if idempotency_key is not None else None
        try:
            batch = await self._services.batches.start(principal, request, repeatable)
        except InvalidInput as error:
            said = {_ARGUMENTS.get(path, path): found for path, found in error.faults.items()}
            raise InvalidInput(said, _NOT_STARTED) from None
        return self._shape(batch)

    @told
    async def get_batch(self, context: Context, batch: BatchId) -> BatchShape:
        """Show a batch as it is: its status, how many of its repositories are where, and what it cost."""
        return self._shape(await find_batch(self._services, Call.of(context).principal, batch))

    @told
    async def list_batches(
        self,
        context: Context,
        limit: Annotated[int, Field(ge=1, le=MAX_BATCHES, description="At most that many.")] = DEFAULT_BATCHES,
        before: Annotated[
            int | None, Field(ge=0, le=MOST_NUMBER, description="The `before` of the page before this one.")
        ] = None,
    ) -> BatchesShape:
        """List batches that you may see, newest first."""
        found = await self._services.batches.list(Call.of(context).principal, limit=limit, before=before)
        following = found[-1].id if len(found) == limit else None
        return BatchesShape(batches=[self._shape(each) for each in found], before=following)

    @told
    async def batch_report(
        self,
        context: Context,
        batch: BatchId,
        statuses: Annotated[list[ItemStatus] | None, Field(description="Only these; null: all.")] = None,
        limit: Annotated[
            int, Field(ge=1, le=MAX_REPORT_ITEMS, description="At most that many.")
        ] = DEFAULT_REPORT_ITEMS,
        after: Annotated[
            int, Field(ge=0, le=MAX_BATCH_ITEMS, description="The `next_after` of the page before this one.")
        ] = 0,
    ) -> BatchReportShape:
        """Show what came of each repository of a batch, page by page: its run, commits, pull request, cost and
        failure."""
        found = await find_batch(self._services, Call.of(context).principal, batch)
        items = await self._services.batches.items(
            found, statuses=frozenset(statuses) if statuses else None, limit=limit, after=after
        )
        return BatchReportShape.of(found, items, limit, self._public_url)

    @told
    async def retry_batch(self, context: Context, batch: BatchId) -> BatchShape:
        """Try the repositories of a batch that has ended once more: those that failed, were killed or skipped."""
        principal = Call.of(context).principal
        found = await find_batch(self._services, principal, batch)
        return self._shape(await self._services.batches.retry(principal, found.id))

    @told
    async def kill_batch(self, context: Context, batch: BatchId) -> BatchShape:
        """End a batch: it starts no more, and its runs are killed. What they have pushed stays."""
        principal = Call.of(context).principal
        found = await find_batch(self._services, principal, batch)
        return self._shape(await self._services.batches.kill(principal, found.id))

    def _shape(self, batch: Batch) -> BatchShape:
        return BatchShape.of(batch, self._public_url)


async def find_batch(services: Services, principal: Principal, batch: int | str) -> Batch:
    """By either id. Raises NotFound, also for one that is not the caller's to see; Forbidden."""
    require(principal, Permission.RUN)
    try:
        which = _which(batch)
        if which is not None:
            return await services.batches.get(principal, which)
    except NotFound:
        pass
    raise NotFound("There is no such batch among those that you may see.", hint="start_batch answers with its id.")


def _which(batch: int | str) -> int | UUID | None:
    number = batch if isinstance(batch, int) else whole_number(batch.strip())
    if number is not None:
        return number if 0 < number < MOST_NUMBER else None
    try:
        return UUID(str(batch))
    except ValueError:
        return None


def _target(given: int | str | TargetGiven) -> Target:
    """A text that cannot be a name is an address."""
    if isinstance(given, TargetGiven):
        return Target(given.repository, given.url, given.variables)
    if isinstance(given, str) and ("://" in given or ":" in given or given.startswith("/")):
        return Target(url=given)
    return Target(given)


def _text_faults(given: Mapping[str, str | None]) -> dict[str, Sequence[str]]:
    return {name: [said] for name, text in given.items() if text is not None and (said := text_fault(text))}


def _variable_faults(where: str, given: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """Names that only a trigger gives are built in."""
    faults: dict[str, Sequence[str]] = {}
    for name, text in given.items():
        if said := text_fault(text) or ("Is built in, and not to be given." if "." in name else None):
            faults[f"{where}.{ascii(name)[1:-1][:_SHOWN]}"] = [said]
    return faults


def _repeatable(key: str, asked: object) -> Repeatable:
    """The key is the salt of the digest."""
    return Repeatable(f"mcp:{key}", hashlib.sha256(json.dumps([key, asked], sort_keys=True).encode()).hexdigest())
