"""How something is posted to an address that a tenant has given: once, within a deadline, to the address that was
checked, and without following whoever sends it elsewhere.

Where private hosts are not allowed, the host is looked up once, every address must be public, and the connection goes
to the address that was checked, under the host's own name (so that TLS verifies that one).
"""

import asyncio
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cached_property
from urllib.parse import SplitResult, urlsplit

import httpx2

from treadle import hosts, outward
from treadle.domain.errors import HostRefused
from treadle.ports.webhooks import Reply
from treadle.version import __version__

#: Longest time from the look-up of the host to the status of the answer, in seconds.
SEND_SECONDS = 15.0

#: Name servers that others have chosen and that do not answer hold so many threads at most.
LOOK_UPS = 16

_PORTS = {"https": 443, "http": 80}


class Posting:
    """What those who post share. `environment`: for proxies and certificates, as Git has it."""

    def __init__(self, *, allow_private_hosts: bool, environment: Mapping[str, str]) -> None:
        self._allow_private_hosts = allow_private_hosts
        self._environment = environment
        self._threads = ThreadPoolExecutor(LOOK_UPS, "webhook-names")

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Delivered when the answer's status says so; what else it says is not read."""
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS[parts.scheme]
            host = (parts.hostname or "").rstrip(".")
        except (ValueError, KeyError):
            return Reply("The address is none of http or https.")
        try:
            async with asyncio.timeout(SEND_SECONDS):
                return await self._post(parts, host, port, body, headers)
        except (httpx2.HTTPError, httpx2.InvalidURL, HostRefused, ValueError, ImportError, OSError) as error:
            return Reply(_trouble(host, error))

    async def _post(self, parts: SplitResult, host: str, port: int, body: bytes, headers: Mapping[str, str]) -> Reply:
        proxy = outward.proxy_for(parts.scheme, host, self._environment)
        found = await self._checked(parts.scheme, host, port)
        named = outward.authority(host, port)
        authority, extensions = named, dict[str, str]()
        if found and not proxy:  # a proxy looks the name up itself
            authority = outward.authority(found[0], port)
            extensions["sni_hostname"] = host
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        async with httpx2.AsyncClient(
            verify=self._certificates, timeout=SEND_SECONDS, follow_redirects=False, trust_env=False, proxy=proxy
        ) as http:
            request = http.build_request(
                "POST",
                f"{parts.scheme}://{authority}{target}",
                content=body,
                headers={
                    "Host": named.removesuffix(f":{_PORTS[parts.scheme]}"),
                    "User-Agent": f"Treadle/{__version__}",
                    "Content-Type": "application/json",
                    "Accept-Encoding": "identity",
                    **headers,
                },
                extensions=extensions,
            )
            answer = await http.send(request, stream=True)
            try:
                return _reply(host, answer)
            finally:
                await answer.aclose()

    async def _checked(self, scheme: str, host: str, port: int) -> tuple[str, ...]:
        """The addresses to connect to; none: wherever the name leads. Raises HostRefused."""
        if self._allow_private_hosts:
            return ()
        if scheme != "https":
            raise HostRefused(f"{host} is not told over http, where anybody could read along.")
        try:
            return await hosts.public_addresses(host, port, threads=self._threads)
        except OSError:
            raise HostRefused(f"The host {host} cannot be found.") from None
        except hosts.NotPublic:
            raise HostRefused(
                f"The host {host} is on a private address, which this service does not connect to."
            ) from None

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        return outward.certificates(self._environment)


def _reply(host: str, answer: httpx2.Response) -> Reply:
    status = answer.status_code
    if answer.is_success:
        return Reply(status=status)
    said = f"{host} answers with HTTP {status}."
    if answer.is_redirect:
        said = f"{host} sends on elsewhere (HTTP {status}), which is not followed."
    return Reply(
        said,
        status=status,
        is_gone=status == httpx2.codes.GONE,
        wait_seconds=outward.retry_after(answer.headers.get("retry-after", ""), datetime.now(UTC)),
    )


def _trouble(host: str, error: Exception) -> str:
    """In a sentence, which repeats nothing that the error says: it may hold the password of a proxy."""
    if isinstance(error, HostRefused):
        return error.message
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return f"{host} did not answer in {SEND_SECONDS:g} s."
    if isinstance(error, httpx2.InvalidURL | UnicodeError):
        return f"{host} is no name of a host."
    if (said := outward.untrusted(error)) is not None:
        return f"The certificate of {host} is not trusted: {said}."
    if isinstance(error, httpx2.HTTPError):
        return f"{host} cannot be reached, or breaks off ({type(error).__name__})."
    return f"{host} cannot be asked with this service's proxy or certificates ({type(error).__name__})."
