"""The processes: the API, workers and the sweeper in one event loop, from start to an orderly end."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp

from treadle import factory, sandbox, scratch, telemetry
from treadle.api.deps import Check
from treadle.api.front import MAX_HEAD_BYTES
from treadle.api.observed import observed
from treadle.api.operations import operations_app
from treadle.domain.errors import ConfigurationError, Unavailable
from treadle.factory import Parts
from treadle.joined_writes import HEAD_SECONDS, JoiningHttp
from treadle.ports import Sandbox
from treadle.runner.worker import Worker
from treadle.settings import Settings

log = structlog.get_logger(__name__)

#: Requests and streams in flight get this long to end at shutdown, in seconds.
GRACEFUL_SECONDS = 3

#: A database or broker that does not answer at the start is asked again after this pause, in seconds.
WAIT_SECONDS = 2.0

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def serve(
    settings: Settings, *, with_api: bool = True, with_worker: bool = True, on_ready: Callable[[str, Parts], None]
) -> None:
    """Until SIGTERM or SIGINT; then hands its runs over and returns. `on_ready` is told the address once it answers
    ("" without the API). Raises ConfigurationError for what the operator must mend."""
    stop = asyncio.Event()
    with contextlib.ExitStack() as held:
        # First of all: a first start that fails here must not have made the admin's key, which is shown once.
        bound = held.enter_context(_bind(settings.host, settings.port)) if with_api else None
        watched = None
        if settings.operations_port is not None:
            names = "TREADLE_OPERATIONS_HOST and TREADLE_OPERATIONS_PORT"
            watched = held.enter_context(_bind(settings.operations_host, settings.operations_port, names=names))
        checks: dict[str, Check] = {"start": _not_started}
        held.enter_context(_on_signals(stop.set))
        box = await _walls(settings) if with_worker else None
        with contextlib.suppress(_StoppedEarly):
            async with (
                telemetry.installed(otlp_endpoint=settings.otlp_endpoint),
                _operations(checks, watched, settings.operations_host),
                factory.assemble(settings, wait=_waiting(stop)) as parts,
                running(parts, with_worker=with_worker, box=box, on_end=stop.set),
            ):
                telemetry.statistics_from(lambda: parts.store.statistics(parts.clock.now()))
                del checks["start"]
                checks.update(parts.services.checks)
                if bound is not None:
                    api = factory.app(parts)
                    async with _serving(observed(api), bound, settings.host) as address:
                        on_ready(address, parts)
                        await stop.wait()
                        api.state.streams.close()  # a stream that nothing ends would hold up the end for all
                else:
                    on_ready("", parts)
                    await stop.wait()
                log.info("shutting down")


async def _walls(settings: Settings) -> Sandbox:
    """What a worker's engines will run in. Raises ConfigurationError where nothing works: nobody is to find out later
    that there were no walls."""
    chosen = await sandbox.choose(settings)
    if chosen.name == sandbox.NONE:
        log.warning("there is no sandbox: engines see and change all that this user can", setting="TREADLE_SANDBOX")
    return chosen


async def _not_started() -> None:
    raise Unavailable("the process is starting")


@asynccontextmanager
async def _operations(checks: Mapping[str, Check], bound: socket.socket | None, host: str) -> AsyncIterator[None]:
    """Metrics and probes on a port of their own, where there is one: from before the first wait to the very end."""
    if bound is None:
        yield
        return
    async with _serving(operations_app(checks), bound, host) as address:
        log.info("operations", address=address)
        yield


class _StoppedEarly(Exception):
    """Asked to end while still waiting for what it needs."""


def _waiting(stop: asyncio.Event) -> factory.Wait:
    """Says what is waited for, and gives it time, for as long as nobody asks the process to end."""

    async def wait(error: Unavailable) -> None:
        log.warning("waiting", reason=error.message, hint=error.hint, seconds=WAIT_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                await stop.wait()
        if stop.is_set():
            raise _StoppedEarly

    return wait


@asynccontextmanager
async def running(
    parts: Parts,
    *,
    with_worker: bool = True,
    box: Sandbox | None = None,
    on_end: Callable[[], None] | None = None,
) -> AsyncIterator[Worker | None]:
    """The sweeper, the chores and, if wanted, a worker beside the body; its engines run in `box`, or the best sandbox
    that works. Leaving drains the worker, and raises what one of them died of; `on_end` is told at once, so that no
    process goes on without them."""
    await asyncio.to_thread(scratch.sweep)
    worker = await factory.worker(parts, box=box) if with_worker else None
    sweeping = asyncio.create_task(factory.sweeper(parts).run(), name="sweeper")
    doing = asyncio.create_task(factory.chore_runner(parts).run(), name="chores")
    tasks = [sweeping, doing]
    if worker is not None:
        tasks.append(asyncio.create_task(worker.run(), name="worker"))
        _show(worker)
    for task in tasks:
        if on_end is not None:
            task.add_done_callback(lambda _task: on_end())
    try:
        yield worker
    finally:
        doing.cancel()
        if worker is not None:
            worker.drain()
            await asyncio.wait([task for task in tasks if task is not sweeping])
        sweeping.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error


def _show(worker: Worker) -> None:
    telemetry.gauge(telemetry.SLOTS_USED, lambda: len(worker.running))
    telemetry.gauge(telemetry.SLOTS_FREE, lambda: worker.slots - len(worker.running))
    telemetry.gauge(telemetry.PAUSED_FOR_DISK, lambda: worker.is_paused)


@asynccontextmanager
async def listening(app: ASGIApp, host: str, port: int) -> AsyncIterator[str]:
    """Serves `app` beside the body; gives its address, such as http://127.0.0.1:8417."""
    with _bind(host, port) as bound:
        async with _serving(app, bound, host) as address:
            yield address


@asynccontextmanager
async def _serving(app: ASGIApp, bound: socket.socket, host: str) -> AsyncIterator[str]:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=False,
        # As long as `JoiningHttp` waits: clients let go sooner. After uvicorn's own five seconds, which many have
        # too, a request would now and then be on its way to a connection that is just being closed.
        timeout_keep_alive=int(HEAD_SECONDS),
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        loop="asyncio",
        http=JoiningHttp,
        ws="none",
        proxy_headers=False,  # `api.front` looks for the client behind the proxies that it knows
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[bound]), name="api")
    try:
        while not server.started:
            if serving.done():
                await serving
                raise ConfigurationError(f"The API could not start on {host}:{bound.getsockname()[1]}.")
            await asyncio.sleep(0.005)
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        await asyncio.wait({serving})


class _Server(uvicorn.Server):
    """Signals are the process's business: a worker has to be drained too."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(host: str, port: int, *, names: str = "TREADLE_HOST and TREADLE_PORT") -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio knows it for TCP and switches off Nagle: else every answer waits 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ConfigurationError(
            f"The address {host}:{port} cannot be listened on: {error.strerror}.",
            hint=f"{names} set another one.",
        ) from error
    return bound


@contextlib.contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
