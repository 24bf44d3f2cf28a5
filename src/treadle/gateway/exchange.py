"""One request of a run: judged, sent on under the real credential, its answer passed back and counted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from treadle.domain.credentials import EngineCredential
from treadle.domain.errors import BudgetExceeded, TreadleError
from treadle.gateway import dialect as dialects
from treadle.gateway.billing import Bill, Tally
from treadle.gateway.dialect import Dialect, Prepared, Route
from treadle.gateway.licenses import Licenses
from treadle.gateway.line import Line
from treadle.gateway.pace import Pace
from treadle.gateway.refusals import Refusal
from treadle.gateway.upstream import Answer, Outside, Sent, Trouble
from treadle.ports import Clock
from treadle.ports.gateway import Account

log = structlog.get_logger(__name__)

#: Longest time for one request and its answer, in seconds.
ANSWER_SECONDS = 3600.0

#: What is still read of an answer when its client has hung up, for its count to come, in bytes.
MAX_UNREAD_BYTES = 32 * 1024 * 1024

#: Largest answer that is an error, in bytes; of a longer one the beginning.
MAX_ERROR_BYTES = 1 << 20

_MASK = b"***"
_OK, _REDIRECT, _ERROR, _UNAUTHORIZED = 200, 300, 400, 401


@dataclass(frozen=True, slots=True)
class Asked:
    """`headers`: names in lower case."""

    method: str
    route: Route
    headers: Mapping[str, str]
    body: bytes
    sent: Sent = field(default_factory=Sent)

    @property
    def is_owed(self) -> bool:
        """Whether the model may be at work on it."""
        return self.route.is_turn and self.sent.has_reached


class Exchange:
    """What a run's requests share. `endpoint`: the API's address, without a slash at its end."""

    def __init__(
        self,
        dialect: Dialect,
        endpoint: str,
        *,
        account: Account,
        bill: Bill,
        licenses: Licenses,
        outside: Outside,
        clock: Clock,
    ) -> None:
        self._dialect = dialect
        self._endpoint = endpoint
        self._account = account
        self._bill = bill
        self._licenses = licenses
        self._outside = outside
        self._clock = clock
        self._pace = Pace()

    async def answer(self, line: Line, asked: Asked) -> None:
        """Writes to `line` what the API answers. Raises Refusal, and Trouble where the answer broke off midway."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._permit(self._may_spend())
                await self._answer(line, asked, await self._prepared(asked))
        except TimeoutError:
            raise Trouble("an answer that takes too long", is_timeout=True) from None

    async def _answer(self, line: Line, asked: Asked, prepared: Prepared) -> None:
        meter = self._dialect.meter(prepared.most_input, is_stream=False)
        tally = Tally(self._bill, self._clock, prepared, asked.sent, meter) if asked.route.is_turn else None
        try:
            if tally is not None:
                await self._permit(self._bill.hold(tally, prepared))
            async with self._asking(line, asked, prepared, tally) as (answer, used):
                await self._pass_back(line, answer, used, tally)
        except Trouble:
            if tally is not None:
                tally.broke_off()
            raise
        finally:
            if tally is not None:
                tally.settle()
                self._bill.free(tally)

    async def _prepared(self, asked: Asked) -> Prepared:
        """Raises Refusal."""
        if asked.method != "POST":
            return Prepared(b"")
        async with self._pace.turn():
            return dialects.prepare(self._dialect, asked.body)

    async def _may_spend(self) -> None:
        """Anything at all: asked before a request is looked at, for that has its price too."""
        await self._bill.settled()
        await self._account.permit()

    async def _permit(self, asking: Awaitable[None]) -> None:
        """What the run's other requests have spent counts first. Raises Refusal."""
        try:
            await asking
        except BudgetExceeded as error:
            raise Refusal(402, error.sentence()) from None  # of all statuses the one that no CLI tries again
        except TreadleError as error:
            log.warning("whether a run may spend could not be found out", code=error.code)
            raise Refusal(503, "Whether this run may spend cannot be found out now.") from None

    @asynccontextmanager
    async def _asking(
        self, line: Line, asked: Asked, prepared: Prepared, tally: Tally | None
    ) -> AsyncIterator[tuple[Answer, EngineCredential]]:
        """The API's answer, and to which credential; a refused one that can be renewed is, and tried once more."""
        credential = await self._licenses.current()
        async with self._sent(asked, prepared, credential, tally) as answer:
            later = await self._licenses.renewed(credential) if answer.status == _UNAUTHORIZED else None
            if later is None:
                yield answer, credential
                return
        if line.has_hung_up:
            raise ConnectionResetError
        async with self._sent(asked, prepared, later, tally) as answer:
            yield answer, later

    @asynccontextmanager
    async def _sent(
        self, asked: Asked, prepared: Prepared, credential: EngineCredential, tally: Tally | None
    ) -> AsyncIterator[Answer]:
        headers = {name: value for name, value in asked.headers.items() if self._dialect.passes(name)}
        headers = self._dialect.authenticated(headers, credential)
        if prepared.content:
            headers["content-type"] = "application/json"
        if tally is not None:
            tally.asks()
        url = self._endpoint + asked.route.path
        asking = self._outside.ask(asked.method, url, list(headers.items()), prepared.content, asked.sent)
        async with asking as answer:
            if tally is not None:
                tally.answered(answer.status, self._dialect.meter(prepared.most_input, is_stream=answer.is_stream))
            yield answer

    async def _pass_back(self, line: Line, answer: Answer, used: EngineCredential, tally: Tally | None) -> None:
        secrets = [secret.encode() for secret in used.secrets()]
        headers = [
            (name, value)
            for name, value in answer.headers
            if self._dialect.returns(name.decode("latin-1")) and not any(secret in value for secret in secrets)
        ]
        if answer.status >= _ERROR:
            await self._pass_error(line, answer, headers, secrets, tally)
            return
        if not _OK <= answer.status < _REDIRECT or not answer.is_readable:
            raise Refusal(502, "The model API answers in a way that is not passed on.")
        if length := answer.length:
            headers.append((b"content-length", length))
        line.begin(answer.status, headers)
        held, unread = b"", 0
        async for piece in answer.pieces():
            if tally is not None:
                tally.feed(piece)
            unread += len(piece) if line.has_hung_up else 0
            if unread > MAX_UNREAD_BYTES:
                raise Trouble("an answer that nobody reads", is_timeout=False)
            # The client acts on the end of an answer in one piece: by then it has to be on the bill.
            out, held = (piece, b"") if answer.is_stream else (held, piece)
            if out:
                await line.send(out)
        if tally is not None:
            tally.settle()
        if held:
            await line.send(held)
        await line.end()

    async def _pass_error(
        self,
        line: Line,
        answer: Answer,
        headers: list[tuple[bytes, bytes]],
        secrets: list[bytes],
        tally: Tally | None,
    ) -> None:
        """In one piece, so that a credential that it repeats can be taken out."""
        if not answer.is_readable:
            raise Refusal(answer.status, "The model API refuses the request, in a coding that was not asked for.")
        found = bytearray()
        async for piece in answer.pieces():
            found += piece
            if len(found) >= MAX_ERROR_BYTES:
                break
        body = bytes(found[:MAX_ERROR_BYTES])
        if tally is not None:
            tally.feed(body)
            tally.settle()
        for secret in secrets:
            body = body.replace(secret, _MASK)
        line.begin(answer.status, [*headers, (b"content-length", str(len(body)).encode())])
        await line.send(body)
        await line.end()
