"""The asynchronous client: the same methods as the synchronous one's, to be awaited."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import BinaryIO, Self
from uuid import UUID, uuid4

import httpx2

from treadle.sdk import _calls as calls
from treadle.sdk import _client
from treadle.sdk import _event_flows as event_flows
from treadle.sdk import _flows as flows
from treadle.sdk._async_agents import AsyncAgents
from treadle.sdk._async_driver import AsyncDriver
from treadle.sdk._audit import AsyncAuditLog
from treadle.sdk._batches import AsyncBatches
from treadle.sdk._bill import AsyncBill, AsyncBudgets
from treadle.sdk._calls import Statuses, Token
from treadle.sdk._client import DEFAULT_POLL, DEFAULT_RETRIES, DEFAULT_TIMEOUT, spread
from treadle.sdk._connection import Connection
from treadle.sdk._diff import CodeDiff
from treadle.sdk._documented import documented_as
from treadle.sdk._flows import Retry
from treadle.sdk._inputs import ClaudeAuthentication, SshKey, StepLike, Upload
from treadle.sdk._models import Artifact, Engine, Event, Process, StoredFile
from treadle.sdk._network import Network
from treadle.sdk._plans import AsyncPlans
from treadle.sdk._policies import AsyncPolicies
from treadle.sdk._schedules import AsyncSchedules
from treadle.sdk._scripts import AsyncScripts
from treadle.sdk._secrets import AsyncSecrets
from treadle.sdk._triggers import AsyncTriggers
from treadle.sdk._validation import Validation
from treadle.sdk._webhooks import AsyncWebhooks


class AsyncClient:
    """Talks to a Treadle server from asyncio.

        async with AsyncClient() as client:
            process = await client.processes.start(git_url=…, branch_source="main", branch_work="work", steps=["…"])
            async for event in client.processes.events(process.id):
                print(event.type)

    Takes what `Client` takes; `transport` and `sleep` are asynchronous ones. Every method of `Client` is here, to be
    awaited; what iterates is for `async for`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        token: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        retries: int = DEFAULT_RETRIES,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = spread,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        connection = Connection.of(base_url, api_key, token, timeout, os.environ)
        self._http = httpx2.AsyncClient(base_url=connection.base_url, headers=connection.headers, transport=transport)
        driver = AsyncDriver(connection, self._http, sleep, Retry(retries, random, connection))
        self._base_url = connection.base_url
        #: Runs of coding engines.
        self.processes = AsyncProcesses(driver, clock)
        #: Prompts for registered repositories.
        self.agents = AsyncAgents(driver, clock)
        #: Files that processes may refer to.
        self.files = AsyncFiles(driver)
        #: What repositories give to their setup commands and steps.
        self.secrets = AsyncSecrets(driver)
        #: Who is told of what happens.
        self.webhooks = AsyncWebhooks(driver)
        self.schedules = AsyncSchedules(driver)
        self.scripts = AsyncScripts(driver, clock)
        self.triggers = AsyncTriggers(driver)
        #: One plan on many repositories.
        self.batches = AsyncBatches(driver, clock)
        #: Tokens.
        self.auth = AsyncAuth(driver)
        #: What runs cost and used.
        self.usage = AsyncBill(driver)
        #: What they may cost.
        self.budget = AsyncBudgets(driver)
        #: What runs on a repository may connect to.
        self.plans = AsyncPlans(driver)
        self.policies = AsyncPolicies(driver)
        #: Who did what.
        self.audit = AsyncAuditLog(driver)

    @property
    def base_url(self) -> str:
        """Where the server is."""
        return self._base_url

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base_url!r})"


@documented_as(_client.Processes)
class AsyncProcesses:
    """`client.processes`."""

    def __init__(self, driver: AsyncDriver, clock: Callable[[], float]) -> None:
        self._driver = driver
        self._clock = clock

    async def start(
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
        return await self._driver.call(
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

    async def get(self, process_id: UUID | str) -> Process:
        return await self._driver.call(calls.get(process_id))

    async def list(self, *, status: Statuses = None, skip: int = 0, limit: int | None = None) -> Sequence[Process]:
        return await self._driver.call(calls.processes(status, skip, limit))

    def iterate(self, *, status: Statuses = None) -> AsyncGenerator[Process, None]:
        return self._driver.iterate(flows.iterate(status, self._driver.retry))

    async def alive(self) -> Sequence[Process]:
        return await self._driver.call(calls.alive())

    async def update_credentials(
        self, process_id: UUID | str, *, git_ssh_key: SshKey | None = None, git_http_credentials: str | None = None
    ) -> None:
        await self._driver.call(calls.update_credentials(process_id, git_ssh_key, git_http_credentials))

    async def update_claude_authentication(
        self, process_id: UUID | str, claude_authentication: ClaudeAuthentication
    ) -> None:
        await self._driver.call(calls.update_claude_authentication(process_id, claude_authentication))

    async def kill(self, process_id: UUID | str) -> None:
        await self._driver.run(flows.kill(process_id, self._driver.retry))

    async def wait(
        self,
        process_id: UUID | str,
        timeout: float | None = None,  # noqa: ASYNC109  # the same signature as Client's; the flow keeps it
        *,
        poll: float = DEFAULT_POLL,
    ) -> Process:
        return await self._driver.run(event_flows.wait(process_id, timeout, poll, self._driver.retry, self._clock))

    def events(self, process_id: UUID | str, *, after: int = 0, follow: bool = True) -> AsyncGenerator[Event, None]:
        feed = event_flows.events if follow else event_flows.past_events
        return self._driver.iterate(feed(process_id, after, self._driver.retry))

    async def diff(self, process_id: UUID | str) -> CodeDiff:
        return await self._driver.call(calls.diff(process_id))

    async def patch(self, process_id: UUID | str) -> bytes:
        return await self._driver.call(calls.patch(process_id))

    async def artifacts(self, process_id: UUID | str) -> Sequence[Artifact]:
        return await self._driver.call(calls.artifacts(process_id))

    async def artifact(self, process_id: UUID | str, name: str) -> bytes:
        return await self._driver.call(calls.artifact(process_id, name))


@documented_as(_client.Files)
class AsyncFiles:
    """`client.files`."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def upload(
        self,
        file: bytes | str | os.PathLike[str] | BinaryIO,
        *,
        name: str | None = None,
        content_type: str | None = None,
    ) -> StoredFile:
        return await self._driver.call(calls.upload(Upload.of(file, name, content_type)))

    async def list(self, *, skip: int = 0, limit: int | None = None) -> Sequence[StoredFile]:
        return await self._driver.call(calls.files(skip, limit))

    async def get(self, file_id: UUID | str) -> StoredFile:
        return await self._driver.call(calls.file(file_id))

    async def download(self, file_id: UUID | str) -> bytes:
        return await self._driver.call(calls.download(file_id))

    async def delete(self, file_id: UUID | str) -> None:
        await self._driver.run(flows.delete_file(file_id, self._driver.retry))


@documented_as(_client.Auth)
class AsyncAuth:
    """`client.auth`."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def token(self) -> Token:
        return await self._driver.call(calls.token())
