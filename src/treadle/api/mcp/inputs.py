"""What tools take, beside plain values."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from treadle.domain.credentials import ClaudeSource, EngineCredential, OAuthLicense
from treadle.domain.errors import InvalidInput
from treadle.domain.network import NetworkPolicy
from treadle.domain.run import StepDraft

#: Characters of an idempotency key.
MAX_IDEMPOTENCY_KEY = 200

#: No run and no repository has a greater number.
MOST_NUMBER = 10**18

RunId = Annotated[int | str, Field(description="The run's id: its number, or its UUID.")]


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StepGiven(_Given):
    """One instruction of a run."""

    text: str = Field(description="What to do, in your own words.")
    is_commitable: bool = Field(
        True, description="Analysis, implementation and validation, then a commit; false: one prompt, nothing changes."
    )
    is_structured: bool = Field(False, description="Ask for a structured answer.")

    def draft(self) -> StepDraft:
        return StepDraft(self.text, is_commitable=self.is_commitable, is_structured=self.is_structured)


class ClaudeGiven(_Given):
    """Whose account pays for the model, if not the service's."""

    source: ClaudeSource = Field(description="ClientApiKey needs api_key, ClientLicense needs oauth_access_token.")
    api_key: str | None = Field(None, repr=False, description="An API key; `000-dummy` calls no model.")
    oauth_access_token: str | None = Field(None, repr=False)
    oauth_refresh_token: str | None = Field(None, repr=False)
    oauth_expires_at: datetime | None = None
    oauth_scopes: list[str] | None = None
    oauth_subscription_type: str | None = None

    def credential(self) -> EngineCredential:
        if self.source is not ClaudeSource.CLIENT_LICENSE:
            return EngineCredential(self.source, api_key=self.api_key)
        ends = self.oauth_expires_at
        return EngineCredential(
            self.source,
            license=OAuthLicense(
                access_token=self.oauth_access_token or "",
                refresh_token=self.oauth_refresh_token,
                expires_at=ends.replace(tzinfo=UTC) if ends is not None and ends.tzinfo is None else ends,
                scopes=tuple(self.oauth_scopes or ()),
                subscription_type=self.oauth_subscription_type,
            ),
        )


class NetworkGiven(_Given):
    """The model, and these hosts."""

    allow: list[str] = Field(description="Names of hosts.", examples=[["pkg.test"]])


NetworkChoice = Literal["none", "model", "full"] | NetworkGiven


def policy_of(given: NetworkChoice | None) -> NetworkPolicy | None:
    """Raises InvalidInput."""
    if given is None:
        return None
    try:
        return NetworkPolicy.read(given.model_dump() if isinstance(given, NetworkGiven) else given)
    except ValueError as error:
        raise InvalidInput({"network": [str(error)]}) from None


def key_fault(key: str) -> str | None:
    """Of an idempotency key."""
    if 0 < len(key) <= MAX_IDEMPOTENCY_KEY and key.isascii() and key.isprintable():
        return None
    return f"Must be 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters."
