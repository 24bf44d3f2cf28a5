"""What asking for pages and for logs has in common."""

from collections.abc import AsyncIterator, Awaitable
from http import HTTPStatus
from typing import Protocol, TypeVar

from treadle.forges.answers import Refused
from treadle.forges.line import Line


class Marked(Protocol):
    """What may hold a mark of ours."""

    @property
    def body(self) -> str | None: ...


T = TypeVar("T")
MarkedT = TypeVar("MarkedT", bound=Marked)

#: Comments, reviews or files in a page, and pages that are read.
PAGE = 50
PAGES = 12

_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


async def every(line: Line, shape: type[list[T]], path: str, **query: str) -> list[T]:
    """Of all pages, up to PAGES."""
    found = list[T]()
    for page in range(1, PAGES + 1):
        items = await line.get_long(shape, path, per_page=PAGE, page=page, **query)
        found += items
        if len(items) < PAGE:
            break
    return found


async def newest(line: Line, shape: type[list[T]], path: str, *, size: str) -> AsyncIterator[T]:
    """Where a forge lists the oldest first: the first page, which says which one is the last, and from that one back,
    up to PAGES. `size`: how the query names the length of a page."""
    first, last = await line.get_page(shape, path, **{size: PAGE, "page": 1})
    for item in first:
        yield item
    if last is None and len(first) < PAGE:
        return
    for page in range(last, max(1, last - PAGES + 1), -1) if last is not None else range(2, PAGES + 1):
        items, _ = await line.get_page(shape, path, **{size: PAGE, "page": page})
        if last is None and not items:
            return
        for item in items:
            yield item


async def first_marked(items: AsyncIterator[MarkedT], mark: str) -> MarkedT | None:
    async for item in items:
        if mark in (item.body or ""):
            return item
    return None


async def unless_gone(log: Awaitable[str]) -> str:
    """Nothing of a log that the forge does not keep any more, or does not give."""
    try:
        return await log
    except Refused as error:
        if error.status not in _GONE:
            raise
        return ""
