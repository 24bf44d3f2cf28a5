"""Files for the browser: styles and scripts of our own, under names that change with their content."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOR_EVER = "public, max-age=31536000, immutable"
_PATH = "/static"


@dataclass(frozen=True, slots=True)
class Asset:
    name: str
    data: bytes
    media_type: str
    digest: str


@cache
def assets() -> Mapping[str, Asset]:
    """By name. Scripts import each other by plain names, so all are served below one digest of them all."""
    found = {
        entry.name: entry.read_bytes()
        for entry in files("treadle.web").joinpath("static").iterdir()
        if _type(entry.name) is not None
    }
    digest = hashlib.sha256(b"".join(name.encode() + data for name, data in sorted(found.items()))).hexdigest()[:16]
    return {name: Asset(name, data, _type(name) or "", digest) for name, data in found.items()}


def asset_url(name: str) -> str:
    """Where the browser finds it. Raises KeyError for one that there is not."""
    return f"{_PATH}/{assets()[name].digest}/{name}"


def asset_routes() -> list[Route]:
    return [Route(f"{_PATH}/{{digest}}/{{name}}", _serve)]


async def _serve(request: Request) -> Response:
    asset = assets().get(request.path_params["name"])
    if asset is None:
        return Response("There is no such file.", 404, media_type="text/plain")
    is_current = request.path_params["digest"] == asset.digest
    headers = {
        "Cache-Control": _FOR_EVER if is_current else "no-cache",
        "X-Content-Type-Options": "nosniff",
        "Content-Type": asset.media_type,
    }
    return Response(asset.data, headers=headers)


def _type(name: str) -> str | None:
    return next((media_type for ending, media_type in _TYPES.items() if name.endswith(ending)), None)
