"""What schedules start: each kind is one class here or elsewhere, and one line where the services are built."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol
from uuid import UUID

from treadle.domain.errors import Forbidden, InvalidInput, NotFound
from treadle.domain.events import JsonObject
from treadle.domain.identity import Principal
from treadle.domain.permissions import PERMISSIONS
from treadle.domain.plan import Plan
from treadle.domain.run import RunSource
from treadle.ports import RunFilter
from treadle.ports.directory import MemberStore
from treadle.services.plan_runs import PlanRuns, PlanTarget
from treadle.services.repository_plans import RepositoryPlans
from treadle.services.runs import Runs
from treadle.services.scripts import Scripts, inputs_fault

Faults = Mapping[str, Sequence[str]]

#: What a schedule gives besides, at some time.
AT_A_TIME: Final = {"schedule.name": "x", "schedule.date": "2000-01-01", "schedule.time": "0000"}


class Starter(Protocol):
    """Starts one kind of target."""

    async def faults(self, principal: Principal, target: JsonObject) -> Faults:
        """What is wrong with it, as far as it can be told beforehand. Raises NotFound, Forbidden."""

    async def start(self, principal: Principal, target: JsonObject, *, uuid: UUID, variables: Mapping[str, str]) -> int:
        """The id of what it started; asked again with the same `uuid`, of the same. Raises TreadleError."""

    async def is_over(self, organization_id: int, started: int) -> bool: ...


class PlanStarter:
    """A plan, or one that the repository holds at that time: `{plan | repositoryPlan, planBranch, repositoryId | url,
    branchSource, branchWork, variables, maxCostUsd, pullRequest}`, as `POST /plans/start` has it."""

    def __init__(self, plans: PlanRuns, of_repositories: RepositoryPlans, runs: Runs) -> None:
        self._plans = plans
        self._of_repositories = of_repositories
        self._runs = runs

    async def faults(self, principal: Principal, target: JsonObject) -> Faults:
        """A repository's own plan is not looked for before its time."""
        if target.get("plan") is None:
            return {}
        variables = {**_variables(target), **AT_A_TIME}
        return await self._plans.check(principal, _plan(target), _place(target), variables=variables)

    async def start(self, principal: Principal, target: JsonObject, *, uuid: UUID, variables: Mapping[str, str]) -> int:
        name, branch = target.get("repositoryPlan"), target.get("planBranch")
        repository = target.get("repositoryId")
        if isinstance(name, str) and isinstance(repository, int):
            where = branch if isinstance(branch, str) else None
            plan = await self._of_repositories.get(principal, repository, name, where)
        else:
            plan = _plan(target)
        cost, opens = target.get("maxCostUsd"), target.get("pullRequest")
        run = await self._plans.start(
            principal,
            plan,
            _place(target),
            variables={**_variables(target), **variables},
            uuid=uuid,
            source=RunSource.API,
            max_cost_usd=cost if isinstance(cost, int | float) else None,
            opens_pull_request=opens if isinstance(opens, bool) else None,
        )
        return run.id

    async def is_over(self, organization_id: int, started: int) -> bool:
        return (await self._runs.seen(started, RunFilter(organization_id))).is_finished


class ScriptStarter:
    """A stored script: `{script, version, inputs}`. The inputs `schedule_name`, `schedule_date` and `schedule_time`
    come besides, unless some of these names are given."""

    def __init__(self, scripts: Scripts, members: MemberStore) -> None:
        self._scripts = scripts
        self._members = members

    async def faults(self, principal: Principal, target: JsonObject) -> Faults:
        found = await self._scripts.get(principal, _script(target))
        try:
            await self._scripts.version(found, _version(target))
        except NotFound as error:
            return {"version": [error.message]}
        said = inputs_fault(_inputs(target, {}))
        return {"inputs": [said]} if said else {}

    async def start(self, principal: Principal, target: JsonObject, *, uuid: UUID, variables: Mapping[str, str]) -> int:
        """Raises Forbidden, too, for a version that came after the schedule of somebody who may do less than its
        maker."""
        found = await self._scripts.get(principal, _script(target))
        version = await self._scripts.version(found, _version(target))
        if _version(target) is None and not await self._may_as_much(version.user_id, principal):
            raise Forbidden(
                f"Version {version.version} of {found.name} was saved by somebody who may do less than the schedule's "
                "maker.",
                hint="Name a version in the schedule, or save it yourself.",
            )
        run = await self._scripts.start(
            principal, found.id, _inputs(target, variables), version=version.version, uuid=uuid
        )
        return run.id

    async def _may_as_much(self, user_id: int, principal: Principal) -> bool:
        if user_id == principal.user_id:
            return True
        author = await self._members.principal_in(principal.organization_id, user_id)
        if author is None or author.role is None or principal.role is None:
            return False
        return PERMISSIONS[author.role] >= PERMISSIONS[principal.role]

    async def is_over(self, organization_id: int, started: int) -> bool:
        return await self._scripts.is_over(organization_id, started)


def _script(target: JsonObject) -> int | str:
    which = target.get("script")
    if isinstance(which, bool) or not isinstance(which, int | str):
        raise InvalidInput({"script": ["Is required: its id or its name."]})
    return which


def _version(target: JsonObject) -> int | None:
    version = target.get("version")
    return version if isinstance(version, int) else None


def _inputs(target: JsonObject, variables: Mapping[str, str]) -> JsonObject:
    """`schedule.name` is the input `schedule_name`."""
    given = target.get("inputs")
    built_in = {name.replace(".", "_"): value for name, value in variables.items()}
    return {**built_in, **(given if isinstance(given, Mapping) else {})}


def _plan(target: JsonObject) -> Plan:
    found = target.get("plan")
    if not isinstance(found, Mapping):
        raise InvalidInput({"plan": ["Is required."]})
    return Plan.from_json(found)


def _place(target: JsonObject) -> PlanTarget:
    repository = target.get("repositoryId")
    return PlanTarget(
        repository_id=repository if isinstance(repository, int) else None,
        url=_text(target, "url"),
        branch_source=_text(target, "branchSource"),
        branch_work=_text(target, "branchWork"),
    )


def _variables(target: JsonObject) -> Mapping[str, str]:
    found = target.get("variables")
    return {name: str(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


def _text(target: JsonObject, name: str) -> str | None:
    value = target.get(name)
    return value if isinstance(value, str) else None
