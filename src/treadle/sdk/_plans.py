"""`client.plans`: plans checked and started, and those that repositories hold themselves."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias
from uuid import UUID, uuid4

import httpx2

from treadle.sdk._async_driver import AsyncDriver
from treadle.sdk._calls import Call, Request
from treadle.sdk._documented import documented_as
from treadle.sdk._driver import Driver
from treadle.sdk._plan_models import PlanCheck, RepositoryPlans, StartedRun
from treadle.sdk._wire import JsonValue

#: YAML, or a mapping of the same keys.
PlanLike: TypeAlias = str | Mapping[str, JsonValue]


def check(plan: PlanLike) -> Call[PlanCheck]:
    return Call(Request("POST", "/plans/check", json={"plan": plan}), lambda found: PlanCheck.read(found.json()))


def start(
    plan: PlanLike | None,
    *,
    repository_plan: str | None,
    plan_branch: str | None,
    repository_id: int | None,
    url: str | None,
    branch_source: str | None,
    branch_work: str | None,
    variables: Mapping[str, str] | None,
    file_ids: Iterable[UUID | str],
    metadata: Mapping[str, JsonValue] | None,
    max_cost_usd: float | None,
    pull_request: bool | None,
    idempotency_key: str,
) -> Call[StartedRun]:
    given: dict[str, JsonValue] = {
        "plan": plan,
        "repositoryPlan": repository_plan,
        "planBranch": plan_branch,
        "repositoryId": repository_id,
        "url": url,
        "branchSource": branch_source,
        "branchWork": branch_work,
        "variables": dict(variables) if variables is not None else None,
        "fileIds": [str(file_id) for file_id in file_ids] or None,
        "metadata": metadata,
        "maxCostUsd": max_cost_usd,
        "pullRequest": pull_request,
    }
    body = {name: value for name, value in given.items() if value is not None}
    request = Request("POST", "/plans/start", headers={"Idempotency-Key": idempotency_key}, json=body)
    return Call(request, lambda found: StartedRun.read(found.json()))


def of_repository(repository: int, branch: str | None) -> Call[RepositoryPlans]:
    params = (("branch", branch),) if branch is not None else ()
    return Call(Request("GET", f"/repositories/by-id/{repository}/plans", params=params), _plans)


def schema() -> Call[Mapping[str, JsonValue]]:
    return Call(Request("GET", "/schemas/plan.json", accept="application/schema+json"), _object)


def _plans(response: httpx2.Response) -> RepositoryPlans:
    return RepositoryPlans.read(response.json())


def _object(response: httpx2.Response) -> Mapping[str, JsonValue]:
    found: Mapping[str, JsonValue] = response.json()
    return found


class Plans:
    """`client.plans`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def check(self, plan: PlanLike) -> PlanCheck:
        """What is wrong with a plan, given as YAML or as a mapping of the same keys; nothing starts."""
        return self._driver.call(check(plan))

    def start(
        self,
        plan: PlanLike | None = None,
        *,
        repository_plan: str | None = None,
        plan_branch: str | None = None,
        repository_id: int | None = None,
        url: str | None = None,
        branch_source: str | None = None,
        branch_work: str | None = None,
        variables: Mapping[str, str] | None = None,
        file_ids: Iterable[UUID | str] = (),
        metadata: Mapping[str, JsonValue] | None = None,
        max_cost_usd: float | None = None,
        pull_request: bool | None = None,
        idempotency_key: str | None = None,
    ) -> StartedRun:
        """Starts a plan and returns at once. What is None is as the plan says.

        Args:
            plan: YAML, or a mapping of the same keys.
            repository_plan: In its place the name of one that the repository `repository_id` holds itself.
            plan_branch: The branch that it is read from; None is the default one.
            repository_id: A registered repository, which brings its credentials.
            url: Another repository's address.
            branch_source: The branch to begin from.
            branch_work: The branch to commit to.
            variables: Values of the plan's variables.
            file_ids: Uploaded files to give to the engine as context.
            metadata: Your own; it stays with the run.
            max_cost_usd: US dollars that the model may cost.
            pull_request: Whether a pull request is opened at the run's end.
            idempotency_key: A repeat with the same key, within 24 hours, answers with the same run. One is made when
                none is given.

        Raises:
            BadRequestError: `errors` names every fault by the plan's keys.
            NotFoundError: There is no such repository, or it has no such plan.
            ConflictError: The idempotency key was used with another request, or the Git host refused.
        """
        return self._driver.call(
            start(
                plan,
                repository_plan=repository_plan,
                plan_branch=plan_branch,
                repository_id=repository_id,
                url=url,
                branch_source=branch_source,
                branch_work=branch_work,
                variables=variables,
                file_ids=file_ids,
                metadata=metadata,
                max_cost_usd=max_cost_usd,
                pull_request=pull_request,
                idempotency_key=idempotency_key if idempotency_key is not None else uuid4().hex,
            )
        )

    def of_repository(self, repository: int, *, branch: str | None = None) -> RepositoryPlans:
        """Those that a registered repository holds in `.treadle/plans/`, as they are on the branch now. Raises
        NotFoundError, and ConflictError with what the Git host said."""
        return self._driver.call(of_repository(repository, branch))

    def schema(self) -> Mapping[str, JsonValue]:
        """The JSON Schema of plans."""
        return self._driver.call(schema())


@documented_as(Plans)
class AsyncPlans:
    """`client.plans`."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def check(self, plan: PlanLike) -> PlanCheck:
        return await self._driver.call(check(plan))

    async def start(
        self,
        plan: PlanLike | None = None,
        *,
        repository_plan: str | None = None,
        plan_branch: str | None = None,
        repository_id: int | None = None,
        url: str | None = None,
        branch_source: str | None = None,
        branch_work: str | None = None,
        variables: Mapping[str, str] | None = None,
        file_ids: Iterable[UUID | str] = (),
        metadata: Mapping[str, JsonValue] | None = None,
        max_cost_usd: float | None = None,
        pull_request: bool | None = None,
        idempotency_key: str | None = None,
    ) -> StartedRun:
        return await self._driver.call(
            start(
                plan,
                repository_plan=repository_plan,
                plan_branch=plan_branch,
                repository_id=repository_id,
                url=url,
                branch_source=branch_source,
                branch_work=branch_work,
                variables=variables,
                file_ids=file_ids,
                metadata=metadata,
                max_cost_usd=max_cost_usd,
                pull_request=pull_request,
                idempotency_key=idempotency_key if idempotency_key is not None else uuid4().hex,
            )
        )

    async def of_repository(self, repository: int, *, branch: str | None = None) -> RepositoryPlans:
        return await self._driver.call(of_repository(repository, branch))

    async def schema(self) -> Mapping[str, JsonValue]:
        return await self._driver.call(schema())
