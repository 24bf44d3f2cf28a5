"""The API's operations on scripts as values, and what both clients do with several of them."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TypeAlias
from urllib.parse import quote
from uuid import UUID

import httpx2

from treadle.sdk._calls import Call, Request
from treadle.sdk._errors import ScriptWaitTimeoutError
from treadle.sdk._flows import Emit, Feed, Flow, Retry, Sleep, send
from treadle.sdk._script_models import Script, ScriptLine, ScriptRun, ScriptVersion
from treadle.sdk._wire import Fields, JsonValue

PATH = "/scripts"
RUNS = "/script-runs"
_PAGE = 1000

#: A script's id, or its name.
Which: TypeAlias = int | str
#: A run's id, or its UUID.
WhichRun: TypeAlias = int | UUID | str


def save(name: str, source: str, description: str | None, if_version: int | None) -> Call[Script]:
    body: dict[str, JsonValue] = {"name": name, "source": source}
    if description is not None:
        body["description"] = description
    if if_version is not None:
        body["ifVersion"] = if_version
    return Call(Request("POST", PATH, json=body), _script)


def scripts() -> Call[Sequence[Script]]:
    return Call(
        Request("GET", PATH),
        lambda response: [Script.read(each) for each in Fields(response.json(), "answer").objects("scripts")],
    )


def one(which: Which, version: int | None) -> Call[Script]:
    params = (("version", str(version)),) if version is not None else ()
    return Call(Request("GET", _at(which), params=params), _script)


def versions(which: Which) -> Call[Sequence[ScriptVersion]]:
    return Call(
        Request("GET", f"{_at(which)}/versions"),
        lambda response: [ScriptVersion.read(each) for each in Fields(response.json(), "answer").objects("versions")],
    )


def remove(which: Which) -> Call[None]:
    return Call(Request("DELETE", _at(which)), lambda _: None, is_repeatable=False)


def start(
    which: Which, inputs: Mapping[str, JsonValue] | None, version: int | None, idempotency_key: str
) -> Call[ScriptRun]:
    body: dict[str, JsonValue] = {"inputs": dict(inputs or {})}
    if version is not None:
        body["version"] = version
    return Call(Request("POST", f"{_at(which)}/runs", headers={"Idempotency-Key": idempotency_key}, json=body), _run)


def run_source(source: str, inputs: Mapping[str, JsonValue] | None, idempotency_key: str) -> Call[ScriptRun]:
    body: dict[str, JsonValue] = {"source": source, "inputs": dict(inputs or {})}
    return Call(Request("POST", RUNS, headers={"Idempotency-Key": idempotency_key}, json=body), _run)


def get_run(which: WhichRun) -> Call[ScriptRun]:
    return Call(Request("GET", _at_run(which)), _run)


def runs(script: Which | None, limit: int, before: int | None) -> Call[Sequence[ScriptRun]]:
    given = {"script": script, "limit": limit, "before": before}
    params = tuple((name, str(value)) for name, value in given.items() if value is not None)
    return Call(
        Request("GET", RUNS, params=params),
        lambda response: [ScriptRun.read(each) for each in Fields(response.json(), "answer").objects("runs")],
    )


def kill(which: WhichRun) -> Call[ScriptRun]:
    return Call(Request("POST", f"{_at_run(which)}/kill"), _run, is_repeatable=False)


def log_page(which: WhichRun, after: int) -> Call[tuple[Sequence[ScriptLine], bool]]:
    """With whether no further line will come."""

    def read(response: httpx2.Response) -> tuple[Sequence[ScriptLine], bool]:
        fields = Fields(response.json(), "answer")
        return [ScriptLine.read(each) for each in fields.objects("lines")], fields.flag("isOver")

    params = (("after", str(after)), ("limit", str(_PAGE)))
    return Call(Request("GET", f"{_at_run(which)}/logs", params=params), read)


def log(which: WhichRun, after: int, poll: float | None, again: Retry) -> Feed[ScriptLine]:
    """To its end, looking every `poll` seconds; None: what there is now."""
    while True:
        lines, is_over = yield from send(log_page(which, after), again)
        for line in lines:
            yield Emit(line)
            after = line.number
        if is_over or (poll is None and len(lines) < _PAGE):
            return
        if poll is not None and len(lines) < _PAGE:
            yield Sleep(poll)


def wait(
    which: WhichRun, timeout: float | None, poll: float, again: Retry, clock: Callable[[], float]
) -> Flow[ScriptRun]:
    end = inf if timeout is None else clock() + timeout
    while True:
        run = yield from send(get_run(which), again)
        if run.is_finished:
            return run
        if clock() >= end:
            said = f"Run {run.id} of the script {run.name} is still {run.status} after {timeout:g} seconds."
            raise ScriptWaitTimeoutError(said, run=run)
        yield Sleep(max(0.0, min(poll, end - clock())))


def _at(which: Which) -> str:
    return f"{PATH}/{quote(str(which), safe='')}"


def _at_run(which: WhichRun) -> str:
    return f"{RUNS}/{which if isinstance(which, int) else UUID(str(which))}"


def _script(response: httpx2.Response) -> Script:
    return Script.read(Fields(response.json(), "script"))


def _run(response: httpx2.Response) -> ScriptRun:
    return ScriptRun.read(Fields(response.json(), "run"))
