"""Those who read one run by a link, without signing in: what pages of a run ask about whoever looks."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from treadle.domain.errors import NotFound
from treadle.domain.identity import Principal
from treadle.domain.run import Run
from treadle.ports.page import PageSession
from treadle.web.door import Endpoint, Page, Visit
from treadle.web.render import View
from treadle.web.site import Site

#: No search engine keeps it, and the link goes to no other host.
GUEST_HEADERS: Mapping[str, str] = {"X-Robots-Tag": "noindex, nofollow, noarchive", "Referrer-Policy": "no-referrer"}


@dataclass(frozen=True, slots=True)
class Guest(Visit):
    """Has no role, so that every service refuses what is not about `run`. `base`: what its links begin with."""

    run: Run
    base: str


def seen_by_guest(visit: Visit) -> Run | None:
    """The run that a guest sees; None for somebody who is signed in."""
    return visit.run if isinstance(visit, Guest) else None


def base_of(visit: Visit, run_id: int) -> str:
    """The path that the links of a run begin with."""
    return visit.base if isinstance(visit, Guest) else f"/runs/{run_id}"


async def is_welcome(site: Site, visit: Visit) -> bool:
    """Whether a guest's link still counts."""
    if not isinstance(visit, Guest):
        return True
    try:
        return (await site.services.sharing.open(visit.base.rpartition("/")[2])).id == visit.run.id
    except NotFound:
        return False


def for_guests(site: Site, handler: Page) -> Endpoint:
    """`handler` for whoever has the link in the address."""

    async def open_link(request: Request) -> Response:
        token: str = request.path_params["token"]
        return await handler(request, _guest(site, await site.services.sharing.open(token), token))

    behind = site.door.open(open_link)

    async def endpoint(request: Request) -> Response:
        response = await behind(request)
        response.headers.update(GUEST_HEADERS)
        return response

    return endpoint


def _guest(site: Site, run: Run, token: str) -> Guest:
    nobody = Principal(
        organization_id=run.organization_id,
        organization_uuid=run.organization_uuid,
        user_id=0,
        user_uuid=run.user_uuid,
        email="",
        name="",
        role=None,
    )
    now, base = site.services.clock.now(), f"/shared/{token}"
    session = PageSession(0, nobody, "", now, now, now)
    return Guest(nobody, session, "", View(path=base, csrf="", is_shared=True), run, base)
