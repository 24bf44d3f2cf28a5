"""Waiting, and the tool that waits for a run's end: bounded, with progress, and without keeping a server that stops."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Annotated

from mcp.server.mcpserver import Context
from pydantic import Field

from treadle.api.auth import Authenticator
from treadle.api.deps import Services
from treadle.api.mcp.calls import Call, find, told
from treadle.api.mcp.inputs import RunId
from treadle.api.mcp.shapes import RunShape, WaitShape
from treadle.domain.errors import Unauthenticated
from treadle.domain.events import Event, EventType
from treadle.domain.identity import Principal
from treadle.domain.run import Run
from treadle.services.runs import Runs, is_seen

#: How long one call waits unless it says so, and at most, in seconds: clients give a call up after a while.
DEFAULT_WAIT_SECONDS = 50
MAX_WAIT_SECONDS = 600

#: The caller's credentials are looked at again this often, in seconds, as a stream's are.
RECHECK_SECONDS = 30.0

_AGAIN = "The run goes on: call wait_for_run again. It loses nothing by that."
_STOPPING = "The server is about to stop: call wait_for_run again in some seconds. The run goes on."

Tell = Callable[[int, str], Awaitable[None]]


class Waiter:
    """`closed` is set when the server stops."""

    def __init__(self, authenticator: Authenticator, closed: asyncio.Event) -> None:
        self._authenticator = authenticator
        self.closed = closed

    async def until(
        self,
        call: Call,
        end: Coroutine[object, object, None],
        seconds: float,
        *,
        what: str,
        may_see: Callable[[Principal], bool],
    ) -> None:
        """Until `end` returns, `seconds` are over, or the server stops. Raises Unauthenticated once the caller may not
        see what it waits for any more."""
        tasks = [
            asyncio.create_task(end, name=f"wait for {what}"),
            asyncio.create_task(self.closed.wait(), name="stop of the server"),
            asyncio.create_task(self._recheck(call, may_see), name="credentials of a wait"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _recheck(self, call: Call, may_see: Callable[[Principal], bool]) -> None:
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            principal = await self._authenticator.still(call.request)
            if principal is None or not may_see(principal):
                raise Unauthenticated("Your credentials do not hold any more.")


class WaitingTool:
    def __init__(self, services: Services, waiter: Waiter, *, public_url: str | None) -> None:
        self._services = services
        self._waiter = waiter
        self._public_url = public_url

    @told
    async def wait_for_run(
        self,
        context: Context,
        run: RunId,
        seconds: Annotated[
            int, Field(ge=1, le=MAX_WAIT_SECONDS, description="How long to wait at most.")
        ] = DEFAULT_WAIT_SECONDS,
    ) -> WaitShape:
        """Wait until a run has ended, with notifications of its progress meanwhile, and show it. When it has not ended
        in time, `advice` says to call again."""
        call = Call.of(context)
        found = await find(self._services, call.principal, run)

        async def tell(number: int, said: str) -> None:
            await context.report_progress(number, None, said)

        if not found.is_finished:
            await self._waiter.until(
                call,
                _follow(self._services.runs, found, tell),
                seconds,
                what=f"run {found.id}",
                may_see=partial(is_seen, found),
            )
            found = await find(self._services, call.principal, found.id)
        advice = None if found.is_finished else _STOPPING if self._waiter.closed.is_set() else _AGAIN
        return WaitShape(run=RunShape.of(found, self._public_url), advice=advice)


async def _follow(runs: Runs, run: Run, tell: Tell) -> None:
    now = _Progress(run)
    async with aclosing(runs.follow(run, after=run.last_event)) as pages:  # type: ignore[type-var]  # a generator
        with suppress(OSError):  # the client is gone, and its request with it
            await tell(run.last_event, now.sentence())
        async for page in pages:
            now.take(page)
            await tell(page[-1].number, now.sentence())


class _Progress:
    """Where the run is, in words."""

    def __init__(self, run: Run) -> None:
        self._count = len(run.steps)
        at = next((step for step in run.steps if step.date_started and not step.date_completed), None)
        self._step = at.position if at is not None else None
        self._phase: str | None = at.phase if at is not None else None
        self._tool: str | None = None
        self._status: str = run.status

    def take(self, page: Sequence[Event]) -> None:
        for event in page:
            self._step, self._phase = event.step or self._step, event.phase or self._phase
            match event.type:
                case EventType.TOOL_STARTED:
                    self._tool = str(event.data.get("tool"))
                case EventType.PHASE_STARTED | EventType.STEP_STARTED:
                    self._tool = None
                case EventType.RUN_STARTED:
                    self._status = "Running"
                case EventType.RUN_RESUMED:
                    self._count = max(self._count, event.step or 0)
                case EventType.RUN_FINISHED:
                    self._status = str(event.data.get("status"))

    def sentence(self) -> str:
        parts = [f"step {self._step} of {self._count}"] if self._step is not None else []
        parts += [self._phase] if self._phase is not None else []
        parts += [self._tool] if self._tool is not None else []
        return f"{self._status}: {', '.join(parts)}" if parts else self._status
