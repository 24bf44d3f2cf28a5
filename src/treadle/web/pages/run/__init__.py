"""`/runs/{id}`: one run, live, and what can be done with it."""

from collections.abc import Sequence

from starlette.routing import Route

from treadle.web.pages.new_run.uploads import most_bytes
from treadle.web.pages.run.actions import RunActions
from treadle.web.pages.run.files import RunFiles
from treadle.web.pages.run.following import Following
from treadle.web.pages.run.page import RunPage
from treadle.web.site import Site


def routes(site: Site) -> Sequence[Route]:
    page, files, actions = RunPage(site), RunFiles(site), RunActions(site)
    following, behind = Following(site), site.door.page
    return [
        Route("/runs/{id:int}", behind(page.show)),
        Route("/runs/{id:int}/trace", behind(page.more)),
        Route("/runs/{id:int}/search", behind(page.search)),
        Route("/runs/{id:int}/stream", behind(following.follow)),
        Route("/runs/{id:int}/events/{number:int}", behind(files.event)),
        Route("/runs/{id:int}/artifacts/{name}", behind(files.artifact)),
        Route("/runs/{id:int}/kill", behind(actions.kill), methods=["POST"]),
        Route(
            "/runs/{id:int}/resume",
            behind(actions.resume, most_bytes=most_bytes(site)),
            methods=["POST"],
        ),
        Route("/runs/{id:int}/again", behind(actions.again), methods=["POST"]),
        Route("/runs/{id:int}/ban", behind(actions.ban), methods=["POST"]),
        Route("/runs/{id:int}/unban", behind(actions.unban), methods=["POST"]),
        Route("/runs/{id:int}/share", behind(actions.links), methods=["GET"]),
        Route("/runs/{id:int}/share", behind(actions.share), methods=["POST"]),
        Route("/runs/{id:int}/share/{link:int}", behind(actions.unshare), methods=["POST"]),
    ]
