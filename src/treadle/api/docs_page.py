"""/docs: the API's description, to look at and to try. Its scripts are the only ones that are not our own, so what they
may do is said exactly."""

import base64
import hashlib
import re

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PATH = "/docs"

#: Where the scripts, the styles and the icon are.
_SOURCE, _ICON = "https://cdn.jsdelivr.net", "https://fastapi.tiangolo.com"

_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def docs_route(app: FastAPI) -> Route:
    """Its page is made once."""
    html = get_swagger_ui_html(openapi_url=app.openapi_url or "", title=app.title)
    body = bytes(html.body)
    hashes = " ".join(f"'sha256-{_digest(found)}'" for found in _SCRIPT.findall(body))
    policy = (
        f"default-src 'none'; script-src {_SOURCE} {hashes}; style-src {_SOURCE} 'unsafe-inline'; "
        f"img-src {_ICON} data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    async def show(_request: Request) -> Response:
        return Response(body, headers={"Content-Security-Policy": policy}, media_type="text/html")

    return Route(PATH, show, include_in_schema=False)


def _digest(script: bytes) -> str:
    return base64.b64encode(hashlib.sha256(script).digest()).decode()
