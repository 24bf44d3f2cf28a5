"""Errors as HTTP statuses and problems, for the APIs that answer with these."""

from collections.abc import Mapping

from starlette.requests import Request

from treadle.api.problems import Problem, ProblemRaised, unavailable, unexpected
from treadle.domain.errors import (
    AllowanceUsedUp,
    ConfigurationError,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    TooLarge,
    TooManyRequests,
    TreadleError,
    Unauthenticated,
    Unavailable,
)

#: An error that is none of these is a defect.
STATUSES: Mapping[type[TreadleError], int] = {
    InvalidInput: 400,
    Unauthenticated: 401,
    AllowanceUsedUp: 402,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    TooManyRequests: 429,
}


def problem(error: Exception, request: Request) -> Problem:
    """What the caller is told."""
    if isinstance(error, ProblemRaised):
        return error.problem
    if isinstance(error, Unavailable):
        return unavailable(error, request)
    if isinstance(error, ConfigurationError):  # the operator's to mend
        return unexpected(error, request, status=503)
    status = next((status for kind, status in STATUSES.items() if isinstance(error, kind)), None)
    if status is None or not isinstance(error, TreadleError):
        return unexpected(error, request)
    if isinstance(error, InvalidInput):
        return Problem(status, error.code, error.message, errors=error.faults)
    return Problem(status, error.code, error.sentence(), headers=_headers(error))


def _headers(error: TreadleError) -> Mapping[str, str]:
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": 'Bearer realm="treadle"'}
    if isinstance(error, TooManyRequests):
        return {"Retry-After": str(error.retry_after)}
    return {}
