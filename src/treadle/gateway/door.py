"""Where one run's engine asks its model: a socket, a token, and what may come through."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import h11
import structlog

from treadle.domain.errors import ConfigurationError
from treadle.gateway import dialect as dialects
from treadle.gateway.dialect import MAX_REQUEST_BYTES, Dialect
from treadle.gateway.exchange import Asked, Exchange
from treadle.gateway.line import Line
from treadle.gateway.refusals import Malformed, Refusal
from treadle.gateway.upstream import Trouble
from treadle.ports.gateway import ModelDoor
from treadle.ports.sandbox import Door
from treadle.scratch import scratch_directory

log = structlog.get_logger(__name__)

#: Where the model is, on the loopback inside a box.
MODEL_PORT = 8418

#: Requests of a run at once, its subagents' too; a further one is to be sent again.
MAX_REQUESTS = 32

#: Its connections; a further one is closed.
MAX_CONNECTIONS = 128

#: What the bodies of its requests take at once, in bytes.
MAX_HELD_BYTES = 128 * 1024 * 1024

#: How long what is left of an answer is read when its client has hung up, for its count to come, in seconds.
UNREAD_SECONDS = 30.0

_RETRY_SECONDS = "1"
_MAX_PATH_BYTES = 107  # of a unix socket, the kernel's
_BACKLOG = 128


class RunDoor:
    """Serves one run's connections until it is closed."""

    def __init__(self, dialect: Dialect, exchange: Exchange) -> None:
        self.token = f"treadle-run-{secrets.token_urlsafe(32)}"
        self._dialect = dialect
        self._exchange = exchange
        self._connections: set[asyncio.Task[None]] = set()
        self._requests = 0
        self._held = 0

    @asynccontextmanager
    async def listening(self, *, on_loopback: bool) -> AsyncIterator[ModelDoor]:
        with ExitStack() as stack:
            if on_loopback:
                server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=_BACKLOG)
                door = Door(int(server.sockets[0].getsockname()[1]), None)
            else:
                socket = stack.enter_context(scratch_directory()) / "model"
                if len(bytes(socket)) > _MAX_PATH_BYTES:
                    place = socket.parent.parent
                    raise ConfigurationError(f"{place} is too long a path for sockets.", hint="Set TMPDIR.")
                server = await asyncio.start_unix_server(self._accept, socket, backlog=_BACKLOG)
                socket.chmod(0o600)
                door = Door(MODEL_PORT, socket)
            try:
                yield ModelDoor(door, self.token)
            finally:
                self.token = ""
                server.close()

    async def close(self) -> None:
        """Ends what is in flight."""
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        line = Line(reader, writer)
        if task is None or not self.token or len(self._connections) >= MAX_CONNECTIONS:
            line.abort()
            return
        self._connections.add(task)
        try:
            await self._serve(line)
        except asyncio.CancelledError:
            if self.token:  # not by `close`
                raise
        except (ConnectionError, TimeoutError):
            log.debug("a client of the model gateway left")
        except Exception:  # one connection's defect ends no other: logged whole
            log.exception("a connection to the model gateway failed")
        finally:
            self._connections.discard(task)
            line.abort()

    async def _serve(self, line: Line) -> None:
        try:
            while (head := await line.next_head()) is not None:
                await self._one(line, head)
                if not line.is_reusable:
                    await line.farewell()
                    return
        except Malformed as refusal:
            if not line.has_begun:
                body = self._dialect.error(refusal.status, refusal.message)
                await line.whole(refusal.status, body, {"connection": "close"})
                await line.farewell()

    async def _one(self, line: Line, head: h11.Request) -> None:
        """Reads a request whole, for who closes over unread bytes takes the answer away too; then answers it."""
        self._requests += 1
        body = _Body(self._refusal(head))
        try:
            await line.read_body(lambda piece: self._hold(body, piece))
            if body.refusal is not None:
                raise body.refusal
            await self._answered(line, self._asked(head, bytes(body.content)))
        except Malformed:
            raise
        except Refusal as refusal:
            await self._refuse(line, refusal)
        except Trouble as trouble:
            log.warning("the model API could not be asked, or broke off", error=trouble.kind)
            said = "did not answer in time" if trouble.is_timeout else "cannot be reached, or broke off"
            await self._refuse(line, Refusal(504 if trouble.is_timeout else 502, f"The model API {said}."))
        finally:
            self._requests -= 1
            self._held -= len(body.content)

    def _refusal(self, head: h11.Request) -> Refusal | None:
        headers = _headers(head)
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        shown = headers.get("x-api-key") or (bearer.strip() if scheme.lower() == "bearer" else "")
        if not (self.token and secrets.compare_digest(shown.encode(), self.token.encode())):
            return Refusal(401, "This is no token of this run.")
        if self._requests > MAX_REQUESTS:
            return Refusal(429, f"This run has {MAX_REQUESTS} requests under way.", {"retry-after": _RETRY_SECONDS})
        try:
            dialects.find_route(self._dialect, head.method.decode(), head.target.decode())
        except Refusal as refusal:
            return refusal
        return None

    def _asked(self, head: h11.Request, body: bytes) -> Asked:
        route = dialects.find_route(self._dialect, head.method.decode(), head.target.decode())
        return Asked(head.method.decode(), route, _headers(head), body)

    def _hold(self, body: "_Body", piece: bytes) -> None:
        body.take(piece)
        if body.refusal is None:
            self._held += len(piece)
        if self._held > MAX_HELD_BYTES:
            raise Refusal(429, "This run's requests are too large together.", {"retry-after": _RETRY_SECONDS})

    async def _answered(self, line: Line, asked: Asked) -> None:
        """When the client hangs up on a model at work, its count is waited for: the vendor charges for what nobody
        reads, and what it has written unseen, only it can tell."""
        work = asyncio.create_task(self._exchange.answer(line, asked))
        gone = asyncio.create_task(line.left())
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if asked.is_owed:
                await asyncio.wait((work,), timeout=UNREAD_SECONDS)
        finally:
            work.cancel()
            gone.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
        if work.cancelled() or line.has_hung_up:
            raise ConnectionResetError
        work.result()

    async def _refuse(self, line: Line, refusal: Refusal) -> None:
        """Where some of an answer has gone out, only breaking off can tell."""
        log.info("a request to the model was refused", status=refusal.status, reason=refusal.message)
        if line.has_begun:
            line.abort()
            raise ConnectionAbortedError
        await line.whole(refusal.status, self._dialect.error(refusal.status, refusal.message), refusal.headers)


class _Body:
    """What comes of a request's body, within its bounds. With a `refusal` nothing of it is kept."""

    def __init__(self, refusal: Refusal | None) -> None:
        self.refusal = refusal
        self.content = bytearray()
        self._size = 0

    def take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > MAX_REQUEST_BYTES:
            raise self.refusal or Refusal(413, f"The request has more than {MAX_REQUEST_BYTES:,} bytes.")
        if self.refusal is None:
            self.content += piece


def _headers(head: h11.Request) -> dict[str, str]:
    """Names in lower case; of a name that comes more than once, a list."""
    found: dict[str, str] = {}
    for name, value in head.headers:
        key, text = name.decode(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found
