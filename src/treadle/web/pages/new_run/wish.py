"""What somebody wants, as the form holds it: read from one, and filled in from a run, a repository or a plan."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypedDict

from starlette.datastructures import FormData

from treadle.domain.git_url import split_credentials
from treadle.domain.plan import Plan
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName, Run, StoredFile
from treadle.domain.validation import ValidationRules
from treadle.web.forms import amount_text, is_checked
from treadle.web.network import values_of
from treadle.web.validation import validation_values

#: Steps that a form holds at most, so that one can see what is too much: those of a long run that is run again, too.
MAX_FORM_STEPS: Final = 40

#: Of the select of repositories: an address is typed.
ELSEWHERE: Final = "other"

_TOKEN: Final = re.compile(r"[\w-]{16,64}", re.ASCII)
_STEP: Final = re.compile(r"step-([0-9]{1,4})", re.ASCII)

#: Before the names of a pasted plan's variables.
_VARIABLE: Final = "variable-"

#: What is shown again, and what never is.
TEXTS: Final = ("source", "work", "guidelines", "engine", "model", "max_cost", "network", "hosts", "validate", "tries")
SECRETS: Final = ("http", "ssh_key", "api_key")


@dataclass(frozen=True, slots=True)
class StepWish:
    text: str = ""
    is_commitable: bool = True
    is_structured: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """`repository`: an id, ELSEWHERE, or "" before anybody chose. `token`: the same for every time that this form is
    sent. `files`: those that are uploaded. `variables`: the values for a plan that is pasted; `validate`, `tries`: as
    `web.validation` reads them."""

    repository: str = ""
    url: str = field(default="", repr=False)
    http: str = field(default="", repr=False)
    ssh_key: str = field(default="", repr=False)
    source: str = ""
    work: str = ""
    steps: tuple[StepWish, ...] = (StepWish(),)
    guidelines: str = ""
    engine: str = EngineName.CLAUDE
    model: str = ""
    api_key: str = field(default="", repr=False)
    max_cost: str = ""
    network: str = ""
    hosts: str = ""
    opens_pull_request: bool = False
    generate_diff: bool = True
    files: tuple[StoredFile, ...] = ()
    plan: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    validate: str = ""
    tries: str = ""
    is_unvalidated: bool = False
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def is_elsewhere(self) -> bool:
        return self.repository == ELSEWHERE

    @property
    def given_steps(self) -> Sequence[tuple[int, StepWish]]:
        """Those that say something, with their places."""
        return [(at, step) for at, step in enumerate(self.steps) if step.text.strip()]

    @property
    def had_secrets(self) -> bool:
        """Whether something was typed that is not sent back."""
        return any(getattr(self, name) for name in SECRETS) or split_credentials(self.url)[1] is not None

    def values(self) -> Mapping[str, str]:
        """By the names of the fields, without what is secret."""
        shown = {name: getattr(self, name) for name in TEXTS}
        shown |= {"url": split_credentials(self.url)[0], "repository": self.repository, "plan": self.plan}
        shown |= {"pull_request": "1" if self.opens_pull_request else "", "diff": "1" if self.generate_diff else ""}
        shown |= {"unvalidated": "1" if self.is_unvalidated else ""}
        shown |= {f"variable-{name}": value for name, value in self.variables.items()}
        return shown | {f"step-{at}": step.text for at, step in enumerate(self.steps)}


def wish_of(form: FormData) -> Wish:
    """As it was filled in; texts come with the line ends that they had."""

    def text(name: str) -> str:
        value = form.get(name)
        return value.replace("\r\n", "\n") if isinstance(value, str) else ""

    places = sorted({int(match[1]) for name in form if (match := _STEP.fullmatch(name))})
    steps = tuple(
        StepWish(text(f"step-{at}"), text(f"step-{at}-kind") != "analysis", is_checked(form, f"step-{at}-structured"))
        for at in places[:MAX_FORM_STEPS]
    )
    token = text("token")
    return Wish(
        repository=text("repository"),
        url=text("url").strip(),
        http=text("http").strip(),
        ssh_key=text("ssh_key"),
        source=text("source").strip(),
        work=text("work").strip(),
        guidelines=text("guidelines"),
        engine=text("engine"),
        model=text("model").strip(),
        api_key=text("api_key").strip(),
        steps=steps or (StepWish(),),
        max_cost=text("max_cost").strip(),
        network=text("network"),
        hosts=text("hosts"),
        opens_pull_request=is_checked(form, "pull_request"),
        generate_diff=is_checked(form, "diff"),
        plan=text("plan"),
        variables={name.removeprefix(_VARIABLE): text(name) for name in form if name.startswith(_VARIABLE)},
        validate=text("validate"),
        tries=text("tries").strip(),
        is_unvalidated=is_checked(form, "unvalidated"),
        token=token if _TOKEN.fullmatch(token) else Wish().token,
    )


def on(wish: Wish, repository: Repository) -> Wish:
    """The same on that one, from its default branch."""
    return replace(wish, repository=str(repository.id), source=repository.default_branch, url="")


def again(run: Run, repository: Repository | None, files: Sequence[StoredFile]) -> Wish:
    """What was asked for then. A work branch that was named after the run is left to be named anew."""
    network = values_of(run.network)
    is_named_by_run = run.branch_work.startswith(f"treadle/{run.id}-")
    return Wish(
        repository=str(repository.id) if repository is not None else ELSEWHERE,
        url="" if repository is not None else run.git_url,
        source=run.branch_source,
        work="" if is_named_by_run else run.branch_work,
        steps=tuple(
            StepWish(step.text, step.is_commitable, step.is_structured) for step in run.steps if not step.is_follow_up
        ),
        guidelines=run.code_guidelines or "",
        engine=run.engine,
        model=run.model or "",
        max_cost=amount_text(run.max_cost_usd),
        network=network["network"],
        hosts=network["hosts"],
        opens_pull_request=run.opens_pull_request,
        generate_diff=run.generate_diff,
        files=tuple(files),
        **_validation(run.validation),
    )


def planned(wish: Wish, plan: Plan, repository: Repository | None) -> Wish:
    """The form with what the plan says; what it does not say stays. `repository`: the one that it names."""
    if plan.repo is not None:
        chosen = ELSEWHERE if repository is None else str(repository.id)
        wish = replace(wish, repository=chosen, url=plan.repo if repository is None else "")
        if plan.source is None and repository is not None:
            wish = replace(wish, source=repository.default_branch)
    network = values_of(plan.network) if plan.network is not None else {"network": wish.network, "hosts": wish.hosts}
    engine = next((name for name in EngineName if name.lower() == (plan.engine or "").lower()), plan.engine)
    return replace(
        wish,
        source=plan.source if plan.source is not None else wish.source,
        work=plan.branch if plan.branch is not None else wish.work,
        engine=engine if engine is not None else wish.engine,
        model=plan.model if plan.model is not None else wish.model,
        guidelines=plan.guidelines if plan.guidelines is not None else wish.guidelines,
        opens_pull_request=wish.opens_pull_request if plan.opens_pull_request is None else plan.opens_pull_request,
        generate_diff=wish.generate_diff if plan.wants_diff is None else plan.wants_diff,
        steps=tuple(StepWish(step.text, step.is_commitable, step.is_structured) for step in plan.steps) or wish.steps,
        max_cost=amount_text(plan.max_cost_usd) if plan.max_cost_usd is not None else wish.max_cost,
        network=network["network"],
        hosts=network["hosts"],
        plan="",
        variables={},
        **(_validation(plan.validation) if plan.validation is not None else {}),
    )


class _Validation(TypedDict, total=False):
    validate: str
    tries: str
    is_unvalidated: bool


def _validation(rules: ValidationRules | None) -> _Validation:
    shown = validation_values(rules)
    return {"validate": shown["validate"], "tries": shown["tries"], "is_unvalidated": bool(shown["unvalidated"])}


def moved(steps: tuple[StepWish, ...], action: str) -> tuple[tuple[StepWish, ...], int]:
    """The steps after a button without a script (`add`, `remove-2`, `up-2`, `down-2`, places from 0), and the one to go
    on with."""
    verb, _, place = action.partition("-")
    at = int(place) if place.isascii() and place.isdecimal() and len(place) < 5 else -1  # noqa: PLR2004 - digits
    if verb == "add":
        return (*steps, StepWish())[:MAX_FORM_STEPS], min(len(steps), MAX_FORM_STEPS - 1)
    if not 0 <= at < len(steps):
        return steps, 0
    if verb == "remove":
        left = (*steps[:at], *steps[at + 1 :])
        return left or (StepWish(),), max(0, min(at, len(left) - 1))
    to = at + {"up": -1, "down": 1}.get(verb, 0)
    if not 0 <= to < len(steps):
        return steps, at
    found = list(steps)
    found[at], found[to] = found[to], found[at]
    return tuple(found), to
