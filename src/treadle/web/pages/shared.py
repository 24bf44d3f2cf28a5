"""`/shared/{token}`: one run and its diff, to be read by whoever has the link."""

from collections.abc import Sequence

from starlette.routing import Route

from treadle.web.guests import for_guests
from treadle.web.pages.diff.handlers import DiffPages
from treadle.web.pages.run.files import RunFiles
from treadle.web.pages.run.following import Following
from treadle.web.pages.run.page import RunPage
from treadle.web.site import Site


def routes(site: Site) -> Sequence[Route]:
    page, files, diff = RunPage(site), RunFiles(site), DiffPages(site)
    handlers = {
        "": page.show,
        "/trace": page.more,
        "/search": page.search,
        "/stream": Following(site).follow,
        "/events/{number:int}": files.event,
        "/artifacts/{name}": files.artifact,
        "/diff": diff.page,
        "/diff/file": diff.file,
        "/diff/tree": diff.tree,
        "/diff/context": diff.context,
        "/diff/image": diff.picture,
        "/diff/patch": diff.patch,
        "/diff/json": diff.json,
    }
    return [Route(f"/shared/{{token}}{path}", for_guests(site, each)) for path, each in handlers.items()]
