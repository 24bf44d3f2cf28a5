"""What is wrong with a plan that can be read: the rules are those of runs. Pure."""

from collections.abc import Callable, Mapping, Sequence

from treadle.domain.git_url import check_branch, check_url, parse, split_credentials
from treadle.domain.plan import Plan
from treadle.domain.run import EngineName
from treadle.hosts import is_private_literal
from treadle.services.agents import model_faults
from treadle.services.run_rules import (
    MAX_BRANCH,
    MAX_GUIDELINES,
    MAX_URL,
    blank_fault,
    cost_fault,
    length_fault,
    steps_fault,
    text_fault,
)

Faults = dict[str, list[str]]


def kept_faults(plan: Plan) -> Faults:
    """What is wrong with keeping a plan: it is not sealed, and shown to whoever may see what it belongs to."""
    if plan.repo is None or "@" not in plan.repo or split_credentials(plan.repo)[1] is None:
        return {}
    return {"repo": ["Holds credentials: register the repository, which keeps them sealed."]}


def plan_faults(plan: Plan, *, allow_local: bool) -> Faults:
    """By the plan's keys. Its variables are put in already."""
    faults: Faults = {}

    def check(path: str, *said: str | None) -> None:
        if fault := next((each for each in said if each), None):
            faults.setdefault(path, []).append(ending(fault))

    _check_names(plan, check, allow_local=allow_local)
    if (guidelines := plan.guidelines) is not None:
        check("guidelines", length_fault(guidelines, MAX_GUIDELINES), text_fault(guidelines))
    if plan.engine is not None and engine_named(plan.engine) is None:
        check("engine", f"must be one of {', '.join(EngineName)}")
    check("model", *model_faults(plan.model).get("model", ()))
    check("maxCostUsd", cost_fault(plan.max_cost_usd) if plan.max_cost_usd is not None else None)
    check("steps", steps_fault(len(plan.steps)))
    for at, step in enumerate(plan.steps):
        check(f"steps[{at}]", text_fault(step.text), blank_fault(step.text))
    for variable in plan.variables or ():
        check(f"variables.{variable.name}", *map(text_fault, (variable.default or "", variable.description or "")))
    return faults


def _check_names(plan: Plan, check: Callable[..., None], *, allow_local: bool) -> None:
    for key, text in (("name", plan.name), ("description", plan.description)):
        check(key, text_fault(text) if text is not None else None)
    check("repo", url_fault(plan.repo, allow_local=allow_local) if plan.repo is not None else None)
    for key, branch in (("source", plan.source), ("branch", plan.branch)):
        check(key, branch_fault(branch) if branch is not None else None)
    if plan.branch is not None and plan.branch == plan.source:
        check("branch", "must differ from `source`")


def url_fault(url: str, *, allow_local: bool) -> str | None:
    return length_fault(url, MAX_URL) or text_fault(url) or check_url(url, allow_local)


def host_fault(url: str) -> str | None:
    """Of an address that a service does not connect to and that says so itself: names are looked up at their time."""
    try:
        host = parse(split_credentials(url)[0]).host
    except ValueError:
        return None  # which is another fault
    if not is_private_literal(host):
        return None
    return f"The Git host {host} is on a private address, which this service does not connect to."


def branch_fault(name: str) -> str | None:
    return length_fault(name, MAX_BRANCH) or text_fault(name) or check_branch(name)


def engine_named(name: str) -> EngineName | None:
    """However it is capitalized."""
    return next((engine for engine in EngineName if engine.lower() == name.lower()), None)


def ending(sentence: str) -> str:
    """A rule's sentence as the end of one that begins with the key, as a plan's other faults are."""
    if not sentence.startswith(("Must ", "Is ", "Holds ")):
        return sentence
    return f"{sentence[0].lower()}{sentence[1:]}".removesuffix(".")


def added(faults: Faults, more: Mapping[str, Sequence[str]]) -> Faults:
    """Both."""
    return {path: list(dict.fromkeys([*faults.get(path, ()), *more.get(path, ())])) for path in {**faults, **more}}
