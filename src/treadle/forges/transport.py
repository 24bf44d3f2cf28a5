"""How a forge's API is reached: within a deadline, at the address that was checked.

Where private hosts are not allowed, the host is looked up once, every address must be public, and the connection goes
to the address that was checked, under the host's own name (so that TLS verifies that one). A name that is looked up
again may by then have another answer.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property

import httpx2

from treadle import hosts, outward
from treadle.domain.errors import ForgeAuthenticationFailed, ForgeError
from treadle.forges.addresses import Place, place_of
from treadle.forges.line import CALL_SECONDS, Line
from treadle.ports import Clock
from treadle.ports.forges import ForgeRepository
from treadle.version import __version__

#: Longest time for everything that one operation asks, repeats and pauses included, in seconds.
OPERATION_SECONDS = 50.0


class Transport:
    """What all clients share. `environment`: for proxies and certificates, as Git has it."""

    def __init__(self, clock: Clock, *, allow_private_hosts: bool, environment: Mapping[str, str]) -> None:
        self._clock = clock
        self._allow_private_hosts = allow_private_hosts
        self._environment = environment

    @asynccontextmanager
    async def open(self, repository: ForgeRepository, headers: Mapping[str, str]) -> AsyncIterator[Line]:
        """A line to a repository's forge, for one operation. Raises ForgeError."""
        token, place = repository.token, place_of(repository.access.api_url)
        if not (token and token.isascii() and token.isprintable() and " " not in token):
            raise ForgeAuthenticationFailed(
                "The repository's token is empty or holds characters that no token has.",
                hint="`treadle admin repo update` gives it another one.",
            )
        try:
            async with asyncio.timeout(OPERATION_SECONDS), self._line(place, headers, token) as line:
                yield line
        except TimeoutError:
            raise ForgeError(f"{place.host} took more than {OPERATION_SECONDS:g} s.") from None

    @asynccontextmanager
    async def _line(self, place: Place, headers: Mapping[str, str], token: str) -> AsyncIterator[Line]:
        proxy = outward.proxy_for(place.scheme, place.host, self._environment)
        addresses = await self._checked(place)
        async with self._client(place, headers, proxy) as http:
            # A proxy looks the name up itself, as it does for Git.
            yield Line(self._elsewhere, http, place, token, self._clock, () if proxy else addresses)

    def _elsewhere(self, place: Place, token: str) -> AbstractAsyncContextManager[Line]:
        """A line to where a forge sends us, which gets no token: it is only kept out of errors."""
        return self._line(place, {}, token)

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
            return await hosts.public_addresses(place.host, place.port)
        except OSError as error:
            raise ForgeError(f"The host {place.host} cannot be found.") from error
        except hosts.NotPublic:
            raise ForgeError(
                f"The host {place.host} is on a private address, which this service does not connect to.",
                hint="TREADLE_ALLOW_PRIVATE_HOSTS=1 allows it.",
            ) from None

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        return outward.certificates(self._environment)
