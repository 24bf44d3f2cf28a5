"""Errors as HTTP statuses and bodies: the one place where the agent-run API decides.

Some clients show `message` and some `detail`; so both are there.
"""

import re
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from treadle.api.codegen.parsing import Unprocessable, fault
from treadle.api.json_bytes import encode
from treadle.api.problems import unavailable, unexpected
from treadle.domain.errors import (
    AllowanceUsedUp,
    ConfigurationError,
    Conflict,
    Forbidden,
    InvalidInput,
    MonthUsedUp,
    NotFound,
    TooLarge,
    TooManyRequests,
    TreadleError,
    Unauthenticated,
    Unavailable,
)
from treadle.domain.events import JsonObject

JSON = "application/json"

#: An error that is none of these is a defect.
STATUSES: Mapping[type[TreadleError], int] = {
    AllowanceUsedUp: 402,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    TooManyRequests: 429,
}

NO_ACCESS = "You do not have access to this organization."
TOO_MANY = "Rate limit exceeded. Please try again later."

#: Word for word what the specification says, its spelling too: clients compare.
USED_UP = "Alloted agent runs for the current billing plan have been reached. Please upgrade your plan to continue."

_PART = re.compile(r"[^.\[\]]+")


class BadRequest(Exception):
    """What the specification answers with 400."""


def refusal(error: Exception, request: Request) -> Response:
    """What the caller is told."""
    if isinstance(error, Unprocessable):
        return Response(encode({"detail": error.faults}), 422, media_type=JSON)
    if isinstance(error, InvalidInput):
        return Response(encode({"detail": _faults(error)}), 422, media_type=JSON)
    if isinstance(error, Unauthenticated):
        challenge = {"WWW-Authenticate": 'Bearer realm="treadle"'}
        return Response(encode({"detail": error.sentence()}), 401, challenge, JSON)
    if isinstance(error, BadRequest):
        return said(400, str(error))
    status = next((status for kind, status in STATUSES.items() if isinstance(error, kind)), None)
    if status is not None and isinstance(error, TreadleError):
        return said(status, _sentence(error), _headers(error))
    if isinstance(error, Unavailable):
        problem = unavailable(error, request)
    else:  # the operator's to mend, or a defect
        problem = unexpected(error, request, status=503 if isinstance(error, ConfigurationError) else 500)
    return said(problem.status, problem.detail, problem.headers)


def said(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal in this API's form."""
    body: JsonObject = {"message": message, "status_code": status, "detail": message}
    return Response(encode(body), status, dict(headers or {}), JSON)


def _sentence(error: TreadleError) -> str:
    if isinstance(error, AllowanceUsedUp) and not isinstance(error, MonthUsedUp):
        return USED_UP
    return TOO_MANY if isinstance(error, TooManyRequests) else error.sentence()


def _headers(error: TreadleError) -> Mapping[str, str]:
    return {"Retry-After": str(error.retry_after)} if isinstance(error, TooManyRequests) else {}


def _faults(error: InvalidInput) -> list[JsonObject]:
    """A service's faults, at their places in the body: `images[2]` is `["body", "images", 2]`."""
    return [
        fault(("body", *(int(part) if part.isdecimal() else part for part in _PART.findall(path))), sentence)
        for path, sentences in error.faults.items()
        for sentence in sentences
    ]
