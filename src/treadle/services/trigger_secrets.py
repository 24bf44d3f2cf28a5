"""Hooks' secrets: made here, sealed, and two of them for a while after a rotation."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from treadle.domain.triggers import Hook
from treadle.ports import Vault

TABLE = "hooks"

#: Bytes of chance in a hook's secret.
SECRET_BYTES = 32

#: The form that signs in the way of Standard Webhooks; as a text it signs in every other.
_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class HookSecrets:
    """`before`: the one that counts too, until the hook's `date_before_ends`."""

    secret: str = field(repr=False)
    before: str | None = field(default=None, repr=False)

    def seal(self, vault: Vault, organization_uuid: UUID, hook_uuid: UUID) -> str:
        text = json.dumps([self.secret, self.before])
        return vault.seal(text, organization=organization_uuid, table=TABLE, row=str(hook_uuid))

    @classmethod
    def open(cls, vault: Vault, hook: Hook) -> "HookSecrets":
        """Raises SealBroken."""
        text = vault.open(hook.sealed, organization=hook.organization_uuid, table=TABLE, row=str(hook.uuid))
        return cls(*json.loads(text))

    def holding(self, hook: Hook, now: datetime) -> tuple[str, ...]:
        """Those that count now."""
        ends = hook.date_before_ends
        counts = self.before is not None and ends is not None and now < ends
        return (self.secret, self.before) if counts and self.before is not None else (self.secret,)


def secret_of(chance: bytes) -> str:
    return _PREFIX + base64.b64encode(chance).decode()


def url_token(secret: str, hook_uuid: UUID) -> str:
    """What a URL alone is trusted by: of it nobody learns the secret that signs."""
    return hmac.new(secret.encode(), f"treadle trigger url {hook_uuid}".encode(), hashlib.sha256).hexdigest()
