"""Measures requests: how long each took by its route, and a span that goes on with what the caller began."""

from collections.abc import Sequence
from time import perf_counter

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from treadle import telemetry

#: Asked for every few seconds by machines: counted, not traced.
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})

#: A method is the caller's to invent; a label is not.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_STREAM = b"text/event-stream"


def observed(app: ASGIApp) -> ASGIApp:
    """`app`, measured; itself where nothing is."""
    return Observed(app) if telemetry.is_measuring() else app


class Observed:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        if scope["path"] in _PROBES:
            await answer.of(self._app, receive)
            return
        with telemetry.continued(_traceparent(scope), answer.method, method=answer.method) as span:
            try:
                await answer.of(self._app, receive)
            finally:
                route = answer.route
                span.rename(f"{answer.method} {route}")
                span.set(route=route, status_code=answer.status)


class _Answer:
    """One request's."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._started = perf_counter()
        self._is_counted = False
        self.method: str = scope["method"] if scope["method"] in _METHODS else "other"
        self.status = 0  # none was sent

    @property
    def route(self) -> str:
        """The template, such as `/files/{id}`. Known once the request was routed."""
        route, endpoint = self._scope.get("route"), self._scope.get("endpoint")
        if route is None and endpoint is not None:  # FastAPI's router names no route that is not its own kind
            known: Sequence[BaseRoute] = self._scope["app"].routes
            route = next((each for each in known if getattr(each, "endpoint", None) is endpoint), None)
        return str(getattr(route, "path", "none"))

    async def of(self, app: ASGIApp, receive: Receive) -> None:
        try:
            await app(self._scope, receive, self._note)
        finally:
            self._count()

    async def _note(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            # A stream lasts for as long as its reader likes: what it can be slow at is beginning.
            if any(name == b"content-type" and value.startswith(_STREAM) for name, value in message["headers"]):
                self._count()
        await self._send(message)

    def _count(self) -> None:
        if self._is_counted:
            return
        self._is_counted = True
        telemetry.observe(
            telemetry.HTTP_SECONDS,
            perf_counter() - self._started,
            route=self.route,
            method=self.method,
            status=f"{self.status // 100}xx" if self.status else "none",
        )


def _traceparent(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"traceparent":
            return bytes(value).decode("latin-1")
    return None
