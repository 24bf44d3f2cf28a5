"""How handlers answer."""

import re

from starlette.requests import Request
from starlette.responses import Response

from treadle.api.bodies import header
from treadle.api.codegen.errors import JSON
from treadle.api.json_bytes import encode
from treadle.domain.events import JsonValue


def answer(body: JsonValue) -> Response:
    return Response(encode(body), media_type=JSON)


#: A name or an address, and maybe a port.
_HOST = re.compile(r"(?:[A-Za-z0-9_.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?", re.ASCII)


class Links:
    """Addresses of pages: below the public address, else below the one that the caller used."""

    def __init__(self, public_url: str | None) -> None:
        self._public_url = public_url.rstrip("/") if public_url else None

    def origin(self, request: Request) -> str:
        if self._public_url is not None:
            return self._public_url
        host = header(request, b"host")  # which callers may fill with anything
        return f"{request.scope['scheme']}://{host if _HOST.fullmatch(host) else 'localhost'}"
