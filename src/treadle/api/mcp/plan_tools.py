"""Tools that start plans."""

import hashlib
import json
from typing import Annotated

from anyio import to_thread
from mcp.server.mcpserver import Context
from pydantic import Field

from treadle.api.deps import Services
from treadle.api.mcp.calls import Call, repository_named, told
from treadle.api.mcp.inputs import key_fault
from treadle.api.mcp.shapes import RunShape
from treadle.domain.errors import InvalidInput
from treadle.domain.permissions import Permission, require
from treadle.services.plan_runs import PlanTarget
from treadle.services.plan_texts import read_plan_text
from treadle.services.run_rules import cost_fault
from treadle.services.runs import Repeatable

_NOT_STARTED = "Nothing was started."


class PlanTools:
    """The caller starts what it could start through the API."""

    def __init__(self, services: Services, *, allow_local: bool, public_url: str | None) -> None:
        self._services = services
        self._allow_local = allow_local
        self._public_url = public_url

    @told
    async def start_plan(
        self,
        context: Context,
        plan: Annotated[str | None, Field(description="YAML: steps, variables, validate, maxCostUsd, …")] = None,
        repository_plan: Annotated[
            str | None, Field(description="Or the name of one that the repository holds in .treadle/plans.")
        ] = None,
        repository: Annotated[
            int | str | None, Field(description="A registered repository: its id, or its name OWNER/NAME.")
        ] = None,
        git_url: Annotated[str | None, Field(description="Or the address of another; null: the plan's.")] = None,
        branch_work: Annotated[
            str | None, Field(description="Where it is committed; null: the plan's, or a new one.")
        ] = None,
        variables: Annotated[dict[str, str] | None, Field(description="Values for the plan's variables.")] = None,
        max_cost_usd: Annotated[
            float | None, Field(description="US dollars that the model may cost, in the place of the plan's.")
        ] = None,
        idempotency_key: Annotated[
            str | None, Field(description="Your own id for this call: repeated with it, it starts no second run.")
        ] = None,
    ) -> RunShape:
        """Start a plan: a run that is written down as YAML, or that a repository holds. Answers at once;
        wait_for_run waits for its end."""
        principal = Call.of(context).principal
        require(principal, Permission.RUN)
        faults: dict[str, list[str]] = {}
        if (plan is None) == (repository_plan is None):
            faults["plan"] = ["Give this or repository_plan."]
        if repository_plan is not None and repository is None:
            faults["repository"] = ["Is required with repository_plan."]
        if max_cost_usd is not None and (fault := cost_fault(max_cost_usd)):
            faults["max_cost_usd"] = [fault]
        if idempotency_key is not None and (fault := key_fault(idempotency_key)):
            faults["idempotency_key"] = [fault]
        if odd := sorted(name for name in variables or () if "." in name):
            faults["variables"] = [f"{odd[0]} is built in, and not to be given."]
        if faults:
            raise InvalidInput(faults, _NOT_STARTED)
        asked = [plan, repository_plan, repository, git_url, branch_work, variables, max_cost_usd]
        repeatable = _repeatable(idempotency_key, asked) if idempotency_key is not None else None
        if (earlier := await self._services.plan_runs.started_with(principal, repeatable)) is not None:
            return RunShape.of(earlier, self._public_url)
        found = await repository_named(self._services, principal, repository) if repository is not None else None
        if plan is not None:
            read = await to_thread.run_sync(lambda: read_plan_text(plan, allow_local=self._allow_local))
            wanted = read.checked()
        else:
            at = found.id if found is not None else 0
            wanted = await self._services.repository_plans.get(principal, at, repository_plan or "")
        target = PlanTarget(found.id if found is not None else None, git_url, branch_work=branch_work)
        run = await self._services.plan_runs.start(
            principal, wanted, target, variables=variables, repeatable=repeatable, max_cost_usd=max_cost_usd
        )
        return RunShape.of(run, self._public_url)


def _repeatable(key: str, asked: object) -> Repeatable:
    """The key is the salt of the digest: an address may hold a token."""
    return Repeatable(f"mcp:{key}", hashlib.sha256(json.dumps([key, asked], sort_keys=True).encode()).hexdigest())
