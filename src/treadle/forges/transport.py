"""How a forge's API is asked: within a deadline, with the address that was checked, without redirects, and with as much
patience as a rate limit or a restart deserves.

Where private hosts are not allowed, the host is looked up once, every address must be public, and the connection goes
to the address that was checked, under the host's own name (so that TLS verifies that one). A name that is looked up
again may by then have another answer.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TypeVar

import httpx2
import structlog
from pydantic import JsonValue, TypeAdapter

from treadle import hosts
from treadle.domain.errors import ForgeAuthenticationFailed, ForgeError
from treadle.forges.addresses import Place, place_of, proxy_for
from treadle.forges.answers import Answer, Refused, Unsure, pause_of, refusal, wait_of
from treadle.ports import Clock
from treadle.ports.forges import ForgeRepository
from treadle.version import __version__

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: Longest time for one request and its answer, in seconds.
CALL_SECONDS = 20.0

#: Longest time for everything that one operation asks, repeats and pauses included, in seconds.
OPERATION_SECONDS = 50.0

#: How often a request is sent that meets a limit or passing trouble.
MAX_TRIES = 3

#: Pause before the next try, in seconds; twice as long before the one after it.
PAUSE_SECONDS = 0.5

#: Longest pause that a forge may ask for, in seconds; one that asks for more has refused.
MAX_PAUSE_SECONDS = 20.0

#: Largest answer that is read, in bytes.
MAX_ANSWER_BYTES = 1 << 20


class Transport:
    """What all clients share. `environment`: for proxies and certificates, as Git has it."""

    def __init__(self, clock: Clock, *, allow_private_hosts: bool, environment: Mapping[str, str]) -> None:
        self._clock = clock
        self._allow_private_hosts = allow_private_hosts
        self._environment = environment

    @asynccontextmanager
    async def open(self, repository: ForgeRepository, headers: Mapping[str, str]) -> AsyncIterator["Line"]:
        """A line to a repository's forge, for one operation. Raises ForgeError."""
        token, place = repository.token, place_of(repository.access.api_url)
        if not (token and token.isascii() and token.isprintable() and " " not in token):
            raise ForgeAuthenticationFailed(
                "The repository's token is empty or holds characters that no token has.",
                hint="`treadle admin repo update` gives it another one.",
            )
        proxy = proxy_for(place, self._environment)
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                addresses = await self._checked(place)
                async with self._client(place, headers, proxy) as http:
                    # A proxy looks the name up itself, as it does for Git.
                    yield Line(http, place, token, self._clock, () if proxy else addresses)
        except TimeoutError:
            raise ForgeError(f"{place.host} took more than {OPERATION_SECONDS:g} s.") from None

    def _client(self, place: Place, headers: Mapping[str, str], proxy: str | None) -> httpx2.AsyncClient:
        try:
            return httpx2.AsyncClient(
                verify=self._certificates,
                headers={
                    # Nothing that is packed: the bound on an answer counts what comes over the line.
                    "Accept-Encoding": "identity",
                    "User-Agent": f"Treadle/{__version__}",
                    **headers,
                },
                timeout=CALL_SECONDS,
                follow_redirects=False,
                trust_env=False,
                proxy=proxy,
            )
        except (ValueError, ImportError, OSError, httpx2.InvalidURL) as error:  # not its words: a proxy has a password
            raise ForgeError(
                f"{place.host} cannot be asked with the proxy or the certificates of this service "
                f"({type(error).__name__}).",
                hint="HTTPS_PROXY must be an http or https address; SSL_CERT_FILE and GIT_SSL_CAINFO must name "
                "certificates.",
            ) from None

    async def _checked(self, place: Place) -> tuple[str, ...]:
        """The addresses to connect to; none: wherever the name leads."""
        if self._allow_private_hosts:
            return ()
        if place.scheme != "https":
            raise ForgeError(
                f"The API of {place.host} is not asked over http, where anybody could read the token.",
                hint="Give its https address, or set TREADLE_ALLOW_PRIVATE_HOSTS=1.",
            )
        try:
            found = await hosts.look_up(place.host, place.port)
        except OSError as error:
            raise ForgeError(f"The host {place.host} cannot be found.") from error
        if not hosts.are_public(found):
            raise ForgeError(
                f"The host {place.host} is on a private address, which this service does not connect to.",
                hint="TREADLE_ALLOW_PRIVATE_HOSTS=1 allows it.",
            )
        return tuple(sorted(found, key=lambda address: ":" in address))  # many machines reach no IPv6

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        environment = self._environment
        file = environment.get("GIT_SSL_CAINFO") or environment.get("SSL_CERT_FILE")
        directory = environment.get("GIT_SSL_CAPATH") or environment.get("SSL_CERT_DIR")
        if file or directory:
            return ssl.create_default_context(cafile=file, capath=directory)
        return httpx2.create_ssl_context(trust_env=False)


class Line:
    """Asks one forge. Raises Refused, Unsure and other ForgeErrors; never with the token in it."""

    def __init__(
        self, http: httpx2.AsyncClient, place: Place, token: str, clock: Clock, addresses: tuple[str, ...]
    ) -> None:
        self.place = place
        self._http = http
        self._token = token
        self._clock = clock
        self._addresses = addresses

    async def get(self, shape: type[T], path: str, **query: str | int) -> T:
        """`path`: below the API's address, quoted."""
        return await self._ask("GET", shape, path, query=query)

    async def send(
        self,
        method: str,
        shape: type[T],
        path: str,
        body: Mapping[str, JsonValue],
        *,
        is_repeatable: bool = True,
        below: str | None = None,
    ) -> T:
        """`is_repeatable` False: asked once, unless it was surely not done; raises Unsure then. `below`: another path
        than the API's own that `path` is below."""
        return await self._ask(method, shape, path, body=body, is_repeatable=is_repeatable, below=below)

    def clean(self, text: str) -> str:
        """`text` in one line, without the token."""
        return " ".join(text.split()).replace(self._token, "***")

    async def once(self, find: Callable[[], Awaitable[T | None]], create: Callable[[], Awaitable[T]]) -> T:
        """What `find` finds, or `create` creates: at most one, also when the answer to a creation is lost."""
        tries = 0
        while True:
            if (found := await find()) is not None:
                return found
            tries += 1
            try:
                return await create()
            except Refused:  # perhaps because somebody else was faster
                if (found := await find()) is not None:
                    return found
                raise
            except Unsure:
                if tries >= MAX_TRIES:
                    raise
                await self._clock.sleep(PAUSE_SECONDS * 2 ** (tries - 1))

    async def _ask(
        self,
        method: str,
        shape: type[T],
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, JsonValue] | None = None,
        is_repeatable: bool = True,
        below: str | None = None,
    ) -> T:
        target = f"{self.place.path if below is None else below}/{path}"
        tries = 0
        while True:
            tries += 1
            pause = PAUSE_SECONDS * 2 ** (tries - 1)
            try:
                answer = await self._exchange(method, target, query or {}, body, tries - 1)
            except Unsure as error:
                if not is_repeatable or tries >= MAX_TRIES:
                    raise
                log.info("asking the forge again", host=self.place.host, error=error.message)
            else:
                if answer.is_success:
                    return self._read(shape, answer)
                pause = max(pause, self._pause(answer, is_repeatable=is_repeatable, is_last=tries >= MAX_TRIES))
                log.info("asking the forge again", host=self.place.host, status=answer.status)
            await self._clock.sleep(pause)

    def _pause(self, answer: Answer, *, is_repeatable: bool, is_last: bool) -> float:
        """How long to wait before the same is asked again. Raises what it comes to when it is not."""
        host, now = self.place.host, self._clock.now()
        if (wait := wait_of(answer, now)) is not None:  # it was not done, so it may always be asked again
            if is_last or wait > MAX_PAUSE_SECONDS:
                raise ForgeError(f"{host} limits how often it may be asked; try again in {max(1, round(wait)):,} s.")
            return wait
        if not answer.is_passing_trouble:
            raise refusal(answer, host, self._token)
        wait = pause_of(answer, now)
        if not is_repeatable or is_last or wait > MAX_PAUSE_SECONDS:
            raise Unsure(f"{host} is in trouble: it answers with HTTP {answer.status}.")
        return wait

    def _read(self, shape: type[T], answer: Answer) -> T:
        try:
            return TypeAdapter(shape).validate_json(answer.body)
        except ValueError:  # without what was in it
            raise ForgeError(
                f"{self.place.host} answers with something that is not of this API.",
                hint="The kind of the forge, or the address of its API, may be another.",
            ) from None

    async def _exchange(
        self,
        method: str,
        target: str,
        query: Mapping[str, str | int],
        body: Mapping[str, JsonValue] | None,
        turn: int,
    ) -> Answer:
        """Raises Unsure for whatever the line does."""
        place = self.place
        authority, extensions = place.authority, dict[str, str]()
        if self._addresses:
            address = self._addresses[turn % len(self._addresses)]
            authority = f"[{address}]:{place.port}" if ":" in address else f"{address}:{place.port}"
            extensions["sni_hostname"] = place.host
        try:
            request = self._http.build_request(
                method,
                f"{place.scheme}://{authority}{target}",
                params={name: str(value) for name, value in query.items()} or None,
                json=dict(body) if body is not None else None,
                headers={"Host": place.authority},
                extensions=extensions,
            )
            async with asyncio.timeout(CALL_SECONDS):
                answer = await self._http.send(request, stream=True)
                try:
                    return Answer(
                        answer.status_code,
                        {name.lower(): value for name, value in answer.headers.items()},
                        await _bounded(answer, place.host),
                    )
                finally:
                    await answer.aclose()
        except (httpx2.InvalidURL, UnicodeError):
            raise ForgeError(f"{place.host} is no name of a host.") from None
        except (TimeoutError, httpx2.TimeoutException):
            raise Unsure(f"{place.host} did not answer in {CALL_SECONDS:g} s.") from None
        except httpx2.HTTPError as error:
            if (said := _untrusted(error)) is not None:
                raise ForgeError(f"The certificate of {place.host} is not trusted: {said}.") from None
            raise Unsure(f"{place.host} cannot be reached, or breaks off ({type(error).__name__}).") from None


async def _bounded(answer: httpx2.Response, host: str) -> bytes:
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise ForgeError(f"{host} answers in an encoding that was not asked for.")
    found = bytearray()
    async for chunk in answer.aiter_raw():
        found += chunk
        if len(found) > MAX_ANSWER_BYTES:
            raise ForgeError(f"{host} answers with more than {MAX_ANSWER_BYTES:,} bytes.")
    return bytes(found)


def _untrusted(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message.rstrip(".")
        error = error.__cause__ or error.__context__
    return None
