"""What monitoring asks: `/metrics`, and beside it `/healthz` and `/readyz` where they need no key."""

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle import telemetry
from treadle.api.auth import Caller
from treadle.api.deps import Check
from treadle.api.health import Readiness, health_routes
from treadle.api.problems import Problem, on_http_error, on_unexpected
from treadle.domain.errors import Forbidden
from treadle.domain.identity import Role
from treadle.services.house import FIRST_ORGANIZATION

#: Of Prometheus's text format.
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def operations_app(checks: Mapping[str, Check]) -> Starlette:
    """For a port that only the operator's own network reaches: nobody is asked who they are."""
    return Starlette(
        routes=[*health_routes(Readiness(checks)), Route("/metrics", metrics)],
        exception_handlers={HTTPException: on_http_error, Exception: on_unexpected},
    )


async def metrics(_request: Request) -> Response:
    """Every figure of this process, and of the database."""
    figures = await telemetry.exposition()
    if figures is None:
        return Problem(503, "not_measured", "This process measures nothing.").response()
    return Response(figures, headers={"Cache-Control": "no-store"}, media_type=MEDIA_TYPE)


async def metrics_for_admins(request: Request, caller: Caller) -> Response:
    """The same where anybody may knock: for admins of the first organization, who run the house. The figures are of all
    organizations together. Raises Forbidden."""
    principal = caller.principal
    if principal.role is not Role.ADMIN or principal.organization_id != FIRST_ORGANIZATION:
        raise Forbidden("The metrics are for admins of the first organization.")
    return await metrics(request)
