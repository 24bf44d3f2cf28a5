"""Requests to the real service: bodies of both dialects, forms, headers, and bytes that are no HTTP."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.deployment import PROCESSES, Deployment, body, deployed
from tests.support.fuzzing import fuzz_async
from tests.support.mutations import TOKENS, Mutator

from treadle.server import listening

pytestmark = pytest.mark.anyio

SECRET = "planted-9f2c7e-secret"
ANSWER_SECONDS = 60.0
PAUSE_SECONDS = 0.03

PROCESS = body(
    gitHttpCredentials=f"user:{SECRET}",
    codeGuidelines="Be brief.",
    generateDiffOnCompletion=True,
    engine="Claude",
    fileIds=[],
    network={"allow": ["example.com", "*.example.org:8443"]},
    maxCostUsd=2.5,
    claudeAuthentication={"source": "ClientApiKey", "apiKey": SECRET},
    steps=[{"step": "Write"}, {"step": "Look", "isCommitableStep": False, "isStructuredOutput": True}],
)
AGENT_RUN = {
    "prompt": "Do it",
    "repo_id": 1,
    "model": "claude-opus",
    "agent_type": "claude_code",
    "metadata": {"a": [1, {"b": None}]},
    "images": ["data:image/png;base64,iVBORw0KGgo="],
}
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="n\xc3\xb6tes.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\nhello\r\n--b--\r\n"
)
FORM_TOKENS = (
    *TOKENS,
    *(
        b"--b",
        b"--b--",
        b"\r\n--b\r\n",
        b'name="file"',
        b"filename*=UTF-8''%e2%82%ac",
        b"Content-Disposition:",
        b"; ",
        b"\r\n ",
    ),
)
HTTP_TOKENS = (
    *TOKENS,
    *(
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Host: a\r\n",
        b"HTTP/1.1",
        b"HTTP/2.0",
        b"\r\n\r\n",
    ),
    *(b"Expect: 100-continue\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"X: " + b"y" * 40_000, b"0\r\n\r\n"),
)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Deployment]:
    names = ("standard", "create", "setup", "analysis", "logs", "pulls", "rules", "code_generation")
    limits: dict[str, Any] = {f"rate_limit_{name}": "0" for name in names}
    async with deployed(tmp_path, **limits) as found:
        yield found


def check_answer(status: int, content: bytes, kind: str) -> None:
    assert status < 500, content
    assert SECRET.encode() not in content
    if kind.endswith("json") and content:
        json.loads(content)


@pytest.mark.parametrize(
    ("path", "valid"),
    [
        (PROCESSES, PROCESS),
        ("/v1/organizations/1/agent/run", AGENT_RUN),
        ("/v1/organizations/1/agent/run/resume", {"agent_run_id": 1, "prompt": "on"}),
    ],
    ids=["process", "agent-run", "resume"],
)
async def test_json(here: Deployment, path: str, valid: dict[str, Any]) -> None:
    async def check(mutator: Mutator) -> None:
        headers = {
            "Authorization": f"Bearer {here.admin.key}",
            **here.admin.headers,
            "Content-Type": "application/json",
        }
        answer = await here.http.post(path, headers=headers, content=mutator.json(valid))
        check_answer(answer.status_code, answer.content, answer.headers.get("content-type", ""))

    headers = {"Authorization": f"Bearer {here.admin.key}", **here.admin.headers}
    answer = await here.http.post(path, headers=headers, json=valid)
    assert answer.status_code in {200, 404}, answer.text  # what is changed was right; what it names may not be there
    await fuzz_async(300, check)


@pytest.mark.parametrize(
    "fields",
    [
        *({"gitUrl": ["x"]}, {"gitUrl": {}}, {"fileIds": {"a": 1}}, {"steps": {"a": 1}}, {"claudeAuthentication": [1]}),
        *({"engine": [], "claudeAuthentication": {"source": "Default"}}, {"branchSource": [1], "branchWork": [1]}),
        *({"\ud800": 1, "steps": [{}], "gitUrl": 1}, {"steps": [{"step": "a", "\ud800": 1}], "engine": "\udfff"}),
        {"fileIds": ["x"] * 250, "generateDiffOnCompletion": [], "engine": 5},
    ],
)
async def test_another_shape(here: Deployment, fields: dict[str, Any]) -> None:
    answer = await here.http.post(
        PROCESSES,
        headers={**here.admin.headers, "Content-Type": "application/json"},
        content=json.dumps({**PROCESS, **fields}),
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "invalid_input"


async def test_forms(here: Deployment) -> None:
    async def check(mutator: Mutator) -> None:
        boundary = mutator.data(b"b") if mutator.random.random() < 0.1 else b"b"
        kind = b"multipart/form-data; boundary=" + boundary.translate(None, b"\r\n\0")
        content = mutator.data(FORM, FORM, tokens=FORM_TOKENS)

        async def chunks() -> AsyncIterator[bytes]:
            for chunk in mutator.chunks(content):
                yield chunk

        headers = [(b"X-Api-Key", here.admin.key.encode()), (b"Content-Type", kind)]
        answer = await here.http.post("/files", headers=headers, content=chunks())
        check_answer(answer.status_code, answer.content, answer.headers.get("content-type", ""))

    await fuzz_async(300, check)


async def test_headers_and_queries(here: Deployment) -> None:
    async def check(mutator: Mutator) -> None:
        headers = {
            "X-Api-Key": here.admin.key,
            "Idempotency-Key": "abc",
            "Accept": "application/json;q=0.5, text/*",
            "Content-Type": "application/json; charset=utf-8",
            "If-None-Match": 'W/"abc"',
            "Range": "bytes=0-10",
            "Last-Event-ID": "3",
            "Cookie": "a=b; c=d",
            "Authorization": f"Bearer {SECRET}",
            "X-Forwarded-For": "10.0.0.1, ::1",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        }
        name = mutator.random.choice(list(headers))
        raw = [(key.encode(), value.encode()) for key, value in headers.items() if key != name]
        raw.append((name.encode(), mutator.data(headers[name].encode()).translate(None, b"\r\n\0")))
        query = mutator.data(b"limit=5&offset=2&status=New,Failed&search=a")[:9_000].hex(" ").replace(" ", "%")
        path = mutator.random.choice(
            (PROCESSES, "/files", "/v1/organizations/1/agent/runs", "/v1/users/me", "/healthz")
        )
        answer = await here.http.get(f"{path}?%{query}" if mutator.random.random() < 0.5 else path, headers=raw)
        check_answer(answer.status_code, answer.content, answer.headers.get("content-type", ""))

    await fuzz_async(400, check)


async def test_bytes_on_the_line(here: Deployment) -> None:
    """The real server: whatever comes, it answers or hangs up, and then still serves."""
    content = json.dumps(PROCESS).encode()
    head = f"Host: x\r\nX-Api-Key: {here.admin.key}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    whole = f"POST {PROCESSES} HTTP/1.1\r\n{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
    chunked = (
        f"POST {PROCESSES} HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n{len(content):x}\r\n".encode()
        + content
        + b"\r\n0\r\n\r\n"
    )
    asked = f"GET {PROCESSES} HTTP/1.1\r\n{head}\r\n".encode()

    async with listening(here.app, "127.0.0.1", 0) as address:
        port = int(address.rpartition(":")[2])

        async def say(request: bytes) -> bytes:
            """All that comes back. A server takes an end of the request for the end of the client, so that one comes
            only after a while."""
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            found = b""
            try:
                with contextlib.suppress(ConnectionError):
                    writer.write(request)
                    await writer.drain()
                    with contextlib.suppress(TimeoutError):
                        found = await asyncio.wait_for(reader.read(1 << 16), PAUSE_SECONDS)
                    writer.write_eof()
                    found += await asyncio.wait_for(reader.read(), ANSWER_SECONDS)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            return found

        async def check(mutator: Mutator) -> None:
            start = mutator.random.choice((whole, chunked, asked))
            request = mutator.data(start, whole, chunked, asked, tokens=HTTP_TOKENS)
            said = await say(request)
            assert not said.startswith(b"HTTP/1.1 5") or said.startswith(b"HTTP/1.1 501 "), said
            assert SECRET.encode() not in said or SECRET.encode() in request.partition(b"\r\n\r\n")[0]

        await fuzz_async(300, check)
        found = b""
        for _ in range(100):
            found = found or await say(asked)
        assert found.startswith(b"HTTP/1.1 200")
