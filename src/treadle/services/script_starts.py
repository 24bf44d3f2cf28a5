"""`codegeneration.start` of stored scripts: steps at an address or in a registered repository, or a plan."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn
from uuid import UUID

from anyio import to_thread

from treadle.domain.errors import InvalidInput
from treadle.domain.identity import Principal
from treadle.domain.plan import Plan
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName, Run
from treadle.ports.scripting import JsonObject, JsonValue
from treadle.scripting.starts import Faults, start_faults
from treadle.scripting.wire import step_json, to_wire_name
from treadle.services.plan_rules import kept_faults
from treadle.services.plan_runs import PlanRuns, PlanTarget
from treadle.services.plan_texts import read_plan_object, read_plan_text
from treadle.services.repositories import Repositories
from treadle.services.run_rules import cost_fault
from treadle.services.runs import RunRequest, Runs

_UPPER: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")


class ScriptStarts:
    """Starts what a script asks for, once for each `uuid`. Faults are named by the call's arguments."""

    def __init__(
        self,
        runs: Runs,
        plan_runs: PlanRuns,
        repositories: Repositories,
        read_start: Callable[[bytes], RunRequest],
        *,
        allow_local: bool,
    ) -> None:
        self._runs = runs
        self._plan_runs = plan_runs
        self._repositories = repositories
        self._read_start = read_start
        self._allow_local = allow_local

    async def start(self, principal: Principal, arguments: JsonObject, uuid: UUID) -> Run:
        """Raises InvalidInput naming every fault, and what a new run raises."""
        given: JsonObject = {name: value for name, value in arguments.items() if value is not None}
        faults = start_faults(given)
        if faults:
            raise InvalidInput(faults)
        repository = await self._repository(principal, given.pop("repository", None))
        try:
            if "plan" in given:
                return await self._of_plan(principal, given, repository, uuid)
            return await self._of_steps(principal, given, repository, uuid)
        except InvalidInput as error:
            raise InvalidInput(
                {_script_path(path): said for path, said in error.faults.items()}, error.message
            ) from None

    async def _repository(self, principal: Principal, which: JsonValue) -> Repository | None:
        """Raises NotFound."""
        match which:
            case None:
                return None
            case int() if not isinstance(which, bool):
                return await self._repositories.get(principal, which)
            case str():
                return await self._repositories.named(principal.organization_id, which)
            case _:
                raise InvalidInput({"repository": ["Must be its id, or OWNER/NAME."]})

    async def _of_steps(
        self, principal: Principal, given: JsonObject, repository: Repository | None, uuid: UUID
    ) -> Run:
        sent: JsonObject = {"engine": EngineName.CLAUDE.value, "generateDiffOnCompletion": False}
        if repository is not None:
            sent |= {"gitUrl": repository.url, "branchSource": repository.default_branch}
        sent |= {to_wire_name(name): value for name, value in given.items()}
        if isinstance(steps := given.get("steps"), list):
            sent["steps"] = [step_json(step) for step in steps]
        return await self._runs.create(principal, self._read_start(json.dumps(sent).encode()), uuid=uuid)

    async def _of_plan(self, principal: Principal, given: JsonObject, repository: Repository | None, uuid: UUID) -> Run:
        faults: Faults = {}
        cost, opens = given.get("max_cost_usd"), given.get("pull_request")
        if cost is not None and (said := _cost_fault(cost)):
            faults["max_cost_usd"] = [said]
        if not isinstance(opens, bool | None):
            faults["pull_request"] = ["Must be True or False."]
        target = PlanTarget(
            repository_id=repository.id if repository is not None else None,
            url=_text(given, "git_url", faults),
            branch_source=_text(given, "branch_source", faults),
            branch_work=_text(given, "branch_work", faults),
        )
        variables = _variables(given.get("variables"), faults)
        file_ids = _file_ids(given.get("file_ids"), faults)
        if faults:
            raise InvalidInput(faults)
        return await self._plan_runs.start(
            principal,
            await self._plan(given["plan"]),
            target,
            variables=variables,
            file_ids=file_ids,
            uuid=uuid,
            max_cost_usd=float(cost) if isinstance(cost, int | float) else None,
            opens_pull_request=opens if isinstance(opens, bool) else None,
        )

    async def _plan(self, plan: JsonValue) -> Plan:
        if isinstance(plan, str):
            reading = await to_thread.run_sync(lambda: read_plan_text(plan, allow_local=self._allow_local))
        else:
            reading = await to_thread.run_sync(lambda: read_plan_object(plan, allow_local=self._allow_local))
        read = reading.checked()
        if faults := kept_faults(read):
            raise InvalidInput(faults)
        return read


def _script_path(path: str) -> str:
    """`steps[0].isCommitableStep` as a script would write it."""
    return _UPPER.sub(lambda found: f"_{found[1].lower()}", path)


def _cost_fault(cost: JsonValue) -> str | None:
    if isinstance(cost, bool) or not isinstance(cost, int | float):
        return "Must be a number."
    return cost_fault(cost)


def _text(given: Mapping[str, JsonValue], name: str, faults: Faults) -> str | None:
    value = given.get(name)
    if value is None or isinstance(value, str):
        return value
    faults[name] = ["Must be a string."]
    return None


def _variables(given: JsonValue, faults: Faults) -> Mapping[str, str]:
    if given is None:
        return {}
    if isinstance(given, dict) and all(isinstance(value, str) for value in given.values()):
        return {name: str(value) for name, value in given.items()}
    faults["variables"] = ["Must be a dict of strings."]
    return {}


def _file_ids(given: JsonValue, faults: Faults) -> Sequence[UUID]:
    if given is None:
        return ()
    try:
        return [UUID(str(one)) for one in given] if isinstance(given, list) else _refuse()
    except ValueError:
        faults["file_ids"] = ["Must be a list of the ids of files."]
        return ()


def _refuse() -> NoReturn:
    raise ValueError
