"""`/runs/new`: a run asked for with a form."""

from collections.abc import Sequence

from starlette.routing import Route

from treadle.web.pages.new_run.handlers import NewRun
from treadle.web.pages.new_run.uploads import most_bytes
from treadle.web.site import Site


def routes(site: Site) -> Sequence[Route]:
    page = NewRun(site)
    return [
        Route("/runs/new", site.door.page(page.show), methods=["GET"]),
        Route("/runs/new", site.door.page(page.take, most_bytes=most_bytes(site)), methods=["POST"]),
        Route("/runs/new/branches", site.door.page(page.branches)),
    ]
