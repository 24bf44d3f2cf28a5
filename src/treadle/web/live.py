"""Live pages: HTML fragments as server-sent events, for `static/live.js` to swap in.

    async def changes() -> AsyncGenerator[Change, None]: ...

    return event_stream(changes())          # in a handler behind `site.door.page`

A stream ends with its generator, when the reader leaves, at shutdown, and after STREAM_SECONDS: then the browser comes
back and says with `?after=` which `Change.id` it saw last, and the door looks again at who it is.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from treadle.api.streams import HEARTBEAT, HEARTBEAT_SECONDS, OPENING
from treadle.web.render import SECURITY_HEADERS

#: How long a stream lasts at most, in seconds; a session that was revoked sees nothing new after that.
STREAM_SECONDS = 600.0

#: Streams of pages that are open in a process at once; more are asked to come back later.
MAX_STREAMS = 1_000

#: For the end of a stream, in seconds: who reads nothing any more would hold its place for ever.
_FAREWELL = 5.0

_COUNT = "open_live_streams"


@dataclass(frozen=True, slots=True)
class Change:
    """`html`: elements with ids. `id`: where a reader that comes back goes on. `is_last`: it need not come back."""

    html: str
    id: str | None = None
    is_last: bool = False

    def frame(self) -> bytes:
        # A carriage return would end a line of the stream; HTML takes it for a line feed, too.
        lines = self.html.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        head = ("event: end\n" if self.is_last else "") + (f"id: {self.id}\n" if self.id is not None else "")
        return (head + "".join(f"data: {line}\n" for line in lines) + "\n").encode(errors="replace")


def event_stream(
    changes: AsyncGenerator[Change, None],
    *,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
    seconds: float = STREAM_SECONDS,
) -> Response:
    """What `changes` yields, each as it comes; a heartbeat where nothing does. The next is asked for once the last is
    sent, so that a slow reader holds one at most. What it raises breaks the stream off."""
    return _Live(changes, heartbeat_seconds, seconds)


def after_of(request: Request) -> str:
    """The id of the last change that the reader saw; "" for none."""
    return request.query_params.get("after") or request.headers.get("last-event-id") or ""


class _Live(Response):
    """Written for ASGI itself, like `api.streams`: it must end when the process does."""

    media_type = "text/event-stream"

    def __init__(self, changes: AsyncGenerator[Change, None], heartbeat_seconds: float, seconds: float) -> None:
        super().__init__(headers={**SECURITY_HEADERS, "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._changes = changes
        self._heartbeat_seconds = heartbeat_seconds
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["app"].state
        opened: int = getattr(state, _COUNT, 0)
        if opened >= MAX_STREAMS:
            await self._changes.aclose()
            busy = Response(
                "Too many pages are open.",
                HTTPStatus.SERVICE_UNAVAILABLE,
                {**SECURITY_HEADERS, "Retry-After": "5", "Content-Type": "text/plain; charset=utf-8"},
            )
            await busy(scope, receive, send)
            return
        setattr(state, _COUNT, opened + 1)
        tasks: list[asyncio.Task[object]] = []
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": OPENING, "more_body": True})
            gone = asyncio.create_task(_gone(receive), name="disconnect of a live page")
            closing = asyncio.create_task(state.streams.closed.wait(), name="shutdown for a live page")
            tasks = [asyncio.create_task(self._send_all(send), name="live page"), gone, closing]
            await asyncio.wait(tasks, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
            await _ended(tasks)
            if not gone.done() or gone.cancelled():
                async with asyncio.timeout(_FAREWELL):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:  # also TimeoutError
            pass  # the reader is gone
        finally:
            await _ended(tasks)
            await self._changes.aclose()
            setattr(state, _COUNT, getattr(state, _COUNT) - 1)

    async def _send_all(self, send: Send) -> None:
        coming: asyncio.Task[Change] | None = None
        try:
            while True:
                coming = coming or asyncio.create_task(self._following(), name="next change of a live page")
                done, _ = await asyncio.wait({coming}, timeout=self._heartbeat_seconds)
                body = coming.result().frame() if done else HEARTBEAT
                coming = None if done else coming
                await send({"type": "http.response.body", "body": body, "more_body": True})
        except (StopAsyncIteration, OSError):
            pass
        except Exception:  # noqa: BLE001 - logged, whatever it is; the reader comes back
            structlog.get_logger(__name__).exception("live_page_failed")
        finally:
            if coming is not None:
                await _ended([coming])

    async def _following(self) -> Change:
        return await anext(self._changes)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ended(tasks: "list[asyncio.Task[object]] | list[asyncio.Task[Change]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
