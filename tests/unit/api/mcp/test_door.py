"""Who may speak MCP to the service, from where, and how much."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from tests.support.deployment import Deployment, deployed

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"Accept": "application/json, text/event-stream"}

#: For each code of JSON-RPC; of the last one they are MCP's package's own.
SAID = {
    -32700: "This is no JSON.",
    -32602: "This is no message of JSON-RPC 2.0.",
    -32600: "Body must be a single JSON-RPC request or notification object",
}

pytestmark = pytest.mark.anyio


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployed(
        tmp_path, public_url="https://treadle.example", max_request_bytes=4096, rate_limit_code_generation="5/60"
    ) as found:
        yield found


async def ask(here: Deployment, headers: dict[str, str] | None = None, **options: object) -> httpx2.Response:
    return await here.http.post(
        "/mcp",
        json=PING,
        headers={**ACCEPT, **here.admin.headers, **(headers or {})},
        **options,  # type: ignore[arg-type]  # httpx2's own
    )


async def test_a_key_by_either_header(here: Deployment) -> None:
    assert (await ask(here)).status_code == 200
    bearer = {"Authorization": f"Bearer {here.admin.key}"}
    answer = await here.http.post("/mcp", json=PING, headers={**ACCEPT, **bearer})
    assert answer.status_code == 200
    assert '"result":{}' in answer.text


@pytest.mark.parametrize("headers", [{}, {"X-Api-Key": "trd_wrong"}, {"Authorization": "Bearer trd_wrong"}])
async def test_without_a_key_that_holds_nothing_is_answered(here: Deployment, headers: dict[str, str]) -> None:
    answer = await here.http.post("/mcp", json=PING, headers={**ACCEPT, **headers})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="treadle"'


async def test_there_is_nothing_to_get_or_to_end(here: Deployment) -> None:
    for method in ("GET", "DELETE"):
        answer = await here.http.request(method, "/mcp", headers={**ACCEPT, **here.admin.headers})
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://treadle.test",  # the request's own Host, which a rebound name would be, too
        "http://treadle.example",
        "https://treadle.example:8443",
        "https://127.0.0.1.evil.example",
        "null",
        "http://[",
        "http://x:port",
    ],
)
async def test_a_page_of_elsewhere_is_refused_whatever_key_it_has(here: Deployment, origin: str) -> None:
    answer = await ask(here, {"Origin": origin})
    assert answer.status_code == 403
    assert answer.json()["code"] == "foreign_origin"


@pytest.mark.parametrize(
    "origin", ["https://treadle.example", "https://treadle.example:443", "http://localhost:3000", "http://[::1]:9"]
)
async def test_a_page_of_its_own_is_not(here: Deployment, origin: str) -> None:
    assert (await ask(here, {"Origin": origin})).status_code == 200


async def test_a_body_is_bounded_before_it_is_read_by_anybody(here: Deployment) -> None:
    text = "x" * 5000
    sent = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "upload_file", "arguments": text}}
    answer = await here.http.post("/mcp", json=sent, headers={**ACCEPT, **here.admin.headers})
    assert answer.status_code == 413
    assert "4,096" in answer.json()["detail"]
    other = await ask(here, {"Content-Type": "text/plain"})
    assert other.status_code == 415


@pytest.mark.parametrize("version", [None, "2025-06-18", "2026-07-28"])
async def test_what_is_no_message_is_refused_without_a_parser_s_words(tmp_path: Path, version: str | None) -> None:
    bodies = [
        (b"a-secret", {-32700}),
        (b"\xff", {-32700}),
        (b"[" * 2_000, {-32700}),
        (b'"a-secret"', {-32602, -32600}),
        (b'{"a-secret": 1}', {-32602, -32600}),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "a-secret"}', {-32602, -32600}),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "a-secret"}]', {-32602, -32600}),
    ]
    asked = {**ACCEPT, "Content-Type": "application/json"} | ({"MCP-Protocol-Version": version} if version else {})
    async with deployed(tmp_path) as here:
        for body, codes in bodies:
            answer = await here.http.post("/mcp", content=body, headers={**asked, **here.admin.headers})
            assert answer.status_code == 400
            assert answer.headers["content-type"] == "application/json"
            assert int(answer.headers["content-length"]) == len(answer.content)
            error = answer.json()["error"]
            assert error["code"] in codes
            assert error["message"] == SAID[error["code"]]


async def test_requests_are_counted_as_the_other_apis_are(here: Deployment) -> None:
    answers = [await ask(here) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert "r=4" in answers[0].headers["ratelimit"]


async def test_an_answer_has_the_headers_of_every_answer(here: Deployment) -> None:
    answer = await ask(here)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "content-length" not in answer.headers or answer.headers["content-length"] != "0"


def test_nobody_pays_for_mcp_who_does_not_speak_it() -> None:
    said = "import treadle.api.app, treadle.cli.main, sys; print('mcp' in sys.modules, 'mcp_types' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, encoding="utf-8", check=True, timeout=120)
    assert done.stdout.split() == ["False", "False"]
