"""The port to what forges send by webhook."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from treadle.domain.deliveries import Delivery
from treadle.domain.repository import ForgeKind


class Hook(Protocol):
    """How one forge signs and words its deliveries. Pure; `headers` have names in lower case, `body` is what arrived,
    byte for byte."""

    @property
    def kind(self) -> ForgeKind: ...

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> bool:
        """Whether one of the secrets signed it; in a time that tells nothing of them. Empty secrets hold for nothing.
        `now`: for signatures that carry their time."""

    def read(self, headers: Mapping[str, str], body: bytes) -> Delivery:
        """What it tells, after it was verified. Raises InvalidInput for what the forge does not send."""
