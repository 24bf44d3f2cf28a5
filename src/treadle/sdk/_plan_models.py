"""Plans as the server tells of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from treadle.sdk._wire import Fields, JsonValue


@dataclass(frozen=True, slots=True)
class PlanFault:
    """`path`: the plan's key, such as `steps[0]`, or `plan` for all of it. `line` from 1; None where it is unknown."""

    path: str
    message: str
    line: int | None

    @classmethod
    def read(cls, fields: Fields) -> "PlanFault":
        return cls(fields.text("path"), fields.text("message"), fields.optional_integer("line"))


@dataclass(frozen=True, slots=True)
class PlanCheck:
    """`plan`: what the server understood; None where that was nothing."""

    is_valid: bool
    faults: tuple[PlanFault, ...]
    plan: Mapping[str, JsonValue] | None

    @classmethod
    def read(cls, value: object) -> "PlanCheck":
        fields = Fields(value, "check")
        plan = fields.optional_object("plan")
        return cls(fields.flag("isValid"), _faults(fields), plan.raw if plan is not None else None)


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that a plan became. `id` is for `client.processes`, `number` for `client.agents`."""

    id: UUID
    number: int
    status: str
    git_url: str
    repository_id: int | None
    branch_source: str
    branch_work: str
    raw: Mapping[str, JsonValue]

    @classmethod
    def read(cls, value: object) -> "StartedRun":
        fields = Fields(value, "run")
        return cls(
            fields.uuid("id"),
            fields.integer("number"),
            fields.text("status"),
            fields.text("gitUrl"),
            fields.optional_integer("repositoryId"),
            fields.text("branchSource"),
            fields.text("branchWork"),
            fields.raw,
        )


@dataclass(frozen=True, slots=True)
class RepositoryPlan:
    """A plan that a repository holds itself. `title`: what it calls itself; `variables`: what it declares, by name."""

    name: str
    path: str
    title: str | None
    description: str | None
    variables: Mapping[str, JsonValue]
    steps: int
    is_valid: bool
    faults: tuple[PlanFault, ...]

    @classmethod
    def read(cls, fields: Fields) -> "RepositoryPlan":
        variables = fields.optional_object("variables")
        return cls(
            fields.text("name"),
            fields.text("path"),
            fields.optional_text("title"),
            fields.optional_text("description"),
            variables.raw if variables is not None else {},
            fields.integer("steps"),
            fields.flag("isValid"),
            _faults(fields),
        )


@dataclass(frozen=True, slots=True)
class RepositoryPlans:
    """Those on a branch, as they are at `commit`. `more`: how many there are besides."""

    branch: str
    commit: str
    plans: Sequence[RepositoryPlan]
    more: int

    @classmethod
    def read(cls, value: object) -> "RepositoryPlans":
        fields = Fields(value, "plans")
        plans = [RepositoryPlan.read(each) for each in fields.objects("plans")]
        return cls(fields.text("branch"), fields.text("commit"), plans, fields.integer("more"))


def _faults(fields: Fields) -> tuple[PlanFault, ...]:
    return tuple(PlanFault.read(each) for each in fields.objects("faults"))
