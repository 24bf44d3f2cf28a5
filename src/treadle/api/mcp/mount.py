"""`/mcp`: the Model Context Protocol over streamable HTTP, behind the same credentials as everything else."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from treadle.api.auth import Authenticator, Caller
from treadle.api.bodies import header, read_json
from treadle.api.deps import Services
from treadle.api.mcp.refusals import in_words_of_ours
from treadle.api.plain_route import PlainRoute
from treadle.api.problem_guard import Guard
from treadle.api.problems import Problem, ProblemRaised
from treadle.services.audit import Door, acting, client_address, origin
from treadle.settings import Settings

if TYPE_CHECKING:
    from treadle.api.mcp.server import Server

PATH = "/mcp"

#: Where a request's scope holds who makes it.
CALLER: Final = "treadle.caller"

#: Names by which only this machine's own pages call a server of this machine.
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

_PORTS = {"http": 80, "https": 443}

_FOREIGN = Problem(
    403, "foreign_origin", "Pages of that origin may not speak to this server: TREADLE_PUBLIC_URL names its own."
)


def mcp_routes(
    guard: Guard, services: Services, settings: Settings, authenticator: Authenticator, closed: asyncio.Event
) -> Sequence[PlainRoute]:
    """`closed` is set when the server stops: waits end then. There is no GET: nothing is kept that could tell of it."""
    handler = _Handler(services, settings, authenticator, closed)
    return [PlainRoute(PATH, guard.behind(handler.take), methods=["POST"], include_in_schema=False)]


@dataclass(frozen=True, slots=True)
class _Origin:
    scheme: str
    host: str
    port: int | None


class _Handler:
    def __init__(
        self, services: Services, settings: Settings, authenticator: Authenticator, closed: asyncio.Event
    ) -> None:
        self._services = services
        self._settings = settings
        self._authenticator = authenticator
        self._closed = closed
        self._own = _origin(settings.public_url) if settings.public_url else None
        self._server: Server | None = None
        self._lock = asyncio.Lock()

    async def take(self, request: Request, caller: Caller) -> Response:
        """Raises TooLarge, and ProblemRaised for a page's script of elsewhere (DNS rebinding: its host may be ours by
        now, its origin is not)."""
        said = header(request, b"origin")
        if said and not self._is_own(said):
            raise ProblemRaised(_FOREIGN)
        body = await read_json(request, self._settings.max_request_bytes)
        return _Exchange(await self._served(), caller, body)

    def _is_own(self, said: str) -> bool:
        found = _origin(said)
        return found is not None and (found == self._own or found.host in _LOOPBACK)

    async def _served(self) -> "Server":
        async with self._lock:
            if self._server is None:
                make = await asyncio.to_thread(_load)
                self._server = make(self._services, self._settings, self._authenticator, self._closed)
            return self._server


class _Exchange(Response):
    """What MCP's package answers, with the headers that are added to this."""

    def __init__(self, server: "Server", caller: Caller, body: bytes) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._server = server
        self._caller = caller
        self._sent = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_read = False

        async def replayed() -> Message:
            nonlocal is_read
            if is_read:
                return await receive()
            is_read = True
            return {"type": "http.request", "body": self._sent, "more_body": False}

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self.raw_headers]
            await send(message)

        with origin(Door.MCP, client_address()):
            acting(self._caller.principal)
            await self._server.exchange({**scope, CALLER: self._caller}, replayed, in_words_of_ours(with_headers))


def _load() -> "type[Server]":
    from treadle.api.mcp.server import Server  # noqa: PLC0415 - with the first request: it takes a second

    return Server


def _origin(url: str) -> _Origin | None:
    """None for what is none, such as the `null` of a page without one."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    return _Origin(parts.scheme, parts.hostname, port or _PORTS.get(parts.scheme)) if parts.hostname else None
