"""Secrets in the clear: they exist only between a seal and the moment of use. Their `repr` shows none of it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from treadle.domain.run import DUMMY_API_KEY


class ClaudeSource(StrEnum):
    """Whose Claude account pays."""

    DEFAULT = "Default"
    CLIENT_API_KEY = "ClientApiKey"
    CLIENT_LICENSE = "ClientLicense"


@dataclass(frozen=True, slots=True)
class GitCredentials:
    """`http`: `user:password` or a bare token. `ssh_key`: a private key as OpenSSH or PEM text. At most one is set."""

    http: str | None = field(default=None, repr=False)
    ssh_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class OAuthLicense:
    """A Claude Pro or Max subscription."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None
    scopes: tuple[str, ...] = ()
    subscription_type: str | None = None


@dataclass(frozen=True, slots=True)
class EngineCredential:
    """What an engine authenticates with: an API key, a license, or nothing (Dummy)."""

    source: ClaudeSource = ClaudeSource.DEFAULT
    api_key: str | None = field(default=None, repr=False)
    license: OAuthLicense | None = field(default=None, repr=False)

    @property
    def is_dummy(self) -> bool:
        return self.api_key == DUMMY_API_KEY

    def secrets(self) -> tuple[str, ...]:
        """Every text in here that must never be seen."""
        found = [self.api_key if not self.is_dummy else None]
        if self.license is not None:
            found += [self.license.access_token, self.license.refresh_token]
        return tuple(secret for secret in found if secret)
