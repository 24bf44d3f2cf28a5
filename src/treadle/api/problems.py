"""Errors as problem details (RFC 9457)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from uuid import uuid4

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.api.json_bytes import encode
from treadle.domain.errors import Unavailable
from treadle.domain.events import JsonValue

MEDIA_TYPE = "application/problem+json"

#: What a caller is told to wait when a part of the service is away, in seconds.
RETRY_SECONDS = 2

#: Codes of the errors that no service raises, by status.
_CODES = {404: "no_such_endpoint", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type"}

_LINK = re.compile("^(/shared/)[^/]+")


@dataclass(frozen=True, slots=True)
class Problem:
    """`errors` maps the path of a field to what is wrong with it; `instance` names one occurrence in the log."""

    status: int
    code: str
    detail: str
    errors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    instance: str | None = None

    def response(self) -> Response:
        body: dict[str, JsonValue] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "errors": self.errors,
        }
        if self.instance is not None:
            body["instance"] = self.instance
        return Response(encode(body), self.status, dict(self.headers), MEDIA_TYPE)


class ProblemRaised(Exception):
    """A problem that has no place in the domain's tree of errors, such as a wrong content type."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def unexpected(error: Exception, request: Request, *, status: int = 500) -> Problem:
    """What a caller may learn of a defect: an id, under which the log tells the rest."""
    incident = uuid4().urn
    structlog.get_logger(__name__).error(
        "request_failed", incident=incident, method=request.method, path=_path(request), exc_info=error
    )
    code = "internal" if status == 500 else "unavailable"  # noqa: PLR2004 - HTTP's
    return Problem(status, code, f"Something went wrong here; the log has it as {incident}.", instance=incident)


def unavailable(error: Unavailable, request: Request) -> Problem:
    """A database or file store that is away for now: no defect, and worth another try."""
    structlog.get_logger(__name__).warning(
        "unavailable", method=request.method, path=_path(request), reason=error.message
    )
    said = "The service cannot reach its database or its files at the moment. Try again."
    return Problem(503, error.code, said, headers={"Retry-After": str(RETRY_SECONDS)})


def _path(request: Request) -> str:
    """For the log: a link to a run opens it, so its token is none of the log's business."""
    return _LINK.sub(r"\1…", request.url.path)


async def on_http_error(request: Request, error: Exception) -> Response:
    """For what the router raises itself."""
    if not isinstance(error, HTTPException):
        return unexpected(error, request).response()
    said = {
        404: f"There is nothing at {request.url.path}.",
        405: f"{request.url.path} does not take {request.method}.",
    }
    code = _CODES.get(error.status_code, "http_error")
    detail = said.get(error.status_code, str(error.detail))
    headers = _allow(request) if error.status_code == 405 else error.headers or {}  # noqa: PLR2004 - HTTP's
    return Problem(error.status_code, code, detail, headers=headers).response()


def _allow(request: Request) -> Mapping[str, str]:
    """Of all routes of the path; the router knows only the first."""
    found = {
        method
        for route in request.app.router.routes
        if isinstance(route, Route) and route.path_regex.match(request.scope["path"])
        for method in route.methods or ()
    }
    return {"Allow": ", ".join(sorted(found))}


async def on_unexpected(request: Request, error: Exception) -> Response:
    """For what nothing else caught."""
    return unexpected(error, request).response()
