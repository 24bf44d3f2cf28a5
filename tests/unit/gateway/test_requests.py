"""What a run may ask of its model, and what of it is sent on."""

import json

import pytest
from pydantic import JsonValue
from tests.support.gateway_runs import KEY, Opened, client, opened
from tests.support.model_server import ModelServer

from treadle.domain.errors import ConfigurationError
from treadle.domain.run import EngineName
from treadle.gateway import dialect, door
from treadle.gateway.gateway import Gateway

pytestmark = pytest.mark.anyio


async def test_the_real_key_takes_the_tokens_place(run: Opened, model: ModelServer) -> None:
    assert (await run.ask()).status_code == 200
    (asked,) = model.requests
    assert asked.credential == f"x-api-key {KEY}"
    assert run.door.token not in str(asked.headers)
    assert asked.headers["host"] == model.url.removeprefix("http://")
    assert asked.headers["accept-encoding"] == "identity"


async def test_a_key_of_the_openai_kind_is_a_bearer(kimi: Opened, model: ModelServer) -> None:
    assert (await kimi.ask("/v1/chat/completions", model="kimi-k2")).status_code == 200
    assert model.requests[0].credential == f"Bearer {KEY}"
    assert model.requests[0].path == "/v1/chat/completions"


async def test_a_token_opens_its_own_runs_door_alone(gateway: Gateway, model: ModelServer) -> None:
    async with opened(gateway) as one, opened(gateway) as other:
        assert one.door.token != other.door.token
        for wrong in (other.door.token, "", "x", one.door.token[:-1], one.door.token + "x", KEY, "é"):
            async with client(one.door, "x") as http:
                headers = {b"authorization": f"Bearer {wrong}".strip().encode("latin-1")}
                answer = await http.post("/v1/messages", json={"model": "m"}, headers=headers)
                assert answer.status_code == 401
                assert answer.json()["error"]["type"] == "authentication_error"
                assert (await http.post("/v1/messages", headers={"x-api-key": one.door.token}, json={})).is_success
                bare = await http.get("/v1/models", headers={"authorization": ""})
                assert bare.status_code == 401
        assert not one.account.renewals
    assert {request.path for request in model.requests} == {"/v1/messages"}
    assert len(model.requests) == 7


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/messages"),
        ("DELETE", "/v1/models/claude"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/messages?beta=false"),
        ("POST", "/v1/messages?beta=true&x=1"),
        ("POST", "/v1/messages?"),
        ("POST", "/v1/messages/"),
        ("POST", "//v1/messages"),
        ("POST", "/v1/../v1/messages"),
        ("POST", "/v1/%6dessages"),
        ("POST", "/v1%2fmessages"),
        ("POST", "/v1/messages#x"),
        ("POST", "/v1/messages;x=1"),
        ("POST", "/V1/messages"),
        ("POST", "/v1\\messages"),
        ("GET", "/v1/models/../files"),
        ("GET", "/v1/models/.."),
        ("GET", "/v1/models/a/b"),
        ("GET", "/v1/models?x=%2e"),
        ("GET", "/v1/files"),
        ("POST", "/v1/files"),
        ("GET", "/v1/organizations/me"),
        ("GET", "/api/oauth/profile"),
        ("POST", "/v1/chat/completions"),
        ("POST", "http://example.org/v1/messages"),
        ("POST", "@example.org/v1/messages"),
        ("CONNECT", "example.org:443"),
        ("OPTIONS", "*"),
        ("TRACE", "/v1/messages"),
    ],
)
async def test_nothing_else_can_be_asked(run: Opened, model: ModelServer, method: str, path: str) -> None:
    answer = await run.raw(run.head(f"{method} {path} HTTP/1.1", "Content-Length: 0", "Connection: close"))
    assert answer.split(b" ")[1] in {b"403", b"404"}
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "error"
    assert not model.requests
    assert not run.account.charged


async def test_the_other_api_is_another_engines(kimi: Opened, model: ModelServer) -> None:
    assert (await kimi.ask("/v1/messages")).status_code == 404
    assert (await kimi.ask("/v1/files")).json()["error"]["type"] == "resource_not_found_error"
    assert not model.requests


async def test_side_requests_are_sent_on_and_cost_nothing(run: Opened, kimi: Opened, model: ModelServer) -> None:
    assert (await run.ask("/v1/messages/count_tokens?beta=true")).json()["input_tokens"] > 0
    assert (await run.http.get("/v1/models?limit=5")).json()["data"] == []
    assert (await kimi.http.get("/v1/models")).json()["data"] == []
    assert [request.path for request in model.requests] == ["/v1/messages/count_tokens", "/v1/models", "/v1/models"]
    assert not run.account.charged + kimi.account.charged
    assert run.account.permits == 2


async def test_of_the_headers_only_the_apis_own_go_on(run: Opened, model: ModelServer) -> None:
    mine = {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "a-2025,b-2025",
        "x-app": "cli",
        "x-stainless-lang": "js",
        "user-agent": "claude-cli/9",
        "accept": "application/json",
    }
    others = {
        "cookie": "a=b",
        "proxy-authorization": "Basic eDp5",
        "forwarded": "for=1.2.3.4",
        "x-forwarded-for": "1.2.3.4",
        "x-forwarded-host": "example.org",
        "x-original-url": "/v1/files",
        "x-http-method-override": "DELETE",
        "anthropic-organization": "other",
        "accept-encoding": "gzip",
        "te": "trailers",
        "origin": "http://example.org",
    }
    assert (await run.ask(headers=mine | others)).is_success
    sent = dict(model.requests[0].headers)
    assert {name: sent[name] for name in mine} == mine
    assert not (others.keys() - {"accept-encoding"}) & sent.keys()
    assert sent["accept-encoding"] == "identity"
    allowed = {"host", "content-length", "content-type", "accept-encoding", "x-api-key"}
    assert sent.keys() == mine.keys() | allowed


async def test_a_body_is_sent_on_as_it_was_judged(run: Opened, model: ModelServer) -> None:
    text = '{"model": "first", "model": "m", "text": "\\ud800 é \\u0000", "number": 1.5e3, "messages": []}'
    answer = await run.http.post("/v1/messages", content=text)
    assert answer.is_success
    assert model.requests[0].body == {"model": "m", "text": "\ud800 é \0", "number": 1500.0, "messages": []}
    assert answer.json()["model"] == "m"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"a": NaN}', b'{"a": 1e999}', b"[" * 100_000, b'{"a":' * 50_000, b"\xff{}", b"null"]
)
async def test_what_is_no_json_object_goes_nowhere(run: Opened, model: ModelServer, body: bytes) -> None:
    answer = await run.http.post("/v1/messages", content=body)
    assert answer.status_code == 400
    assert not model.requests


_FETCHED: JsonValue = {"type": "image", "source": {"type": "url", "url": "https://example.org/?stolen"}}


@pytest.mark.parametrize(
    "body",
    [
        {"mcp_servers": [{"type": "url", "url": "https://example.org/?stolen"}]},
        {"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]},
        {"messages": [{"role": "user", "content": [_FETCHED]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [_FETCHED]}]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "document", "source": {"type": "content", "content": [_FETCHED]}}],
                }
            ]
        },
        {"system": [_FETCHED]},
        {"system": _FETCHED},
        {"messages": [{"role": "user", "content": _FETCHED}]},
        {"messages": {"role": "user", "content": [[_FETCHED]]}},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "web_fetch_tool_result", "content": {"type": "web_fetch_result", "content": _FETCHED}}
                    ],
                }
            ]
        },
        {"tools": {"type": "web_fetch_20250910", "name": "web_fetch"}},
    ],
)
async def test_the_api_connects_to_no_servers_for_a_run(
    run: Opened, model: ModelServer, body: dict[str, JsonValue]
) -> None:
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        answer = await run.http.post(path, json={"model": "claude-sonnet-4-5", **body})
        assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")
    assert not model.requests


@pytest.mark.parametrize(
    "part",
    [
        {"image_url": {"url": "https://example.org"}},
        {"video_url": "http://x"},
        {"x_url": 7},
        {"type": "file", "file": {"file_url": "https://example.org"}},
    ],
)
async def test_nor_does_the_other_api(kimi: Opened, model: ModelServer, part: dict[str, JsonValue]) -> None:
    message: JsonValue = {"role": "user", "content": [{"type": "text", "text": "look"}, part]}
    one: JsonValue = {"role": "user", "content": part}
    for messages in ([message], message, [one]):
        assert (await kimi.ask("/v1/chat/completions", messages=messages)).status_code == 403
    assert not model.requests


@pytest.mark.parametrize(
    "body",
    [
        {"speed": "fast"},
        {"speed": []},
        {"inference_geo": "us"},
        {"service_tier": "priority"},
        {"service_tier": {}},
        {"tools": {"type": "advisor_20260301", "name": "advisor"}},
        {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-5"}]},
    ],
)
async def test_nothing_is_asked_that_has_another_price(
    run: Opened, model: ModelServer, body: dict[str, JsonValue]
) -> None:
    answer = await run.http.post("/v1/messages", json={"model": "claude-sonnet-4-5", "messages": [], **body})
    assert answer.status_code == 403
    assert "another price" in answer.text
    assert not model.requests
    assert (await run.ask(speed="standard", inference_geo="global", tools=[{"name": "advisor"}])).is_success
    for tier in ("auto", "standard_only", None):
        assert (await run.ask(service_tier=tier)).is_success


async def test_nor_of_the_other_api(kimi: Opened, model: ModelServer) -> None:
    refused: list[JsonValue] = ["priority", "flex", []]
    for tier in refused:
        answer = await kimi.ask("/v1/chat/completions", service_tier=tier)
        assert answer.status_code == 403
        assert "another price" in answer.text
    assert not model.requests
    for usual in ("auto", "default", None):
        assert (await kimi.ask("/v1/chat/completions", service_tier=usual)).is_success


async def test_pictures_in_the_request_itself_and_calls_of_tools_are_sent_on(
    run: Opened, kimi: Opened, model: ModelServer
) -> None:
    picture: JsonValue = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}}
    call: JsonValue = {"type": "tool_use", "id": "t", "name": "x", "input": {"content": [_FETCHED]}}
    search: JsonValue = {"type": "web_search_20250305", "name": "web_search"}
    messages: JsonValue = [{"role": "user", "content": [picture]}, {"role": "assistant", "content": [call]}]
    assert (await run.ask(messages=messages, tools=[search, {"name": "web_fetch"}])).is_success
    shown: JsonValue = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}
    called: JsonValue = {"role": "assistant", "tool_calls": [{"function": {"arguments": {"page_url": "https://x"}}}]}
    asked: JsonValue = [{"role": "user", "content": [shown]}, called]
    assert (await kimi.ask("/v1/chat/completions", messages=asked)).is_success
    assert len(model.requests) == 2


async def test_a_streams_count_cannot_be_left_out(kimi: Opened, model: ModelServer) -> None:
    await kimi.ask("/v1/chat/completions", stream=True, stream_options={"include_usage": False, "x": 1})
    await kimi.ask("/v1/chat/completions", stream=True, stream_options=7)
    bodies = [request.body for request in model.requests]
    assert [body["stream_options"] for body in bodies if isinstance(body, dict)] == [
        {"include_usage": True, "x": 1},
        {"include_usage": True},
    ]


async def test_large_requests(run: Opened, model: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MAX_REQUEST_BYTES", 300_000)
    assert (await run.ask(text="x" * 299_000)).is_success
    answer = await run.ask(text="x" * 300_000)
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "request_too_large")
    monkeypatch.setattr(dialect, "MAX_MARKS", 1000)
    assert (await run.ask(text=[[]] * 900)).status_code == 413
    assert (await run.ask(text=[""] * 1001)).status_code == 413
    assert (await run.ask(text="\\", parts=[[]] * 900)).status_code == 413
    assert (await run.http.post("/v1/messages", content='"' * 4005)).status_code == 413
    assert len(model.requests) == 1
    for text in ("[{," * 1000, '\\"[,' * 1000, "[\\\\" * 1000, "9" * 1000):
        assert (await run.ask(text=text)).is_success, "texts are one part"


async def test_long_numbers(run: Opened, model: ModelServer) -> None:
    for number in ("9" * 101, f"-1.{'7' * 100}", f"1e{'0' * 100}"):
        answer = await run.http.post("/v1/messages", content=f'{{"x": {number}}}')
        assert (answer.status_code, answer.json()["error"]["type"]) == (413, "request_too_large")
    assert not model.requests
    assert (await run.http.post("/v1/messages", content=f'{{"x": {"9" * 100}}}')).is_success


async def test_another_coding_hides_no_parts(run: Opened, model: ModelServer) -> None:
    """In which a letter has a quote's byte, so that what follows it looks like text."""
    text = '{"text": "\u2200", "parts": [1, 2, 3]}'
    for coding in ("utf-16-le", "utf-16", "utf-32-be", "utf-8-sig"):
        assert (await run.http.post("/v1/messages", content=text.encode(coding))).status_code == 400
    assert not model.requests


async def test_bodies_that_are_too_large_together(
    run: Opened, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MAX_HELD_BYTES", 200_000)
    answer = await run.ask(text="x" * 200_000)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert not model.requests
    assert (await run.ask(text="x" * 150_000)).is_success  # nothing of the first is held any more
    assert (await run.ask(text="x" * 150_000)).is_success


async def test_an_engine_without_a_model_has_no_door(gateway: Gateway) -> None:
    with pytest.raises(ConfigurationError):
        async with opened(gateway, engine=EngineName.DUMMY):
            pass
