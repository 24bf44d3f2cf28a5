"""Processes: parse, call one service, translate."""

import asyncio
import hashlib
from collections.abc import Sequence
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from treadle.api.auth import Authenticator, Caller
from treadle.api.bodies import Query, header, preferred, read_json, whole_number
from treadle.api.downloads import download
from treadle.api.json_bytes import encode
from treadle.api.maitento import wire
from treadle.api.maitento.checks import check_claude_update, check_credentials, check_process, file_ids_in
from treadle.api.maitento.errors import wire_paths
from treadle.api.maitento.faults import Reading, add, read
from treadle.api.maitento.process_json import process_around_diff, process_bytes, processes_bytes
from treadle.api.maitento.requests import (
    ClaudeAuthenticationUpdateBody,
    CredentialsBody,
    ProcessBody,
    engine_credential,
    run_request,
)
from treadle.api.streams import Streams
from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.run import Run
from treadle.domain.states import RunStatus
from treadle.services.runs import DiffForm, Repeatable, Runs, is_seen

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
PATCH = "text/x-diff"

MAX_LIST = 1000
DEFAULT_EVENTS = 200
MAX_IDEMPOTENCY_KEY = 255

#: Between this many processes of a list the loop is given to others.
_LIST_BATCH = 50

_EMPTY_DIFF = {DiffForm.STRUCTURED: b'{"files":[]}', DiffForm.PATCH: b""}


class Processes:
    """The handlers under `/code-generation/processes`."""

    def __init__(
        self, runs: Runs, streams: Streams, authenticator: Authenticator, *, max_request_bytes: int, allow_local: bool
    ) -> None:
        self._authenticator = authenticator
        self._runs = runs
        self._streams = streams
        self._max_request_bytes = max_request_bytes
        self._allow_local = allow_local

    async def create(self, request: Request, caller: Caller) -> Response:
        reading = read(ProcessBody, await self._body(request))
        check_process(reading, allow_local=self._allow_local)
        key = _idempotency_key(request, reading)
        if reading.model is None or reading.faults:
            await self._check_files(reading, caller)
            raise InvalidInput(reading.faults)
        repeatable = Repeatable(key, _digest(key, reading.model)) if key is not None else None
        with wire_paths():
            run = await self._runs.create(caller.principal, run_request(reading.model), repeatable)
        return await self._process(run)

    async def list(self, request: Request, caller: Caller) -> Response:
        query = Query(request)
        skip = query.number("skip", default=0, least=0)
        limit = query.number("limit", default=MAX_LIST, least=1, most=MAX_LIST)
        statuses = _statuses(query)
        query.check()
        runs = await self._runs.list(caller.principal, statuses=statuses, limit=limit, skip=skip)
        return await _list(runs)

    async def alive(self, _request: Request, caller: Caller) -> Response:
        return await _list(await self._runs.alive(caller.principal))

    async def get(self, request: Request, caller: Caller) -> Response:
        return await self._process(await self._runs.get(caller.principal, run_id(request)))

    async def update_credentials(self, request: Request, caller: Caller) -> Response:
        reading = read(CredentialsBody, await self._body(request))
        check_credentials(reading)
        if reading.model is None or reading.faults:
            raise InvalidInput(reading.faults)
        git = GitCredentials(http=reading.model.git_http_credentials, ssh_key=reading.model.git_ssh_key_base64)
        await self._runs.update_git_credentials(caller.principal, run_id(request), git)
        return Response(status_code=204)

    async def update_claude_authentication(self, request: Request, caller: Caller) -> Response:
        reading = read(ClaudeAuthenticationUpdateBody, await self._body(request))
        check_claude_update(reading)
        if reading.model is None or reading.faults:
            raise InvalidInput(reading.faults)
        claude = engine_credential(reading.model.claude_authentication)
        with wire_paths():
            await self._runs.update_claude_authentication(caller.principal, run_id(request), claude)
        return Response(status_code=204)

    async def kill(self, request: Request, caller: Caller) -> Response:
        await self._runs.kill(caller.principal, run_id(request))
        return Response(status_code=204)

    async def events(self, request: Request, caller: Caller) -> Response:
        query = Query(request)
        after = query.number("after", default=0, least=0)
        limit = query.number("limit", default=DEFAULT_EVENTS, least=1, most=MAX_LIST)
        last = request.headers.get("last-event-id", "").strip()
        if last:
            after = _number(query, "Last-Event-ID", last)
        query.check()
        if preferred(request.headers.get("accept", ""), (EVENT_STREAM, JSON)) == JSON:
            events = await self._runs.events(caller.principal, run_id(request), after=after, limit=limit)
            return Response(encode([wire.event(happened) for happened in events]), media_type=JSON)
        run = await self._runs.get(caller.principal, run_id(request))
        if last and run.is_finished and after >= run.last_event:
            return Response(status_code=204)  # tells an EventSource that there is nothing to come back for

        async def may_see() -> bool:
            principal = await self._authenticator.still(request)
            return principal is not None and is_seen(run, principal)

        return self._streams.response(run, min(after, run.last_event), may_see)

    async def diff(self, request: Request, caller: Caller) -> Response:
        media_type = preferred(request.headers.get("accept", ""), (JSON, PATCH))
        form = DiffForm.PATCH if media_type == PATCH else DiffForm.STRUCTURED
        run, content = await self._runs.diff(caller.principal, run_id(request), form)
        headers = {"Content-Type": media_type, "Vary": "Accept", "X-Content-Type-Options": "nosniff"}
        if content is not None:
            return await download(content, media_type=media_type, headers=headers)
        if any(step.commit_sha for step in run.steps):
            if run.is_finished:
                raise NotFound(
                    "The diff of this process is not kept any more.",
                    hint=f"Its commits are on the branch '{run.branch_work}'.",
                )
            raise NotFound("The diff of this process's commits is not there yet.", hint="Ask again in a moment.")
        return Response(_EMPTY_DIFF[form], headers=headers)

    async def _body(self, request: Request) -> bytes:
        return await read_json(request, self._max_request_bytes)

    async def _check_files(self, reading: Reading[ProcessBody], caller: Caller) -> None:
        places = file_ids_in(reading.values)
        unknown = await self._runs.unknown_files(caller.principal, [file_id for file_id in places if file_id])
        for at, file_id in enumerate(places):
            if file_id in unknown:
                add(reading.faults, f"fileIds[{at}]", "Is not the id of a file of yours.")

    async def _process(self, run: Run) -> Response:
        if run.generate_diff and run.is_finished and (diff := await self._runs.diff_of(run)) is not None:
            head, tail = process_around_diff(run)
            try:
                return await download(diff, media_type=JSON, head=head, tail=tail)
            except NotFound:  # pruned at this very moment, or lost
                if await self._runs.diff_of(run) is not None:
                    raise
        return Response(process_bytes(run), media_type=JSON)


def run_id(request: Request) -> UUID:
    """The path's id. What is no UUID is an id of nothing."""
    try:
        return UUID(request.path_params["id"])
    except ValueError:
        raise NotFound("There is no such process.") from None


async def _list(runs: Sequence[Run]) -> Response:
    parts = list[bytes]()
    for start in range(0, len(runs), _LIST_BATCH):
        parts.append(processes_bytes(runs[start : start + _LIST_BATCH]))
        await asyncio.sleep(0)
    return Response(b"[%b]" % b",".join(parts), media_type=JSON)


def _idempotency_key(request: Request, reading: Reading[ProcessBody]) -> str | None:
    key = header(request, b"idempotency-key", "\0")
    if key == "\0":  # which no header holds
        return None
    if not (0 < len(key) <= MAX_IDEMPOTENCY_KEY and key.isascii() and key.isprintable()):
        said = f"Must be 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters."
        add(reading.faults, "Idempotency-Key", said)
        return None
    return key


def _digest(key: str, body: ProcessBody) -> str:
    """Of what was asked for, not of how it was written down; the key is the salt."""
    return hashlib.sha256(f"{key}\0{body.asked}".encode()).hexdigest()


def _statuses(query: Query) -> frozenset[RunStatus] | None:
    names = query.texts("status")
    known = {str(status): status for status in RunStatus}
    if any(name not in known for name in names):
        query.faults["status"] = [f"Must be of {', '.join(known)}."]
    return frozenset(known[name] for name in names if name in known) or None


def _number(query: Query, name: str, text: str) -> int:
    number = whole_number(text)
    if number is None:
        query.faults[name] = ["Must be the number of an event."]
    return number or 0
