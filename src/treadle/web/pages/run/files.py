"""Single events as texts, and what a run has kept, to be downloaded."""

from starlette.requests import Request
from starlette.responses import Response

from treadle.api.downloads import SAFE_HEADERS, attachment, download
from treadle.domain.errors import NotFound
from treadle.web.door import Visit
from treadle.web.pages.run.page import seen_run
from treadle.web.render import SECURITY_HEADERS
from treadle.web.site import Site
from treadle.web.trace import text_of_event

_PLAIN = "text/plain; charset=utf-8"


class RunFiles:
    def __init__(self, site: Site) -> None:
        self._runs = site.services.runs
        self._site = site

    async def event(self, request: Request, visit: Visit) -> Response:
        """All that the event says, as it is kept."""
        run = await seen_run(self._site, request, visit)
        number: int = request.path_params["number"]
        found = await self._runs.events_of(run.id, after=number - 1, limit=1) if 0 < number <= run.last_event else ()
        if not found or found[0].number != number:
            raise NotFound(f"There is no event {number} of run {run.id}.")
        text = text_of_event(found[0])
        return Response(text.encode(errors="replace"), headers={**SECURITY_HEADERS, "Content-Type": _PLAIN})

    async def artifact(self, request: Request, visit: Visit) -> Response:
        run = await seen_run(self._site, request, visit)
        name: str = request.path_params["name"]
        for artifact in await self._runs.artifacts_of(run):
            if artifact.name == name:
                headers = {**SAFE_HEADERS, "Content-Disposition": attachment(name)}
                media_type = artifact.content_type
                return await download(self._runs.content_of(artifact), media_type=media_type, headers=headers)
        raise NotFound("There is no such artifact.", hint="What ended runs left may be removed after a while.")
