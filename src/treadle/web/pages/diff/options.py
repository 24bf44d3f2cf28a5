"""What of a diff is shown, and how: all of it is in the URL, but for the layout that somebody chose last."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode

from starlette.requests import Request

from treadle.web.door import Visit
from treadle.web.guests import base_of
from treadle.web.pages.diff.index import FileEntry
from treadle.web.pages.diff.rows import Layout

#: Remembers the layout; it is nobody's secret.
LAYOUT_COOKIE = "treadle_diff_view"

#: A longer filter is cut.
MAX_FILTER = 200

_LINE = re.compile(r"([LR])([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Options:
    """`step`: of that step alone. `filter`: files whose path has it, however capitalized. `start`: files from that
    place on. `at`: only the file at that place, from its line number `first` on, or from where it has the line `line`
    (old or new number); `is_whole`: with all of its context."""

    path: str
    layout: Layout
    step: int | None = None
    filter: str = ""
    start: int = 0
    at: int | None = None
    first: int = 0
    line: tuple[int | None, int | None] = (None, None)
    is_whole: bool = False

    @classmethod
    def of(cls, request: Request, visit: Visit) -> Self:
        """From the request; what makes no sense in it counts as not given."""
        given = request.query_params
        view = given.get("view") or request.cookies.get(LAYOUT_COOKIE)
        line = _LINE.fullmatch(given.get("line", ""))
        number = int(line[2]) if line else None
        return cls(
            path=f"{base_of(visit, request.path_params.get('run_id', 0))}/diff",
            layout=Layout.SPLIT if view == Layout.SPLIT else Layout.UNIFIED,
            step=_number(given.get("step")),
            filter=given.get("filter", "").strip()[:MAX_FILTER],
            start=_number(given.get("from")) or 0,
            at=_number(given.get("at")),
            first=_number(given.get("first")) or 0,
            line=(number, None) if line and line[1] == "L" else (None, number),
            is_whole=given.get("whole") == "1",
        )

    @property
    def base_query(self) -> str:
        """What every link of this diff begins with."""
        return "" if self.step is None else f"step={self.step}&"

    def matching(self, entries: Sequence[FileEntry]) -> Sequence[FileEntry]:
        wanted = self.filter.casefold()
        return [each for each in entries if wanted in each.path.casefold()] if wanted else entries

    def url(self, part: str = "", **changes: object) -> str:
        """Of the page, or of what is below it, with the step and the filter; changes of None are left out."""
        query: dict[str, object] = {"step": self.step, "filter": self.filter or None, **changes}
        text = urlencode(
            {key.rstrip("_"): value for key, value in query.items() if value is not None}, errors="replace"
        )
        return f"{self.path}{part}?{text}" if text else f"{self.path}{part}"


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004 - as above
