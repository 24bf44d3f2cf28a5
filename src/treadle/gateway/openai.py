"""The OpenAI chat-completions API, as Kimi Code and its vendor speak it. Paths inside begin with `/v1`, as the endpoint
outside ends."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue

from treadle.domain.credentials import EngineCredential
from treadle.domain.prices import Tokens
from treadle.gateway.counting import Meter, StreamMeter, WholeMeter, as_count, length_of, model_of
from treadle.gateway.dialect import NO_SERVERS, Route, error_json, is_returned, is_sent, secret_of
from treadle.gateway.refusals import Refusal

#: Addresses of what is in the request itself, or kept with the vendor already.
_INSIDE = ("data:", "ms://")

_SEARCH = "$web_search"
_CALLS = "tool_calls"

_KINDS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "invalid_authentication_error",
    402: "billing_error",
    403: "permission_denied_error",
    404: "resource_not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_reached_error",
}


class OpenAI:
    """dialect.Dialect."""

    def route(self, method: str, path: str, query: str) -> Route | None:
        if method == "POST" and path == "/v1/chat/completions" and not query:
            return Route("/chat/completions", is_turn=True)
        return Route("/models") if method == "GET" and path == "/v1/models" and not query else None

    def prepare(self, body: dict[str, JsonValue]) -> None:
        """A stream has to say at its end what it cost, whether the client asks for it or not."""
        if not all(isinstance(url, str) and url.startswith(_INSIDE) for url in _urls(body.get("messages"))):
            raise Refusal(403, NO_SERVERS)
        if body.get("service_tier") not in (None, "auto", "default"):  # of any kind: a set would hash it
            raise Refusal(403, "A run may not choose a tier of service, which has another price.")
        if body.get("stream"):
            options = body.get("stream_options")
            body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}

    def passes(self, name: str) -> bool:
        return is_sent(name) or name.startswith("x-msh-")

    def returns(self, name: str) -> bool:
        return is_returned(name) or name.startswith(("x-ratelimit-", "msh-"))

    def authenticated(self, headers: Mapping[str, str], credential: EngineCredential) -> dict[str, str]:
        return {**headers, "authorization": f"Bearer {secret_of(credential.api_key)}"}

    def error(self, status: int, message: str) -> bytes:
        return error_json({"error": {"message": message, "type": _KINDS.get(status, "server_error")}})

    def meter(self, most_input: Tokens, *, is_stream: bool) -> Meter:
        return StreamMeter(_Usage(), most_input) if is_stream else WholeMeter(_whole, most_input)


class _Usage:
    """counting.Usage. The vendor also puts it into the last choice; the chunk that has nothing else comes later and
    counts."""

    def __init__(self) -> None:
        self.model = ""
        self.written = 0
        self.tool_requests = 0
        self.is_complete = False
        self._is_final = False
        self._said: Mapping[str, JsonValue] | None = None

    @property
    def is_final(self) -> bool:
        return self._is_final

    def note(self, event: Mapping[str, JsonValue]) -> None:
        self.model = self.model or model_of(event)
        usage, before = event.get("usage"), self.written
        for choice in _choices(event):
            delta = choice.get("delta")
            self.written += length_of(delta)
            self.tool_requests += _searches(delta)
            usage = usage or choice.get("usage")
        if isinstance(usage, dict):
            self._said = usage
        self._is_final = self._said is not None and self.written == before  # some say in each chunk what it was so far

    def end(self) -> None:
        self._is_final = self.is_complete = self._said is not None

    def tokens(self) -> Tokens | None:
        return _tokens(self._said, self.tool_requests) if self._said is not None else None


def _urls(messages: JsonValue) -> Iterator[JsonValue]:
    """What the vendor would fetch, such as an `image_url`, at every depth; not what tools were called with, which may
    be anything."""
    waiting = [messages]
    while waiting:
        match waiting.pop():
            case list() as parts:
                waiting += parts
            case dict() as part:
                named = (value for name, value in part.items() if name.endswith("_url"))
                yield from (value.get("url") if isinstance(value, dict) else value for value in named)
                waiting += [value for name, value in part.items() if name != _CALLS]


def _choices(answer: Mapping[str, JsonValue]) -> Sequence[dict[str, JsonValue]]:
    found = answer.get("choices")
    return [choice for choice in found if isinstance(choice, dict)] if isinstance(found, list) else []


def _searches(message: JsonValue) -> int:
    """Calls of the vendor's own search, which it charges for when the model asks."""
    calls = message.get(_CALLS) if isinstance(message, dict) else None
    functions = [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    return sum(isinstance(function, dict) and function.get("name") == _SEARCH for function in functions)


def _whole(answer: Mapping[str, JsonValue]) -> Tokens | None:
    usage = answer.get("usage")
    searches = sum(_searches(choice.get("message")) for choice in _choices(answer))
    return _tokens(usage, searches) if isinstance(usage, dict) else None


def _tokens(usage: Mapping[str, JsonValue], searches: int) -> Tokens:
    """`prompt_tokens` has those from the cache in it."""
    prompt, details = as_count(usage.get("prompt_tokens")), usage.get("prompt_tokens_details")
    cached = as_count(details.get("cached_tokens")) if isinstance(details, dict) else 0
    cached = min(prompt, max(cached, as_count(usage.get("cached_tokens"))))
    output = as_count(usage.get("completion_tokens"))
    return Tokens(input=prompt - cached, output=output, cache_read=cached, tool_requests=searches)
