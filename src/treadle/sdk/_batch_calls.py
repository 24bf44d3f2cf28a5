"""The API's operations on batches as values, and what both clients do with several of them."""

from collections.abc import Callable, Collection, Iterable, Mapping
from math import inf
from typing import TypeAlias
from uuid import UUID

import httpx2

from treadle.sdk._batch_models import Batch, BatchItem, BatchItemStatus
from treadle.sdk._calls import Call, Request
from treadle.sdk._errors import BatchWaitTimeoutError
from treadle.sdk._flows import Emit, Feed, Flow, Retry, Sleep, send
from treadle.sdk._wire import Fields, JsonValue

PATH = "/batches"
_PAGE = 1000

#: A batch's id, or its UUID.
Which: TypeAlias = int | UUID | str
#: A registered repository's id or OWNER/NAME, an address, or an object with `repository` or `url` and `variables`.
Target: TypeAlias = int | str | Mapping[str, JsonValue]


def start(
    plan: str | Mapping[str, JsonValue],
    *,
    targets: Iterable[Target],
    name_like: str | None,
    language: str | None,
    everywhere: bool,
    variables: Mapping[str, str] | None,
    name: str | None,
    concurrency: int | None,
    stop_after_failures: int | None,
    max_cost_usd: float | None,
    idempotency_key: str,
) -> Call[Batch]:
    chosen: dict[str, JsonValue] = {"name": name_like, "language": language, "all": True if everywhere else None}
    chosen = {key: value for key, value in chosen.items() if value is not None}
    given: dict[str, JsonValue] = {
        "targets": [dict(each) if isinstance(each, Mapping) else each for each in targets] or None,
        "filter": chosen or None,
        "variables": dict(variables) if variables else None,
        "name": name,
        "concurrency": concurrency,
        "stopAfterFailures": stop_after_failures,
        "maxCostUsd": max_cost_usd,
    }
    body: dict[str, JsonValue] = {"plan": plan if isinstance(plan, str) else dict(plan)}
    body |= {key: value for key, value in given.items() if value is not None}
    return Call(Request("POST", PATH, headers={"Idempotency-Key": idempotency_key}, json=body), _batch)


def get(which: Which) -> Call[Batch]:
    return Call(Request("GET", _at(which)), _batch)


def page(limit: int, before: int | None) -> Call[list[Batch]]:
    params = (("limit", str(limit)), *((("before", str(before)),) if before is not None else ()))
    return Call(
        Request("GET", PATH, params=params),
        lambda response: [Batch.read(each.raw) for each in Fields(response.json(), "answer").objects("batches")],
    )


def item_page(
    which: Which, statuses: Collection[BatchItemStatus | str], limit: int, after: int
) -> Call[list[BatchItem]]:
    params = [("status", str(one)) for one in statuses]
    request = Request("GET", f"{_at(which)}/items", params=(*params, ("limit", str(limit)), ("after", str(after))))
    return Call(
        request, lambda response: [BatchItem.read(each) for each in Fields(response.json(), "answer").objects("items")]
    )


def report(which: Which, form: str) -> Call[bytes]:
    request = Request("GET", f"{_at(which)}/report", accept="*/*", params=(("format", form),))
    return Call(request, lambda response: response.content)


def retry(which: Which) -> Call[Batch]:
    return Call(Request("POST", f"{_at(which)}/retry"), _batch, is_repeatable=False)


def kill(which: Which) -> Call[Batch]:
    return Call(Request("POST", f"{_at(which)}/kill"), _batch)


def set_concurrency(which: Which, concurrency: int) -> Call[Batch]:
    return Call(Request("PATCH", _at(which), json={"concurrency": concurrency}), _batch)


def items(which: Which, statuses: Collection[BatchItemStatus | str], again: Retry) -> Feed[BatchItem]:
    after = 0
    while True:
        found = yield from send(item_page(which, statuses, _PAGE, after), again)
        for item in found:
            yield Emit(item)
        if len(found) < _PAGE:
            return
        after = found[-1].position


def follow(which: Which, poll: float, again: Retry) -> Feed[Batch]:
    """The batch whenever it has changed; the last is finished."""
    last: Batch | None = None
    while True:
        batch = yield from send(get(which), again)
        if last is None or batch != last:
            yield Emit(batch)
            last = batch
        if batch.is_finished:
            return
        yield Sleep(poll)


def wait(which: Which, timeout: float | None, poll: float, again: Retry, clock: Callable[[], float]) -> Flow[Batch]:
    end = inf if timeout is None else clock() + timeout
    while True:
        batch = yield from send(get(which), again)
        if batch.is_finished:
            return batch
        if clock() >= end:
            said = f"Batch {batch.id} is still {batch.status} after {timeout:g} seconds."
            raise BatchWaitTimeoutError(said, batch=batch)
        yield Sleep(max(0.0, min(poll, end - clock())))


def _at(which: Which) -> str:
    return f"{PATH}/{which if isinstance(which, int) else UUID(str(which))}"


def _batch(response: httpx2.Response) -> Batch:
    return Batch.read(response.json())
