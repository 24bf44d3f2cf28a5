"""The synchronous client. What it does is in `_flows`; what it says, in `_calls`."""

import os
import random as random_numbers
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import BinaryIO, Self
from uuid import UUID, uuid4

import httpx2

from treadle.sdk import _calls as calls
from treadle.sdk import _event_flows as event_flows
from treadle.sdk import _flows as flows
from treadle.sdk._agents import Agents
from treadle.sdk._audit import AuditLog
from treadle.sdk._batches import Batches
from treadle.sdk._bill import Bill, Budgets
from treadle.sdk._calls import Statuses, Token
from treadle.sdk._connection import Connection
from treadle.sdk._diff import CodeDiff
from treadle.sdk._driver import Driver
from treadle.sdk._flows import Retry
from treadle.sdk._inputs import ClaudeAuthentication, SshKey, StepLike, Upload
from treadle.sdk._models import Artifact, Engine, Event, Process, StoredFile
from treadle.sdk._network import Network
from treadle.sdk._plans import Plans
from treadle.sdk._policies import Policies
from treadle.sdk._schedules import Schedules
from treadle.sdk._scripts import Scripts
from treadle.sdk._secrets import Secrets
from treadle.sdk._triggers import Triggers
from treadle.sdk._validation import Validation
from treadle.sdk._webhooks import Webhooks

DEFAULT_TIMEOUT = 30.0
DEFAULT_RETRIES = 3
DEFAULT_POLL = 5.0


def spread() -> float:
    """Uniform in [0, 1). Nobody gains by guessing when a client tries again."""
    return random_numbers.random()  # noqa: S311  # no secret comes of it


class Client:
    """Talks to a Treadle server.

        with Client() as client:
            process = client.processes.start(git_url=…, branch_source="main", branch_work="work", steps=["…"])
            process = client.processes.wait(process.id)

    Args:
        base_url: Where the server is; else `TREADLE_URL`, else `http://127.0.0.1:8417`.
        api_key: Yours; else `TREADLE_API_KEY`.
        token: A JWT, in place of a key.
        timeout: Seconds to wait for a connection and for each next part of an answer; None waits for ever.
        retries: How often a request is sent again that failed in passing: a broken connection, 429, 502, 503 or 504.
            What must not be done twice is sent again only when it cannot have arrived, or with an idempotency key.
        transport: An httpx2 transport in place of the network: a proxy, a client certificate, a test's own.
        sleep: For tests. Waits that many seconds.
        random: For tests. Uniform in [0, 1).
        clock: For tests. Seconds that only grow.

    Every method raises a TreadleApiError. One client may be used from several threads. Closing it closes its
    connections; that is what the context manager does.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        token: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        retries: int = DEFAULT_RETRIES,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = spread,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        connection = Connection.of(base_url, api_key, token, timeout, os.environ)
        self._http = httpx2.Client(base_url=connection.base_url, headers=connection.headers, transport=transport)
        driver = Driver(connection, self._http, sleep, Retry(retries, random, connection))
        self._base_url = connection.base_url
        #: Runs of coding engines.
        self.processes = Processes(driver, clock)
        #: Prompts for registered repositories.
        self.agents = Agents(driver, clock)
        #: Files that processes may refer to.
        self.files = Files(driver)
        #: What repositories give to their setup commands and steps.
        self.secrets = Secrets(driver)
        #: Who is told of what happens.
        self.webhooks = Webhooks(driver)
        self.schedules = Schedules(driver)
        self.scripts = Scripts(driver, clock)
        self.triggers = Triggers(driver)
        #: One plan on many repositories.
        self.batches = Batches(driver, clock)
        #: Tokens.
        self.auth = Auth(driver)
        #: What runs cost and used.
        self.usage = Bill(driver)
        #: What they may cost.
        self.budget = Budgets(driver)
        #: Plans, and those that repositories hold themselves.
        self.plans = Plans(driver)
        #: What runs on a repository may connect to.
        self.policies = Policies(driver)
        #: Who did what.
        self.audit = AuditLog(driver)

    @property
    def base_url(self) -> str:
        """Where the server is."""
        return self._base_url

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base_url!r})"


class Processes:
    """`client.processes`."""

    def __init__(self, driver: Driver, clock: Callable[[], float]) -> None:
        self._driver = driver
        self._clock = clock

    def start(
        self,
        *,
        git_url: str,
        branch_source: str,
        branch_work: str,
        steps: Iterable[StepLike],
        git_ssh_key: SshKey | None = None,
        git_http_credentials: str | None = None,
        code_guidelines: str | None = None,
        file_ids: Iterable[UUID | str] = (),
        generate_diff_on_completion: bool = False,
        engine: Engine | str = Engine.CLAUDE,
        claude_authentication: ClaudeAuthentication | None = None,
        max_cost_usd: float | None = None,
        network: Network | None = None,
        validate: Validation | None = None,
        idempotency_key: str | None = None,
    ) -> Process:
        """Starts a process and returns at once.

        Args:
            git_url: The repository: `https://…`, `ssh://…` or `git@host:path`.
            branch_source: The branch to begin from.
            branch_work: The branch to commit to; made when it is not there.
            steps: 1 to 20 of: a `Step`, the text of a commitable one, or a mapping with the API's own names.
            git_ssh_key: The private key for an SSH address: its bytes, its text, or its `Path`.
            git_http_credentials: `user:password`, or a token, for an HTTPS address.
            code_guidelines: What the engine must respect, in your words.
            file_ids: Uploaded files to give to the engine as context.
            generate_diff_on_completion: Whether the finished process has a `diff`.
            engine: Which engine does the work.
            claude_authentication: How Claude is paid; None uses the server's own key.
            max_cost_usd: US dollars that the model may cost; past them the process fails, its work kept. None: as the
                organization says.
            network: What its commands may connect to: `"none"`, `"model"` (the model alone), `"allow:example.com,…"` or
                `{"allow": […]}` (that and these hosts), `"full"`. None: as the repository says, else the service.
            validate: Shell commands that must pass before a step is committed; what fails goes back to the engine,
                three times or as `ValidationRules` say. None: as the repository says; `[]`: none.
            idempotency_key: A repeat with the same key, within 24 hours, answers with the same process. One is made
                when none is given, so that this call's own retries start nothing twice.

        Raises:
            BadRequestError: `errors` names every fault.
            ConflictError: The idempotency key was used with another request.
            PermissionDeniedError: The month is used up, or the budget or the policy is not yours to ask for.
        """
        return self._driver.call(
            calls.start(
                git_url=git_url,
                branch_source=branch_source,
                branch_work=branch_work,
                steps=steps,
                git_ssh_key=git_ssh_key,
                git_http_credentials=git_http_credentials,
                code_guidelines=code_guidelines,
                file_ids=file_ids,
                generate_diff_on_completion=generate_diff_on_completion,
                engine=engine,
                claude_authentication=claude_authentication,
                max_cost_usd=max_cost_usd,
                network=network,
                validate=validate,
                idempotency_key=idempotency_key if idempotency_key is not None else uuid4().hex,
            )
        )

    def get(self, process_id: UUID | str) -> Process:
        """The process as it is now, whole. Raises NotFoundError for one that is unknown, or not yours."""
        return self._driver.call(calls.get(process_id))

    def list(self, *, status: Statuses = None, skip: int = 0, limit: int | None = None) -> Sequence[Process]:
        """Your processes, newest first, without diffs and outputs: those with that `status` (or one of several), at
        most `limit` after the first `skip`; no more than 1,000 at a time."""
        return self._driver.call(calls.processes(status, skip, limit))

    def iterate(self, *, status: Statuses = None) -> Iterator[Process]:
        """The same, however many there are: fetched a page at a time, as you go."""
        return self._driver.iterate(flows.iterate(status, self._driver.retry))

    def alive(self) -> Sequence[Process]:
        """Your processes that are New or Running."""
        return self._driver.call(calls.alive())

    def update_credentials(
        self, process_id: UUID | str, *, git_ssh_key: SshKey | None = None, git_http_credentials: str | None = None
    ) -> None:
        """Replaces the Git credentials; they count from the next Git command on. Give one, in the forms that `start`
        takes. Raises ConflictError when the process has ended."""
        self._driver.call(calls.update_credentials(process_id, git_ssh_key, git_http_credentials))

    def update_claude_authentication(self, process_id: UUID | str, claude_authentication: ClaudeAuthentication) -> None:
        """Replaces what pays for Claude, from the next engine call on. Raises ConflictError when the process has
        ended."""
        self._driver.call(calls.update_claude_authentication(process_id, claude_authentication))

    def kill(self, process_id: UUID | str) -> None:
        """Asks for its end. It is Killed within five seconds, and keeps what it pushed. Raises ConflictError when the
        process has ended."""
        self._driver.run(flows.kill(process_id, self._driver.retry))

    def wait(self, process_id: UUID | str, timeout: float | None = None, *, poll: float = DEFAULT_POLL) -> Process:
        """Waits until it has ended, well or not, and returns it whole.

        Listens to its events, and so returns at once; where something between holds these back, looks every `poll`
        seconds. Raises WaitTimeoutError after `timeout` seconds; the process goes on.
        """
        return self._driver.run(event_flows.wait(process_id, timeout, poll, self._driver.retry, self._clock))

    def events(self, process_id: UUID | str, *, after: int = 0, follow: bool = True) -> Iterator[Event]:
        """Its events numbered above `after`, as they happen, until the last one. A broken connection is taken up where
        it broke. Without `follow`: those that there are."""
        feed = event_flows.events if follow else event_flows.past_events
        return self._driver.iterate(feed(process_id, after, self._driver.retry))

    def diff(self, process_id: UUID | str) -> CodeDiff:
        """What it changed so far, structured."""
        return self._driver.call(calls.diff(process_id))

    def patch(self, process_id: UUID | str) -> bytes:
        """The same as a patch that `git apply` takes. Bytes, because files need not be UTF-8."""
        return self._driver.call(calls.patch(process_id))

    def artifacts(self, process_id: UUID | str) -> Sequence[Artifact]:
        """What it has left so far: its diff, and the uncommitted work of a step that failed."""
        return self._driver.call(calls.artifacts(process_id))

    def artifact(self, process_id: UUID | str, name: str) -> bytes:
        """The content of one of them. Raises NotFoundError."""
        return self._driver.call(calls.artifact(process_id, name))


class Files:
    """`client.files`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def upload(
        self,
        file: bytes | str | os.PathLike[str] | BinaryIO,
        *,
        name: str | None = None,
        content_type: str | None = None,
    ) -> StoredFile:
        """Uploads bytes, the file at a path, or a file opened in binary mode, from where it is.

        `name` is what the engine will call it (the path's own), `content_type` what it is (guessed from the name).
        Raises TooLargeError past the server's limit.
        """
        return self._driver.call(calls.upload(Upload.of(file, name, content_type)))

    def list(self, *, skip: int = 0, limit: int | None = None) -> Sequence[StoredFile]:
        """Your files, newest first."""
        return self._driver.call(calls.files(skip, limit))

    def get(self, file_id: UUID | str) -> StoredFile:
        """What is known of a file. Raises NotFoundError."""
        return self._driver.call(calls.file(file_id))

    def download(self, file_id: UUID | str) -> bytes:
        """A file's bytes. Raises NotFoundError."""
        return self._driver.call(calls.download(file_id))

    def delete(self, file_id: UUID | str) -> None:
        """Deletes a file. Raises NotFoundError, and ConflictError while a living process refers to it."""
        self._driver.run(flows.delete_file(file_id, self._driver.retry))


class Auth:
    """`client.auth`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def token(self) -> Token:
        """A JWT that stands for this client's key for 24 hours, to hand to something that should not hold the key."""
        return self._driver.call(calls.token())
