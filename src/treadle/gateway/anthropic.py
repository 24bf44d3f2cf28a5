"""The Anthropic Messages API, as Claude Code speaks it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import astuple

from pydantic import JsonValue

from treadle.domain.credentials import EngineCredential
from treadle.domain.prices import Tokens
from treadle.gateway.counting import Meter, StreamMeter, WholeMeter, as_count, length_of, model_of
from treadle.gateway.dialect import (
    NO_SERVERS,
    Route,
    error_json,
    is_returned,
    is_sent,
    joined,
    listed,
    secret_of,
)
from treadle.gateway.refusals import Refusal

VENDOR_ENDPOINT = "https://api.anthropic.com"

#: What a license's requests must name; an API key's must not.
OAUTH_BETA = "oauth-2025-04-20"

_MESSAGES, _COUNT, _MODELS = "/v1/messages", "/v1/messages/count_tokens", "/v1/models"
_MODEL = re.compile(r"/v1/models/[A-Za-z0-9][A-Za-z0-9._:@-]{0,199}")
_BETA = "anthropic-beta"
_SENT = frozenset(
    {
        _BETA,
        "anthropic-dangerous-direct-browser-access",
        "anthropic-version",
        "x-app",
        "x-claude-code-session-id",
    }
)
_KINDS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}
_INPUT, _OUTPUT, _READ, _WRITTEN = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
_FREE = "web_fetch_requests"


class Anthropic:
    """dialect.Dialect."""

    def route(self, method: str, path: str, query: str) -> Route | None:
        if method == "POST" and path in {_MESSAGES, _COUNT} and query in {"", "beta=true"}:
            return Route(path + (f"?{query}" if query else ""), is_turn=path == _MESSAGES)
        if method == "GET" and (path == _MODELS or _MODEL.fullmatch(path)):
            return Route(path + (f"?{query}" if query else ""))
        return None

    def prepare(self, body: dict[str, JsonValue]) -> None:
        tools = list(_blocks(body.get("tools")))
        fetched = (_is_fetched(block) for part in ("messages", "system") for block in _blocks(body.get(part)))
        if body.get("mcp_servers") or any(map(_is_fetching, tools)) or any(fetched):
            raise Refusal(403, NO_SERVERS)
        if body.get("speed") not in (None, "standard"):  # of any kind: a set would hash it
            raise Refusal(403, "A run may not ask for faster answers, which have another price.")
        if body.get("inference_geo") not in (None, "global"):
            raise Refusal(403, "A run may not choose where its model works, which has another price.")
        if body.get("service_tier") not in (None, "auto", "standard_only"):
            raise Refusal(403, "A run may not choose a tier of service, which has another price.")
        if any(str(tool.get("type")).startswith("advisor") for tool in tools):
            raise Refusal(403, "A run may not have another model advise its own, which has another price.")

    def passes(self, name: str) -> bool:
        return name in _SENT or is_sent(name)

    def returns(self, name: str) -> bool:
        return is_returned(name) or name.startswith("anthropic-ratelimit-")

    def authenticated(self, headers: Mapping[str, str], credential: EngineCredential) -> dict[str, str]:
        others = {name: value for name, value in headers.items() if name != _BETA}
        betas = [beta for beta in listed(headers.get(_BETA, "")) if beta != OAUTH_BETA]
        if credential.api_key is not None:
            named = joined(betas)
            return {**others, **({_BETA: named} if named else {}), "x-api-key": secret_of(credential.api_key)}
        held = credential.license
        token = secret_of(held.access_token if held is not None else None)
        return {**others, _BETA: joined([*betas, OAUTH_BETA]), "authorization": f"Bearer {token}"}

    def error(self, status: int, message: str) -> bytes:
        kind = _KINDS.get(status, "api_error")
        return error_json({"type": "error", "error": {"type": kind, "message": message}})

    def meter(self, most_input: Tokens, *, is_stream: bool) -> Meter:
        return StreamMeter(_Usage(), most_input) if is_stream else WholeMeter(_whole, most_input)


class _Usage:
    """counting.Usage. The stream's counts are running totals: of each, the last counts."""

    def __init__(self) -> None:
        self.model = ""
        self.written = 0
        self.tool_requests = 0
        self.is_complete = False
        self._is_final = False
        self._said: dict[str, JsonValue] = {}

    def note(self, event: Mapping[str, JsonValue]) -> None:
        match event.get("type"):
            case "message_start":
                message = event.get("message")
                if isinstance(message, dict):
                    self.model = model_of(message)
                    self._add(message.get("usage"))
            case "content_block_start":
                block = event.get("content_block")
                self._write(block)
                self.tool_requests += isinstance(block, dict) and block.get("type") == "server_tool_use"
            case "content_block_delta":
                self._write(event.get("delta"))
            case "message_delta":
                usage = event.get("usage")
                self._is_final = isinstance(usage, dict) and _OUTPUT in usage
                self._add(usage)
            case "message_stop":
                self.end()

    def end(self) -> None:
        self.is_complete = self._is_final

    @property
    def is_final(self) -> bool:
        return self._is_final

    def tokens(self) -> Tokens | None:
        return _tokens(self._said) if self._said else None

    def _write(self, piece: JsonValue) -> None:
        self.written += length_of(piece)
        self._is_final = False  # what was said before is not all

    def _add(self, usage: JsonValue) -> None:
        if isinstance(usage, dict):
            self._said |= {name: value for name, value in usage.items() if value is not None}


def _objects(value: JsonValue) -> Iterator[dict[str, JsonValue]]:
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())


def _blocks(content: JsonValue) -> Iterator[dict[str, JsonValue]]:
    """Messages and what they are made of, at every depth, one as well as a list of them; not what tools were called
    with, which may be anything."""
    waiting = [content]
    while waiting:
        match waiting.pop():
            case list() as parts:
                waiting += parts
            case dict() as block:
                yield block
                waiting += [block.get("content"), block.get("source")]


def _is_fetching(tool: Mapping[str, JsonValue]) -> bool:
    """A tool of the vendor's own, which fetches any address that was named in the conversation."""
    return str(tool.get("type")).startswith("web_fetch")


def _is_fetched(block: Mapping[str, JsonValue]) -> bool:
    """The source of a picture or a document that the vendor is to fetch."""
    return block.get("type") == "url"


def _whole(answer: Mapping[str, JsonValue]) -> Tokens | None:
    usage = answer.get("usage")
    return _tokens(usage) if isinstance(usage, dict) else None


def _tokens(usage: Mapping[str, JsonValue]) -> Tokens:
    """`iterations` has what the API made of the conversation before it answered, which the sums may leave out."""
    inner = sum((_counts(each) for each in _objects(usage.get("iterations"))), Tokens())
    return Tokens(*map(max, astuple(_counts(usage)), astuple(inner)))


def _counts(usage: Mapping[str, JsonValue]) -> Tokens:
    taken, output, read, written = (as_count(usage.get(kind)) for kind in (_INPUT, _OUTPUT, _READ, _WRITTEN))
    kept, tools = usage.get("cache_creation"), usage.get("server_tool_use")
    minutes, hour = (
        as_count(kept.get(f"ephemeral_{time}_input_tokens")) if isinstance(kept, dict) else 0 for time in ("5m", "1h")
    )
    asked = tools.items() if isinstance(tools, dict) else ()
    requests = sum(as_count(number) for name, number in asked if name.endswith("_requests") and name != _FREE)
    return Tokens(taken, output, read, max(written, minutes + hour), hour, requests)
