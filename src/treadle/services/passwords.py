"""Passwords: hashed with scrypt, with the salt and the cost in the text that is kept, so that both may change."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

#: Characters of a password.
MIN_PASSWORD = 12
MAX_PASSWORD = 200

#: Hashed at once in a process: each takes a processor, and COST's memory.
AT_ONCE = 2

_SALT_BYTES = 16
_HASH_BYTES = 32
_KIND = "scrypt"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of scrypt: `n` rounds of `r` blocks, `p` times over. 128 * n * r bytes of memory."""

    n: int = 1 << 15
    r: int = 8
    p: int = 3


#: 32 MiB, and about a fifth of a second.
COST = Cost()


def password_fault(password: str) -> str | None:
    """What is wrong with a new one."""
    if MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        return None
    return f"Must have {MIN_PASSWORD} to {MAX_PASSWORD} characters."


class Passwords:
    """Hashes and compares, in threads."""

    def __init__(
        self, *, cost: Cost = COST, new_salt: Callable[[], bytes] = lambda: secrets.token_bytes(_SALT_BYTES)
    ) -> None:
        self._cost = cost
        self._new_salt = new_salt
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def hashed(self, password: str) -> str:
        """What is kept of it, such as `scrypt$32768$8$3$<salt>$<hash>`, both in base64."""
        salt, cost = self._new_salt(), self._cost
        found = await self._derived(password, salt, cost)
        return "$".join([_KIND, str(cost.n), str(cost.r), str(cost.p), _text(salt), _text(found)])

    async def is_right(self, password: str, kept: str | None) -> bool:
        """Takes as long for None, which is nobody's password: nobody learns from the clock who is known here."""
        known = None if kept is None else _parsed(kept)
        cost, salt, expected = known or (self._cost, bytes(_SALT_BYTES), bytes(_HASH_BYTES))
        found = await self._derived(password[:MAX_PASSWORD], salt, cost)
        is_same = hmac.compare_digest(found, expected)
        return is_same and known is not None and len(password) <= MAX_PASSWORD

    async def _derived(self, password: str, salt: bytes, cost: Cost) -> bytes:
        # However a keyboard composes a letter, it is the same password.
        clear = unicodedata.normalize("NFKC", password).encode(errors="surrogatepass")

        def derive() -> bytes:
            memory = 128 * cost.r * (cost.n + cost.p + 2)
            return hashlib.scrypt(clear, salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=2 * memory, dklen=_HASH_BYTES)

        async with self._turns:
            return await asyncio.to_thread(derive)


def _parsed(kept: str) -> tuple[Cost, bytes, bytes] | None:
    """None for what another version wrote in a way that this one does not know."""
    try:
        kind, n, r, p, salt, expected = kept.split("$")
        found = Cost(int(n), int(r), int(p)), base64.b64decode(salt), base64.b64decode(expected)
    except (ValueError, binascii.Error):
        return None
    return found if kind == _KIND else None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
