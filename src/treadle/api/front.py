"""What every request comes through first, and every answer last: where the request comes from, how large its head may
be and how slowly its body may come, and what browsers are told about the answer."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from treadle.api.problems import Problem
from treadle.services.audit import Door, origin
from treadle.services.callers import client_of, networks_of
from treadle.settings import Settings

#: Headers of a request, and bytes of them together with the address that is asked for.
MAX_HEADERS = 100
MAX_HEAD_BYTES = 32 * 1024

#: A body may keep us waiting for so long in all, in seconds; and longer by one for each so many bytes that came.
BODY_SECONDS = 30.0
LEAST_BYTES = 4096

#: Nothing here is for another site's page, to be framed, guessed at, or kept by a proxy. What an answer says of these
#: itself counts for more: a page has scripts. There is no CORS: no answer lets another site's script read it.
ANSWER_HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}

#: Where the service is reached by https, browsers are to use nothing else for a year.
_HTTPS = {"Strict-Transport-Security": "max-age=31536000"}

_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})

_TOO_MANY = Problem(
    431, "head_too_large", f"A request may have {MAX_HEADERS} headers, and a head of {MAX_HEAD_BYTES:,} bytes."
)
#: Length and encoding: what goes by the one ends elsewhere than what goes by the other, and begins another request.
_AMBIGUOUS = Problem(
    400, "ambiguous_request", "A request says in one way how long its body is.", headers={"Connection": "close"}
)
_ENCODED = Problem(
    415,
    "unsupported_media_type",
    "Bodies are taken as they are, not compressed.",
    headers={"Accept-Encoding": "identity"},
)
_LATE = Problem(408, "request_too_slow", "The request's body did not come in time.", headers={"Connection": "close"})


class Front:
    """Wraps an ASGI application."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigurationError."""
        self._proxies = networks_of(settings.trusted_proxies)
        is_https = settings.public_url is not None and settings.public_url.startswith("https:")
        said = {**ANSWER_HEADERS, **(_HTTPS if is_https else {})}
        self._headers = [(name.lower().encode(), value.encode()) for name, value in said.items()]

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        answer = _Answer(send, self._headers)
        size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        framings, is_encoded, forwarded = 0, False, list[str]()
        headers = scope["headers"]
        for name, value in headers:
            size += len(name) + len(value)
            if name in _TOLD:
                if name == b"x-forwarded-for":
                    forwarded.append(str(value, "latin-1"))
                elif name == b"content-encoding":
                    is_encoded = value.strip().lower() not in {b"", b"identity"}
                else:
                    framings += 1
        peer = scope.get("client")
        if self._proxies and peer is not None:
            peer = scope["client"] = (client_of(peer[0], forwarded, self._proxies), peer[1])
        with origin(Door.API, peer[0] if peer is not None else None):
            if len(headers) > MAX_HEADERS or size > MAX_HEAD_BYTES:
                await _TOO_MANY.response()(scope, receive, answer.send)
            elif framings > 1:
                await _AMBIGUOUS.response()(scope, receive, answer.send)
            elif framings and is_encoded and scope["method"] not in _BODILESS:
                await _ENCODED.response()(scope, receive, answer.send)
            elif framings:
                await _with_body(app, scope, receive, answer)
            else:
                await app(scope, receive, answer.send)


_TOLD = frozenset({b"x-forwarded-for", b"content-encoding", b"content-length", b"transfer-encoding"})


async def _with_body(app: ASGIApp, scope: Scope, receive: Receive, answer: "_Answer") -> None:
    body = _Body(receive, answer)
    try:
        await app(scope, body.receive, answer.send)
    except ClientDisconnect:
        if not answer.is_late:
            raise
    if answer.is_late and not answer.is_begun:
        await _LATE.response()(scope, receive, answer.send_last)


class _Answer:
    """Adds what every answer says. Once a body is late, nothing but that is answered."""

    __slots__ = ("_headers", "_send", "is_begun", "is_late")

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self.is_begun = False
        self.is_late = False

    def send(self, message: Message) -> Awaitable[None]:
        """As ASGI's, without a coroutine of its own: every request comes through here."""
        if self.is_late and not self.is_begun:
            return _nothing()
        return self.send_last(message)

    def send_last(self, message: Message) -> Awaitable[None]:
        if not self.is_begun and message["type"] == "http.response.start":
            self.is_begun = True
            said = message["headers"]
            names = {name for name, _ in said}
            message["headers"] = [*said, *[each for each in self._headers if each[0] not in names]]
        return self._send(message)


async def _nothing() -> None:
    pass


class _Body:
    """What is waited for is counted, and not what is done with it: our own slowness is nobody else's."""

    def __init__(self, receive: Receive, answer: _Answer) -> None:
        self._receive = receive
        self._answer = answer
        self._is_whole = False
        self._waited = 0.0
        self._size = 0

    async def receive(self) -> Message:
        if self._is_whole:
            return await self._receive()
        now = asyncio.get_running_loop().time
        began = now()
        left = BODY_SECONDS + self._size / LEAST_BYTES - self._waited
        try:
            async with asyncio.timeout_at(began + left):
                message = await self._receive()
        except TimeoutError:
            self._answer.is_late = self._is_whole = True
            return {"type": "http.disconnect"}
        self._waited += now() - began
        self._size += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        return message
