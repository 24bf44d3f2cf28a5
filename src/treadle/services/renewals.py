"""Licenses are renewed once for all processes: a refresh token works once, and many vendors end the whole license when
one is shown a second time."""

import asyncio
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from treadle.domain.credentials import ClaudeSource, EngineCredential, OAuthLicense
from treadle.domain.errors import SealBroken, TreadleError, Unavailable
from treadle.ports import Clock
from treadle.ports.gateway import Renew
from treadle.ports.renewals import RenewalStore
from treadle.services.credentials import decode, encode
from treadle.vault import AesGcmVault, SealingKey

log = structlog.get_logger(__name__)

#: How long one process has a refresh token to itself, in seconds: longer than its vendor may take to answer, and the
#: store to take the answer.
CLAIM_SECONDS = 60.0

#: How long others wait for what follows, in seconds: past the claim of one that has died.
WAIT_SECONDS = 75.0

#: How often they look.
LOOK_SECONDS = 0.25

#: How long a store that is away is tried with what follows, in seconds.
KEEP_SECONDS = 15.0

#: How long it is known what a used-up refresh token was used up for; then the sweeper forgets it.
KEPT_DAYS = 30

#: Renewals that follow one another at most: as many as come together within that time.
MAX_FOLLOWING = 10_000

TABLE = "license_renewals"
_NOBODY = UUID(int=0)


class Renewals:
    """ports.gateway.LicenseRenewals over all processes of a store. What follows a refresh token is sealed with a key
    that is derived from this token: it opens for whoever has a copy of it, such as another run, and for nobody once
    the last run that has one has ended."""

    def __init__(self, store: RenewalStore, clock: Clock, *, new_uuid: Callable[[], UUID]) -> None:
        self._store = store
        self._clock = clock
        self._new_uuid = new_uuid

    async def once(self, used: OAuthLicense, renew: Renew) -> OAuthLicense | None:
        if used.refresh_token is None:
            return None
        place, holder, before = _Place.of(used.refresh_token), str(self._new_uuid()), None
        gives_up = asyncio.get_running_loop().time() + WAIT_SECONDS
        while True:
            found = await self._store.claim_renewal(
                place.name, holder, self._clock.now(), seconds=CLAIM_SECONDS, instead_of=before
            )
            if found.is_mine:
                return await self._renew(place, holder, renew)
            if found.follows is not None:
                later = place.open(found.follows)
                if later.access_token != used.access_token:
                    return await self._last(later)
                before = found.follows  # the vendor has left the refresh token as it was: that was the time before
            elif asyncio.get_running_loop().time() >= gives_up:
                log.warning("another process has not renewed a license in time")
                return None
            else:
                await self._clock.sleep(LOOK_SECONDS)

    async def _renew(self, place: "_Place", holder: str, renew: Renew) -> OAuthLicense | None:
        """Cancelled, it leaves the claim to run out: the vendor may be about to use the token up."""
        later = await renew()
        if later is None:
            await self._store.drop_renewal(place.name, holder)
            return None
        await self._keep(place, holder, later)
        return later

    async def _keep(self, place: "_Place", holder: str, later: OAuthLicense) -> None:
        """Before anybody else may go on."""
        sealed = place.seal(later)
        gives_up = asyncio.get_running_loop().time() + KEEP_SECONDS
        while True:
            try:
                await self._store.finish_renewal(place.name, holder, sealed, self._clock.now())
            except TreadleError as error:  # whoever has the license has it all the same
                if not isinstance(error, Unavailable) or asyncio.get_running_loop().time() >= gives_up:
                    log.warning("other processes could not be told of a renewed license", code=error.code)
                    return
                await self._clock.sleep(LOOK_SECONDS)
            else:
                return

    async def _last(self, license_: OAuthLicense) -> OAuthLicense:
        """Others may have gone on from there."""
        for _ in range(MAX_FOLLOWING):
            if license_.refresh_token is None:
                break
            place = _Place.of(license_.refresh_token)
            follows = await self._store.renewal(place.name)
            later = license_ if follows is None else place.open(follows)
            if later.access_token == license_.access_token:
                break
            license_ = later
        return license_


@dataclass(frozen=True, slots=True)
class _Place:
    """Where it is kept what follows a refresh token, and under which seal."""

    name: str
    vault: AesGcmVault = field(repr=False)

    @classmethod
    def of(cls, token: str) -> "_Place":
        name, key = (
            hmac.digest(token.encode(), f"treadle license {use}".encode(), "sha256") for use in ("name", "key")
        )
        return cls(name.hex(), AesGcmVault([SealingKey(key)]))

    def seal(self, license_: OAuthLicense) -> str:
        clear = encode(EngineCredential(ClaudeSource.CLIENT_LICENSE, license=license_))
        return self.vault.seal(clear, organization=_NOBODY, table=TABLE, row=self.name)

    def open(self, sealed: str) -> OAuthLicense:
        """Raises SealBroken."""
        found = decode(self.vault.open(sealed, organization=_NOBODY, table=TABLE, row=self.name)).license
        if found is None:
            raise SealBroken("What follows a license is none.")
        return found
