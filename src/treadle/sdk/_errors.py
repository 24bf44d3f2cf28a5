"""What the SDK raises.

TreadleApiError
├── BadRequestError          400: the request is not valid; `errors` names every fault
├── AuthenticationError      401: no key, or none that holds
├── PermissionDeniedError    402, 403: known, but not allowed
├── NotFoundError            404: unknown, or not yours to know
├── ConflictError            409: the state does not allow it
├── TooLargeError            413: past a documented limit
├── RateLimitedError         429: too many requests; `retry_after` seconds
├── ServerError              5xx: the server failed
├── ConnectionFailedError    no answer at all
├── UnexpectedAnswerError    an answer that is not Treadle's
├── WaitTimeoutError         `wait` ran out of its time; the process goes on
├── AgentWaitTimeoutError    the same of an agent run
├── BatchWaitTimeoutError    the same of a batch
└── ScriptWaitTimeoutError   the same of a run of a script
"""

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from treadle.sdk._agent_models import AgentRun
from treadle.sdk._batch_models import Batch
from treadle.sdk._models import Process
from treadle.sdk._script_models import ScriptRun
from treadle.sdk._wire import JsonValue


class TreadleApiError(Exception):
    """`status`: of the HTTP answer, None without one. `problem`: the answer's problem+json (RFC 9457), as it came.
    `attempts`: how many times the request was sent."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        hint: str | None = None,
        problem: Mapping[str, JsonValue] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = status
        self.problem: Mapping[str, JsonValue] = problem if problem is not None else {}
        self.attempts = 1

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class BadRequestError(TreadleApiError):
    """`errors` maps a field's path, such as `steps[0].step`, to what is wrong with it."""

    @property
    def errors(self) -> dict[str, list[str]]:
        found = self.problem.get("errors")
        if not isinstance(found, Mapping):
            return _faults(self.problem.get("detail"))
        return {
            path: [str(item) for item in said] if isinstance(said, list | tuple) else [str(said)]
            for path, said in found.items()
        }

    def __str__(self) -> str:
        return " ".join([super().__str__(), *(f"{path}: {' '.join(said)}" for path, said in self.errors.items())])


class AuthenticationError(TreadleApiError):
    """401."""


class PermissionDeniedError(TreadleApiError):
    """403, and 402 where an organization has used up its agent runs."""


class NotFoundError(TreadleApiError):
    """404."""


class ConflictError(TreadleApiError):
    """409."""


class TooLargeError(TreadleApiError):
    """413."""


class RateLimitedError(TreadleApiError):
    """`retry_after`: seconds until another request is welcome; None when the server did not say."""

    retry_after: float | None = None


class ServerError(TreadleApiError):
    """`retry_after`: as of RateLimitedError."""

    retry_after: float | None = None


class ConnectionFailedError(TreadleApiError):
    """The server could not be reached, or the connection broke before the answer was whole."""


class UnexpectedAnswerError(TreadleApiError):
    """Something else than Treadle is at that address, or a server of another age."""


class WaitTimeoutError(TreadleApiError, TimeoutError):
    """`process`: as it was last seen."""

    def __init__(self, message: str, *, process: Process) -> None:
        super().__init__(message)
        self.process = process


class AgentWaitTimeoutError(TreadleApiError, TimeoutError):
    """`run`: as it was last seen."""

    def __init__(self, message: str, *, run: AgentRun) -> None:
        super().__init__(message)
        self.run = run


class BatchWaitTimeoutError(TreadleApiError, TimeoutError):
    """`batch`: as it was last seen."""

    def __init__(self, message: str, *, batch: Batch) -> None:
        super().__init__(message)
        self.batch = batch


class ScriptWaitTimeoutError(TreadleApiError, TimeoutError):
    """`run`: as it was last seen."""

    def __init__(self, message: str, *, run: ScriptRun) -> None:
        super().__init__(message)
        self.run = run


_BY_STATUS: Mapping[int, tuple[type[TreadleApiError], str]] = {
    400: (BadRequestError, "The request is not valid."),
    401: (AuthenticationError, "The server accepts no request without a valid key or token."),
    402: (PermissionDeniedError, "The organization has no agent runs left."),
    403: (PermissionDeniedError, "The key or token does not allow this."),
    404: (NotFoundError, "There is no such thing, or it is not yours."),
    409: (ConflictError, "The current state does not allow this."),
    413: (TooLargeError, "This is larger than the server accepts."),
    422: (BadRequestError, "The request is not valid."),
    429: (RateLimitedError, "Too many requests."),
}
_HINTS: Mapping[int, str] = {401: "Is the key in api_key=… or TREADLE_API_KEY the right one for this server?"}
_NO_KEY = "None was sent: give api_key=… or token=…, or set TREADLE_API_KEY."
_ERRORS_BEGIN = 400
_SERVER_ERRORS_BEGIN = 500


def error_of(status: int, headers: Mapping[str, str], body: bytes, *, is_anonymous: bool) -> TreadleApiError:
    """The error for an answer that is no success. `headers` have lower-case names."""
    problem = _problem(body)
    said = next(
        (text for name in ("detail", "message", "title") if isinstance(text := problem.get(name), str) and text), None
    )
    if status < _ERRORS_BEGIN:
        place = headers.get("location")
        return UnexpectedAnswerError(
            f"The server answered {status}" + (f" and pointed to {place}." if place else "."),
            status=status,
            hint="Is that its real address? Then use it as base_url, or in TREADLE_URL.",
        )
    kind, otherwise = _BY_STATUS.get(status, (TreadleApiError, f"The server answered {status}."))
    if status >= _SERVER_ERRORS_BEGIN:
        kind, otherwise = ServerError, f"The server failed with {status}."
    hint = _NO_KEY if is_anonymous and kind is AuthenticationError else _HINTS.get(status)
    error = kind(said or otherwise, status=status, hint=hint, problem=problem)
    if isinstance(error, RateLimitedError | ServerError):
        error.retry_after = _retry_after(headers)
    return error


def _faults(detail: object) -> dict[str, list[str]]:
    """Of the agent-run API: [{"loc": ["body", "images", 0], "msg": …}]."""
    found: dict[str, list[str]] = {}
    for fault in detail if isinstance(detail, list) else ():
        if isinstance(fault, Mapping) and isinstance(place := fault.get("loc"), list):
            inside = [f"[{each}]" if isinstance(each, int) else f".{each}" for each in place[1:]]
            path = "".join(inside).removeprefix(".") or str(place[0] if place else "body")
            found.setdefault(path, []).append(str(fault.get("msg") or "is not valid"))
    return found


def _problem(body: bytes) -> Mapping[str, JsonValue]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds. A date is read against the server's own clock."""
    given = headers.get("retry-after", "").strip()
    if given.isdecimal():
        return float(given)
    try:
        until, now = parsedate_to_datetime(given), parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (until - now).total_seconds())
    except (TypeError, ValueError):
        return None
