"""Values as JSON bytes, fast, and without a text that it cannot write."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from treadle.domain.events import JsonValue

_strict = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def encode(value: JsonValue) -> bytes:
    """Compact UTF-8. A lone surrogate becomes its JSON escape; NaN and infinities, which JSON lacks, become null."""
    try:
        text = _strict.encode(value)
    except ValueError:
        text = _strict.encode(_finite(value))
    return text.encode(errors="backslashreplace")


def date_text(date: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds, ending in `Z`."""
    return f"{date.astimezone(UTC).isoformat(timespec='milliseconds')[:-6]}Z" if date is not None else None


def _finite(value: JsonValue) -> JsonValue:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(item) for item in value]
    return value
