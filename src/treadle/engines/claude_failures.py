"""What a failed call of the Claude CLI means, and when a usage limit ends.

| the CLI says | becomes |
| --- | --- |
| `api_error: usage_limit_reached`, "You've hit your … limit", older "limit reached" | UsageLimitReached |
| 401, 403, `authentication_failed`, "Not logged in" | EngineAuthenticationFailed |
| 400 (billing too), 404 (no such model), 413, the end of a budget or of the turns, an unknown option | EngineRefused |
| no valid structured answer after several attempts | StructuredOutputInvalid |
| 429, 500, 529, anything else | EngineFailed |
"""

import re
import signal
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
from treadle.engines.lines import as_amount, as_count, as_text, clean

#: An API key's rate limit may be "reached" too, and passes within a minute.
_LIMIT_TEXT: Final = re.compile(r"\bhit your\b.{0,60}\blimit\b|(?<!rate )\blimit reached\b", re.IGNORECASE)
_EPOCH: Final = re.compile(r"\|(\d{10})(?:\d{3})?\b")
_RESETS: Final = re.compile(
    r"resets(?: at)? (?:(?P<month>[A-Z][a-z]{2}) (?P<day>\d{1,2}),? (?:at )?)?"
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d\d))? ?(?P<half>[ap]m)(?: \((?P<zone>[\w/+-]+)\))?"
)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_AUTHENTICATION: Final = frozenset({"authentication_failed", "oauth_org_not_allowed"})
_AUTHENTICATION_TEXT: Final = re.compile(
    r"API Error: 40[13]\b|Invalid API key|Not logged in|OAuth (?:session|token)", re.IGNORECASE
)
_REFUSALS: Final = frozenset({"billing_error", "model_not_found", "invalid_request"})
_REFUSED_STATUSES: Final = frozenset({400, 402, 404, 405, 413, 422})
_REFUSED_SUBTYPES: Final = frozenset({"error_max_turns", "error_max_budget_usd"})

#: On stderr, before the CLI does anything: trying again changes nothing.
_USAGE_ERROR: Final = re.compile(r"unknown option|cannot be used with root|is not valid JSON", re.IGNORECASE)

_TOO_MANY_REQUESTS: Final = 429
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # a shell's exit codes
_SHOWN_CHARACTERS: Final = 600


class ClaudeFault:
    """Collects what a stream says about its failure."""

    def __init__(self, engine: EngineName) -> None:
        self._engine = engine
        self._kind = ""
        self._said_at: datetime | None = None
        self._is_limited = False
        self._limit_resets: datetime | None = None
        self._last_line = ""

    def note_message(self, message: JsonObject) -> None:
        """An `assistant` line with an `error`."""
        self._kind = as_text(message.get("error"))
        self._said_at = _parse_date(as_text(message.get("timestamp")))

    def note_limit(self, info: JsonObject) -> None:
        """The `rate_limit_info` of a `rate_limit_event`."""
        self._is_limited = as_text(info.get("status")) == "rejected"
        self._limit_resets = _from_epoch(as_amount(info.get("resetsAt"))) if self._is_limited else None

    def note_line(self, text: str) -> None:
        """A line that is not of the protocol: it may be all that there is to go by."""
        self._last_line = text or self._last_line

    def of(self, result: JsonObject) -> EngineError:
        """What a `result` that is no success means."""
        text = _shown(_said(result)) or "it gave no reason"
        status, subtype = as_count(result.get("api_error_status")), as_text(result.get("subtype"))
        is_rate_limited = status == _TOO_MANY_REQUESTS or self._kind == "rate_limit"
        is_limit = as_text(result.get("api_error")) == "usage_limit_reached" or bool(_LIMIT_TEXT.search(text))
        if is_limit or (self._is_limited and is_rate_limited):
            return self._usage_limit(text)
        if subtype == "error_max_structured_output_retries":
            return StructuredOutputInvalid(f"{self._engine} failed: {text}.")
        if status in _REFUSED_STATUSES or self._kind in _REFUSALS or subtype in _REFUSED_SUBTYPES:
            return EngineRefused(f"{self._engine} failed: {text}.")
        if status in {401, 403} or self._kind in _AUTHENTICATION or _AUTHENTICATION_TEXT.search(text):
            return EngineAuthenticationFailed(f"{self._engine}'s credentials were refused: {text}.")
        return EngineFailed(f"{self._engine} failed: {text}.")

    def without_result(self, exit_code: int, stderr: str) -> EngineError:
        """What it means that the CLI ended before it had answered."""
        lines = [line.strip() for line in clean(stderr).splitlines() if line.strip()]
        said = _shown(lines[-1] if lines else clean(self._last_line)).rstrip(".")
        because = f": {said}." if said else "."
        if exit_code in {_NOT_FOUND, _NOT_EXECUTABLE}:
            hint = "`treadle doctor` says what is missing."
            return EngineNotInstalled(f"The {self._engine} CLI could not be started{because}", hint=hint)
        if exit_code > 0 and _LIMIT_TEXT.search(said):
            return self._usage_limit(said)
        if exit_code > 0 and _AUTHENTICATION_TEXT.search(said):
            return EngineAuthenticationFailed(f"{self._engine}'s credentials were refused{because}")
        if exit_code > 0 and _USAGE_ERROR.search(said):
            hint = "This version of it may be too old or too new."
            return EngineRefused(f"The {self._engine} CLI refused the call{because}", hint=hint)
        number = -exit_code if exit_code < 0 else exit_code - 128
        if number in signal.valid_signals():
            return EngineFailed(f"{self._engine} was ended by {signal.Signals(number).name} before it had answered.")
        return EngineFailed(f"{self._engine} ended with exit code {exit_code} before it had answered{because}")

    def _usage_limit(self, text: str) -> UsageLimitReached:
        resets = self._limit_resets or reset_date(text, self._said_at)
        when = f" It resets at {resets:%Y-%m-%d %H:%M} UTC." if resets else ""
        return UsageLimitReached(f"{self._engine}'s usage limit is reached: {text}.{when}", resets_at=resets)


def reset_date(text: str, said_at: datetime | None) -> datetime | None:
    """When a limit resets, in UTC, from the CLI's words: `resets 3pm (Europe/Berlin)`, `resets Nov 24, 6:39pm (UTC)`,
    `…|1749924000`. A time of day or a day without a year is the next one after `said_at`; None without that."""
    if found := _EPOCH.search(text):
        return _from_epoch(float(found[1]))
    found = _RESETS.search(text)
    if found is None or said_at is None:
        return None
    try:
        zone = ZoneInfo(found["zone"] or "UTC")
        now = said_at.astimezone(zone)
        hour = int(found["hour"]) % 12 + (12 if found["half"] == "pm" else 0)
        resets = now.replace(hour=hour, minute=int(found["minute"] or 0), second=0, microsecond=0)
        if found["month"] is None:
            return (resets if resets > now else resets + timedelta(days=1)).astimezone(UTC)
        resets = resets.replace(month=_MONTHS.index(found["month"]) + 1, day=int(found["day"]))
        return (resets if resets > now else resets.replace(year=resets.year + 1)).astimezone(UTC)
    except (ValueError, OverflowError, LookupError, OSError):  # no such zone, month or day
        return None


def _said(result: JsonObject) -> str:
    errors = result.get("errors")
    texts = [text for text in errors if isinstance(text, str)] if isinstance(errors, list) else []
    said = as_text(result.get("result")) or "; ".join(texts) or as_text(result.get("subtype")).replace("_", " ")
    return clean(said).strip().rstrip(".")


def _shown(text: str) -> str:
    """Its end, when it is long: the last words say what happened."""
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
