"""`client.agents` of the synchronous client."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from uuid import uuid4

from treadle.sdk import _agent_calls as calls
from treadle.sdk._agent_flows import Home, pages
from treadle.sdk._agent_models import AgentLog, AgentRun, AgentRunSource, PullRequest, PullRequestState
from treadle.sdk._driver import Driver
from treadle.sdk._images import Image, data_uris
from treadle.sdk._network import Network
from treadle.sdk._organization_models import CheckSuiteSettings, Integration, Organization, Repository, Rules, User
from treadle.sdk._validation import Validation
from treadle.sdk._wire import JsonValue

#: Seconds between two looks at a run: far from what the service allows a key.
DEFAULT_LOOK = 2.0


class Agents:
    """Prompts for registered repositories: the agent-run API.

    `organization` is the key's own unless given.
    """

    def __init__(self, driver: Driver, clock: Callable[[], float]) -> None:
        self._driver = driver
        self._clock = clock
        self._home = Home(driver.retry)

    def run(
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
        """Starts an agent run and returns at once.

        Args:
            prompt: What is to be done, in your words.
            repository: The id of a registered repository; else the organization's default, or its only one.
            images: To look at: bytes, paths of files, or data URIs.
            metadata: Anything; it is kept with the run.
            model: Which model; else the organization's.
            agent_type: Which agent; else the organization's.
            max_cost_usd: US dollars that the model may cost; past them the run fails, its work kept. None: as the
                organization says.
            network: What its commands may connect to: `"none"`, `"model"` (the model alone), `"allow:example.com,…"` or
                `{"allow": […]}` (that and these hosts), `"full"`. None: as the repository says, else the service.
            validate: Shell commands that must pass before a step is committed; what fails goes back to the engine,
                three times or as `ValidationRules` say. None: as the repository says; `[]`: none.
            organization: Where; else the key's own.
            idempotency_key: A repeat with the same key, within 24 hours, answers with the same run. One is made when
                none is given, so that this call's own retries start nothing twice.

        Raises:
            BadRequestError: `errors` names every fault.
            NotFoundError: There is no such repository, or none at all.
            RateLimitedError: The key has started many runs lately; `retry_after` says when it may again.
        """
        return self._driver.run(
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

    def get(self, run_id: int, *, organization: int | None = None) -> AgentRun:
        """The run as it is now. Raises NotFoundError for one that is unknown, or not yours."""
        return self._driver.run(self._home.call(organization, partial(calls.get, run_id=run_id)))

    def list(
        self,
        *,
        user: int | None = None,
        source: AgentRunSource | str | None = None,
        limit: int | None = None,
        organization: int | None = None,
    ) -> Iterator[AgentRun]:
        """Runs, newest first, fetched a page at a time as you go: those of that user, from that source, at most
        `limit`."""
        ask = partial(calls.runs, user=user, source=source)
        return self._driver.iterate(self._home.pages(organization, ask, limit))

    def resume(
        self,
        run_id: int,
        prompt: str,
        *,
        images: Iterable[Image] = (),
        max_cost_usd: float | None = None,
        organization: int | None = None,
        idempotency_key: str | None = None,
    ) -> AgentRun:
        """Gives a run another prompt, on the same branch, in the same conversation. One that goes on takes it up when
        it is done with what it does; one that has ended, however it did, goes on. `max_cost_usd`: a budget in the place
        of the run's, for all that it has cost and will. `idempotency_key`: a repeat with it, within 24 hours, adds
        nothing; one is made when none is given, so that this call's own retries add one prompt. Raises NotFoundError,
        and ConflictError for a run that has used its budget up."""
        call = partial(
            calls.resume,
            run_id=run_id,
            prompt=prompt,
            images=data_uris(images),
            max_cost_usd=max_cost_usd,
            idempotency_key=idempotency_key if idempotency_key is not None else uuid4().hex,
        )
        return self._driver.run(self._home.call(organization, call))

    def wait(
        self,
        run_id: int,
        timeout: float | None = None,
        *,
        poll: float = DEFAULT_LOOK,
        organization: int | None = None,
    ) -> AgentRun:
        """Waits until it has ended, well or not, looking every `poll` seconds, and returns it. Raises
        AgentWaitTimeoutError after `timeout` seconds; the run goes on."""
        return self._driver.run(self._home.wait(organization, run_id, timeout, poll, self._clock))

    def logs(
        self,
        run_id: int,
        *,
        skip: int = 0,
        reverse: bool = False,
        follow: bool = False,
        poll: float = DEFAULT_LOOK,
        organization: int | None = None,
    ) -> Iterator[AgentLog]:
        """What it did, oldest first or in `reverse`, without the first `skip` entries, fetched a page at a time. With
        `follow` it looks every `poll` seconds for more, until the run has ended. No entry comes twice, and none is
        left out, while the run goes on."""
        if follow and reverse:
            raise ValueError("follow goes forward: it cannot be had in reverse.")
        if follow:
            return self._driver.iterate(self._home.follow(organization, run_id, skip, poll))
        return self._driver.iterate(self._home.logs(organization, run_id, skip, reverse=reverse))

    def log_count(self, run_id: int, *, organization: int | None = None) -> int:
        """How many entries its log has so far."""
        call = partial(calls.logs, run_id=run_id, skip=0, limit=1, reverse=False)
        return self._driver.run(self._home.call(organization, call)).total

    def ban(self, run_id: int, *, organization: int | None = None) -> None:
        """Stops the run and every other on its branch; nothing reacts to checks of that branch any more."""
        self._driver.run(self._home.call(organization, partial(calls.stop, run_id=run_id, verb="ban")))

    def unban(self, run_id: int, *, organization: int | None = None) -> None:
        """Takes the ban of its branch back. What was stopped stays so."""
        self._driver.run(self._home.call(organization, partial(calls.stop, run_id=run_id, verb="unban")))

    def remove_from_pr(self, run_id: int, *, organization: int | None = None) -> None:
        """The same as `ban`, by its other name."""
        self._driver.run(self._home.call(organization, partial(calls.stop, run_id=run_id, verb="remove-from-pr")))

    def me(self) -> User:
        """Whose key it is."""
        return self._driver.call(calls.me())

    def organizations(self) -> Iterator[Organization]:
        """Those that the key may see."""
        return self._driver.iterate(pages(calls.organizations, None, self._driver.retry))

    def users(self, *, organization: int | None = None) -> Iterator[User]:
        """The members."""
        return self._driver.iterate(self._home.pages(organization, calls.users, None))

    def repositories(self, *, organization: int | None = None) -> Iterator[Repository]:
        """The registered repositories."""
        return self._driver.iterate(self._home.pages(organization, calls.repositories, None))

    def rules(self, *, organization: int | None = None) -> Rules:
        """What every prompt is told: the organization's rules, and the user's."""
        return self._driver.run(self._home.call(organization, calls.rules))

    def integrations(self, *, organization: int | None = None) -> Sequence[Integration]:
        """What the organization is connected with."""
        return self._driver.run(self._home.call(organization, calls.integrations))

    def setup_commands(
        self, repository: int, prompt: str | None = None, *, organization: int | None = None
    ) -> AgentRun:
        """Starts a run that writes the setup commands of a repository, as far as its answer tells of it; wait for it.
        `prompt` says what it should know. Raises NotFoundError."""
        call = partial(calls.setup_commands, repository=repository, prompt=prompt)
        return self._driver.run(self._home.call(organization, call))

    def analyze_logs(self, sandbox: int, *, organization: int | None = None) -> AgentRun:
        """Starts a run that says what went wrong with the setup commands in a sandbox; its result is the answer.
        Raises NotFoundError, and BadRequestError when there is no log."""
        return self._driver.run(self._home.call(organization, partial(calls.analyze_logs, sandbox=sandbox)))

    def check_suite_settings(self, repository: int, *, organization: int | None = None) -> CheckSuiteSettings:
        """What becomes of failed checks."""
        call = partial(calls.check_suite_settings, repository=repository)
        return self._driver.run(self._home.call(organization, call))

    def update_check_suite_settings(
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
        """Changes what is given, leaves the rest, and answers how it is then."""
        body = calls.check_suite_changes(retry_count, ignored_checks, retry_counts, custom_prompts, high_priority_apps)
        return self._driver.run(self._home.update_check_suite_settings(organization, repository, body))

    def edit_pull_request(
        self, pull_request_id: int, state: PullRequestState | str, *, organization: int | None = None
    ) -> PullRequest:
        """Opens, closes, drafts or readies a pull request of a run. Raises ConflictError, with the reason, when that
        could not be done."""
        call = partial(calls.edit_pull_request, pull_request_id=pull_request_id, state=state)
        return self._driver.run(self._home.call(organization, call))
