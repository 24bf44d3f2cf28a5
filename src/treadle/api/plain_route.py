"""Routes that FastAPI documents and does not execute: a handler takes a request and gives a response, nothing between.

FastAPI's own path (a tree of dependencies, validation of what the handler returns) costs several times what these
handlers do.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

Handler = Callable[[Request], Awaitable[Response]]


class PlainRoute(APIRoute):
    """Everything but `path`, `endpoint` and `methods` is documentation."""

    def __init__(self, path: str, endpoint: Handler, **documentation: Any) -> None:
        super().__init__(path, endpoint, response_model=None, **documentation)
        self.app = _respond_with(endpoint)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answers, if path and method are this route's; else False, and nothing is done."""
        # Starlette's own: FastAPI's looks for what `include_router` may have changed, and nothing includes these.
        match, found = Route.matches(self, scope)
        if match is not Match.FULL:
            return False
        scope.update(found, route=self)
        await self.app(scope, receive, send)
        return True


def _respond_with(handler: Handler) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await handler(Request(scope, receive, send))
        except ClientDisconnect:
            return  # nobody is left to answer
        await response(scope, receive, send)

    return app
