"""Repositories, what becomes of their failed checks, and their setup commands: parse, call one service, translate."""

from starlette.responses import Response

from treadle.api.codegen import wire
from treadle.api.codegen.answers import Links, answer
from treadle.api.codegen.errors import BadRequest
from treadle.api.codegen.guard import Call, id_of
from treadle.api.codegen.parsing import read_body, read_query
from treadle.api.codegen.requests import (
    CheckSuiteSettingsRequest,
    GenerateSetupCommandsInput,
    RepositoryQuery,
    read_page,
)
from treadle.domain.errors import Conflict, NotFound
from treadle.services.check_suites import CheckSuites
from treadle.services.repositories import Repositories
from treadle.services.setup import SetupCommands

NO_REPOSITORY = "Repository not found."
NO_SANDBOX = "Sandbox not found"
NO_LOGS = "No logs available for analysis"
ANALYSING = "The logs are being analysed; ask for the agent run to see what comes of it."


class RepositoryHandlers:
    """The handlers under `/repos`."""

    def __init__(self, repositories: Repositories, check_suites: CheckSuites, *, max_request_bytes: int) -> None:
        self._repositories = repositories
        self._check_suites = check_suites
        self._max_request_bytes = max_request_bytes

    async def list(self, call: Call) -> Response:
        query = read_page(call.request)
        found, total = await self._repositories.page(call.principal, limit=query.limit, skip=query.reach)
        shown = [wire.repository(each) for each in found]
        return answer(wire.page(shown, total, skip=query.reach, limit=query.limit))

    async def check_suite_settings(self, call: Call) -> Response:
        wanted = read_query(call.request, RepositoryQuery).repo_id
        found = await self._check_suites.get(call.principal, id_of(wanted, NO_REPOSITORY))
        return answer(wire.check_suite_settings(found))

    async def update_check_suite_settings(self, call: Call) -> Response:
        wanted = read_query(call.request, RepositoryQuery).repo_id
        body = await read_body(call.request, CheckSuiteSettingsRequest, self._max_request_bytes)
        changed = await self._check_suites.update(call.principal, id_of(wanted, NO_REPOSITORY), body.change())
        return answer(wire.check_suite_settings(changed))


class SetupHandlers:
    """The handlers of setup commands and of the logs that they leave."""

    def __init__(self, setup: SetupCommands, links: Links, *, max_request_bytes: int) -> None:
        self._setup = setup
        self._links = links
        self._max_request_bytes = max_request_bytes

    async def generate(self, call: Call) -> Response:
        body = await read_body(call.request, GenerateSetupCommandsInput, self._max_request_bytes)
        repository_id = id_of(body.repo_id, NO_REPOSITORY)
        run = await self._setup.generate(call.principal, repository_id, body.prompt)
        url = wire.run_url(run.id, self._links.origin(call.request))
        return answer({"agent_run_id": run.id, "status": wire.STATUSES[run.status], "url": url})

    async def analyze(self, call: Call) -> Response:
        sandbox_id = call.id("sandbox_id", NO_SANDBOX)
        try:
            run = await self._setup.analyze(call.principal, sandbox_id)
        except NotFound:
            raise NotFound(NO_SANDBOX) from None
        except Conflict:
            raise BadRequest(NO_LOGS) from None
        return answer({"agent_run_id": run.id, "status": wire.STATUSES[run.status], "message": ANALYSING})
