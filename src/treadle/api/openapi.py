"""The OpenAPI document: FastAPI's, with the shapes of bodies that it does not read itself, and the credentials."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.types import Receive, Scope, Send

from treadle.api.front import Front
from treadle.api.plain_route import PlainRoute

_REFERENCE = "#/components/schemas/{model}"

SECURITY_SCHEMES: Mapping[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A JWT of `POST /auth/token` or of a trusted issuer, or an API key.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "An API key."},
}


def reference(model: type[BaseModel]) -> dict[str, Any]:
    """A schema that points to `model`'s."""
    return {"$ref": _REFERENCE.format(model=model.__name__)}


class DocumentedApp(FastAPI):
    """A FastAPI whose plain routes are served before its layers: what these do (exit stacks, telemetry, errors), plain
    routes do without or do themselves."""

    def __init__(self, front: Front, **options: Any) -> None:
        self._front = front
        self._shapes: list[type[BaseModel]] = []
        self._plain: list[PlainRoute] = []
        super().__init__(**options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._front.serve(self._serve, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("//"):  # of clients that join an address and a path with a slash too many
            scope["path"] = f"/{scope['path'].lstrip('/')}"
        for route in self._plain:
            if await route.serve(scope, receive, send):
                return
        await super().__call__(scope, receive, send)

    def add_plain(self, routes: Sequence[PlainRoute]) -> None:
        """In the order in which they are tried."""
        self._plain += routes
        self.router.routes += routes  # for the documentation, and for what is said to other methods

    def add_shapes(self, shapes: Sequence[type[BaseModel]]) -> None:
        """What the documentation refers to."""
        self._shapes += shapes

    def openapi(self) -> dict[str, Any]:
        """Built once."""
        if self.openapi_schema is None:
            document = super().openapi()
            components = document.setdefault("components", {})
            _, definitions = models_json_schema(
                [(shape, "validation") for shape in self._shapes], by_alias=True, ref_template=_REFERENCE
            )
            components.setdefault("schemas", {}).update(definitions.get("$defs", {}))
            components["securitySchemes"] = dict(SECURITY_SCHEMES)
            document["security"] = [{name: []} for name in SECURITY_SCHEMES]
        return super().openapi()
