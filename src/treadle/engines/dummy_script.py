r"""Scripts of the Dummy engine: `dummy: [{"write": ["src/a.py", "print(1)\n"]}, {"say": "done"}]` as a step's text.

| action | does |
| --- | --- |
| `write [path, text]`, `append [path, text]`, `delete path` | changes a file; where that fails, the rest goes on |
| `run line` | runs a line of shell |
| `say text`, `think text` | what the model says; the last saying is the answer |
| `structured object` | the structured answer, over a plain success's; null: none, as if the tool was not called |
| `usage {input, output, cost}` | tokens, and US dollars, on the bill |
| `sleep seconds`, `hang true` | silence |
| `fail http-status`, `limit reset-time` | the API's error; a used-up subscription (seconds since 1970, or ISO 8601) |
| `exit code` | ends without an answer |
| `ignore_sigterm true`, `spawn seconds` | what makes an engine hard to kill: a child in a session of its own |
| `line bytes` | one line of output that long |

A line of text may come first, for the commit to be called after: `dummy: Add a.py`, and the list on the lines below.

Actions belong to the implementation, in an analysis-only step to the analysis, unless `"phase"` names another; with
`"times": n` only the first n calls in that phase perform them; with `"repair": n` only the call that is to mend what
validation commands found, for the nth time.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from treadle.domain.events import JsonValue
from treadle.domain.states import Phase
from treadle.domain.validation import MAX_TRIES

PREFIX: Final = "dummy:"

_MAX_SECONDS, _MAX_BYTES = 86_400, 256 << 20
_MAX_COUNT, _MAX_COST = 10**12, 10**6


@dataclass(frozen=True, slots=True)
class Action:
    """`times` None: in every call."""

    name: str
    value: JsonValue
    phase: Phase | None
    times: int | None
    repair: int | None = None  # which time something is to be mended; None: the phase itself


def parse(step_text: str) -> tuple[Action, ...] | None:
    """The script in a step's text; None when it holds none. Raises ValueError naming the fault."""
    text = step_text.strip()
    if not text.startswith(PREFIX):
        return None
    title, line_end, rest = text.removeprefix(PREFIX).partition("\n")
    has_title = line_end and title.strip() and not title.lstrip().startswith(("[", "{"))
    try:
        script = json.loads(
            rest if has_title else text.removeprefix(PREFIX), parse_constant=_finite, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the text after `{PREFIX}` is not JSON ({error})") from error
    if not isinstance(script, list):
        raise ValueError("it is not a list of actions")  # noqa: TRY004 - one kind of error for every fault of a script
    return tuple(_action(entry, position) for position, entry in enumerate(script, start=1))


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number")
    return number


def _action(entry: object, position: int) -> Action:
    if not isinstance(entry, dict):
        raise ValueError(f"action {position} is not an object")  # noqa: TRY004 - as above
    names = [name for name in entry if name not in {"phase", "times", "repair"}]
    if len(names) != 1:
        found = ", ".join(f"`{name}`" for name in names) or "none"
        raise ValueError(f"action {position} must name one thing to do and names {found}")
    (name,) = names
    if name not in _SHAPES:
        raise ValueError(f"action {position}: `{name}` is unknown; there are {', '.join(_SHAPES)}")
    takes, is_right = _SHAPES[name]
    if not is_right(entry[name]):
        raise ValueError(f"action {position}: `{name}` takes {takes}")
    times = entry.get("times")
    if times is not None and not _is_int(times, 1, _MAX_COUNT):
        raise ValueError(f"action {position}: `times` takes a whole number from 1")
    phases = {phase.lower(): phase for phase in Phase}
    phase = entry.get("phase")
    if phase is not None and (not isinstance(phase, str) or phase.lower() not in phases):
        raise ValueError(f"action {position}: `phase` takes {', '.join(phases)}")
    repair = entry.get("repair")
    if repair is not None and not _is_int(repair, 1, MAX_TRIES):
        raise ValueError(f"action {position}: `repair` takes a whole number from 1 to {MAX_TRIES}")
    own = Phase.VALIDATION if repair is not None else None
    return Action(name, entry[name], phases[phase.lower()] if phase is not None else own, times, repair)


def reset_epoch(value: object) -> int | None:
    """Seconds since 1970 of a `limit`'s reset time; None for what is no such time."""
    if _is_int(value, 0, _MAX_COUNT) and isinstance(value, int):
        return value
    try:
        return round(datetime.fromisoformat(value).timestamp()) if isinstance(value, str) else None
    except (ValueError, OverflowError, OSError):
        return None


def _is_int(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: object, most: float) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= most
    )


def _is_text(value: object) -> bool:
    """Half a surrogate pair can be written in JSON, and nowhere else."""
    return isinstance(value, str) and value == value.encode(errors="replace").decode()


def _is_path(value: object) -> bool:
    return _is_text(value) and isinstance(value, str) and value != "" and "\0" not in value


def _is_file(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and _is_path(value[0]) and _is_text(value[1])  # noqa: PLR2004 - a pair


def _is_usage(value: object) -> bool:
    limits = {"input": _MAX_COUNT, "output": _MAX_COUNT}
    return isinstance(value, dict) and all(
        _is_number(amount, _MAX_COST) if name == "cost" else name in limits and _is_int(amount, 0, limits[name])
        for name, amount in value.items()
    )


_SECONDS: Final = ("a number of seconds", lambda value: _is_number(value, _MAX_SECONDS))
_TRUE: Final = ("true", lambda value: value is True)
_TEXT: Final = ("a text", _is_text)

#: By action: what it takes, in words and as a test.
_SHAPES: Final[Mapping[str, tuple[str, Callable[[object], bool]]]] = {
    "write": ("[path, text]", _is_file),
    "append": ("[path, text]", _is_file),
    "delete": ("a path", _is_path),
    "run": ("a line of shell", _is_path),
    "say": _TEXT,
    "think": _TEXT,
    "sleep": _SECONDS,
    "structured": ("an object or null", lambda value: value is None or isinstance(value, dict)),
    "usage": ("an object of `input`, `output`, `cost`", _is_usage),
    "fail": ("an HTTP status from 400 to 599", lambda value: _is_int(value, 400, 599)),
    "limit": ("a time: seconds since 1970, or ISO 8601", lambda value: reset_epoch(value) is not None),
    "hang": _TRUE,
    "ignore_sigterm": _TRUE,
    "spawn": _SECONDS,
    "line": ("a number of bytes", lambda value: _is_int(value, 0, _MAX_BYTES)),
    "exit": ("an exit code from 0 to 255", lambda value: _is_int(value, 0, 255)),
}
