"""`client.batches`: one plan on many repositories."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from uuid import uuid4

from treadle.sdk import _batch_calls as calls
from treadle.sdk._async_driver import AsyncDriver
from treadle.sdk._batch_calls import Target, Which
from treadle.sdk._batch_models import Batch, BatchItem, BatchItemStatus
from treadle.sdk._documented import documented_as
from treadle.sdk._driver import Driver
from treadle.sdk._wire import JsonValue

#: Seconds between two looks at a batch.
DEFAULT_LOOK = 2.0


class Batches:
    """`client.batches`."""

    def __init__(self, driver: Driver, clock: Callable[[], float]) -> None:
        self._driver = driver
        self._clock = clock

    def start(
        self,
        plan: str | Mapping[str, JsonValue],
        targets: Iterable[Target] = (),
        *,
        name_like: str | None = None,
        language: str | None = None,
        everywhere: bool = False,
        variables: Mapping[str, str] | None = None,
        name: str | None = None,
        concurrency: int | None = None,
        stop_after_failures: int | None = None,
        max_cost_usd: float | None = None,
        idempotency_key: str | None = None,
    ) -> Batch:
        """Starts a plan on up to 1,000 repositories, and returns at once.

        Args:
            plan: YAML, or a mapping of the same keys.
            targets: The repositories: ids or names of registered ones, addresses, or mappings with `repository` or
                `url`, and `variables` of their own.
            name_like: Also those registered whose OWNER/NAME matches, with `*` and `?`.
            language: Also those of that language; with `name_like`, those of which both is true.
            everywhere: Also all that are registered.
            variables: Values of the plan's variables, for all.
            name: What it is called; else as the plan.
            concurrency: How many of its runs may be under way at once; else 10.
            stop_after_failures: After so many it starts no more.
            max_cost_usd: US dollars that all its runs together may cost.
            idempotency_key: A repeat with the same key, within 24 hours, answers with the same batch. One is made when
                none is given.

        Raises:
            BadRequestError: `errors` names every fault, of a repository by `targets[n]`.
            ConflictError: The idempotency key was used with another request.
        """
        return self._driver.call(
            calls.start(
                plan,
                targets=targets,
                name_like=name_like,
                language=language,
                everywhere=everywhere,
                variables=variables,
                name=name,
                concurrency=concurrency,
                stop_after_failures=stop_after_failures,
                max_cost_usd=max_cost_usd,
                idempotency_key=idempotency_key or str(uuid4()),
            )
        )

    def get(self, batch: Which) -> Batch:
        """By its id, or its UUID. Raises NotFoundError."""
        return self._driver.call(calls.get(batch))

    def list(self, *, limit: int = 100, before: int | None = None) -> Sequence[Batch]:
        """Newest first; those with ids smaller than `before`."""
        return self._driver.call(calls.page(limit, before))

    def items(self, batch: Which, *, status: Collection[BatchItemStatus | str] = ()) -> Iterator[BatchItem]:
        """Its repositories and what came of each, by their positions; with `status` only those that stand so."""
        return self._driver.iterate(calls.items(batch, status, self._driver.retry))

    def report(self, batch: Which, form: str = "json") -> bytes:
        """A row for each repository, as `csv`, `json` or `md`."""
        return self._driver.call(calls.report(batch, form))

    def retry(self, batch: Which) -> Batch:
        """Tries again what failed, was killed or skipped. Raises ConflictError while it is Running, and where nothing
        is left to try."""
        return self._driver.call(calls.retry(batch))

    def kill(self, batch: Which) -> Batch:
        """It starts no more, and its runs are killed. Raises ConflictError when it has ended."""
        return self._driver.call(calls.kill(batch))

    def set_concurrency(self, batch: Which, concurrency: int) -> Batch:
        """How many of its runs may be under way at once, from now on. Raises BadRequestError."""
        return self._driver.call(calls.set_concurrency(batch, concurrency))

    def follow(self, batch: Which, *, poll: float = DEFAULT_LOOK) -> Iterator[Batch]:
        """The batch now and whenever it has changed, looked at every `poll` seconds; the last one is finished."""
        return self._driver.iterate(calls.follow(batch, poll, self._driver.retry))

    def wait(self, batch: Which, *, timeout: float | None = None, poll: float = DEFAULT_LOOK) -> Batch:
        """The batch when it has ended. Raises BatchWaitTimeoutError after `timeout` seconds; it goes on."""
        return self._driver.run(calls.wait(batch, timeout, poll, self._driver.retry, self._clock))


@documented_as(Batches)
class AsyncBatches:
    """`client.batches`."""

    def __init__(self, driver: AsyncDriver, clock: Callable[[], float]) -> None:
        self._driver = driver
        self._clock = clock

    async def start(
        self,
        plan: str | Mapping[str, JsonValue],
        targets: Iterable[Target] = (),
        *,
        name_like: str | None = None,
        language: str | None = None,
        everywhere: bool = False,
        variables: Mapping[str, str] | None = None,
        name: str | None = None,
        concurrency: int | None = None,
        stop_after_failures: int | None = None,
        max_cost_usd: float | None = None,
        idempotency_key: str | None = None,
    ) -> Batch:
        return await self._driver.call(
            calls.start(
                plan,
                targets=targets,
                name_like=name_like,
                language=language,
                everywhere=everywhere,
                variables=variables,
                name=name,
                concurrency=concurrency,
                stop_after_failures=stop_after_failures,
                max_cost_usd=max_cost_usd,
                idempotency_key=idempotency_key or str(uuid4()),
            )
        )

    async def get(self, batch: Which) -> Batch:
        return await self._driver.call(calls.get(batch))

    async def list(self, *, limit: int = 100, before: int | None = None) -> Sequence[Batch]:
        return await self._driver.call(calls.page(limit, before))

    def items(self, batch: Which, *, status: Collection[BatchItemStatus | str] = ()) -> AsyncIterator[BatchItem]:
        return self._driver.iterate(calls.items(batch, status, self._driver.retry))

    async def report(self, batch: Which, form: str = "json") -> bytes:
        return await self._driver.call(calls.report(batch, form))

    async def retry(self, batch: Which) -> Batch:
        return await self._driver.call(calls.retry(batch))

    async def kill(self, batch: Which) -> Batch:
        return await self._driver.call(calls.kill(batch))

    async def set_concurrency(self, batch: Which, concurrency: int) -> Batch:
        return await self._driver.call(calls.set_concurrency(batch, concurrency))

    def follow(self, batch: Which, *, poll: float = DEFAULT_LOOK) -> AsyncIterator[Batch]:
        return self._driver.iterate(calls.follow(batch, poll, self._driver.retry))

    async def wait(
        self,
        batch: Which,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # the synchronous client's parameter
        poll: float = DEFAULT_LOOK,
    ) -> Batch:
        return await self._driver.run(calls.wait(batch, timeout, poll, self._driver.retry, self._clock))
