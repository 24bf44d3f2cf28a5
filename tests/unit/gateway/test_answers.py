"""What comes back: the API's answer as it comes, and nothing of the outside."""

import asyncio
import contextlib
import gzip
import json
import socket
import ssl
import tracemalloc
from collections.abc import Iterator

import httpx2
import pytest
from tests.support.claude_accounts import ClaudeAccounts
from tests.support.gateway_runs import KEY, PATIENCE_SECONDS, Opened, connect, open_gateway, opened
from tests.support.model_script import Drop, Fail, Hang, Raw, Say, say
from tests.support.model_server import ModelServer
from tests.support.model_wire import Anthropic
from tests.support.ports import ReservedPort
from tests.unit.gateway.test_events import REQUEST

from treadle.gateway.upstream import Outside

pytestmark = pytest.mark.anyio

STREAM = {"model": "claude-sonnet-4-5", "stream": True}


def wire(turn: Say) -> bytes:
    return b"".join(Anthropic().stream(turn, REQUEST))


async def test_an_answer_passes_piece_by_piece(run: Opened, model: ModelServer) -> None:
    """The next piece is only written once the one before it has arrived."""
    arrived = [asyncio.Event() for _ in range(4)]
    loop = asyncio.get_running_loop()

    def pieces() -> Iterator[bytes]:
        for number, event in enumerate(arrived):
            yield b"data: %d\n\n" % number
            asyncio.run_coroutine_threadsafe(event.wait(), loop).result(PATIENCE_SECONDS)

    model.play([Raw(pieces())])
    found = []
    async with run.http.stream("POST", "/v1/messages", json=STREAM) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        async for piece in answer.aiter_raw():
            found.append(piece)
            arrived[len(found) - 1].set()
    assert found == [b"data: %d\n\n" % number for number in range(4)]


async def test_the_answers_bytes_are_the_apis(run: Opened, model: ModelServer) -> None:
    body = wire(say("é" * 500)) + b": a note\r\n\r\n\r\n event: odd\n\n"
    model.play([Raw([body[at : at + 13] for at in range(0, len(body), 13)])])
    assert (await run.ask(stream=True)).content == body


async def test_of_the_headers_only_the_apis_own_come_back(run: Opened, model: ModelServer) -> None:
    kept = {
        "request-id": "req_1",
        "retry-after": "7",
        "x-should-retry": "false",
        "anthropic-ratelimit-unified-status": "allowed",
        "anthropic-ratelimit-unified-reset": "1893456000",
    }
    others = {
        "set-cookie": "a=b",
        "server": "cloudflare",
        "via": "1.1 proxy.internal",
        "anthropic-organization-id": "org-of-the-key",
        "location": "https://example.org",
        "x-echo": KEY,
        "x-request-id": f"for {KEY}",
        "strict-transport-security": "max-age=1",
        "alt-svc": "h3",
    }
    headers = {"Content-Type": "text/event-stream", **kept, **others}
    model.play([Raw([wire(say("x"))], headers), Fail(429, "slow down", headers=kept | others)])
    for expected in (200, 429):
        answer = await run.ask(stream=True)
        assert answer.status_code == expected
        assert {name: answer.headers[name] for name in kept} == kept
        assert not others.keys() & answer.headers.keys()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 529])
async def test_an_error_keeps_its_status_and_its_words(run: Opened, model: ModelServer, status: int) -> None:
    model.play(lambda _: Fail(status, f"scripted, for the key {KEY}"))
    for stream in (True, False):
        answer = await run.ask(stream=stream)
        assert answer.status_code == status
        assert answer.json()["error"]["message"] == "scripted, for the key ***"


async def test_an_error_without_end_is_cut(run: Opened, model: ModelServer) -> None:
    model.play([Raw((b"x" * 100_000 for _ in iter(lambda: model.is_stopping, True)), status=500)])
    answer = await run.ask()
    assert (answer.status_code, len(answer.content)) == (500, 1 << 20)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 304])
async def test_a_redirect_is_not_followed(run: Opened, model: ModelServer, status: int) -> None:
    with ModelServer(lambda _: say("stolen")) as thief:
        model.play(lambda _: Fail(status, body="", headers={"Location": f"{thief.url}/v1/messages"}))
        answer = await run.ask()
        assert (answer.status_code, answer.json()["error"]["type"]) == (502, "api_error")
        assert "location" not in answer.headers
        assert not thief.requests


async def test_a_packed_answer_is_unpacked_and_counted(run: Opened, model: ModelServer) -> None:
    whole, packed = wire(say("x" * 500, output_tokens=33)), {"Content-Type": "text/event-stream"}
    model.play(
        [
            Raw([gzip.compress(whole)], packed | {"Content-Encoding": "gzip"}),
            Raw([whole], packed | {"Content-Encoding": "br"}),
        ]
    )
    answer = await run.ask(stream=True)
    assert answer.content == whole
    assert "content-encoding" not in answer.headers
    assert (await run.ask(stream=True)).status_code == 502
    assert [answer.tokens.output for answer in run.account.charged] == [33, 0]
    assert run.account.charged[1].cost_usd > 0


async def test_an_answer_that_breaks_off_breaks_off(run: Opened, model: ModelServer) -> None:
    model.play([Raw([wire(say("hello"))[:300]], is_cut=True), Drop()])
    with pytest.raises(httpx2.RemoteProtocolError):
        await run.ask(stream=True)
    answer = await run.ask()
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "api_error")
    assert model.url.removeprefix("http://") not in answer.text


async def test_nobody_there() -> None:
    with ReservedPort() as nobody:
        address = f"http://127.0.0.1:{nobody.number}"
        async with open_gateway(claude_base_url=address) as gateway, opened(gateway) as run:
            answer = await run.ask()
    assert answer.status_code == 502
    assert str(nobody.number) not in answer.text
    assert not run.account.charged


async def test_silence(model: ModelServer, run: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.gateway, "_outside", Outside({}, silence_seconds=1.0))
    model.play([Hang()])
    async with opened(run.gateway) as other:
        assert (await other.ask()).status_code == 504
        assert other.account.charged[0].is_estimated
    await run.gateway._outside.aclose()


async def test_a_proxy_of_the_operator_is_asked(model: ModelServer) -> None:
    settings: dict[str, object] = {
        "claude_base_url": "http://api.of.the.model",
        "git_environment": json.dumps({"HTTP_PROXY": model.url}),
    }
    async with open_gateway(**settings) as gateway, opened(gateway) as run:
        assert (await run.ask()).is_success
    assert model.requests[0].headers["host"] == "api.of.the.model"


async def test_the_environment_is_nobodys(model: ModelServer, run: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    with ModelServer(lambda _: say("stolen")) as thief:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, thief.url)
        assert (await run.ask()).is_success
        assert not thief.requests
    assert len(model.requests) == 1


async def test_who_hangs_up_ends_the_answer_outside(run: Opened, model: ModelServer) -> None:
    """The server writes until its connection breaks; the test ends only because it does."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def pieces() -> Iterator[bytes]:
        try:
            while not model.is_stopping:
                yield b"data: {}\n\n" * 1000
        finally:
            loop.call_soon_threadsafe(ended.set)

    model.play([Raw(pieces())])
    async with run.http.stream("POST", "/v1/messages", json=STREAM) as answer:
        await anext(answer.aiter_raw())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ended.wait()
    await run.account.until_charged(1)
    assert run.account.charged[0].is_estimated


async def test_a_slow_reader_slows_the_api_down(run: Opened, model: ModelServer) -> None:
    """What nobody reads is not fetched: a few buffers full, then the server stands still."""
    written = 0

    def pieces() -> Iterator[bytes]:
        nonlocal written
        while not model.is_stopping and written < 500_000_000:
            written += 100_000
            yield b"data: %b\n\n" % (b"x" * 99_992)

    model.play([Raw(pieces())])
    body = json.dumps(STREAM).encode()
    _, writer = await connect(run.door)
    writer.write(run.head("POST /v1/messages HTTP/1.1", f"Content-Length: {len(body)}") + body)
    before = -1
    while before != written or not written:
        before = written
        await asyncio.sleep(0.2)
    assert written < 60_000_000
    writer.transport.abort()
    await run.account.until_charged(1)


async def test_memory_does_not_grow_with_an_answer(run: Opened, model: ModelServer) -> None:
    event = b'data: {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "%b"}}\n\n' % (
        b"x" * 50_000
    )
    model.play(lambda _: Raw(event for _ in range(4000)))

    async def read() -> int:
        size = 0
        async with run.http.stream("POST", "/v1/messages", json=STREAM) as answer:
            async for piece in answer.aiter_raw():
                size += len(piece)
        return size

    tracemalloc.start()
    try:
        assert await read() > 200_000_000
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20_000_000
    await run.account.until_charged(1)
    assert run.account.charged[0].tokens.output == 200_000_000


async def test_certificates_that_cannot_be_read() -> None:
    outside = {"SSL_CERT_FILE": "/nowhere.pem"}
    async with (
        open_gateway(claude_base_url="https://127.0.0.1:1", git_environment=json.dumps(outside)) as gateway,
        opened(gateway) as run,
    ):
        assert (await run.ask()).status_code == 502
    assert not run.account.charged


async def test_a_certificate_that_nobody_vouches_for() -> None:
    """The key goes to nobody who cannot prove to be the API."""
    with ClaudeAccounts() as stranger, socket.create_server(("127.0.0.1", 0)) as server:
        context = stranger.tls
        server.settimeout(PATIENCE_SECONDS)

        def meet() -> bytes:
            found, _ = server.accept()
            with found, contextlib.suppress(ssl.SSLError, OSError):
                return context.wrap_socket(found, server_side=True).recv(1 << 16)
            return b""

        meeting = asyncio.create_task(asyncio.to_thread(meet))
        address = f"https://127.0.0.1:{server.getsockname()[1]}"
        async with open_gateway(claude_base_url=address) as gateway, opened(gateway) as run:
            assert (await run.ask()).status_code == 502
        assert await meeting == b""
    assert not run.account.charged
