"""The model gateway speaks HTTP with what is inside a box, and listens to a model API that may break off anywhere."""

import asyncio
import contextlib
import json

import pytest
from tests.support.fuzzing import fuzz_async
from tests.support.gateway_runs import KEY, Ledger, Opened, connect, open_gateway, opened
from tests.support.model_script import say
from tests.support.model_server import ModelServer
from tests.support.mutations import TOKENS, Mutator
from tests.unit.egress.scene import server

from treadle.domain.run import EngineName

pytestmark = pytest.mark.anyio

BODY = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 99,
    "stream": True,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    "tools": [{"name": "Bash", "input_schema": {"type": "object"}}],
}
HTTP_TOKENS = (
    *TOKENS,
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: localhost\r\n", b"HTTP/1.1", b"\r\n\r\n"),
    *(
        b"GET http://169.254.169.254/ HTTP/1.1",
        b"x-api-key: other\r\n",
        b"/v1/../v1",
        b"//evil.test/",
        b"?a=b",
        b"chunked",
    ),
)
EVENTS = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"claude-sonnet-4-5","usage":'
    b'{"input_tokens":10,"cache_read_input_tokens":2,"output_tokens":1}}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":"h"}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":'
    b'{"output_tokens":7}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
WHOLE = json.dumps(
    {"type": "message", "model": "m", "usage": {"input_tokens": 3, "output_tokens": 4}, "content": []}
).encode()


async def raw(run: Opened, request: bytes) -> bytes:
    """All that comes back; the client says that it is done only after a while."""
    reader, writer = await connect(run.door)
    found = b""
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(request)
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                found = await asyncio.wait_for(reader.read(1 << 16), 0.05)
            writer.write_eof()
            found += await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return found


def assert_unspoiled(account: Ledger) -> None:
    for answer in account.charged:
        counts = answer.tokens
        assert answer.cost_usd >= 0
        assert counts.input >= 0 and counts.output >= 0  # noqa: PT018 - one thing, of two kinds


async def test_requests() -> None:
    """None is a crash, none makes the gateway ask for something else, and the key never comes back."""
    with ModelServer(lambda _: say("hello")) as model:
        async with open_gateway(claude_base_url=model.url) as gateway, opened(gateway) as run:
            content = json.dumps(BODY).encode()
            valid = run.head("POST /v1/messages?beta=true HTTP/1.1", f"Content-Length: {len(content)}") + content
            chunked = run.head("POST /v1/messages HTTP/1.1", "Transfer-Encoding: chunked")
            chunked += f"{len(content):x}\r\n".encode() + content + b"\r\n0\r\n\r\n"

            async def check(mutator: Mutator) -> None:
                if mutator.random.random() < 0.3:
                    changed = mutator.json(BODY)
                    request = run.head("POST /v1/messages HTTP/1.1", f"Content-Length: {len(changed)}") + changed
                else:
                    request = mutator.data(mutator.random.choice((valid, chunked)), valid, chunked, tokens=HTTP_TOKENS)
                answer = await raw(run, request)
                assert not answer.startswith(b"HTTP/1.1 500")
                assert KEY.encode() not in answer
                assert_unspoiled(run.account)

            await fuzz_async(200, check)
            assert (await run.ask()).status_code == 200


@pytest.mark.parametrize("engine", [EngineName.CLAUDE, EngineName.KIMI])
async def test_answers(engine: EngineName) -> None:
    """Whatever the API says, it is passed on or broken off, and each request is charged once, with counts that are."""
    answer = b""

    async def api(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length or b"0"))
        writer.write(answer)
        await writer.drain()
        writer.write_eof()

    async with server(api) as port:
        address = f"http://127.0.0.1:{port}"
        async with (
            open_gateway(claude_base_url=address, kimi_base_url=f"{address}/v1") as gateway,
            opened(gateway, engine=engine) as run,
        ):
            path = "/v1/messages" if engine is EngineName.CLAUDE else "/v1/chat/completions"
            content = json.dumps({**BODY, "tools": []}).encode()
            request = run.head(
                f"POST {path} HTTP/1.1", f"Authorization: Bearer {run.door.token}", f"Content-Length: {len(content)}"
            )

            async def check(mutator: Mutator) -> None:
                nonlocal answer
                kind, valid = mutator.random.choice(((b"text/event-stream", EVENTS), (b"application/json", WHOLE)))
                changed = mutator.data(valid, EVENTS, WHOLE)
                head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (kind, len(changed))
                if mutator.random.random() < 0.3:
                    head, changed = mutator.data(head, tokens=HTTP_TOKENS), valid
                answer = head + changed
                found = await raw(run, request + content)
                assert not found.startswith(b"HTTP/1.1 500")
                assert KEY.encode() not in found
                assert_unspoiled(run.account)

            await fuzz_async(150, check)
