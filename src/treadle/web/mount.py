"""The pages, put together."""

from collections.abc import Callable, Sequence

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.api.deps import Services
from treadle.settings import Settings
from treadle.web.assets import asset_routes
from treadle.web.door import Door, see_other
from treadle.web.pages import (
    account,
    audit,
    automation,
    diff,
    keys,
    members,
    new_run,
    oidc,
    repositories,
    run,
    runs,
    shared,
    sign_in,
    system,
    usage,
)
from treadle.web.pages import settings as settings_page
from treadle.web.render import Renderer
from treadle.web.site import Site

#: Each page's routes, in the order in which they are matched.
PAGES: Sequence[Callable[[Site], Sequence[Route]]] = (
    sign_in.routes,
    oidc.routes,
    account.routes,
    settings_page.routes,
    members.routes,
    keys.routes,
    audit.routes,
    repositories.routes,
    usage.routes,
    automation.routes,
    system.routes,
    runs.routes,
    new_run.routes,
    run.routes,
    diff.routes,
    shared.routes,
)


def add_pages(app: FastAPI, services: Services, settings: Settings) -> None:
    """Beside the API: addresses of its own, and cookies where the API has keys."""
    app.router.routes += page_routes(services, settings)


def page_routes(services: Services, settings: Settings) -> list[Route]:
    renderer = Renderer(services.clock)
    door = Door(services.sessions, renderer, public_url=settings.public_url)
    site = Site(services, settings, renderer, door)
    found = [Route("/", _to_runs), *asset_routes()]
    for page in PAGES:
        found += page(site)
    return found


async def _to_runs(_request: Request) -> Response:
    return see_other("/runs")
