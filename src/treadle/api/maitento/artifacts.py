"""What processes leave behind: parse, call one service, translate."""

from starlette.requests import Request
from starlette.responses import Response

from treadle.api.auth import Caller
from treadle.api.downloads import SAFE_HEADERS, attachment, download
from treadle.api.json_bytes import encode
from treadle.api.maitento import wire
from treadle.api.maitento.processes import JSON, run_id
from treadle.services.runs import Runs


class ArtifactHandlers:
    """The handlers under `/code-generation/processes/by-id/{id}/artifacts`."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def list(self, request: Request, caller: Caller) -> Response:
        found = await self._runs.artifacts(caller.principal, run_id(request))
        return Response(encode([wire.artifact(artifact) for artifact in found]), media_type=JSON)

    async def content(self, request: Request, caller: Caller) -> Response:
        name = request.path_params["name"]
        content = await self._runs.artifact(caller.principal, run_id(request), name)
        headers = {**SAFE_HEADERS, "Content-Disposition": attachment(name)}
        return await download(content, media_type=content.content_type, headers=headers)
