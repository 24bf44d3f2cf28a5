"""`client.agents` of the asynchronous client."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from functools import partial
from uuid import uuid4

from treadle.sdk import _agent_calls as calls
from treadle.sdk._agent_flows import Home, pages
from treadle.sdk._agent_models import AgentLog, AgentRun, AgentRunSource, PullRequest, PullRequestState
from treadle.sdk._agents import DEFAULT_LOOK, Agents
from treadle.sdk._async_driver import AsyncDriver
from treadle.sdk._documented import documented_as
from treadle.sdk._images import Image, data_uris
from treadle.sdk._network import Network
from treadle.sdk._organization_models import CheckSuiteSettings, Integration, Organization, Repository, Rules, User
from treadle.sdk._validation import Validation
from treadle.sdk._wire import JsonValue


@documented_as(Agents)
class AsyncAgents:
    """`client.agents` of the asynchronous client."""

    def __init__(self, driver: AsyncDriver, clock: Callable[[], float]) -> None:
        self._driver = driver
        self._clock = clock
        self._home = Home(driver.retry)

    async def run(
        self,
        prompt: str,
        *,
        repository: int | None = None,
        images: Iterable[Image] = (),
        metadata: Mapping[str, JsonValue] | None = None,
        model: str | None = None,
        agent_type: str | None = None,
        max_cost_usd: float | None = None,
        network: Network | None = None,
        validate: Validation | None = None,
        organization: int | None = None,
        idempotency_key: str | None = None,
    ) -> AgentRun:
        return await self._driver.run(
            self._home.call(
                organization,
                partial(
                    calls.run,
                    prompt=prompt,
                    repository=repository,
                    images=data_uris(images),
                    metadata=metadata,
                    model=model,
                    agent_type=agent_type,
                    max_cost_usd=max_cost_usd,
                    network=network,
                    validate=validate,
                    idempotency_key=idempotency_key if idempotency_key is not None else uuid4().hex,
                ),
            )
        )

    async def get(self, run_id: int, *, organization: int | None = None) -> AgentRun:
        return await self._driver.run(self._home.call(organization, partial(calls.get, run_id=run_id)))

    def list(
        self,
        *,
        user: int | None = None,
        source: AgentRunSource | str | None = None,
        limit: int | None = None,
        organization: int | None = None,
    ) -> AsyncGenerator[AgentRun, None]:
        ask = partial(calls.runs, user=user, source=source)
        return self._driver.iterate(self._home.pages(organization, ask, limit))

    async def resume(
        self,
        run_id: int,
        prompt: str,
        *,
        images: Iterable[Image] = (),
        max_cost_usd: float | None = None,
        organization: int | None = None,
        idempotency_key: str | None = None,
    ) -> AgentRun:
        call = partial(
            calls.resume,
            run_id=run_id,
            prompt=prompt,
            images=data_uris(images),
            max_cost_usd=max_cost_usd,
            idempotency_key=idempotency_key if idempotency_key is not None else uuid4().hex,
        )
        return await self._driver.run(self._home.call(organization, call))

    async def wait(
        self,
        run_id: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the same signature as Agents'; the flow keeps it
        *,
        poll: float = DEFAULT_LOOK,
        organization: int | None = None,
    ) -> AgentRun:
        return await self._driver.run(self._home.wait(organization, run_id, timeout, poll, self._clock))

    def logs(
        self,
        run_id: int,
        *,
        skip: int = 0,
        reverse: bool = False,
        follow: bool = False,
        poll: float = DEFAULT_LOOK,
        organization: int | None = None,
    ) -> AsyncGenerator[AgentLog, None]:
        if follow and reverse:
            raise ValueError("follow goes forward: it cannot be had in reverse.")
        if follow:
            return self._driver.iterate(self._home.follow(organization, run_id, skip, poll))
        return self._driver.iterate(self._home.logs(organization, run_id, skip, reverse=reverse))

    async def log_count(self, run_id: int, *, organization: int | None = None) -> int:
        call = partial(calls.logs, run_id=run_id, skip=0, limit=1, reverse=False)
        return (await self._driver.run(self._home.call(organization, call))).total

    async def ban(self, run_id: int, *, organization: int | None = None) -> None:
        await self._driver.run(self._home.call(organization, partial(calls.stop, run_id=run_id, verb="ban")))

    async def unban(self, run_id: int, *, organization: int | None = None) -> None:
        await self._driver.run(self._home.call(organization, partial(calls.stop, run_id=run_id, verb="unban")))

    async def remove_from_pr(self, run_id: int, *, organization: int | None = None) -> None:
        await self._driver.run(self._home.call(organization, partial(calls.stop, run_id=run_id, verb="remove-from-pr")))

    async def me(self) -> User:
        return await self._driver.call(calls.me())

    def organizations(self) -> AsyncGenerator[Organization, None]:
        return self._driver.iterate(pages(calls.organizations, None, self._driver.retry))

    def users(self, *, organization: int | None = None) -> AsyncGenerator[User, None]:
        return self._driver.iterate(self._home.pages(organization, calls.users, None))

    def repositories(self, *, organization: int | None = None) -> AsyncGenerator[Repository, None]:
        return self._driver.iterate(self._home.pages(organization, calls.repositories, None))

    async def rules(self, *, organization: int | None = None) -> Rules:
        return await self._driver.run(self._home.call(organization, calls.rules))

    async def integrations(self, *, organization: int | None = None) -> Sequence[Integration]:
        return await self._driver.run(self._home.call(organization, calls.integrations))

    async def setup_commands(
        self, repository: int, prompt: str | None = None, *, organization: int | None = None
    ) -> AgentRun:
        call = partial(calls.setup_commands, repository=repository, prompt=prompt)
        return await self._driver.run(self._home.call(organization, call))

    async def analyze_logs(self, sandbox: int, *, organization: int | None = None) -> AgentRun:
        return await self._driver.run(self._home.call(organization, partial(calls.analyze_logs, sandbox=sandbox)))

    async def check_suite_settings(self, repository: int, *, organization: int | None = None) -> CheckSuiteSettings:
        call = partial(calls.check_suite_settings, repository=repository)
        return await self._driver.run(self._home.call(organization, call))

    async def update_check_suite_settings(
        self,
        repository: int,
        *,
        retry_count: int | None = None,
        ignored_checks: Sequence[str] | None = None,
        retry_counts: Mapping[str, int] | None = None,
        custom_prompts: Mapping[str, str] | None = None,
        high_priority_apps: Sequence[str] | None = None,
        organization: int | None = None,
    ) -> CheckSuiteSettings:
        body = calls.check_suite_changes(retry_count, ignored_checks, retry_counts, custom_prompts, high_priority_apps)
        return await self._driver.run(self._home.update_check_suite_settings(organization, repository, body))

    async def edit_pull_request(
        self, pull_request_id: int, state: PullRequestState | str, *, organization: int | None = None
    ) -> PullRequest:
        call = partial(calls.edit_pull_request, pull_request_id=pull_request_id, state=state)
        return await self._driver.run(self._home.call(organization, call))
