"""Plans: checked, started, and those that repositories hold themselves."""

from collections.abc import Sequence

from anyio import to_thread
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from treadle.api.auth import Caller
from treadle.api.bodies import read_json
from treadle.api.json_bytes import encode
from treadle.api.native import plan_documents as documents
from treadle.api.native.documents import JSON
from treadle.api.native.plan_requests import PlanBody, read_check, read_start
from treadle.api.native.reading import repository_id
from treadle.api.native.repeating import repeatable_of
from treadle.api.plain_route import PlainRoute
from treadle.api.problem_guard import Guard
from treadle.domain.errors import InvalidInput
from treadle.domain.events import JsonObject
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, require
from treadle.domain.plan import Plan
from treadle.domain.run import Run
from treadle.services.plan_runs import PlanRuns
from treadle.services.plan_schema import SCHEMA_PATH, schema_json
from treadle.services.plan_texts import PlanFault, PlanReading, read_plan_object, read_plan_text
from treadle.services.repository_plans import RepositoryPlan, RepositoryPlans

PATH = "/plans"
OF_REPOSITORY = "/repositories/by-id/{id}/plans"

SHAPES: Sequence[type[BaseModel]] = documents.SHAPES

#: The service's names of what the body calls otherwise.
_NAMES = {"branch_source": "branchSource", "branch_work": "branchWork", "max_cost_usd": "maxCostUsd"}


class PlanHandlers:
    """The handlers."""

    def __init__(
        self, plans: PlanRuns, of_repositories: RepositoryPlans, *, max_request_bytes: int, allow_local: bool
    ) -> None:
        self._plans = plans
        self._of_repositories = of_repositories
        self._max_request_bytes = max_request_bytes
        self._allow_local = allow_local
        self._schema = schema_json().encode()

    async def schema(self, _request: Request) -> Response:
        return Response(self._schema, media_type="application/schema+json")

    async def check(self, request: Request, caller: Caller) -> Response:
        require(caller.principal, Permission.RUN)
        given = read_check(await read_json(request, self._max_request_bytes))
        return Response(encode(_reading(await self._read(given))), media_type=JSON)

    async def start(self, request: Request, caller: Caller) -> Response:
        require(caller.principal, Permission.RUN)
        body = read_start(await read_json(request, self._max_request_bytes))
        repeatable = repeatable_of(request, "plan", body.sent)
        if (earlier := await self._plans.started_with(caller.principal, repeatable)) is not None:
            return Response(encode(_started(earlier)), media_type=JSON)  # whatever the repository's plan is by now
        plan = await self._plan(caller.principal, body)
        try:
            run = await self._plans.start(
                caller.principal,
                plan,
                body.target,
                variables=body.variables,
                file_ids=body.file_ids,
                repeatable=repeatable,
                metadata=body.metadata,
                max_cost_usd=body.max_cost_usd,
                opens_pull_request=body.opens_pull_request,
            )
        except InvalidInput as error:
            raise InvalidInput({_named(path): said for path, said in error.faults.items()}, error.message) from None
        return Response(encode(_started(run)), media_type=JSON)

    async def list(self, request: Request, caller: Caller) -> Response:
        branch = request.query_params.get("branch") or None
        found = await self._of_repositories.list(caller.principal, repository_id(request), branch)
        shown: JsonObject = {
            "branch": found.branch,
            "commit": found.commit,
            "plans": [_repository_plan(each) for each in found.plans],
            "more": found.more,
        }
        return Response(encode(shown), media_type=JSON)

    async def _plan(self, principal: Principal, body: PlanBody) -> Plan:
        if body.repository_plan is not None:
            repository, branch = body.target.repository_id or 0, body.plan_branch
            return await self._of_repositories.get(principal, repository, body.repository_plan, branch)
        return (await self._read(body.plan)).checked()

    async def _read(self, plan: object) -> PlanReading:
        if isinstance(plan, str):
            return await to_thread.run_sync(lambda: read_plan_text(plan, allow_local=self._allow_local))
        return await to_thread.run_sync(lambda: read_plan_object(plan, allow_local=self._allow_local))


def plan_routes(guard: Guard, handlers: PlanHandlers) -> Sequence[PlainRoute]:
    behind = guard.behind
    return [
        PlainRoute(SCHEMA_PATH, guard.open(handlers.schema), methods=["GET"], **documents.SCHEMA.options()),
        PlainRoute(f"{PATH}/check", behind(handlers.check), methods=["POST"], **documents.CHECK.options()),
        PlainRoute(f"{PATH}/start", behind(handlers.start), methods=["POST"], **documents.START.options()),
        PlainRoute(OF_REPOSITORY, behind(handlers.list), methods=["GET"], **documents.LIST.options()),
    ]


def _named(path: str) -> str:
    if path.startswith("file_ids"):
        return f"fileIds{path.removeprefix('file_ids')}"
    return _NAMES.get(path, path)


def _started(run: Run) -> JsonObject:
    return {
        "id": str(run.uuid),
        "number": run.id,
        "status": run.status,
        "gitUrl": run.git_url,
        "repositoryId": run.repository_id,
        "branchSource": run.branch_source,
        "branchWork": run.branch_work,
        "engine": run.engine,
        "maxCostUsd": run.max_cost_usd,
        "steps": len(run.steps),
    }


def _reading(reading: PlanReading) -> JsonObject:
    return {
        "isValid": not reading.faults,
        "faults": [_fault(fault) for fault in reading.faults],
        "plan": reading.plan.to_json() if reading.plan is not None else None,
    }


def _fault(fault: PlanFault) -> JsonObject:
    return {"path": fault.path, "message": fault.message, "line": fault.line}


def _repository_plan(found: RepositoryPlan) -> JsonObject:
    plan = found.reading.plan
    return {
        "name": found.name,
        "path": found.path,
        "title": plan.name if plan is not None else None,
        "description": plan.description if plan is not None else None,
        "variables": plan.to_json().get("variables") if plan is not None else None,
        "steps": len(plan.steps) if plan is not None else 0,
        "isValid": not found.reading.faults,
        "faults": [_fault(fault) for fault in found.reading.faults],
    }
