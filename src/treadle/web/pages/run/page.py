"""The page itself, more of its trace, and what a search finds in it."""

import secrets
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from treadle.api.bodies import header, whole_number
from treadle.domain.errors import NotFound
from treadle.domain.identity import FIRST_LOCAL_SESSION
from treadle.domain.run import Run
from treadle.services.sharing import MAX_DAYS
from treadle.web.door import Visit
from treadle.web.forms import Form
from treadle.web.guests import base_of, seen_by_guest
from treadle.web.pages.run.belongs import batch_of
from treadle.web.pages.run.copies import copies
from treadle.web.pages.run.finding import FoundPage, find
from treadle.web.pages.run.local import LocalPage
from treadle.web.pages.run.shown import author, show
from treadle.web.pages.run.window import bounds, window
from treadle.web.render import HTML, SECURITY_HEADERS
from treadle.web.site import Site

#: Above this no database counts.
_MAX_ID = 2**63 - 1

TEMPLATE = "run.html"


async def seen_run(site: Site, request: Request, visit: Visit) -> Run:
    """The run of the address. Raises NotFound."""
    if (shared := seen_by_guest(visit)) is not None:
        return shared
    run_id: int = request.path_params["id"]
    if not 0 < run_id <= _MAX_ID:
        raise NotFound("There is no such run.")
    try:
        return await site.services.agents.get(visit.principal, run_id)
    except NotFound:  # in the page's words
        raise NotFound("There is no such run.") from None


def origin(site: Site, request: Request) -> str:
    """The service's address: the public one, else the one that the browser used."""
    if site.settings.public_url:
        return site.settings.public_url.rstrip("/")
    return f"{request.scope['scheme']}://{header(request, b'host', 'localhost')}"


class RunPage:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._local = LocalPage(site)

    async def show(self, request: Request, visit: Visit) -> Response:
        if request.path_params.get("id", 0) > FIRST_LOCAL_SESSION:
            return await self._local.show(request, visit)
        return await self.page(request, visit, await seen_run(self._site, request, visit))

    async def page(
        self,
        request: Request,
        visit: Visit,
        run: Run,
        *,
        form: Form | None = None,
        share_link: str | None = None,
        share_error: str | None = None,
        status: int = 200,
    ) -> Response:
        """`form`: a follow-up that was refused; `share_link`: one that was just made; `share_error`: why none was."""
        query = request.query_params
        services = self._site.services
        first, last = bounds(run, before=query.get("before", ""), at=query.get("at", ""))
        who, base = await author(self._site, run, visit.principal), base_of(visit, run.id)
        shown = await show(self._site, run, base=base, who=who)
        is_guest = visit.view.is_shared
        searched = query.get("q", "").strip()
        return self._site.renderer.page(
            TEMPLATE,
            visit.view,
            status=status,
            shown=shown,
            base=shown.base,
            window=await window(services.runs, run, first, last),
            found=await self._find(run, query) if searched else None,
            batch=None if is_guest else await batch_of(self._site, visit.principal, run),
            copies=() if is_guest else copies(run, origin(self._site, request)),
            links=() if is_guest else await services.sharing.list(visit.principal, run),
            share_link=share_link,
            share_error=share_error,
            max_days=MAX_DAYS,
            form=form or Form("follow-up", {"token": secrets.token_hex(16)}),
            now=services.clock.now(),
        )

    async def more(self, request: Request, visit: Visit) -> Response:
        """The page of the trace before an event, as a fragment."""
        run = await seen_run(self._site, request, visit)
        first, last = bounds(run, before=request.query_params.get("before", ""))
        found = await window(self._site.services.runs, run, first, last)
        html = self._site.renderer.html("run_more.html", base=base_of(visit, run.id), window=found)
        return _fragment(html)

    async def search(self, request: Request, visit: Visit) -> Response:
        run = await seen_run(self._site, request, visit)
        found = await self._find(run, request.query_params)
        html = self._site.renderer.html("run_found.html", base=base_of(visit, run.id), found=found)
        return _fragment(html)

    async def _find(self, run: Run, query: Mapping[str, str]) -> FoundPage:
        before = whole_number(query.get("found_before", ""))
        return await find(self._site.services.runs, run, query.get("q", ""), before=before)


def _fragment(html: str) -> Response:
    return Response(html.encode(errors="replace"), headers={**SECURITY_HEADERS, "Content-Type": HTML})
