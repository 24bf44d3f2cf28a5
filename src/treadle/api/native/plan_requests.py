"""What the endpoints of plans take, read with every fault at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from treadle.api.native.reading import read_fields
from treadle.domain.errors import InvalidInput
from treadle.domain.events import JsonObject
from treadle.domain.plan_parts import MAX_VARIABLES
from treadle.services.plan_runs import PlanTarget
from treadle.services.run_rules import MAX_FILES, cost_fault, text_fault

_TEXTS = ("repositoryPlan", "planBranch", "url", "branchSource", "branchWork")
_FIELDS = (*_TEXTS, "plan", "repositoryId", "variables", "fileIds", "metadata", "maxCostUsd", "pullRequest")

#: The largest id of a repository.
_LAST_ID = 2**31 - 1

Faults = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class PlanBody:
    """A plan and where it is to run. `plan`: YAML, or an object; None where `repository_plan` names one. `sent`: as it
    came."""

    plan: object
    repository_plan: str | None
    plan_branch: str | None
    target: PlanTarget
    variables: Mapping[str, str]
    file_ids: tuple[UUID, ...]
    metadata: JsonObject | None
    max_cost_usd: float | None
    opens_pull_request: bool | None
    sent: Mapping[str, object] = field(repr=False)


def read_check(body: bytes) -> object:
    """The plan: YAML, or an object. Raises InvalidInput."""
    sent = read_fields(body, ["plan"])
    faults: Faults = {}
    plan = _plan(sent, faults, is_required=True)
    if faults:
        raise InvalidInput(faults)
    return plan


def read_start(body: bytes) -> PlanBody:
    """Raises InvalidInput naming every fault."""
    sent = read_fields(body, _FIELDS)
    faults: Faults = {}
    texts = {name: _text(sent, name, faults) for name in _TEXTS}
    plan = _plan(sent, faults, is_required=texts["repositoryPlan"] is None)
    repository = sent.get("repositoryId")
    if repository is not None and not _is_whole(repository, _LAST_ID):
        faults["repositoryId"] = ["Must be the id of a repository."]
        repository = None
    if texts["repositoryPlan"] is not None and plan is not None:
        faults["repositoryPlan"] = ["Give this or plan, not both."]
    if texts["repositoryPlan"] is not None and repository is None and "repositoryId" not in faults:
        faults["repositoryId"] = ["Is required with repositoryPlan."]
    if texts["planBranch"] is not None and texts["repositoryPlan"] is None:
        faults["planBranch"] = ["Goes with repositoryPlan."]
    found = PlanBody(
        plan=plan,
        repository_plan=texts["repositoryPlan"],
        plan_branch=texts["planBranch"],
        target=PlanTarget(
            repository_id=repository if isinstance(repository, int) else None,
            url=texts["url"],
            branch_source=texts["branchSource"],
            branch_work=texts["branchWork"],
        ),
        variables=_variables(sent.get("variables"), faults),
        file_ids=_file_ids(sent.get("fileIds"), faults),
        metadata=_metadata(sent.get("metadata"), faults),
        max_cost_usd=_cost(sent.get("maxCostUsd"), faults),
        opens_pull_request=_flag(sent.get("pullRequest"), faults),
        sent=sent,
    )
    if faults:
        raise InvalidInput(faults)
    return found


def _plan(sent: Mapping[str, object], faults: Faults, *, is_required: bool) -> object:
    plan = sent.get("plan")
    if plan is None:
        if is_required:
            faults["plan"] = ["Is required."]
    elif not isinstance(plan, str | dict):
        faults["plan"] = ["Must be YAML, or an object."]
    return plan


def _text(sent: Mapping[str, object], name: str, faults: Faults) -> str | None:
    value = sent.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        faults[name] = ["Must be text that is not empty."]
        return None
    if fault := text_fault(value):
        faults[name] = [fault]
    return value


def _variables(value: object, faults: Faults) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        faults["variables"] = ["Must be an object of texts."]
        return {}
    if len(value) > MAX_VARIABLES:
        faults["variables"] = [f"Must be at most {MAX_VARIABLES}, not {len(value):,}."]
        return {}
    for name, each in value.items():
        if "." in name:  # a trigger's to say
            faults.setdefault("variables", []).append(f"{ascii(name)[:100]} is built in, and not to be given.")
        elif fault := text_fault(each) or text_fault(name):
            faults.setdefault("variables", []).append(fault)
    return value


def _file_ids(value: object, faults: Faults) -> tuple[UUID, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        faults["fileIds"] = ["Must be a list of ids."]
        return ()
    found = list[UUID]()
    for at, each in enumerate(value[: MAX_FILES + 1]):
        try:
            found.append(UUID(each if isinstance(each, str) else ""))
        except ValueError:
            faults[f"fileIds[{at}]"] = ["Is not the id of a file."]
    return tuple(found)


def _metadata(value: object, faults: Faults) -> JsonObject | None:
    if value is None or isinstance(value, dict):
        return value
    faults["metadata"] = ["Must be an object."]
    return None


def _cost(value: object, faults: Faults) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        faults["maxCostUsd"] = ["Must be a number."]
        return None
    if fault := cost_fault(value):
        faults["maxCostUsd"] = [fault]
    return value


def _flag(value: object, faults: Faults) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    faults["pullRequest"] = ["Must be true or false."]
    return None


def _is_whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most
