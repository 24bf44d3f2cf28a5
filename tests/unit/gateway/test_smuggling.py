"""Requests that two parsers could read in two ways: the bytes themselves."""

import asyncio

import pytest
from tests.support.gateway_runs import Opened
from tests.support.model_server import ModelServer

from treadle.gateway import heads, line

pytestmark = pytest.mark.anyio

BODY = b'{"model": "m", "messages": []}'
SECOND = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
LENGTH = f"Content-Length: {len(BODY)}"


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([LENGTH, "Transfer-Encoding: chunked"], 400),
        (["Transfer-Encoding: chunked", LENGTH], 400),
        ([LENGTH, "Content-Length: 0"], 400),
        ([LENGTH, LENGTH], 400),
        ([f"Content-Length: {len(BODY)}, {len(BODY)}"], 400),
        ([f"Content-Length: +{len(BODY)}"], 400),
        ([f"Content-Length: 0{len(BODY)}"], 400),
        (["Content-Length: 0x1e"], 400),
        (["Content-Length: -1"], 400),
        (["Content-Length:"], 400),
        (["Content-Length: 99999999999999999999"], 400),
        (["Content-Length : 5"], 400),
        ([LENGTH.replace(":", ":\x0b")], 400),
        (["Transfer-Encoding: xchunked"], 501),
        (["Transfer-Encoding: chunked, identity"], 501),
        (["Transfer-Encoding: identity, chunked"], 501),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], 400),
        (["Transfer-Encoding: chunked", "Transfer-encoding: identity"], 400),
        (["Transfer-Encoding:\x0bchunked"], 400),
        ([" Transfer-Encoding: chunked", LENGTH], 400),
        (["X-A: b", " Transfer-Encoding: chunked", LENGTH], 400),
        (["X-A: b", "\tfolded", LENGTH], 400),
        (["X-A: b\nTransfer-Encoding: chunked", LENGTH], 400),
        (["X-A: b\rTransfer-Encoding: chunked", LENGTH], 400),
        (["X-A: b\x00c", LENGTH], 400),
        (["X-A", LENGTH], 400),
        ([": nameless", LENGTH], 400),
        (["X A: b", LENGTH], 400),
        (["Host: example.org", LENGTH], 400),
        (["Upgrade: h2c", "Connection: Upgrade", LENGTH], 501),
        (["Expect: 200-ok", LENGTH], 501),
        (["x-api-key: another", LENGTH], 400),
        ([*(f"X-{number}: x" for number in range(heads.MAX_HEADERS)), LENGTH], 431),
        ([f"X-A: {'x' * heads.MAX_HEAD_BYTES}", LENGTH], 431),
    ],
)
async def test_heads(run: Opened, model: ModelServer, headers: list[str], expected: int) -> None:
    answer = await run.raw(run.head("POST /v1/messages HTTP/1.1", *headers) + BODY + SECOND)
    assert status(answer) == expected
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not model.requests


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        ("POST /v1/messages HTTP/1.0", 400),
        ("POST /v1/messages HTTP/2.0", 400),
        ("POST /v1/messages", 400),
        ("POST  /v1/messages HTTP/1.1", 400),
        ("POST /v1/messages\tHTTP/1.1", 400),
        ("POST /v1/mess ages HTTP/1.1", 400),
        (" POST /v1/messages HTTP/1.1", 400),
        ("\r\nPOST /v1/messages HTTP/1.1", 400),
        ("post /v1/messages HTTP/1.1", 400),
        ("POST /v1/messages HTTP/1.1\r", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ("\x16\x03\x01\x02", 400),
    ],
)
async def test_request_lines(run: Opened, model: ModelServer, request_line: str, expected: int) -> None:
    answer = await run.raw(run.head(request_line, LENGTH) + BODY)
    assert status(answer) == expected
    assert not model.requests


@pytest.mark.parametrize("host", ["example.org", "localhost.example.org", "127.0.0.1@example.org", "localhost:x", ""])
async def test_hosts(run: Opened, model: ModelServer, host: str) -> None:
    assert status(await run.raw(run.head("GET /v1/models HTTP/1.1", host=host))) == 421
    assert status(await run.raw(run.head("GET /v1/models HTTP/1.1", "Connection: close", host="127.0.0.1:8418"))) == 200
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    "chunks",
    [
        b"5\nhello\n0\n\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"fffffffffffffffffffff\r\nhello",
        b"\r\n0\r\n\r\n",
        b"0\r\nTransfer-Encoding chunked\r\n\r\n",
    ],
)
async def test_chunks(run: Opened, model: ModelServer, chunks: bytes) -> None:
    answer = await run.raw(run.head("POST /v1/messages HTTP/1.1", "Transfer-Encoding: chunked") + chunks + SECOND)
    assert status(answer) in {400, 431}
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not model.requests


async def test_a_body_that_fits_both_lengths(run: Opened, model: ModelServer) -> None:
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    for headers in (["Transfer-Encoding: chunked", f"Content-Length: {len(chunked)}"], [LENGTH, LENGTH]):
        body = chunked if "Transfer-Encoding: chunked" in headers else BODY
        assert status(await run.raw(run.head("POST /v1/messages HTTP/1.1", *headers) + body)) == 400
    assert not model.requests


async def test_lines_that_end_in_a_line_feed_alone(run: Opened) -> None:
    answer = await run.raw(b"GET /v1/models HTTP/1.1\nHost: localhost\n\n")
    assert status(answer) == 400


async def test_chunks_become_a_length(run: Opened, model: ModelServer) -> None:
    chunks = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:])) + b"0\r\nA: b\r\n\r\n"
    head = run.head("POST /v1/messages HTTP/1.1", "Transfer-Encoding: chunked", "Connection: close")
    assert status(await run.raw(head + chunks)) == 200
    (asked,) = model.requests
    assert "transfer-encoding" not in asked.headers
    assert int(asked.headers["content-length"]) == len('{"model":"m","messages":[]}')
    assert "a" not in asked.headers


async def test_what_follows_a_body_is_a_request_of_its_own(run: Opened, model: ModelServer) -> None:
    smuggled = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nx-api-key: none\r\nConnection: close\r\n\r\n"
    answer = await run.raw(run.head("POST /v1/messages HTTP/1.1", LENGTH) + BODY + smuggled)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 401" in answer
    assert [request.path for request in model.requests] == ["/v1/messages"]


async def test_requests_in_a_row_without_waiting(run: Opened, model: ModelServer) -> None:
    many = (run.head("POST /v1/messages HTTP/1.1", LENGTH) + BODY) * 3 + run.head(
        "GET /v1/models HTTP/1.1", "Connection: close"
    )
    answer = await run.raw(many)
    assert answer.count(b"HTTP/1.1 200") == 4
    assert [request.path for request in model.requests] == ["/v1/messages"] * 3 + ["/v1/models"]
    assert len(run.account.charged) == 3


async def test_a_body_that_never_comes_is_not_sent_on(
    run: Opened, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "BODY_SECONDS", 0.1)
    answer = await run.raw(run.head("POST /v1/messages HTTP/1.1", "Content-Length: 500") + BODY)
    assert status(answer) == 408
    assert not model.requests


async def test_a_head_that_never_ends(run: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "HEAD_SECONDS", 0.1)
    assert status(await run.raw(b"POST /v1/messages HTTP/1.1\r\n")) == 408


async def test_byte_by_byte(run: Opened, model: ModelServer) -> None:
    socket = run.door.door.socket
    assert socket is not None
    reader, writer = await asyncio.open_unix_connection(socket)
    for byte in run.head("POST /v1/messages HTTP/1.1", LENGTH, "Expect: 100-continue"):
        writer.write(bytes([byte]))
        await writer.drain()
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
    for byte in BODY:
        writer.write(bytes([byte]))
        await writer.drain()
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    await writer.wait_closed()
    assert len(model.requests) == 1
