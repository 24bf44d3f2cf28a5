"""Text of others, made fit to be read: what a model, a repository or a commit says is shown as text, whatever it is."""

import re
import unicodedata
from datetime import UTC, datetime, timedelta

from markupsafe import Markup, escape

#: Characters that reorder or hide what stands beside them; each is shown as its code instead.
_HIDDEN = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
#: Those of the terminal: colours and movements say nothing here.
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")

#: A line longer than this is cut, in characters; the whole is a click away where there is one.
MAX_SHOWN_LINE = 2_000

#: A text longer than this is cut, in characters.
MAX_SHOWN = 20_000

#: In the place of what is not known.
NOTHING = "\N{EN DASH}"

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def visible(text: str) -> Markup:
    """Escaped, with characters that cannot be seen shown as codes such as ␛ or U+202E, so that nothing is hidden, and
    nothing reorders its neighbours."""
    clean = _TERMINAL.sub("", text.replace("\r\n", "\n"))
    if _HIDDEN.search(clean) is None:
        return escape(clean)
    parts, at = [], 0
    for match in _HIDDEN.finditer(clean):
        parts += [escape(clean[at : match.start()]), _mark(match[0])]
        at = match.end()
    return Markup("").join([*parts, escape(clean[at:])])


def _mark(character: str) -> Markup:
    code = f"U+{ord(character):04X}"
    name = unicodedata.name(character, "control character").lower()
    shown = chr(0x2400 + ord(character)) if ord(character) < 0x20 else code  # noqa: PLR2004 - the control pictures' range
    return Markup('<span class="hidden-character" title="{} {}">{}</span>').format(code, name, shown)


def clipped(text: str, limit: int = MAX_SHOWN) -> tuple[str, int]:
    """Text of at most `limit` characters in lines of at most MAX_SHOWN_LINE, and how many characters went."""
    kept = text[:limit]
    lines = [line if len(line) <= MAX_SHOWN_LINE else f"{line[:MAX_SHOWN_LINE]}…" for line in kept.split("\n")]
    shown = "\n".join(lines)
    return shown, len(text) - sum(min(len(line), MAX_SHOWN_LINE) for line in kept.split("\n")) - kept.count("\n")


def one_line(text: str, limit: int = 120) -> str:
    """The first line that says something, cut at `limit` characters."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def duration(span: timedelta | float | None) -> str:
    """`420 ms`, `8.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`; an en dash for None."""
    if span is None:
        return NOTHING
    seconds = max(0.0, span.total_seconds() if isinstance(span, timedelta) else span)
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s" if seconds < 10 else f"{int(seconds)} s"  # noqa: PLR2004 - a decimal while it matters
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min {int(seconds % _MINUTE)} s"
    if seconds < _DAY:
        return f"{int(seconds // _HOUR)} h {int(seconds % _HOUR // _MINUTE)} min"
    return f"{int(seconds // _DAY)} d {int(seconds % _DAY // _HOUR)} h"


def ago(date: datetime, now: datetime) -> str:
    """`just now`, `5 min ago`, `3 h ago`, `2 d ago`, then the date."""
    seconds = (now - date).total_seconds()
    if seconds < _MINUTE:
        return "just now"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min ago"
    if seconds < _DAY:
        return f"{int(seconds // _HOUR)} h ago"
    if seconds < 7 * _DAY:
        return f"{int(seconds // _DAY)} d ago"
    return date.astimezone(UTC).strftime("%Y-%m-%d")


def time_tag(date: datetime | None, now: datetime) -> Markup:
    """A `<time>` that says how long ago, and on hover exactly when; a script keeps it true."""
    if date is None:
        return escape(NOTHING)
    exact = date.astimezone(UTC)
    return Markup('<time datetime="{}" title="{} UTC" data-ago>{}</time>').format(
        exact.isoformat(timespec="seconds").replace("+00:00", "Z"), exact.strftime("%Y-%m-%d %H:%M:%S"), ago(date, now)
    )


def money(dollars: float) -> str:
    """`$0`, `<$0.01`, `$1.24`, `$1,240`."""
    if dollars <= 0:
        return "$0"
    if dollars < 0.005:  # noqa: PLR2004 - half a cent
        return "<$0.01"
    return f"${dollars:,.2f}" if dollars < 1000 else f"${dollars:,.0f}"  # noqa: PLR2004 - cents matter no more


def count(number: int) -> str:
    """`950`, `12.4k`, `3.1M`."""
    for limit, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return str(number)
