"""`client.scripts`: scripts on the server, and their runs."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from uuid import uuid4

from treadle.sdk import _script_calls as calls
from treadle.sdk._async_driver import AsyncDriver
from treadle.sdk._documented import documented_as
from treadle.sdk._driver import Driver
from treadle.sdk._script_calls import Which, WhichRun
from treadle.sdk._script_models import Script, ScriptLine, ScriptRun, ScriptVersion
from treadle.sdk._wire import JsonValue

#: Seconds between two looks at a run.
DEFAULT_LOOK = 2.0


class Scripts:
    """`client.scripts`."""

    def __init__(self, driver: Driver, clock: Callable[[], float]) -> None:
        self._driver = driver
        self._clock = clock

    def save(self, name: str, source: str, *, description: str | None = None, if_version: int | None = None) -> Script:
        """A new script, or another version of the one of that name; with `if_version` only while that is its newest,
        with 0 only where there is none. Raises BadRequestError, which names the line of what is wrong, and
        ConflictError for a name that somebody else's has, or a script that was changed meanwhile."""
        return self._driver.call(calls.save(name, source, description, if_version))

    def list(self) -> Sequence[Script]:
        """Yours; everybody's for a MANAGER."""
        return self._driver.call(calls.scripts())

    def get(self, script: Which, *, version: int | None = None) -> Script:
        """By its id or its name, with the source of that version, else of the newest. Raises NotFoundError."""
        return self._driver.call(calls.one(script, version))

    def versions(self, script: Which) -> Sequence[ScriptVersion]:
        """The newest first. Raises NotFoundError."""
        return self._driver.call(calls.versions(script))

    def remove(self, script: Which) -> None:
        """Its runs go on, and stay. Raises NotFoundError."""
        self._driver.call(calls.remove(script))

    def start(
        self,
        script: Which,
        inputs: Mapping[str, JsonValue] | None = None,
        *,
        version: int | None = None,
        idempotency_key: str | None = None,
    ) -> ScriptRun:
        """Runs a stored script on the server, in your name, and returns at once. Raises NotFoundError, BadRequestError,
        and ConflictError where too many have not ended."""
        return self._driver.call(calls.start(script, inputs, version, idempotency_key or str(uuid4())))

    def run_source(
        self, source: str, inputs: Mapping[str, JsonValue] | None = None, *, idempotency_key: str | None = None
    ) -> ScriptRun:
        """The same of a source that is not stored."""
        return self._driver.call(calls.run_source(source, inputs, idempotency_key or str(uuid4())))

    def get_run(self, run: WhichRun) -> ScriptRun:
        """By its id or its UUID. Raises NotFoundError."""
        return self._driver.call(calls.get_run(run))

    def runs(self, script: Which | None = None, *, limit: int = 100, before: int | None = None) -> Sequence[ScriptRun]:
        """Newest first, of all scripts or that one; those with ids smaller than `before`. Raises NotFoundError."""
        return self._driver.call(calls.runs(script, limit, before))

    def kill(self, run: WhichRun) -> ScriptRun:
        """It ends at once; the runs that it started go on. Raises ConflictError when it has ended."""
        return self._driver.call(calls.kill(run))

    def log(self, run: WhichRun, *, after: int = 0) -> Iterator[ScriptLine]:
        """What it has printed so far, behind line `after`. Raises NotFoundError."""
        return self._driver.iterate(calls.log(run, after, None, self._driver.retry))

    def follow(self, run: WhichRun, *, after: int = 0, poll: float = DEFAULT_LOOK) -> Iterator[ScriptLine]:
        """What it prints, to its end, looked at every `poll` seconds. Raises NotFoundError."""
        return self._driver.iterate(calls.log(run, after, poll, self._driver.retry))

    def wait(self, run: WhichRun, *, timeout: float | None = None, poll: float = DEFAULT_LOOK) -> ScriptRun:
        """The run when it has ended. Raises ScriptWaitTimeoutError after `timeout` seconds; it goes on."""
        return self._driver.run(calls.wait(run, timeout, poll, self._driver.retry, self._clock))


@documented_as(Scripts)
class AsyncScripts:
    """`client.scripts`."""

    def __init__(self, driver: AsyncDriver, clock: Callable[[], float]) -> None:
        self._driver = driver
        self._clock = clock

    async def save(
        self, name: str, source: str, *, description: str | None = None, if_version: int | None = None
    ) -> Script:
        return await self._driver.call(calls.save(name, source, description, if_version))

    async def list(self) -> Sequence[Script]:
        return await self._driver.call(calls.scripts())

    async def get(self, script: Which, *, version: int | None = None) -> Script:
        return await self._driver.call(calls.one(script, version))

    async def versions(self, script: Which) -> Sequence[ScriptVersion]:
        return await self._driver.call(calls.versions(script))

    async def remove(self, script: Which) -> None:
        await self._driver.call(calls.remove(script))

    async def start(
        self,
        script: Which,
        inputs: Mapping[str, JsonValue] | None = None,
        *,
        version: int | None = None,
        idempotency_key: str | None = None,
    ) -> ScriptRun:
        return await self._driver.call(calls.start(script, inputs, version, idempotency_key or str(uuid4())))

    async def run_source(
        self, source: str, inputs: Mapping[str, JsonValue] | None = None, *, idempotency_key: str | None = None
    ) -> ScriptRun:
        return await self._driver.call(calls.run_source(source, inputs, idempotency_key or str(uuid4())))

    async def get_run(self, run: WhichRun) -> ScriptRun:
        return await self._driver.call(calls.get_run(run))

    async def runs(
        self, script: Which | None = None, *, limit: int = 100, before: int | None = None
    ) -> Sequence[ScriptRun]:
        return await self._driver.call(calls.runs(script, limit, before))

    async def kill(self, run: WhichRun) -> ScriptRun:
        return await self._driver.call(calls.kill(run))

    def log(self, run: WhichRun, *, after: int = 0) -> AsyncIterator[ScriptLine]:
        return self._driver.iterate(calls.log(run, after, None, self._driver.retry))

    def follow(self, run: WhichRun, *, after: int = 0, poll: float = DEFAULT_LOOK) -> AsyncIterator[ScriptLine]:
        return self._driver.iterate(calls.log(run, after, poll, self._driver.retry))

    async def wait(
        self,
        run: WhichRun,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # the synchronous client's parameter
        poll: float = DEFAULT_LOOK,
    ) -> ScriptRun:
        return await self._driver.run(calls.wait(run, timeout, poll, self._driver.retry, self._clock))
