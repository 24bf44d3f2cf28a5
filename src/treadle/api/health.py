"""Whether the process lives, and whether it can work."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.api.deps import Check
from treadle.api.json_bytes import encode
from treadle.api.problems import Problem

#: A check that takes longer has failed; seconds.
CHECK_SECONDS = 5

#: An answer holds for this long, in seconds: probing must not load the parts.
ANSWER_SECONDS = 1.0

_OK = encode({"status": "ok"})

log = structlog.get_logger(__name__)


class Readiness:
    """Asks every part, all at once, and remembers the answers for a moment. `now` is a clock that only goes forward."""

    def __init__(self, checks: Mapping[str, Check], *, now: Callable[[], float] = time.monotonic) -> None:
        self._checks = checks
        self._now = now
        self._asking = asyncio.Lock()
        self._answers: Mapping[str, bool] = {}
        self._until = float("-inf")

    async def look(self) -> Mapping[str, bool]:
        """Whether each part can be used, by its name. The log says why one cannot."""
        async with self._asking:
            if self._now() >= self._until:
                checks = dict(self._checks)  # as they are now: a process that has started has others
                asked = await asyncio.gather(*(_can_use(name, check) for name, check in checks.items()))
                self._answers = dict(zip(checks, asked, strict=True))
                self._until = self._now() + ANSWER_SECONDS
            return self._answers


async def _can_use(name: str, check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001 - whatever it is, the answer is no
        log.warning("not_ready", part=name, reason=str(error) or type(error).__name__)
        return False
    return True


def health_routes(readiness: Readiness) -> Sequence[Route]:
    """`/healthz`, `/readyz`. Anybody may ask, so neither says more than which part it is; the log does.

    `/readyz?exclude=broker` leaves a part out: without its broker the API works, if more slowly, and a balancer that
    took every replica away would end it.
    """

    async def live(_request: Request) -> Response:
        return Response(_OK, media_type="application/json")

    async def ready(request: Request) -> Response:
        left_out = set(request.query_params.getlist("exclude"))
        answers = {name: can for name, can in (await readiness.look()).items() if name not in left_out}
        away = [name for name, can in answers.items() if not can]
        if not away:
            return Response(
                encode({"status": "ok", "checks": dict.fromkeys(answers, "ok")}), media_type="application/json"
            )
        return Problem(
            503,
            "not_ready",
            f"This process cannot work now: {', '.join(away)} cannot be reached; the log says why.",
            errors={name: ["It cannot be reached."] for name in away},
        ).response()

    return [Route("/healthz", live), Route("/readyz", ready)]
