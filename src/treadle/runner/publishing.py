"""What a run that has done its steps leaves at the forge. The branch is pushed; whatever happens here, the run
succeeded."""

import asyncio
from collections.abc import Callable

import structlog

from treadle.domain.errors import ForgeError, NotFound, SealBroken, SealKeyMissing
from treadle.domain.events import Draft, EventType, JsonObject
from treadle.domain.run import Run
from treadle.runner.patience import Hold
from treadle.services.progress import Progress
from treadle.services.pull_requests import Opened, PullRequests

log = structlog.get_logger(__name__)

#: Longest time for the pull request of a run, in seconds.
OPEN_SECONDS = 60.0


async def open_pull_request(
    run: Run, pull_requests: PullRequests, progress: Progress, hold: Hold, *, clean: Callable[[str], str]
) -> None:
    """Opens it where the run wants one, and tells. May be called again by the next worker, whenever this one died.
    `clean` takes out of a text what is not to be published. Raises LeaseLost, and ConfigurationError for a store that
    is away for longer than the lease holds."""
    if not run.opens_pull_request:
        return

    async def work() -> Opened | None:
        return await pull_requests.open(run.id, progress.fence, clean=clean)

    try:
        async with asyncio.timeout(OPEN_SECONDS):
            opened = await hold.patiently(work)
    except SealKeyMissing:
        raise  # the operator's to mend
    except TimeoutError:
        await _tell_failure(progress, f"The forge took more than {OPEN_SECONDS:g} s.")
    except (ForgeError, SealBroken, NotFound) as error:
        await _tell_failure(progress, error.sentence())
    else:
        if opened is not None:
            await _tell(run, opened, pull_requests, progress, hold)


async def _tell(run: Run, opened: Opened, pull_requests: PullRequests, progress: Progress, hold: Hold) -> None:
    pull = opened.pull_request
    # A worker may have died after it was kept and before it was told.
    if not opened.is_new and await hold.patiently(lambda: pull_requests.is_told(run.id, pull.id)):
        return
    log.info("a pull request is open", number=pull.number)
    data: JsonObject = {"id": pull.id, "number": pull.number, "url": pull.url, "title": pull.title}
    await progress.record(Draft(EventType.PULL_REQUEST_OPENED, data))


async def _tell_failure(progress: Progress, reason: str) -> None:
    log.warning("no pull request could be opened", reason=reason)
    await progress.record(Draft(EventType.PULL_REQUEST_FAILED, {"reason": reason}))
