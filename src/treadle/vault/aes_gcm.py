"""The Vault port on AES-256-GCM."""

import base64
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Self
from uuid import UUID

from cryptography.exceptions import InvalidTag

from treadle.domain.errors import SealBroken, SealKeyMissing
from treadle.vault.key_ring import KeyRing
from treadle.vault.keys import SealingKey
from treadle.vault.sources import KeySource

VERSION = "v1"
NONCE_BYTES = 12
TAG_BYTES = 16


class AesGcmVault:
    """The Vault port. `random(n)` gives n unpredictable bytes."""

    def __init__(
        self,
        keys: Sequence[SealingKey],
        *,
        source: KeySource | None = None,
        random: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`source`: where the keys are from, to be followed."""
        self._keys = KeyRing(keys, source, clock=clock)
        self._random = random

    @classmethod
    def following(cls, source: KeySource, *, clock: Callable[[], float] = time.monotonic) -> Self:
        """With the keys of the source as they are at each moment. Raises ConfigurationError."""
        return cls(source.load(), source=source, clock=clock)

    @property
    def key_id(self) -> str:
        """Of the key that seals now."""
        return self._keys.to_seal().first

    def seal(self, clear: str, *, organization: UUID, table: str, row: str) -> str:
        ring, nonce = self._keys.to_seal(), self._random(NONCE_BYTES)
        ciphertext = ring.ciphers[ring.first].encrypt(nonce, clear.encode(), _place(organization, table, row))
        return f"{VERSION}:{ring.first}:{base64.b64encode(nonce + ciphertext).decode()}"

    def check(self, sealed: str) -> None:
        """Raises SealKeyMissing unless the key that it was sealed with is loaded."""
        key_id = sealed.partition(":")[2].partition(":")[0]
        if sealed.startswith(f"{VERSION}:") and self._keys.to_open(key_id) is None:
            raise SealKeyMissing(
                f"This installation's secrets are sealed with the key {key_id}, which is not loaded here.",
                hint="Every process needs the same TREADLE_SECRET_KEY, or key file.",
            )

    def open(self, sealed: str, *, organization: UUID, table: str, row: str) -> str:
        """Raises SealBroken for another row's, a changed one, an unknown key (SealKeyMissing) or format; never says
        what was inside."""
        version, _, rest = sealed.partition(":")
        key_id, _, body = rest.partition(":")
        if version != VERSION:
            raise SealBroken(f"A secret of {table} is not sealed in a format that this version knows.")
        cipher = self._keys.to_open(key_id)
        if cipher is None:
            raise SealKeyMissing(
                f"A secret of {table} was sealed with the key {key_id}, which is not loaded.",
                hint="Add that key to TREADLE_SECRET_KEY, or to the key file, after the one in use.",
            )
        try:
            raw = base64.b64decode(body, validate=True)
            if base64.b64encode(raw).decode() != body:  # one text a secret: no spare bits to play with
                raise InvalidTag  # noqa: TRY301  # joins the other ways of having been changed
            return cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _place(organization, table, row)).decode()
        except (InvalidTag, ValueError):
            raise SealBroken(f"A secret of {table} was changed, or belongs to another row.") from None


def size_of(sealed: str) -> int:
    """Bytes of the text that was sealed, in UTF-8."""
    body = sealed.rpartition(":")[2]
    return len(body) * 3 // 4 - body.count("=") - NONCE_BYTES - TAG_BYTES


def _place(organization: UUID, table: str, row: str) -> bytes:
    """An encoding in which no two places look alike, whatever the names contain."""
    return json.dumps([str(organization), table, row]).encode()
