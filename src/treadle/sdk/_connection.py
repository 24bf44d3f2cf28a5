"""Where the server is, who asks, and how requests are built for either client."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2

from treadle.sdk._calls import Request
from treadle.version import __version__

DEFAULT_URL = "http://127.0.0.1:8417"
URL_VARIABLE = "TREADLE_URL"
KEY_VARIABLE = "TREADLE_API_KEY"


@dataclass(frozen=True, slots=True)
class Connection:
    """`headers` hold the key."""

    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    timeout: httpx2.Timeout
    is_anonymous: bool

    @classmethod
    def of(
        cls,
        base_url: str | None,
        api_key: str | None,
        token: str | None,
        timeout: float | None,
        environment: Mapping[str, str],
    ) -> "Connection":
        """Raises ValueError for what can never work."""
        address = base_url or environment.get(URL_VARIABLE) or DEFAULT_URL
        if not address.startswith(("http://", "https://")):
            raise ValueError(f"{address!r} is no address of a server: it must begin with http:// or https://.")
        if api_key is not None and token is not None:
            raise ValueError("Give api_key or token, not both.")
        if token is None and api_key is None:
            api_key = environment.get(KEY_VARIABLE) or None
        headers = {"User-Agent": f"treadle-python/{__version__}"}
        if token is not None:
            headers["Authorization"] = f"Bearer {_checked(token, 'token')}"
        elif api_key is not None:
            headers["X-Api-Key"] = _checked(api_key, "api_key")
        return cls(address.rstrip("/"), headers, httpx2.Timeout(timeout), token is None and api_key is None)

    @contextmanager
    def built(
        self, http: httpx2.Client | httpx2.AsyncClient, request: Request, *, read_seconds: float | None = None
    ) -> Iterator[httpx2.Request]:
        """The request as httpx2 sends it. A file to upload is open meanwhile."""
        timeout = self.timeout
        if read_seconds is not None:
            timeout = httpx2.Timeout(connect=timeout.connect, write=timeout.write, pool=timeout.pool, read=read_seconds)
        headers = {"Accept": request.accept, **request.headers}
        if request.upload is None:
            yield http.build_request(
                request.method,
                request.path,
                params=request.params or None,
                headers=headers,
                json=request.json,
                timeout=timeout,
            )
            return
        with request.upload.opened() as file:
            parts = {"file": (request.upload.name, file, request.upload.content_type)}
            yield http.build_request(request.method, request.path, headers=headers, files=parts, timeout=timeout)


def _checked(secret: str, name: str) -> str:
    secret = secret.strip()
    if not secret or not all("!" <= character <= "~" for character in secret):
        raise ValueError(f"{name} is empty, or holds characters that no key has.")
    return secret
