"""A model gateway on real sockets, an account that remembers, and clients inside."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2
from pydantic import JsonValue

from treadle.clock import SystemClock
from treadle.domain.credentials import EngineCredential, OAuthLicense
from treadle.domain.errors import BudgetExceeded
from treadle.domain.prices import Tokens
from treadle.domain.run import EngineName
from treadle.gateway import build
from treadle.gateway.gateway import Gateway
from treadle.ports.gateway import LicenseRenewals, ModelAnswer, ModelDoor, Renew
from treadle.settings import Settings

#: Never on the way out of a test's gateway: what answers and logs are searched for.
KEY = "sk-ant-api03-REAL-canary-of-the-outside"

#: How long a test waits for what must come.
PATIENCE_SECONDS = 120.0


@dataclass
class Ledger:
    """ports.gateway.Account. `before_charge` is awaited in each charge; `limit_usd`: the budget."""

    held: EngineCredential = field(default_factory=lambda: EngineCredential(api_key=KEY))
    limit_usd: float | None = None
    charged: list[ModelAnswer] = field(default_factory=list)
    renewals: list[tuple[EngineCredential, EngineCredential]] = field(default_factory=list)
    permits: int = 0
    before_charge: Callable[[], object] | None = None
    _grown: asyncio.Event = field(default_factory=asyncio.Event)

    async def credential(self) -> EngineCredential:
        await asyncio.sleep(0)
        return self.held

    async def renewed(self, used: EngineCredential, new: EngineCredential) -> None:
        await asyncio.sleep(0)
        self.renewals.append((used, new))
        self.held = new

    async def permit(self, under_way_usd: float = 0.0) -> bool:
        self.permits += 1
        if self.limit_usd is not None and self.spent_usd > self.limit_usd:
            raise BudgetExceeded("This run has cost what it may.", hint="Give it more.")
        return self.limit_usd is None or self.spent_usd + under_way_usd <= self.limit_usd

    async def charge(self, answer: ModelAnswer) -> None:
        if self.before_charge is not None:
            waiting = self.before_charge()
            if asyncio.iscoroutine(waiting):
                await waiting
        self.charged.append(answer)
        self._grown.set()

    @property
    def spent_usd(self) -> float:
        return sum(answer.cost_usd for answer in self.charged)

    @property
    def tokens(self) -> Tokens:
        return sum((answer.tokens for answer in self.charged), Tokens())

    async def until_charged(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.charged) < count:
                self._grown.clear()
                await self._grown.wait()


@dataclass(frozen=True)
class Opened:
    """One run's door, and how to come in."""

    gateway: Gateway
    door: ModelDoor
    account: Ledger
    http: httpx2.AsyncClient

    async def raw(self, data: bytes) -> bytes:
        """Everything that comes back for these bytes, until the gateway closes."""
        reader, writer = await connect(self.door)
        writer.write(data)
        found = bytearray()
        try:
            while piece := await asyncio.wait_for(reader.read(1 << 16), PATIENCE_SECONDS):
                found += piece
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.transport.abort()
        return bytes(found)

    def head(self, line: str = "POST /v1/messages HTTP/1.1", *more: str, host: str = "localhost") -> bytes:
        lines = [line, f"Host: {host}", f"x-api-key: {self.door.token}", *more]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    async def ask(
        self,
        path: str = "/v1/messages",
        *,
        stream: bool = False,
        headers: Mapping[str, str] | None = None,
        model: str = "claude-sonnet-4-5",
        **body: JsonValue,
    ) -> httpx2.Response:
        asked = {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}], **body}
        if stream:
            asked["stream"] = True
        return await self.http.post(path, json=asked, headers=dict(headers or {}))


async def connect(door: ModelDoor) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if door.door.socket is not None:
        return await asyncio.open_unix_connection(door.door.socket)
    return await asyncio.open_connection("127.0.0.1", door.door.port)


def client(door: ModelDoor, token: str | None = None) -> httpx2.AsyncClient:
    """As an engine inside: with the run's token and nothing else."""
    socket = door.door.socket
    return httpx2.AsyncClient(
        base_url="http://localhost" if socket is not None else f"http://127.0.0.1:{door.door.port}",
        transport=httpx2.AsyncHTTPTransport(uds=str(socket) if socket is not None else None),
        headers={"authorization": f"Bearer {door.token if token is None else token}"},
        timeout=PATIENCE_SECONDS,
    )


class Alone:
    """ports.gateway.LicenseRenewals of a process that has no others beside it."""

    async def once(self, used: OAuthLicense, renew: Renew) -> OAuthLicense | None:  # noqa: ARG002 - nobody else has it
        return await renew()


@asynccontextmanager
async def open_gateway(renewals: LicenseRenewals | None = None, /, **settings: object) -> AsyncIterator[Gateway]:
    """`settings`: those of Settings, such as `claude_base_url`."""
    gateway = build(Settings.load({}, **settings), SystemClock(), renewals or Alone())
    try:
        yield gateway
    finally:
        await gateway.aclose()


@asynccontextmanager
async def opened(
    gateway: Gateway,
    account: Ledger | None = None,
    *,
    engine: EngineName = EngineName.CLAUDE,
    on_loopback: bool = False,
) -> AsyncIterator[Opened]:
    account = account or Ledger()
    async with gateway.open(engine, account, on_loopback=on_loopback) as door, client(door) as http:
        yield Opened(gateway, door, account, http)
