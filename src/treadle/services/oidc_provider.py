"""An OpenID Connect provider: who we are there, and what its discovery document says."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import structlog
from pydantic import BaseModel, ConfigDict, Field, HttpUrl

from treadle.domain.errors import ConfigurationError, Unauthenticated
from treadle.ports import Clock
from treadle.services.issuers import MAX_AGE, MIN_AGE, Fetch, Issuer, IssuerKeys
from treadle.settings import Settings

#: What somebody is told who can do nothing about it.
AGAIN = "Try again; if it stays so, an administrator finds the reason in the service's log."

MAX_ENDPOINT = 2_000  # characters

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OidcClient:
    """Who we are, and at which provider."""

    issuer: str
    id: str
    secret: str = field(repr=False)


def client_of(settings: Settings) -> OidcClient | None:
    """None where no provider is set. Raises ConfigurationError for what is only half set, or not over TLS."""
    secret = settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret is not None else None
    if settings.oidc_issuer is None and settings.oidc_client_id is None and secret is None:
        return None
    if settings.oidc_issuer is None or settings.oidc_client_id is None or secret is None:
        raise ConfigurationError(
            "OpenID Connect is only half set.",
            hint="Set TREADLE_OIDC_ISSUER, TREADLE_OIDC_CLIENT_ID and TREADLE_OIDC_CLIENT_SECRET, or none of them.",
        )
    if not _is_address(settings.oidc_issuer, _is_at_home(settings.oidc_issuer)):
        raise ConfigurationError(
            "TREADLE_OIDC_ISSUER is not the https address of a provider.", hint="Such as https://login.example."
        )
    return OidcClient(settings.oidc_issuer, settings.oidc_client_id, secret)


class Provider(BaseModel):
    """What its discovery document says that counts here."""

    model_config = ConfigDict(frozen=True)

    issuer: str
    authorization_endpoint: str = Field(max_length=MAX_ENDPOINT)
    token_endpoint: str = Field(max_length=MAX_ENDPOINT)
    jwks_uri: str = Field(max_length=MAX_ENDPOINT)
    userinfo_endpoint: str | None = Field(None, max_length=MAX_ENDPOINT)
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Discovery:
    """Reads the provider's document, and remembers it."""

    def __init__(self, client: OidcClient, fetch: Fetch, clock: Clock) -> None:
        self._client = client
        self._fetch = fetch
        self._clock = clock
        self._known: tuple[Provider, IssuerKeys] | None = None
        self._read: datetime | None = None
        self._reading = asyncio.Lock()

    async def look(self) -> tuple[Provider, IssuerKeys]:
        """Read again after an hour; while the provider is away, as it was. Raises Unauthenticated while nothing is
        known: anybody can ask, but the provider is asked every half minute at most."""
        async with self._reading:
            if self._is_older_than(MAX_AGE if self._known is not None else MIN_AGE):
                self._read = self._clock.now()
                await self._again()
        if self._known is None:
            raise Unauthenticated("The sign-in service does not answer as it should.", hint=AGAIN)
        return self._known

    def _is_older_than(self, age: timedelta) -> bool:
        return self._read is None or self._clock.now() - self._read >= age

    async def _again(self) -> None:
        address = self._client.issuer.rstrip("/") + "/.well-known/openid-configuration"
        try:
            found = self._checked(await self._fetch(address))
        except (OSError, ValueError) as error:
            log.warning("oidc_unreadable", issuer=self._client.issuer, reason=str(error)[:500])
            if self._known is not None and self._read is not None:  # what is known is good for a while yet
                self._read += MIN_AGE - MAX_AGE
            return
        if self._known is not None and self._known[0].jwks_uri == found.jwks_uri:
            self._known = (found, self._known[1])
            return
        issuer = Issuer(issuer=found.issuer, jwks_url=HttpUrl(found.jwks_uri), audience=self._client.id)
        self._known = (found, IssuerKeys(issuer, self._fetch, self._clock))

    def _checked(self, document: bytes) -> Provider:
        """Raises ValueError."""
        found = Provider.model_validate_json(document)
        if found.issuer != self._client.issuer:
            raise ValueError("the discovery document is another issuer's")
        is_at_home = _is_at_home(self._client.issuer)
        addresses = (found.authorization_endpoint, found.token_endpoint, found.jwks_uri, found.userinfo_endpoint)
        if not all(_is_address(address, is_at_home) for address in addresses if address is not None):
            raise ValueError("an address in the discovery document is not an https one")
        return found


def _is_at_home(url: str) -> bool:
    """Plain HTTP is for a provider on this very machine."""
    try:
        return urlsplit(url).hostname in _LOCAL
    except ValueError:
        return False


def _is_address(url: str, is_at_home: bool) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_at_home and _is_at_home(url))
    return is_safe and bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment and url.isprintable()
