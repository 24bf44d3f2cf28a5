"""What a failed call of Claude Code means, and when a usage limit ends.

| the CLI says | becomes |
| --- | --- |
| `api_error: usage_limit_reached`, "You've hit your … limit", older "limit reached" | UsageLimitReached |
| 401, 403, `authentication_failed`, "Not logged in" | EngineAuthenticationFailed |
| 400 and 402 (billing too), 404 (no such model), 413, the end of the turns or the budget | EngineRefused |
| no answer, and exit code 126 or 127 | EngineNotInstalled |
| no answer, and stderr about its arguments | EngineRefused |
| 429, 500, 529, anything else | EngineFailed |
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from treadle.domain.errors import (
    EngineAuthenticationFailed,
    EngineError,
    EngineFailed,
    EngineNotInstalled,
    EngineRefused,
    StructuredOutputInvalid,
    UsageLimitReached,
)
from treadle.domain.events import JsonObject
from treadle.domain.run import EngineName
from treadle.engines.lines import as_amount, as_count, as_text, clean, signal_of

#: A key's rate limit may be "reached" too, and passes within a minute.
_LIMIT: Final = re.compile(r"\bhit your .{0,60}\blimit\b|(?<!rate )\blimit reached\b", re.IGNORECASE)
_AUTHENTICATION: Final = re.compile(
    r"API Error: 40[13]\b|Invalid API key|Not logged in|OAuth (?:session|token)", re.IGNORECASE
)
_USAGE_ERROR: Final = re.compile(
    r"unknown option|cannot be used with root|required option|argument .* is invalid", re.IGNORECASE
)

#: How the CLI names the error of an API's answer.
_KINDS: Final[Mapping[str, type[EngineError]]] = {
    "authentication_failed": EngineAuthenticationFailed,
    "oauth_org_not_allowed": EngineAuthenticationFailed,
    "billing_error": EngineRefused,
    "invalid_request": EngineRefused,
    "model_not_found": EngineRefused,
}

#: The API's statuses, for kinds that are not in the table.
_STATUSES: Final[Mapping[int, type[EngineError]]] = {
    400: EngineRefused,
    401: EngineAuthenticationFailed,
    402: EngineRefused,
    403: EngineAuthenticationFailed,
    404: EngineRefused,
    413: EngineRefused,
}

#: A result's subtypes.
_SUBTYPES: Final[Mapping[str, type[EngineError]]] = {
    "error_max_budget_usd": EngineRefused,
    "error_max_structured_output_retries": StructuredOutputInvalid,
    "error_max_turns": EngineRefused,
}

_EPOCH: Final = re.compile(r"\|(\d{10})(?:\d{3})?\b")
_RESETS: Final = re.compile(
    r"resets(?: at)? (?:(?P<month>[A-Z][a-z]{2}) (?P<day>\d{1,2}),? (?:at )?)?"
    r"(?P<hour>1[0-2]|0?[1-9])(?::(?P<minute>\d\d))? ?(?P<half>[ap]m)(?: \((?P<zone>[\w/+-]+)\))?"
)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_TOO_MANY, _NOT_EXECUTABLE, _NOT_FOUND = 429, 126, 127
_SHOWN_CHARACTERS, _SHOWN_LINES = 600, 5


class ClaudeEvidence:
    """Collects what a call says about its failure, and judges."""

    def __init__(self, engine: EngineName) -> None:
        self._engine = engine
        self._kind = ""
        self._said_at: datetime | None = None
        self._is_limited = False
        self._resets_at: datetime | None = None
        self._texts: list[str] = []

    def note_error(self, line: JsonObject) -> None:
        """An `assistant` line with an `error`."""
        self._kind = as_text(line.get("error"))
        self._said_at = _parse_date(as_text(line.get("timestamp")))

    def note_limit(self, info: JsonObject) -> None:
        """The `rate_limit_info` of a `rate_limit_event`."""
        self._is_limited = as_text(info.get("status")) == "rejected"
        self._resets_at = _from_epoch(as_amount(info.get("resetsAt"))) if self._is_limited else None

    def note_text(self, text: str) -> None:
        """A line of output that is none of the stream."""
        if text:
            self._texts = [*self._texts, text][-_SHOWN_LINES:]

    def of(self, result: JsonObject) -> EngineError:
        """What a `result` that is no success means."""
        status, subtype = as_count(result.get("api_error_status")), as_text(result.get("subtype"))
        said = _shown(_text_of(result)) or "it gave no reason"
        is_limit = as_text(result.get("api_error")) == "usage_limit_reached" or bool(_LIMIT.search(said))
        if is_limit or (self._is_limited and _TOO_MANY in {status, 0} and self._kind in {"rate_limit", ""}):
            return self._usage_limit(said)
        if subtype in _SUBTYPES:
            return _SUBTYPES[subtype](f"{self._engine} did not finish: {said}.")
        kind = _KINDS.get(self._kind) or _STATUSES.get(status)
        if kind is None:
            kind = EngineAuthenticationFailed if _AUTHENTICATION.search(said) else EngineFailed
        api = f" (API status {status})" if status else ""
        return kind(f"{self._engine} failed{api}: {said}.")

    def without_result(self, exit_code: int, stderr: str) -> EngineError:
        """What it means to end without a `result`."""
        said = _shown(clean(stderr) if stderr.strip() else clean("\n".join(self._texts)))
        if exit_code in {_NOT_FOUND, _NOT_EXECUTABLE}:
            return EngineNotInstalled(
                f"The {self._engine} CLI could not be started: {said or f'exit code {exit_code}'}.",
                hint="`treadle doctor` says what is missing.",
            )
        if exit_code > 0 and _AUTHENTICATION.search(said):
            return EngineAuthenticationFailed(f"{self._engine} failed: {said}.")
        if exit_code > 0 and _USAGE_ERROR.search(said):
            return EngineRefused(f"The {self._engine} CLI refused the call: {said}.", hint="Another version may do.")
        if ended_by := signal_of(exit_code):
            return EngineFailed(f"{self._engine} was ended by {ended_by} before it had answered.")
        last = f": {said.splitlines()[-1].strip()}" if said else ""
        return EngineFailed(f"{self._engine} ended with exit code {exit_code} before it had answered{last}.")

    def _usage_limit(self, said: str) -> UsageLimitReached:
        resets = self._resets_at or reset_date(said, self._said_at)
        when = f" It resets at {resets:%Y-%m-%d %H:%M} UTC." if resets is not None else ""
        return UsageLimitReached(
            f"The usage limit of this {self._engine} account is reached: {said}.{when}",
            resets_at=resets,
            hint="Start a run on the same work branch after that, or with other credentials.",
        )


def reset_date(text: str, said_at: datetime | None) -> datetime | None:
    """When a limit resets, in UTC, from the CLI's words: `resets 3pm (Europe/Berlin)`, `resets Nov 24, 6:39pm (UTC)`,
    `…|1749924000`. A time of day, and a day without its year, is the next one after `said_at`; None without that."""
    if found := _EPOCH.search(text):
        return _from_epoch(float(found[1]))
    found = _RESETS.search(text)
    if found is None or said_at is None:
        return None
    try:
        now = said_at.astimezone(ZoneInfo(found["zone"] or "UTC"))
        hour = int(found["hour"]) % 12 + (12 if found["half"] == "pm" else 0)
        resets = now.replace(hour=hour, minute=int(found["minute"] or 0), second=0, microsecond=0)
        if found["month"] is None:
            return (resets if resets > now else resets + timedelta(days=1)).astimezone(UTC)
        resets = resets.replace(month=_MONTHS.index(found["month"]) + 1, day=int(found["day"]))
        return (resets if resets > now else resets.replace(year=resets.year + 1)).astimezone(UTC)
    except (ValueError, OverflowError, LookupError, OSError):  # there is no such zone, month or day
        return None


def _text_of(result: JsonObject) -> str:
    errors = result.get("errors")
    listed = "; ".join(text for text in errors if isinstance(text, str)) if isinstance(errors, list) else ""
    subtype = as_text(result.get("subtype"))
    return clean(as_text(result.get("result")) or listed or ("" if subtype == "success" else subtype))


def _shown(text: str) -> str:
    """The end of a text, for the last words say what happened; without a full stop, for it ends within a sentence."""
    text = text.strip().removesuffix(".")
    return text if len(text) <= _SHOWN_CHARACTERS else f"… {text[-_SHOWN_CHARACTERS:]}"


def _from_epoch(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (ValueError, OverflowError, OSError):
        return None


def _parse_date(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
