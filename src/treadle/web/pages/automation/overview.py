"""/automation: what is under way, and what comes next."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.services.batches import DEFAULT_BATCH_PAGE
from treadle.web.door import Visit
from treadle.web.site import Site

PATH = "/automation"

#: Batches, and schedules, that are shown.
SHOWN = 10

_NEVER = datetime.max.replace(tzinfo=UTC)


def routes(site: Site) -> Sequence[Route]:
    return [Route(PATH, site.door.page(_Page(site).show), methods=["GET"])]


@dataclass(frozen=True, slots=True)
class _Page:
    site: Site

    async def show(self, _request: Request, visit: Visit) -> Response:
        services, who = self.site.services, visit.principal
        batches = await services.batches.list(who, limit=DEFAULT_BATCH_PAGE)
        schedules = [each for each in await services.schedules.list(who) if each.is_enabled]
        return self.site.renderer.page(
            "automation.html",
            replace(visit.view, path=PATH),
            done=None,
            trouble=None,
            batches=[each for each in batches if not each.is_finished][:SHOWN],
            schedules=sorted(schedules, key=lambda each: each.date_next or _NEVER)[:SHOWN],
        )
