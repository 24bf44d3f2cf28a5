"""What both model APIs share: what may be asked of them, and what passes in either direction."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import JsonValue

from treadle.domain.credentials import EngineCredential
from treadle.domain.prices import Tokens
from treadle.gateway.counting import Meter, estimate, model_of
from treadle.gateway.refusals import Refusal

#: Largest request; the Anthropic API takes no larger one.
MAX_REQUEST_BYTES = 32 * 1024 * 1024

#: Most brackets, braces and commas in one, texts apart: each may become an object of many times its size, and the event
#: loop waits while they are read. What is large in real requests is texts and pictures; in a conversation of a million
#: tokens a call of a tool and its answer have some 20 marks to at least 100 tokens.
MAX_MARKS = 200_000

#: Most characters of a number: reading digits takes time by their square. A double has 24 at most.
MAX_DIGITS = 100

#: To whoever asks the API to fetch something from an address: what the network policy keeps in, no vendor lets out.
NO_SERVERS = "A run may not have the model API connect to servers of its choice."

_MARKS = (b"[", b"{", b",")
_QUOTES_OF_A_MARK = 4  # a name's and a value's
_NUMERALS = bytes.maketrans(b"123456789+-.eE", b"0" * 14)
_QUERY = re.compile(r"[A-Za-z0-9_.=&-]{0,200}")

#: Of a request's headers, those that are the same for every API.
_SENT = frozenset({"accept", "user-agent"})

#: Of an answer's headers. What is not here may be about the account, or about the connection.
_RETURNED = frozenset({"content-type", "request-id", "retry-after", "retry-after-ms", "x-request-id", "x-should-retry"})


@dataclass(frozen=True, slots=True)
class Route:
    """`path`: below the API's endpoint, its query too. `is_turn`: the model works, and that costs."""

    path: str
    is_turn: bool = False


#: Tokens that no answer has more of, for requests that name no number.
MAX_OUTPUT = 128_000

#: Tokens that no listed model takes more of in one request.
MAX_INPUT = 1_000_000

#: Tokens of a picture, scaled as the APIs do: it may be packed into fewer bytes.
PICTURE_TOKENS = 5000

#: Answers to one request, at most.
MAX_ANSWERS = 128

_PICTURES = (b'"media_type":"image/', b'"data:image/')
_UNKNOWN = (b'"media_type":"application/', b'"data:video/', b'"data:application/', b'"ms://')


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request's body as it is sent on, and the most that it and its answer may come to."""

    content: bytes
    model: str = ""
    is_stream: bool = False
    most_input: Tokens = field(default_factory=Tokens)
    most_output: int = 0


class Dialect(Protocol):
    """One model API. Stateless."""

    def route(self, method: str, path: str, query: str) -> Route | None: ...

    def prepare(self, body: dict[str, JsonValue]) -> None:
        """Changes it to what is sent on. Raises Refusal for what no run may ask."""

    def passes(self, name: str) -> bool:
        """Whether a request's header goes on to the API; `name` in lower case."""

    def returns(self, name: str) -> bool:
        """Whether an answer's header goes back."""

    def authenticated(self, headers: Mapping[str, str], credential: EngineCredential) -> dict[str, str]:
        """Of a request that is sent on, with the credential. Raises Refusal."""

    def error(self, status: int, message: str) -> bytes: ...

    def meter(self, most_input: Tokens, *, is_stream: bool) -> Meter: ...


def is_sent(name: str) -> bool:
    return name in _SENT or name.startswith("x-stainless-")


def is_returned(name: str) -> bool:
    return name in _RETURNED


def find_route(dialect: Dialect, method: str, target: str) -> Route:
    """The one place that a request may lead to. Raises Refusal."""
    path, mark, query = target.partition("?")
    if not target.startswith("/") or not _QUERY.fullmatch(query) or (mark and not query):
        raise Refusal(403, "Only the model API of this run can be asked here, and by its plain paths.")
    route = dialect.route(method, path, query)
    if route is None:
        raise Refusal(404, "The gateway to this run's model serves no such method and path.")
    return route


def prepare(dialect: Dialect, body: bytes) -> Prepared:
    """Parsed and written anew, so that what was judged is what the API reads: of a name that comes twice, one. Raises
    Refusal."""
    _check_parts(body)
    try:
        found = json.loads(body.decode())  # of bytes it would guess the coding, and find other parts than were counted
        if not isinstance(found, dict):
            raise Refusal(400, "The request is no JSON object.")
        dialect.prepare(found)
        text = json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        raise Refusal(400, "The request is no JSON.") from None
    try:
        content = text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: only an escape can carry it
        content = json.dumps(found, separators=(",", ":")).encode()
    return Prepared(content, model_of(found), bool(found.get("stream")), _most_input(content), _most_output(found))


def _check_parts(body: bytes) -> None:
    """Before it is parsed, by its bytes without its texts: up to its first error they are told apart as the parser
    does. Raises Refusal."""
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > _QUOTES_OF_A_MARK * (MAX_MARKS + 1):
        raise Refusal(413, "The request has too many parts.")
    bare = b'"'.join(plain.split(b'"')[::2])
    if sum(bare.count(mark) for mark in _MARKS) > MAX_MARKS:
        raise Refusal(413, "The request has too many parts.")
    if b"0" * (MAX_DIGITS + 1) in bare.translate(_NUMERALS):
        raise Refusal(413, f"The request has a number of more than {MAX_DIGITS} digits.")


def secret_of(text: str | None) -> str:
    """Raises Refusal for what cannot be a header's value."""
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise Refusal(401, "This run has no valid credential for its model.")
    return text


def error_json(body: Mapping[str, JsonValue]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def joined(parts: Iterable[str]) -> str:
    """A list as a header has it, each once."""
    return ",".join(dict.fromkeys(part for part in parts if part))


def listed(value: str) -> Sequence[str]:
    return [part.strip() for part in value.split(",")]


def _most_input(content: bytes) -> Tokens:
    """Marks are found as JSON has them outside of its strings: within, their quotes would be escaped."""
    pictures = sum(content.count(mark) for mark in _PICTURES)
    is_known = not any(mark in content for mark in _UNKNOWN)
    most = min(MAX_INPUT, estimate(len(content)) + pictures * PICTURE_TOKENS) if is_known else MAX_INPUT
    if b'"cache_control":' not in content:
        return Tokens(input=most)
    return Tokens(cache_write=most, hour_write=most if b'"ttl":"1h"' in content else 0)


def _most_output(body: Mapping[str, JsonValue]) -> int:
    found = [body.get(name) for name in ("max_tokens", "max_completion_tokens")]
    each = max((one for one in found if isinstance(one, int) and 0 < one <= MAX_OUTPUT), default=MAX_OUTPUT)
    answers = body.get("n")
    return each * (min(answers, MAX_ANSWERS) if isinstance(answers, int) and answers > 1 else 1)
