"""The keys that sign our JWTs: sealed in the store, shared by every process."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from joserfc.jwk import RSAKey

from treadle.domain.errors import SealBroken
from treadle.ports import Clock, IdentityStore, Vault

ALGORITHM = "RS256"
KEY_BITS = 2048

#: Signing keys belong to no organization; the seal is bound to this in place of one.
NOBODY = UUID(int=0)
TABLE = "signing_keys"

#: How often the store may be asked for keys that others made.
_RELOAD = timedelta(seconds=5)


class SigningKeys:
    """Made when first needed. Two processes that make one at once are both right: either verifies for both."""

    def __init__(self, store: IdentityStore, vault: Vault, clock: Clock, *, new_uuid: Callable[[], UUID]) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._new_uuid = new_uuid
        self._keys: Mapping[str, RSAKey] = {}  # newest first
        self._loaded: datetime | None = None
        self._loading = asyncio.Lock()

    async def current(self) -> tuple[str, RSAKey]:
        """Key id and private key to sign with."""
        async with self._loading:
            await self._load()
            if not self._keys:
                await self._make()
            return next(iter(self._keys.items()))

    async def find(self, key_id: str) -> RSAKey | None:
        """The key that signed a token; None for one that is not ours."""
        if key_id not in self._keys:
            async with self._loading:
                await self._load()
        return self._keys.get(key_id)

    async def public(self) -> Mapping[str, Any]:
        """The JWK set of the public halves."""
        await self.current()
        return {"keys": [_public(key_id, key) for key_id, key in self._keys.items()]}

    async def _load(self) -> None:
        now = self._clock.now()
        if self._loaded is not None and now - self._loaded < _RELOAD:
            return
        keys = dict[str, RSAKey]()
        for key_id, sealed in await self._store.signing_keys():
            try:
                pem = self._vault.open(sealed, organization=NOBODY, table=TABLE, row=key_id)
            except SealBroken as error:
                structlog.get_logger(__name__).warning("signing_key_skipped", key=key_id, reason=error.sentence())
                continue
            keys[key_id] = self._keys.get(key_id) or RSAKey.import_key(pem)
        self._keys, self._loaded = keys, now

    async def _make(self) -> None:
        key = await asyncio.to_thread(RSAKey.generate_key, KEY_BITS)  # a tenth of a second of arithmetic
        key_id = str(self._new_uuid())
        pem = key.as_pem(private=True).decode()
        sealed = self._vault.seal(pem, organization=NOBODY, table=TABLE, row=key_id)
        await self._store.add_signing_key(key_id, sealed, self._clock.now())
        self._keys = {key_id: key}


def _public(key_id: str, key: RSAKey) -> Mapping[str, Any]:
    return {**key.as_dict(private=False), "kid": key_id, "use": "sig", "alg": ALGORITHM}
