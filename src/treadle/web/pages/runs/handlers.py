"""The list's page, more of it, and what keeps it live."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from treadle.api.bodies import whole_number
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, may
from treadle.domain.run import Run, RunSource
from treadle.domain.states import RunStatus
from treadle.ports.page import RunPage, RunSearch
from treadle.services.recent import Recent
from treadle.web.door import Visit
from treadle.web.live import Change, after_of, event_stream
from treadle.web.pages.runs import board
from treadle.web.pages.runs.board import LOOK_SECONDS, Board, Scope
from treadle.web.pages.runs.filters import Filters
from treadle.web.pages.runs.rows import Names, Row, row_of
from treadle.web.render import HTML, SECURITY_HEADERS
from treadle.web.site import Site

#: Rows of a page.
ROWS = 50

#: People and repositories that the filters offer.
OFFERED = 200

#: How often a search is carried on before the page says that there may be more.
SEARCHES = 5

_TEMPLATE = "runs.html"

#: The year 2100, in milliseconds.
_LAST = 4_102_444_800_000


class RunsPage:
    """Lists runs."""

    def __init__(self, site: Site, board: Board) -> None:
        self._site = site
        self._board = board
        self._names: Recent[int, tuple[Mapping[int, str], Mapping[int, str]]] = Recent(
            site.services.clock, seconds=5, size=1000
        )
        self._states: Recent[int, Names] = Recent(site.services.clock, seconds=LOOK_SECONDS, size=1000)
        self._looking = asyncio.Lock()  # a hundred who are told of a change need not ask a hundred times

    async def show(self, request: Request, visit: Visit) -> Response:
        filters = Filters.of(request.query_params)
        before = whole_number(request.query_params.get("before", ""))
        now = self._site.services.clock.now()
        names = await self._names_of(visit.principal)
        page = await self._page(filters.search(visit.principal), before)
        return self._site.renderer.page(
            _TEMPLATE,
            visit.view,
            filters=filters,
            rows=self._rows(page.runs, names),
            counts=await self._counts(visit.principal),
            statuses=tuple(RunStatus),
            sources=tuple(RunSource),
            users=names.users if may(visit.principal, Permission.RUNS_OF_OTHERS) else {},
            repositories=names.repositories,
            before=page.before,
            is_first=before is None,
            stream=f"/runs/stream?{filters.query()}",
            date=_id_of(now),
        )

    async def more(self, request: Request, visit: Visit) -> Response:
        """The rows that follow, and the link to those after them."""
        filters = Filters.of(request.query_params)
        before = whole_number(request.query_params.get("before", ""))
        names = await self._names_of(visit.principal)
        page = await self._page(filters.search(visit.principal), before)
        found = self._site.renderer.fragment(
            _TEMPLATE, "more", rows=self._rows(page.runs, names), before=page.before, filters=filters
        )
        return Response(found, headers=dict(SECURITY_HEADERS), media_type=HTML)

    async def follow(self, request: Request, visit: Visit) -> Response:
        """`?after=`: when the page, or the last change that it had, was made; in milliseconds since 1970."""
        filters = Filters.of(request.query_params)
        search = filters.search(visit.principal)
        scope = Scope(search.organization_id, search.user_id)
        return event_stream(self._changes(filters, visit, scope, _date_of(after_of(request))))

    async def _changes(
        self, filters: Filters, visit: Visit, scope: Scope, since: datetime | None
    ) -> AsyncGenerator[Change, None]:
        async with self._board.watch(scope) as queue:
            for missed in await self._board.missed(scope, since) if since is not None else ():
                yield await self._shown(missed, filters, visit.principal)
            while (change := await queue.get()) is not None:
                if not await self._may_see_more(visit):
                    return
                yield await self._shown(change, filters, visit.principal)

    async def _may_see_more(self, visit: Visit) -> bool:
        """Whether the session still counts, and sees the same."""
        session = await self._site.services.sessions.principal(visit.token)
        return session is not None and _sight(session.principal) == _sight(visit.principal)

    async def _shown(self, change: board.Change, filters: Filters, principal: Principal) -> Change:
        names = await self._names_of(principal)
        html = change.html.get(filters)
        if html is None:
            html = change.html[filters] = self._site.renderer.fragment(
                _TEMPLATE,
                "changes",
                rows=[(row, filters.fits(row.run)) for row in self._rows(change.runs, names)],
                counts=change.counts,
                statuses=tuple(RunStatus),
                filters=filters,
            )
        return Change(html, _id_of(change.date))

    async def _page(self, search: RunSearch, before: int | None) -> RunPage:
        """A page that holds something, if there is something within a few looks."""
        finder, found = self._site.services.finder, list[Run]()
        for _ in range(SEARCHES):
            page = await finder.search_runs(search, limit=ROWS - len(found), before=before)
            found += page.runs
            before = page.before
            if len(found) >= ROWS or before is None:
                break
        return RunPage(found, before)

    def _rows(self, runs: Sequence[Run], names: Names) -> Sequence[Row]:
        now = self._site.services.clock.now()
        return [row_of(run, names, now) for run in runs]

    async def _counts(self, principal: Principal) -> Mapping[RunStatus, int]:
        user_id = None if may(principal, Permission.RUNS_OF_OTHERS) else principal.user_id
        return await self._site.services.finder.count_by_status(principal.organization_id, user_id)

    async def _names_of(self, principal: Principal) -> Names:
        async with self._looking:
            found = self._states.get(principal.organization_id)
            if found is None:
                found = await self._look(principal)
                self._states.put(principal.organization_id, found)
            return found

    async def _look(self, principal: Principal) -> Names:
        services = self._site.services
        known = self._names.get(principal.organization_id)
        if known is None:
            members, _ = await services.organizations.members(principal, limit=OFFERED)
            repositories, _ = await services.repositories.page(principal, limit=OFFERED)
            known = (
                {user.id: user.name or user.email for user, _ in members},
                {repository.id: repository.name for repository in repositories},
            )
            self._names.put(principal.organization_id, known)
        organization = await services.organizations.get(principal.organization_id)
        counts = await services.finder.count_by_status(principal.organization_id, None)
        slots = organization.slots or self._site.settings.organization_slots
        return Names(known[0], known[1], counts.get(RunStatus.RUNNING, 0), slots)


def _sight(principal: Principal) -> tuple[int, int | None]:
    """Whose runs somebody sees."""
    return principal.organization_id, None if may(principal, Permission.RUNS_OF_OTHERS) else principal.user_id


def _id_of(date: datetime) -> str:
    return str(int(date.timestamp() * 1000))


def _date_of(text: str) -> datetime | None:
    number = whole_number(text)
    return datetime.fromtimestamp(number / 1000, UTC) if number is not None and number < _LAST else None
