"""Sealing keys, as they are written down and as they are called."""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from treadle.domain.errors import ConfigurationError

KEY_BYTES = 32

#: So that a key id says nothing about a hash of the key that is used anywhere else.
_ID_PREFIX = b"treadle sealing key id\0"


@dataclass(frozen=True, slots=True)
class SealingKey:
    """32 bytes. `id` is derived from them, so that every process gives a key the same name."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise ConfigurationError(f"A sealing key is {KEY_BYTES} bytes, this one is {len(self.secret)}.")

    @property
    def id(self) -> str:
        return hashlib.sha256(_ID_PREFIX + self.secret).hexdigest()[:8]

    @property
    def text(self) -> str:
        """As `parse` reads it; the key itself, so for its file alone."""
        return base64.b64encode(self.secret).decode()

    @classmethod
    def parse(cls, text: str, *, source: str) -> "SealingKey":
        """From base64, either alphabet. `source` names the place for the ConfigurationError of a bad one."""
        try:
            secret = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != KEY_BYTES:
            raise ConfigurationError(
                f"{source} does not hold base64 of {KEY_BYTES} bytes.",
                hint="`openssl rand -base64 32` makes such a key.",
            )
        return cls(secret)


def parse_keys(text: str, *, source: str) -> tuple[SealingKey, ...]:
    """One key or several, divided by white space or commas; one that is there twice counts once. Raises
    ConfigurationError."""
    found: Iterable[str] = text.replace(",", " ").split()
    keys = tuple(dict.fromkeys(SealingKey.parse(part, source=source) for part in found))
    if not keys:
        raise ConfigurationError(f"{source} is empty.", hint="`openssl rand -base64 32` makes a key for it.")
    return keys
