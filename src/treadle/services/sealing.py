"""Sealing anew: every sealed text of the database under the key that seals now, while everybody works on."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from treadle.domain.errors import SealBroken
from treadle.ports import Vault
from treadle.ports.trust import SealedKind, SealedRow, SealedStore
from treadle.services import connections, credentials, messages, repository_secrets, signing_keys, trigger_secrets
from treadle.services.credentials import row as row_of

#: Texts that are read at a time.
BATCH = 200
#: Longer than any process goes on sealing with a key that is no more the first (`vault.key_ring:LOOK_SECONDS`), and
#: than it takes to save what it has sealed.
SETTLE_SECONDS = 3.0
#: Texts that still come under an old key after so many rounds come from a process that does not follow.
MAX_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Resealed:
    """`count` texts were sealed anew. `unopened`: places of those that do not open with any key that is loaded;
    `is_settled`: nothing new came under another key meanwhile."""

    count: int
    unopened: tuple[str, ...]
    is_settled: bool


@dataclass(frozen=True, slots=True)
class _Round:
    done: int = 0
    lost: int = 0  # changed by others meanwhile, who may not know the key yet
    unopened: tuple[str, ...] = ()

    def __add__(self, other: "_Round") -> "_Round":
        return _Round(self.done + other.done, self.lost + other.lost, self.unopened + other.unopened)


class Sealing:
    """`sleep` waits that many seconds."""

    def __init__(
        self, store: SealedStore, vault: Vault, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._store = store
        self._vault = vault
        self._sleep = sleep

    async def texts(self) -> Mapping[str, int]:
        """How many each key has sealed, by the keys' ids."""
        return await self._store.sealing_keys()

    async def seal_anew(self) -> Resealed:
        """Rounds with a pause between, until one finds nothing: other processes seal with the old key for a moment
        yet. Broken off, it is simply begun again."""
        count = 0
        for _ in range(MAX_ROUNDS):
            found = await self._round()
            count += found.done
            if not found.done and not found.lost:
                return Resealed(count, found.unopened, is_settled=True)
            await self._sleep(SETTLE_SECONDS)
        last = await self._round()
        return Resealed(count + last.done, last.unopened, is_settled=not last.done and not last.lost)

    async def _round(self) -> _Round:
        found = _Round()
        for kind in SealedKind:
            after: SealedRow | None = None
            while True:
                # Asked for each time: another rotation may have begun, and both then seal with its key.
                rows = await self._store.sealed_rows(kind, not_key=self._vault.key_id, after=after, limit=BATCH)
                found = sum(await asyncio.gather(*(self._reseal(each) for each in rows)), found)
                if len(rows) < BATCH:
                    break
                after = rows[-1]
        return found

    async def _reseal(self, found: SealedRow) -> _Round:
        organization, table, row = place_of(found)
        try:
            clear = self._vault.open(found.sealed, organization=organization, table=table, row=row)
        except SealBroken:
            return _Round(unopened=(f"{found.kind} {row}",))
        sealed = self._vault.seal(clear, organization=organization, table=table, row=row)
        is_done = await self._store.reseal(found, sealed)
        return _Round(done=1) if is_done else _Round(lost=1)


def place_of(found: SealedRow) -> tuple[UUID, str, str]:
    """Organization, table and row as the text was sealed for: by those who sealed it."""
    organization = found.organization_uuid or signing_keys.NOBODY
    owner = partial(UUID, found.owner)
    if found.kind is SealedKind.RUN:
        return organization, credentials.SECRETS_TABLE, row_of(owner(), found.name)
    if found.kind is SealedKind.REPOSITORY:
        return organization, repository_secrets.TABLE, row_of(owner(), found.name)
    if found.kind in _TABLES:
        return organization, _TABLES[found.kind], found.owner
    return signing_keys.NOBODY, signing_keys.TABLE, found.owner


#: Of what is its owner's one text.
_TABLES: Mapping[SealedKind, str] = {
    SealedKind.WEBHOOK: messages.SECRETS,
    SealedKind.WEBHOOK_BEFORE: messages.SECRETS,
    SealedKind.WEBHOOK_TARGET: messages.TARGETS,
    SealedKind.HOOK: trigger_secrets.TABLE,
    SealedKind.OAUTH_TOKEN: connections.TABLE,
}
