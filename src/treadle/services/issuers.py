"""Other issuers of JWTs, trusted by a setting, and their public keys read from their JWKS addresses."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

import httpx2
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from treadle.domain.errors import ConfigurationError
from treadle.ports import Clock

#: Reads a JWKS address; raises OSError.
Fetch = Callable[[str], Awaitable[bytes]]

#: Keys are read again after an hour, and for an unknown key id, but not more often than every half minute: else anybody
#: could make us ask as often as they like.
MAX_AGE = timedelta(hours=1)
MIN_AGE = timedelta(seconds=30)

FETCH_SECONDS = 5
MAX_BYTES = 1 << 20


class Issuer(BaseModel):
    """`audience`: what a token's `aud` must hold; None: anything."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True)

    issuer: str = Field(min_length=1)
    jwks_url: HttpUrl
    audience: str | None = None


def read_issuers(setting: str | None) -> tuple[Issuer, ...]:
    """`TREADLE_JWT_ISSUERS`. Raises ConfigurationError."""
    if setting is None:
        return ()
    try:
        return tuple(TypeAdapter(list[Issuer]).validate_json(setting))
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_input=False)
        )
        raise ConfigurationError(
            f"TREADLE_JWT_ISSUERS is not valid: {said}.",
            hint='It is JSON such as [{"issuer": "https://login.example", "jwksUrl": "https://login.example/jwks"}].',
        ) from None


class IssuerKeys:
    """One issuer's keys, cached. Only RSA keys for signatures count."""

    def __init__(self, issuer: Issuer, fetch: Fetch, clock: Clock) -> None:
        self.issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._keys: Mapping[str | None, RSAKey] = {}
        self._fetched: datetime | None = None
        self._fetching = asyncio.Lock()

    async def find(self, key_id: str | None) -> RSAKey | None:
        """The key of that id; the only one where the token names none."""
        if self._is_older_than(MAX_AGE) or self._pick(key_id) is None:
            async with self._fetching:
                # Whoever waited here for another's fetch need not fetch once more.
                if self._is_older_than(MIN_AGE):
                    await self._read()
        return self._pick(key_id)

    def _pick(self, key_id: str | None) -> RSAKey | None:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _is_older_than(self, age: timedelta) -> bool:
        return self._fetched is None or self._clock.now() - self._fetched >= age

    async def _read(self) -> None:
        self._fetched = self._clock.now()  # a failure counts too, or an issuer that is down would be asked each time
        try:
            self._keys = _read_set(await self._fetch(str(self.issuer.jwks_url)))
        except (OSError, ValueError, TypeError, JoseError) as error:
            # The keys we have may still be the right ones.
            structlog.get_logger(__name__).warning("jwks_unreadable", issuer=self.issuer.issuer, reason=str(error))


async def fetch_jwks(url: str) -> bytes:
    """Reads a JWKS address over HTTP, without following it elsewhere. Raises OSError for whatever goes wrong."""
    try:
        async with asyncio.timeout(FETCH_SECONDS), httpx2.AsyncClient() as client, client.stream("GET", url) as answer:
            answer.raise_for_status()
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    break
    except (httpx2.HTTPError, TimeoutError) as error:
        raise OSError(f"{url} did not answer: {str(error) or type(error).__name__}") from None
    if len(body) > MAX_BYTES:
        raise OSError(f"{url} answered with more than {MAX_BYTES:,} bytes")
    return bytes(body)


def _read_set(body: bytes) -> Mapping[str | None, RSAKey]:
    """Raises ValueError, TypeError and JoseError."""
    found = json.loads(body)
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise TypeError("this is no JWK set")
    return {
        key.get("kid"): RSAKey.import_key(key)
        for key in keys
        if isinstance(key, dict) and key.get("kty") == "RSA" and key.get("use", "sig") == "sig"
    }
