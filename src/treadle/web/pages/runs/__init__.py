"""`/runs`: every run that one may see, live, filtered by the URL."""

from collections.abc import Sequence

from starlette.routing import Route

from treadle.web.pages.runs.board import Board
from treadle.web.pages.runs.handlers import RunsPage
from treadle.web.site import Site


def routes(site: Site) -> Sequence[Route]:
    page = RunsPage(site, Board(site))
    return [
        Route("/runs", site.door.page(page.show)),
        Route("/runs/more", site.door.page(page.more)),
        Route("/runs/stream", site.door.page(page.follow)),
    ]
