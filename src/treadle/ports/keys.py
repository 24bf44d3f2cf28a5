"""The port to clients' Idempotency-Keys: what each made is answered again, whatever has changed since."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from treadle.domain.identity import Principal


@dataclass(frozen=True, slots=True)
class Idempotency:
    """`digest`: a hash of the request's body; a repeat with another one raises IdempotencyMismatch."""

    key: str
    digest: str
    not_before: datetime  # an older use of the key is forgotten


class KeyStore(Protocol):
    """A key is taken in the transaction of what it makes; here it is only looked at."""

    async def key_use(self, principal: Principal, idempotency: Idempotency) -> UUID | None:
        """What this key made before; None for one that is free. Raises IdempotencyMismatch."""
