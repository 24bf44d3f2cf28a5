"""Seals what is too large for a text, piece by piece: under a key of its own, which the vault seals for the row.

A piece's nonce is its number and whether it is the last (the STREAM construction), so none can be left out, moved or
cut off unseen. A key seals one archive, so no nonce comes twice with it.
"""

import base64
import os
from collections.abc import Callable
from typing import BinaryIO, Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from treadle.domain.errors import SealBroken
from treadle.ports import Vault
from treadle.vault.aes_gcm import NONCE_BYTES, TAG_BYTES
from treadle.vault.keys import KEY_BYTES

#: Bytes of a piece, and of the first line, which has the sealed key, at most.
_PIECE: Final = 1 << 20
_LINE: Final = 1 << 10


class ArchiveSealer:
    """Writes to `target` what is given to `write`, sealed. Nothing of it opens before `close`, which leaves `target`
    open. `random(n)` gives n unpredictable bytes."""

    def __init__(
        self,
        target: BinaryIO,
        vault: Vault,
        *,
        organization: UUID,
        table: str,
        row: str,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        secret = random(KEY_BYTES)
        sealed = vault.seal(base64.b64encode(secret).decode(), organization=organization, table=table, row=row)
        self._target = target
        self._cipher = AESGCM(secret)
        self._number = 0
        self._pending = bytearray()
        target.write(f"{sealed}\n".encode())

    def write(self, data: bytes) -> None:
        self._pending += data
        while len(self._pending) > _PIECE:  # of the last one it is not known yet that it is
            self._put(bytes(self._pending[:_PIECE]), is_last=False)
            del self._pending[:_PIECE]

    def close(self) -> None:
        self._put(bytes(self._pending), is_last=True)

    def _put(self, piece: bytes, *, is_last: bool) -> None:
        self._target.write(self._cipher.encrypt(_nonce(self._number, is_last=is_last), piece, None))
        self._number += 1


def open_archive(source: BinaryIO, target: BinaryIO, vault: Vault, *, organization: UUID, table: str, row: str) -> None:
    """Writes to `target` what was sealed for that row. Raises SealBroken, also once a part is written: `target` counts
    for nothing then."""
    sealed = source.readline(_LINE).decode("ascii", errors="replace").removesuffix("\n")
    secret = base64.b64decode(vault.open(sealed, organization=organization, table=table, row=row))
    cipher, number = AESGCM(secret), 0
    piece = source.read(_PIECE + TAG_BYTES)
    while True:
        following = source.read(_PIECE + TAG_BYTES)
        try:
            target.write(cipher.decrypt(_nonce(number, is_last=not following), piece, None))
        except InvalidTag:
            raise SealBroken(f"An archive of {table} was changed, or cut off.") from None
        if not following:
            return
        piece, number = following, number + 1


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(NONCE_BYTES - 1, "big") + bytes([is_last])
