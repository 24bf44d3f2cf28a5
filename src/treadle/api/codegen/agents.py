"""Agent runs: parse, call one service, translate."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from starlette.requests import Request
from starlette.responses import Response

from treadle.api.codegen import wire
from treadle.api.codegen.answers import Links, answer
from treadle.api.codegen.guard import LAST_ID, Call, id_of
from treadle.api.codegen.parsing import Unprocessable, fault, read_body, read_query
from treadle.api.codegen.requests import (
    MAX_IMAGES_BYTES,
    CreateAgentRunInput,
    LogsQuery,
    ResumeAgentRunInput,
    StopAgentRunInput,
    idempotency_key,
    read_runs_page,
)
from treadle.domain.errors import NotFound
from treadle.domain.identity import FIRST_LOCAL_SESSION
from treadle.domain.run import Run, RunSource
from treadle.services.agent_log import entry_of_line
from treadle.services.agents import Agents
from treadle.services.local_sessions import LocalSessions
from treadle.services.pull_requests import PullRequests
from treadle.services.runs import Repeatable

NO_RUN = "Agent run not found."

#: No user has this id.
NOBODY = 0


class AgentHandlers:
    """The handlers of agent runs. A session elsewhere is shown as one, and is only looked at."""

    def __init__(
        self,
        agents: Agents,
        sessions: LocalSessions,
        pull_requests: PullRequests,
        links: Links,
        *,
        max_request_bytes: int,
    ) -> None:
        self._agents = agents
        self._sessions = sessions
        self._pull_requests = pull_requests
        self._links = links
        self._max_request_bytes = max_request_bytes

    async def create(self, call: Call) -> Response:
        key = idempotency_key(call.request)
        body = await read_body(call.request, CreateAgentRunInput, self._max_with_images)
        self._check_length(body.prompt)
        repeatable = Repeatable(key, await asyncio.to_thread(_digest, key, body)) if key is not None else None
        if body.repo_id is not None:
            id_of(body.repo_id, "Repository not found.")
        run = await self._agents.create(call.principal, body.request(), repeatable)
        return await self._shown(run, call.request)

    async def get(self, call: Call) -> Response:
        run_id = call.id("agent_run_id", NO_RUN)
        if run_id > FIRST_LOCAL_SESSION:
            with _as_agent_run():
                session = await self._sessions.get(call.principal, run_id)
            return answer(wire.local_run(session, self._links.origin(call.request)))
        return await self._shown(await self._agents.get(call.principal, run_id), call.request)

    async def list(self, call: Call) -> Response:
        query, origin = read_runs_page(call.request), self._links.origin(call.request)
        user_id = query.user_id if query.user_id is None or 0 < query.user_id <= LAST_ID else NOBODY
        if query.source_type is RunSource.LOCAL:
            sessions, total = await self._sessions.page(
                call.principal, user_id=user_id, limit=query.limit, skip=query.reach
            )
            shown = [wire.local_run(each, origin) for each in sessions]
        else:
            runs, total = await self._agents.page(
                call.principal, user_id=user_id, source=query.source_type, limit=query.limit, skip=query.reach
            )
            pulls = await self._pull_requests.of([run.id for run in runs])
            shown = [wire.agent_run(run, pulls.get(run.id, ()), origin) for run in runs]
        return answer(wire.page(shown, total, skip=query.reach, limit=query.limit))

    async def resume(self, call: Call) -> Response:
        key = idempotency_key(call.request)
        body = await read_body(call.request, ResumeAgentRunInput, self._max_with_images)
        self._check_length(body.prompt)
        run_id = _of_here(body.agent_run_id)
        repeatable = Repeatable(key, await asyncio.to_thread(_resume_digest, key, body)) if key is not None else None
        run = await self._agents.resume(
            call.principal,
            run_id,
            body.prompt,
            body.images or (),
            max_cost_usd=body.max_cost_usd,
            repeatable=repeatable,
        )
        return await self._shown(run, call.request)

    async def ban(self, call: Call) -> Response:
        run = await self._agents.stop(call.principal, await self._named(call))
        said = f"The branch '{run.branch_work}' is flagged, and nothing works on it any more."
        return answer({"message": said, "status_code": 200})

    async def unban(self, call: Call) -> Response:
        run = await self._agents.allow(call.principal, await self._named(call))
        return answer({"message": f"The branch '{run.branch_work}' is not flagged any more.", "status_code": 200})

    async def stop(self, call: Call) -> Response:
        """An address of later clients: the same as a ban, and answers with the run."""
        run = await self._agents.stop(call.principal, await self._named(call))
        return await self._shown(await self._agents.get(call.principal, run.id), call.request)

    async def logs(self, call: Call) -> Response:
        run_id, query = call.id("agent_run_id", NO_RUN), read_query(call.request, LogsQuery)
        origin = self._links.origin(call.request)
        if run_id > FIRST_LOCAL_SESSION:
            with _as_agent_run():
                session, lines, total = await self._sessions.log(
                    call.principal, run_id, limit=query.limit, skip=query.reach, reverse=query.reverse
                )
            entries = [entry_of_line(line) for line in lines]
            shown = wire.local_run_with_logs(session, entries, total, origin, skip=query.reach, limit=query.limit)
        else:
            run, found, total = await self._agents.log(
                call.principal, run_id, limit=query.limit, skip=query.reach, reverse=query.reverse
            )
            shown = wire.agent_run_with_logs(run, found, total, origin, skip=query.reach, limit=query.limit)
        return answer(shown)

    @property
    def _max_with_images(self) -> int:
        return max(self._max_request_bytes, MAX_IMAGES_BYTES)

    def _check_length(self, prompt: str) -> None:
        """It may be as long as a request without images. Raises Unprocessable."""
        if len(prompt) > self._max_request_bytes:
            raise Unprocessable([fault(("body", "prompt"), f"Must be at most {self._max_request_bytes:,} characters.")])

    async def _named(self, call: Call) -> int:
        body = await read_body(call.request, StopAgentRunInput, self._max_request_bytes)
        return _of_here(body.agent_run_id)

    async def _shown(self, run: Run, request: Request) -> Response:
        pulls = (await self._pull_requests.of([run.id])).get(run.id, ())
        return answer(wire.agent_run(run, pulls, self._links.origin(request)))


@contextmanager
def _as_agent_run() -> Iterator[None]:
    """A session elsewhere that is not there, in the words for an agent run that is not."""
    try:
        yield
    except NotFound:
        raise NotFound(NO_RUN) from None


def _of_here(run_id: int) -> int:
    """Raises NotFound for a session elsewhere too: nobody here can go on with it or stop it."""
    if run_id > FIRST_LOCAL_SESSION:
        raise NotFound(NO_RUN)
    return id_of(run_id, NO_RUN)


def _digest(key: str, body: CreateAgentRunInput) -> str:
    """Of what was asked for, not of how it was written down; the key is the salt."""
    asked = [body.prompt, _hashes(body.images), body.metadata, body.repo_id, body.model, body.agent_type]
    # Only where they were given: a repeated call may have an earlier version before it.
    asked += [{"max_cost_usd": body.max_cost_usd}] if body.max_cost_usd is not None else []
    asked += [{"network": body.network.json()}] if body.network is not None else []
    asked += [{"validate": body.validation.json()}] if body.validation is not None else []
    return hashlib.sha256(f"{key}\0{json.dumps(asked, sort_keys=True)}".encode()).hexdigest()


def _resume_digest(key: str, body: ResumeAgentRunInput) -> str:
    asked = [body.agent_run_id, body.prompt, _hashes(body.images), body.max_cost_usd]
    return hashlib.sha256(f"{key}\0{json.dumps(asked)}".encode()).hexdigest()


def _hashes(images: Sequence[str] | None) -> list[str]:
    return [hashlib.sha256(image.encode(errors="surrogatepass")).hexdigest() for image in images or ()]
