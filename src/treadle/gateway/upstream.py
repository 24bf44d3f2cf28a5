"""The worker's connections to the model APIs, shared by its runs: no redirects, no cookies, nobody's environment."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

import httpx2

from treadle import outward

#: Connecting to the model API, and sending it each piece of a request, in seconds.
CONNECT_SECONDS = 10.0
SEND_SECONDS = 60.0

#: Least silence of the model API after which its answer is given up, in seconds; never before an engine would be that
#: waits for it.
SILENCE_SECONDS = 600.0

#: Connections that are kept for further requests, and for how long, in seconds.
KEPT_CONNECTIONS = 100
KEPT_SECONDS = 90.0

#: Renewing a license, in seconds.
TOKEN_SECONDS = 30.0

#: Largest answer to that, in bytes.
MAX_TOKEN_BYTES = 64 * 1024

#: After this the API may have begun to work, and to count.
_REACHED = "http11.send_request_body.started"
_UNPACKED = frozenset({"gzip", "x-gzip", "deflate"})


class Trouble(Exception):
    """What is between here and the API, or it breaks off. `kind` names it without saying where anything is."""

    def __init__(self, kind: str, *, is_timeout: bool) -> None:
        super().__init__(kind)
        self.kind = kind
        self.is_timeout = is_timeout


class Sent:
    """Whether a request got so far that the API may have taken it."""

    def __init__(self) -> None:
        self.has_reached = False

    async def __call__(self, event: str, details: Mapping[str, object]) -> None:
        if event == _REACHED and getattr(details.get("request"), "method", b"") != b"CONNECT":  # that is to a proxy
            self.has_reached = True


@contextmanager
def _troubles() -> Iterator[None]:
    try:
        yield
    except httpx2.TimeoutException as error:
        raise Trouble(type(error).__name__, is_timeout=True) from None
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
        raise Trouble(type(error).__name__, is_timeout=False) from None


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Sequence[tuple[bytes, bytes]]  # names in lower case
    response: httpx2.Response

    def header(self, name: bytes) -> str:
        """Empty: there is none."""
        return next((value.decode("latin-1") for found, value in self.headers if found == name), "")

    @property
    def coding(self) -> str:
        """Empty: as it was asked for, in none."""
        coding = self.header(b"content-encoding").strip().lower()
        return "" if coding == "identity" else coding

    @property
    def is_readable(self) -> bool:
        return not self.coding or self.coding in _UNPACKED

    @property
    def is_stream(self) -> bool:
        return self.header(b"content-type").lower().startswith("text/event-stream")

    @property
    def length(self) -> bytes:
        """Empty: not known."""
        is_known = not self.coding and not self.header(b"transfer-encoding")
        return self.header(b"content-length").encode() if is_known else b""

    async def pieces(self) -> AsyncIterator[bytes]:
        """As they come, unpacked. Raises Trouble."""
        with _troubles():
            async for piece in self.response.aiter_bytes() if self.coding else self.response.aiter_raw():
                yield piece


class Outside:
    """`environment`: for proxies and certificates. `silence_seconds`: of an API that was asked."""

    def __init__(self, environment: Mapping[str, str], *, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._environment = environment
        self._silence = silence_seconds
        self._ways: dict[str | None, httpx2.AsyncHTTPTransport] = {}

    async def aclose(self) -> None:
        ways, self._ways = self._ways, {}
        for way in ways.values():
            await way.aclose()

    @asynccontextmanager
    async def ask(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], content: bytes, sent: Sent
    ) -> AsyncIterator[Answer]:
        """Its answer, whose body is still to come; leaving closes what has not come. Raises Trouble."""
        timeout = {"connect": CONNECT_SECONDS, "write": SEND_SECONDS, "read": self._silence, "pool": CONNECT_SECONDS}
        with _troubles():
            request = httpx2.Request(
                method,
                url,
                headers=[*headers, ("Accept-Encoding", "identity")],
                content=content or None,
                extensions={"timeout": timeout, "trace": sent},
            )
            response = await self._way(url).handle_async_request(request)
        response.request = request
        try:
            yield Answer(response.status_code, [(n.lower(), value) for n, value in response.headers.raw], response)
        finally:
            await response.aclose()

    async def post_json(self, url: str, body: Mapping[str, str]) -> tuple[int, bytes]:
        """Raises Trouble."""
        headers = [("Content-Type", "application/json"), ("Accept", "application/json")]
        found = bytearray()
        try:
            async with (
                asyncio.timeout(TOKEN_SECONDS),
                self.ask("POST", url, headers, json.dumps(body).encode(), Sent()) as answer,
            ):
                async for piece in answer.pieces():
                    found += piece
                    if len(found) > MAX_TOKEN_BYTES:
                        raise Trouble("an answer that is too large", is_timeout=False)
                return answer.status, bytes(found)
        except TimeoutError:
            raise Trouble("no answer in time", is_timeout=True) from None

    def _way(self, url: str) -> httpx2.AsyncHTTPTransport:
        place = urlsplit(url)
        proxy = outward.proxy_for(place.scheme, place.hostname or "", self._environment)
        if proxy not in self._ways:
            limits = httpx2.Limits(
                max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS, keepalive_expiry=KEPT_SECONDS
            )
            try:
                self._ways[proxy] = httpx2.AsyncHTTPTransport(verify=self._certificates, limits=limits, proxy=proxy)
            except (
                ValueError,
                ImportError,
                OSError,
                httpx2.InvalidURL,
            ) as error:  # not its words: a proxy has a password
                raise Trouble(type(error).__name__, is_timeout=False) from None
        return self._ways[proxy]

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        return outward.certificates(self._environment)
