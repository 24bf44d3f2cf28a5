"""Plans become runs: the one door by which the API, the command line, batches, schedules and triggers start one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import InvalidInput
from treadle.domain.events import JsonObject
from treadle.domain.git_url import split_credentials
from treadle.domain.identity import Organization, Principal
from treadle.domain.permissions import Permission, require
from treadle.domain.plan import NOT_VALID, Plan
from treadle.domain.plan_variables import filled, name_in, stood_in
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName, Run, RunDraft, RunSource, StepDraft
from treadle.services.agents import branch_words, chosen_engine
from treadle.services.organizations import Organizations
from treadle.services.plan_rules import (
    Faults,
    added,
    branch_fault,
    ending,
    engine_named,
    host_fault,
    plan_faults,
    url_fault,
)
from treadle.services.repositories import FALLBACK_BRANCH, Repositories
from treadle.services.run_rules import REQUIRED, files_fault
from treadle.services.runs import Repeatable, RunRequest, Runs


@dataclass(frozen=True, slots=True)
class PlanTarget:
    """Where a plan is run. None: what the plan itself says. `branch_words`: for a name `treadle/<id>-<words>` where
    neither says a work branch."""

    repository_id: int | None = None
    url: str | None = None
    branch_source: str | None = None
    branch_work: str | None = None
    branch_words: str | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """The target, looked up. `http`: credentials that its address held."""

    url: str | None
    http: str | None
    repository: Repository | None

    @property
    def values(self) -> Mapping[str, str]:
        """The built-in variables."""
        known = dict[str, str]()
        if self.repository is not None:
            known["repository.name"] = self.repository.name
            known["repository.default_branch"] = self.repository.default_branch
        elif self.url is not None:
            known["repository.name"] = name_in(self.url)
        if self.url is not None:
            known["repository.url"] = self.url
        return known


class PlanRuns:
    """What is checked is what `POST /code-generation/processes` checks; a registered repository brings its
    credentials."""

    def __init__(
        self,
        runs: Runs,
        organizations: Organizations,
        repositories: Repositories,
        *,
        allow_local: bool,
        allow_private_hosts: bool,
    ) -> None:
        self._runs = runs
        self._organizations = organizations
        self._repositories = repositories
        self._allow_local = allow_local
        self._allow_private_hosts = allow_private_hosts

    async def start(
        self,
        principal: Principal,
        plan: Plan,
        target: PlanTarget = PlanTarget(),
        *,
        variables: Mapping[str, str] | None = None,
        file_ids: Sequence[UUID] = (),
        uuid: UUID | None = None,
        steps_of: UUID | None = None,
        repeatable: Repeatable | None = None,
        source: RunSource = RunSource.API,
        metadata: JsonObject | None = None,
        max_cost_usd: float | None = None,
        opens_pull_request: bool | None = None,
    ) -> Run:
        """The new run, or the one that the same `uuid` or Idempotency-Key made. `variables` may hold `trigger.…` too;
        `max_cost_usd` and `opens_pull_request` count in the place of what the plan says; `steps_of` as `Runs.create`
        has it.

        Raises InvalidInput naming every fault by the plan's keys (`steps[0]`, `variables.name`) and the parameters'
        names (`url`, `branch_work`, `file_ids[0]`), NotFound for a repository, Forbidden, AllowanceUsedUp,
        IdempotencyMismatch.
        """
        require(principal, Permission.RUN)
        if (earlier := await self.started_with(principal, repeatable)) is not None:
            return earlier
        place = await self._place(principal, plan, target)
        plan = filled(plan, {**(variables or {}), **place.values})
        faults = added(plan_faults(plan, allow_local=self._allow_local), self._target_faults(plan, target, place))
        if (fault := files_fault(len(file_ids))) is not None:
            faults["file_ids"] = [fault]
        if faults or place.url is None:
            raise InvalidInput(faults, NOT_VALID)
        organization = await self._organizations.get(principal.organization_id)
        engine, model = _engine(plan, organization)
        work = target.branch_work or plan.branch or ""
        draft = RunDraft(
            git_url=place.url,
            branch_source=_source(plan, target, place),
            branch_work=work,
            branch_words=None if work else branch_words(target.branch_words or plan.name or plan.steps[0].text),
            steps=tuple(StepDraft(step.text, step.is_commitable, step.is_structured) for step in plan.steps),
            code_guidelines=plan.guidelines,
            file_ids=tuple(dict.fromkeys(file_ids)),
            generate_diff=plan.wants_diff if plan.wants_diff is not None else True,
            engine=engine,
            model=model,
            repository_id=place.repository.id if place.repository is not None else None,
            source=source,
            metadata=metadata,
            opens_pull_request=bool(plan.opens_pull_request if opens_pull_request is None else opens_pull_request),
            max_cost_usd=max_cost_usd if max_cost_usd is not None else plan.max_cost_usd,
            network=plan.network,
            validation=plan.validation,
        )
        return await self._runs.create(
            principal,
            RunRequest(draft, GitCredentials(http=place.http)),
            repeatable,
            monthly_runs=organization.monthly_runs,
            uuid=uuid,
            steps_of=steps_of,
        )

    async def started_with(self, principal: Principal, repeatable: Repeatable | None) -> Run | None:
        """As `Runs.started_with`."""
        return await self._runs.started_with(principal, repeatable)

    async def check(
        self,
        principal: Principal,
        plan: Plan,
        target: PlanTarget = PlanTarget(),
        *,
        variables: Mapping[str, str] | None = None,
    ) -> Mapping[str, Sequence[str]]:
        """What `start` would find wrong, as far as it can be told beforehand; nothing starts. Where nobody gives a
        value a stand-in is checked, unless some are given: then all that are required must be. Raises NotFound,
        Forbidden."""
        require(principal, Permission.RUN)
        place = await self._place(principal, plan, target)
        if variables:
            try:
                done, faults = filled(plan, {**variables, **place.values}), Faults()
            except InvalidInput as error:
                done, faults = stood_in(plan)[0], {path: list(said) for path, said in error.faults.items()}
        else:
            done, faults = stood_in(plan)
        return added(
            added(faults, plan_faults(done, allow_local=self._allow_local)),
            self._target_faults(done, target, place),
        )

    async def _place(self, principal: Principal, plan: Plan, target: PlanTarget) -> _Place:
        if target.repository_id is not None:
            found = await self._repositories.get(principal, target.repository_id)
            return _Place(found.url, None, found)
        given = target.url or plan.repo
        if given is None:
            return _Place(None, None, None)
        url, http = split_credentials(given) if "@" in given else (given, None)
        return _Place(url, http, await self._repositories.find(principal.organization_id, url))

    def _target_faults(self, plan: Plan, target: PlanTarget, place: _Place) -> Faults:
        faults: Faults = {}

        def check(path: str, said: str | None) -> None:
            if said:
                faults.setdefault(path, []).append(ending(said))

        if target.repository_id is not None and target.url is not None:
            check("url", "is given beside a repository: give one of them")
        elif place.url is None:
            check("repo", REQUIRED)
        elif target.url is not None:
            check("url", url_fault(target.url, allow_local=self._allow_local))
        if place.url is not None and place.repository is None and not self._allow_private_hosts:
            check("repo" if target.url is None else "url", host_fault(place.url))
        source, work = _source(plan, target, place), target.branch_work or plan.branch
        if target.branch_source is not None:
            check("branch_source", branch_fault(target.branch_source))
        if target.branch_work is not None:
            check("branch_work", branch_fault(target.branch_work))
        if source == work:
            where = "branch_work" if target.branch_work is not None else "branch"
            check(where, "must differ from the branch that the work starts from")
        return faults


def _source(plan: Plan, target: PlanTarget, place: _Place) -> str:
    registered = place.repository.default_branch if place.repository is not None else FALLBACK_BRANCH
    return target.branch_source or plan.source or registered


def _engine(plan: Plan, organization: Organization) -> tuple[EngineName, str | None]:
    if plan.engine is None or (engine := engine_named(plan.engine)) is None:
        return chosen_engine(organization, plan.model, None)
    if plan.model is None or engine is EngineName.DUMMY:
        return engine, None
    return engine, plan.model.strip() or None
