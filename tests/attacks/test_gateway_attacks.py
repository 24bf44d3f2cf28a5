"""What an agent may try with the token and the door that it has: more of each is in `tests/unit/gateway`."""

import asyncio
import time

import pytest
from tests.support.gateway_runs import KEY, Ledger, Opened, client, open_gateway
from tests.support.gateway_runs import opened as open_run
from tests.support.model_script import say
from tests.support.model_server import ModelServer

from treadle.domain.run import EngineName
from treadle.gateway import dialect as dialects
from treadle.gateway.dialect import Dialect, Prepared
from treadle.gateway.pace import BURST_SECONDS, LOOP_SHARE

pytestmark = pytest.mark.anyio

OK, REFUSED = 200, range(400, 500)


async def test_a_token_at_another_runs_gateway() -> None:
    """Defence: each door knows one token, and forgets it when it is closed."""
    with ModelServer(lambda _request: say("hello")) as model:
        async with open_gateway(claude_base_url=model.url) as gateway:
            async with (
                gateway.open(EngineName.CLAUDE, Ledger()) as mine,
                gateway.open(EngineName.CLAUDE, Ledger()) as other,
                client(other, mine.token) as thief,
            ):
                assert (await thief.get("/v1/models")).status_code in REFUSED
                assert not model.requests
            async with (
                gateway.open(EngineName.CLAUDE, Ledger()) as later,
                client(later, mine.token) as ghost,
            ):
                assert (await ghost.get("/v1/models")).status_code in REFUSED
                assert not model.requests


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("GET http://169.254.169.254/latest/meta-data HTTP/1.1", "169.254.169.254"),
        ("CONNECT example.com:443 HTTP/1.1", "example.com"),
        ("GET /v1/models HTTP/1.1", "example.com"),
        ("GET /v1/organizations/api_keys HTTP/1.1", "localhost"),
        ("GET /v1/messages/../organizations HTTP/1.1", "localhost"),
        ("GET /v1/%2e%2e/v1/files HTTP/1.1", "localhost"),
        ("GET //evil.example/v1/models HTTP/1.1", "localhost"),
        ("DELETE /v1/models HTTP/1.1", "localhost"),
    ],
)
async def test_other_hosts_and_paths(line: str, host: str) -> None:
    """Defence: a short list of paths of one API; the host is the operator's, whatever the request says."""
    with ModelServer(lambda _request: say("hello")) as model:
        async with open_gateway(claude_base_url=model.url) as gateway, open_run(gateway) as run:
            answer = await run.raw(run.head(line, "Connection: close", host=host))
            assert answer.split(b" ")[1][:1] == b"4", answer
            assert not model.requests
            assert KEY.encode() not in answer


async def test_a_request_smuggled_in_another() -> None:
    """Defence: a strict parser, and a body that is read whole and framed anew."""
    with ModelServer(lambda _request: say("hello")) as model:
        async with open_gateway(claude_base_url=model.url) as gateway, open_run(gateway) as run:
            inner = b"GET /v1/organizations/api_keys HTTP/1.1\r\nHost: localhost\r\n\r\n"
            for framing in (
                (f"Content-Length: {len(inner)}", "Transfer-Encoding: chunked"),
                ("Content-Length: 0", f"Content-Length: {len(inner)}"),
                ("Transfer-Encoding: chunked, identity",),
                ("Transfer-Encoding : chunked",),
                ("Content-Length: +5",),
            ):
                await run.raw(run.head("POST /v1/messages HTTP/1.1", *framing) + b"0\r\n\r\n" + inner)
            assert not [request for request in model.requests if "organizations" in request.path]
            assert (await run.ask()).status_code == OK, "the door still serves"


class Work:
    """What taking requests apart has cost the event loop, by the processor's clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: list[float] = []
        self._really = dialects.prepare
        monkeypatch.setattr("treadle.gateway.exchange.dialects.prepare", self._prepare)

    def _prepare(self, dialect: Dialect, body: bytes) -> Prepared:
        began = time.thread_time()
        try:
            return self._really(dialect, body)
        finally:
            self.taken.append(time.thread_time() - began)


def numbers(count: int, text: bytes) -> bytes:
    return b'{"messages":[' + b",".join([text] * count) + b"]}"


async def flood(run: Opened, body: bytes) -> None:
    while True:
        await run.http.post("/v1/messages", content=body)


async def test_requests_that_take_long_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defence: one at a time, and a pause in proportion, so that other runs and the worker's own pulse go on."""
    work = Work(monkeypatch)
    with ModelServer(lambda _request: say("hello")) as model:
        async with (
            open_gateway(claude_base_url=model.url) as gateway,
            open_run(gateway) as hostile,
            open_run(gateway) as other,
        ):
            began = time.monotonic()
            body = numbers(20_000, b"1.234567890123e-300")
            floods = [asyncio.create_task(flood(hostile, body)) for _ in range(3)]
            for _ in range(60):
                assert (await other.ask()).status_code == OK
            passed = time.monotonic() - began
            for task in floods:
                task.cancel()
            await asyncio.gather(*floods, return_exceptions=True)
    assert sum(work.taken) <= 2 * (BURST_SECONDS + LOOP_SHARE * passed + max(work.taken)), "two runs' share"


async def test_requests_of_too_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defence: they are counted before they are read, and without a budget not even that."""
    floods = (
        numbers(1_600_000, b"1.234567890123e-300"),
        numbers(7800, b"9" * 4200),
        numbers(330_000, b'{"role":"user","content":"x"}'),
    )
    work = Work(monkeypatch)
    with ModelServer(lambda _request: say("hello")) as model:
        async with open_gateway(claude_base_url=model.url) as gateway:
            async with open_run(gateway, Ledger(limit_usd=-1.0)) as poor:
                for body in floods:
                    assert (await poor.http.post("/v1/messages", content=body)).status_code == 402
                assert not work.taken
            for body in floods:
                async with open_run(gateway) as rich:
                    assert (await rich.http.post("/v1/messages", content=body)).status_code == 413
            assert not model.requests
