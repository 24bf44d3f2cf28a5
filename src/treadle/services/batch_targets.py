"""Which repositories a batch is for: read from a request, with every fault by the place that it is in."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from treadle.domain.batch import MAX_BATCH_ITEMS, ItemDraft
from treadle.domain.errors import InvalidInput
from treadle.domain.git_url import normalize, split_credentials
from treadle.domain.plan import Plan
from treadle.domain.plan_variables import filled, is_built_in, name_in
from treadle.domain.repository import Repository
from treadle.services.plan_rules import Faults, host_fault, url_fault
from treadle.services.run_rules import MAX_BRANCH

#: Of a filter's pattern, in characters.
MAX_BATCH_PATTERN = 500

#: Faults that are named of one request, and variables that one fault names: both are the caller's to multiply.
_NAMED_FAULTS = 1_000
_NAMED_VARIABLES = 20


@dataclass(frozen=True, slots=True)
class Target:
    """One of `repository` (its id, or its OWNER/NAME) and `url`."""

    repository: int | str | None = None
    url: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RepositoryFilter:
    """Registered repositories that are not archived: all, or those whose OWNER/NAME matches the pattern `name` (`*` and
    `?`, however capitalized) and that are of that language."""

    name: str | None = None
    language: str | None = None

    def admits(self, repository: Repository) -> bool:
        if repository.is_archived:
            return False
        if self.name is not None and not fnmatch.fnmatchcase(repository.name.lower(), self.name.lower()):
            return False
        return self.language is None or (repository.language or "").lower() == self.language.lower()


@dataclass(frozen=True, slots=True)
class Reach:
    """What a batch is for. `chosen` None: only those of `targets`; with both, it adds those that `targets` lack."""

    targets: Sequence[Target] = ()
    chosen: RepositoryFilter | None = None


def items_of(
    reach: Reach,
    registered: Sequence[Repository],
    plan: Plan,
    variables: Mapping[str, str],
    *,
    allow_local: bool,
    allow_private_hosts: bool,
) -> Sequence[ItemDraft]:
    """In the order of the targets, and then of the repositories' ids. Raises InvalidInput naming every fault, as far as
    somebody would read on, those of a target by `targets[n]`."""
    by_id, by_name = {one.id: one for one in registered}, {one.name: one for one in registered}
    faults: Faults = {}
    if reach.chosen is not None and len(reach.chosen.name or "") > MAX_BATCH_PATTERN:
        faults["filter.name"] = [f"Must be at most {MAX_BATCH_PATTERN} characters."]
    found = dict[int, ItemDraft]()
    for at, target in enumerate(reach.targets):
        item = _item(
            target,
            by_id,
            by_name,
            f"targets[{at}]",
            faults,
            allow_local=allow_local,
            allow_private_hosts=allow_private_hosts,
        )
        if item is not None:
            found[at] = item
    for at, item in found.items():
        if len(faults) < _NAMED_FAULTS:
            _check_variables(item, plan, f"targets[{at}]", faults)
    _check_branches(found, plan, variables, faults)
    if faults:
        raise InvalidInput(faults)
    named = {item.repository_id for item in found.values()}
    rest = [one for one in registered if one.id not in named and reach.chosen is not None and reach.chosen.admits(one)]
    items = [*found.values(), *map(_registered, rest)]
    where = "filter" if reach.chosen is not None else "targets"
    if not items:
        raise InvalidInput({where: ["Names no repository."]})
    if len(items) > MAX_BATCH_ITEMS:
        raise InvalidInput({where: [f"Is {len(items):,} repositories; a batch has at most {MAX_BATCH_ITEMS:,}."]})
    return items


def _item(
    target: Target,
    by_id: Mapping[int, Repository],
    by_name: Mapping[str, Repository],
    where: str,
    faults: Faults,
    *,
    allow_local: bool,
    allow_private_hosts: bool,
) -> ItemDraft | None:
    if (target.repository is None) == (target.url is None):
        faults[where] = ["Give one of repository and url."]
        return None
    if target.url is not None:
        said = url_fault(target.url, allow_local=allow_local)
        if said is None and split_credentials(target.url)[1] is not None:
            said = "Holds credentials: register the repository, which keeps them sealed."
        if said is None and not allow_private_hosts:
            said = host_fault(target.url)
        if said is not None:
            faults[f"{where}.url"] = [said]
            return None
        return ItemDraft(name_in(target.url), target.url, None, target.variables)
    which = target.repository
    repository = by_id.get(which) if isinstance(which, int) else by_name.get(which or "")
    if repository is None:
        hint = " An address goes into `url`." if isinstance(which, str) and "://" in which else ""
        faults[f"{where}.repository"] = [f"Is no repository of the organization.{hint}"]
        return None
    return replace(_registered(repository), variables=target.variables)


def _registered(repository: Repository) -> ItemDraft:
    return ItemDraft(repository.name, repository.url, repository.id)


def _check_variables(item: ItemDraft, plan: Plan, where: str, faults: Faults) -> None:
    for path, said in unknown_variables(item.variables, plan).items():
        faults[f"{where}.{path}"] = list(said)


def unknown_variables(given: Mapping[str, str], plan: Plan) -> Mapping[str, Sequence[str]]:
    """Those that the plan does not declare and nobody knows without, by `variables.NAME`."""
    declared = sorted(each.name for each in plan.variables or ())
    shown = ", ".join(declared[:_NAMED_VARIABLES]) + (", …" if len(declared) > _NAMED_VARIABLES else "")
    said = f"Is not a variable of the plan; {f'there are {shown}' if declared else 'it declares none'}."
    unknown = (name for name in given if name not in declared and not is_built_in(name))
    return {f"variables.{name[:100]}": [said] for name in islice(unknown, _NAMED_FAULTS)}


def _check_branches(items: Mapping[int, ItemDraft], plan: Plan, variables: Mapping[str, str], faults: Faults) -> None:
    """Two runs on one work branch of one repository would wait for each other and build on each other's work."""
    if plan.branch is None:
        return  # each gets a branch of its own
    branch_alone = replace(plan, steps=(), guidelines=None, source=None, validation=None)
    seen = dict[tuple[str, str], int]()
    for at, item in items.items():
        values = {**variables, **item.variables, "repository.name": item.name, "repository.url": item.url}
        if "repository.default_branch" in plan.branch:
            values["repository.default_branch"] = "-"
        try:
            branch = filled(branch_alone, values).branch or ""
        except InvalidInput:
            continue  # which its run will say
        if len(branch) > MAX_BRANCH:
            continue  # the same; and a thousand of them would be a gigabyte
        first = seen.setdefault((normalize(item.url), branch), at)
        if first != at:
            faults[f"targets[{at}]"] = [f"Has the repository and the work branch of targets[{first}]: {branch}."]
