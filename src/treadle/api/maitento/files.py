"""Files and tokens: parse, call one service, translate."""

from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from treadle.api.auth import Caller
from treadle.api.bodies import Query, refuse_longer
from treadle.api.downloads import SAFE_HEADERS, attachment, download
from treadle.api.json_bytes import date_text, encode
from treadle.api.maitento import wire
from treadle.api.uploads import UploadedFile
from treadle.domain.errors import Forbidden, NotFound
from treadle.domain.events import JsonObject
from treadle.services.files import Files, too_large
from treadle.services.tokens import LIFETIME, Tokens

JSON = "application/json"
MAX_LIST = 1000

#: What a form adds to its file: boundaries and headers.
FORM_BYTES = 1 << 16


class FileHandlers:
    """The handlers under `/files`."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def upload(self, request: Request, caller: Caller) -> Response:
        refuse_longer(request, self._files.max_bytes + FORM_BYTES, too_large(self._files.max_bytes))
        form = UploadedFile(request)
        await form.open()
        stored = await self._files.upload(caller.principal, form.name, form.content_type, form.data())
        return Response(encode(wire.file(stored)), media_type=JSON)

    async def list(self, request: Request, caller: Caller) -> Response:
        query = Query(request)
        skip = query.number("skip", default=0, least=0)
        limit = query.number("limit", default=MAX_LIST, least=1, most=MAX_LIST)
        query.check()
        found = await self._files.list(caller.principal, limit=limit, skip=skip)
        return Response(encode([wire.file(stored) for stored in found]), media_type=JSON)

    async def get(self, request: Request, caller: Caller) -> Response:
        return Response(encode(wire.file(await self._files.get(caller.principal, _file_id(request)))), media_type=JSON)

    async def content(self, request: Request, caller: Caller) -> Response:
        stored, content = await self._files.content(caller.principal, _file_id(request))
        headers = {**SAFE_HEADERS, "Content-Disposition": attachment(stored.name)}
        return await download(content, media_type=stored.content_type, headers=headers)

    async def delete(self, request: Request, caller: Caller) -> Response:
        await self._files.delete(caller.principal, _file_id(request))
        return Response(status_code=204)


class TokenHandlers:
    """`/auth/token` and the public keys."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def issue(self, _request: Request, caller: Caller) -> Response:
        if caller.has_token:
            raise Forbidden("A token is given for an API key, not for another token.", hint="Send X-Api-Key.")
        token = await self._tokens.issue(caller.principal)
        body: JsonObject = {
            "accessToken": token.text,
            "tokenType": "Bearer",
            "expiresIn": int(LIFETIME.total_seconds()),
            "dateExpires": date_text(token.expires),
        }
        return Response(encode(body), headers={"Cache-Control": "no-store"}, media_type=JSON)

    async def jwks(self, _request: Request) -> Response:
        body = encode(await self._tokens.jwks())
        return Response(body, headers={"Cache-Control": "public, max-age=300"}, media_type=JSON)


def _file_id(request: Request) -> UUID:
    try:
        return UUID(request.path_params["id"])
    except ValueError:
        raise NotFound("There is no such file.") from None
