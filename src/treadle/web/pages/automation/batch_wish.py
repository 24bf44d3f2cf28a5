"""A batch as the form asks for it, and what is wrong with it beside the fields."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.datastructures import FormData

from treadle.domain.batch import DEFAULT_BATCH_CONCURRENCY
from treadle.domain.errors import InvalidInput
from treadle.domain.plan import Plan
from treadle.services.batch_targets import Reach, RepositoryFilter, Target
from treadle.services.batches import BatchRequest
from treadle.web.forms import amount_of, is_checked, lines_of, number_of, text_of
from treadle.web.pages.automation.plan_fields import Faults, said_of_plan, variables_of

#: The fields, in the form's order, to say what is wrong beside the first of them.
FIELDS = (
    "name", "plan", "plan_repository", "plan_name", "variables", "repositories", "pattern", "urls", "concurrency",
    "stop_after", "max_cost",
)  # fmt: skip

_WHOLE = "Must be a whole number."


@dataclass(frozen=True, slots=True)
class BatchWish:
    """`ticked`: ids of repositories. `lines`: where each of the other targets is written, from 1."""

    name: str
    plan: str
    plan_repository: int | None
    plan_name: str
    ticked: Sequence[int]
    others: Sequence[Target]
    lines: Sequence[int]
    chosen: RepositoryFilter | None
    variables: Mapping[str, str]
    concurrency: int
    stop_after: int | None
    max_cost: float | None

    def request(self, plan: Plan) -> BatchRequest:
        targets = [*(Target(repository=each) for each in self.ticked), *self.others]
        return BatchRequest(
            plan=plan,
            reach=Reach(targets, self.chosen),
            variables=self.variables,
            name=self.name or None,
            concurrency=self.concurrency,
            stop_after_failures=self.stop_after,
            max_cost_usd=self.max_cost,
        )

    def beside(self, error: InvalidInput) -> InvalidInput:
        """What the service says, by the form's fields."""
        named = {"stopAfterFailures": "stop_after", "maxCostUsd": "max_cost", "targets": "repositories"}
        found: Faults = {}
        for path, said in error.faults.items():
            if path.startswith("targets["):
                field, each = self._target(path, said)
            elif path.startswith("plan."):
                field, each = "plan", said_of_plan({path.removeprefix("plan."): said})
            elif path.startswith(("variables", "filter")):
                field, each = "variables" if path.startswith("variables") else "pattern", said_of_plan({path: said})
            else:
                field, each = named.get(path, path), list(said)
            found.setdefault(field, []).extend(each)
        return InvalidInput({name: found[name] for name in sorted(found, key=_place)}, "No batch was started.")

    def _target(self, path: str, said: Sequence[str]) -> tuple[str, list[str]]:
        at = int(path[len("targets[") : path.index("]")])
        if at < len(self.ticked):
            return "repositories", list(said)
        what = path[path.index("]") + 1 :].lstrip(".")
        where = f"Line {self.lines[at - len(self.ticked)]}"
        return "urls", [f"{where}, {what}: {each}" if "." in what else f"{where}: {each}" for each in said]


def wish_of(form: FormData) -> BatchWish:
    """Raises InvalidInput naming every field that cannot be read."""
    faults: Faults = {}
    variables, said = variables_of(lines_of(form, "variables"))
    if said:
        faults["variables"] = list(said)
    others, lines = others_of(lines_of(form, "urls"), faults)
    ticked = [number_of(each) for each in form.getlist("repositories") if isinstance(each, str)]
    pattern, language = text_of(form, "pattern"), text_of(form, "language")
    chosen = RepositoryFilter(pattern or None, language or None) if pattern or language else None
    wish = BatchWish(
        name=text_of(form, "name"),
        plan=lines_of(form, "plan"),
        plan_repository=number_of(text_of(form, "plan_repository")),
        plan_name=text_of(form, "plan_name"),
        ticked=[each for each in ticked if each is not None],
        others=others,
        lines=lines,
        chosen=RepositoryFilter() if is_checked(form, "all") and chosen is None else chosen,
        variables=variables,
        concurrency=_whole(form, "concurrency", faults) or DEFAULT_BATCH_CONCURRENCY,
        stop_after=_whole(form, "stop_after", faults),
        max_cost=_amount(form, faults),
    )
    if wish.plan.strip() and wish.plan_name:
        faults["plan_name"] = ["Write a plan above or name one here, not both."]
    if not wish.plan.strip() and not wish.plan_name:
        faults["plan"] = ["Is required, or the name of a repository's own plan."]
    if faults:
        raise InvalidInput({name: faults[name] for name in sorted(faults, key=_place)}, "No batch was started.")
    return wish


def others_of(text: str, faults: Faults) -> tuple[Sequence[Target], Sequence[int]]:
    """Lines of an address or OWNER/NAME, and NAME=VALUE behind it."""
    found, lines = list[Target](), list[int]()
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            faults.setdefault("urls", []).append(f"Line {number}: has a quote that does not end.")
            continue
        if not words:
            continue
        variables, said = variables_of("\n".join(words[1:]))
        faults.setdefault("urls", []).extend(f"Line {number}: {each}" for each in said)
        is_address = ":" in words[0] or words[0].startswith("/")
        target = Target(None, words[0], variables) if is_address else Target(words[0], None, variables)
        found.append(target)
        lines.append(number)
    if not faults.get("urls"):
        faults.pop("urls", None)
    return found, lines


def _whole(form: FormData, name: str, faults: Faults) -> int | None:
    text = text_of(form, name)
    if not text:
        return None
    found = number_of(text)
    if found is None:
        faults[name] = [_WHOLE]
    return found


def _amount(form: FormData, faults: Faults) -> float | None:
    try:
        return amount_of(text_of(form, "max_cost"))
    except ValueError as error:
        faults["max_cost"] = [str(error)]
        return None


def _place(name: str) -> int:
    return FIELDS.index(name) if name in FIELDS else len(FIELDS)
