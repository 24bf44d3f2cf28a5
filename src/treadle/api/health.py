"""Whether the process lives, and whether it can work."""

import asyncio
from collections.abc import Sequence

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.api.deps import Check
from treadle.api.json_bytes import encode
from treadle.api.problems import Problem

#: A check that takes longer has failed; seconds.
CHECK_SECONDS = 5

_OK = encode({"status": "ok"})


def health_routes(checks: Sequence[Check]) -> Sequence[Route]:
    """`/healthz`, `/readyz`. Anybody may ask, so neither says more than yes or no; the log does."""

    async def live(_request: Request) -> Response:
        return Response(_OK, media_type="application/json")

    async def ready(_request: Request) -> Response:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                for check in checks:
                    await check()
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is no
            structlog.get_logger(__name__).warning("not_ready", reason=str(error) or type(error).__name__)
            return Problem(
                503, "not_ready", "The database or the files cannot be reached; the log says why."
            ).response()
        return Response(_OK, media_type="application/json")

    return [Route("/healthz", live), Route("/readyz", ready)]
