"""Credentials of a run as they are now, licenses renewed out here."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from weakref import WeakValueDictionary

import structlog
from pydantic import BaseModel, Field, ValidationError

from treadle.domain.credentials import EngineCredential, OAuthLicense
from treadle.domain.errors import EngineAuthenticationFailed, TreadleError
from treadle.gateway.refusals import Refusal
from treadle.gateway.upstream import Outside, Trouble
from treadle.ports import Clock
from treadle.ports.gateway import Account, LicenseRenewals

log = structlog.get_logger(__name__)

#: A license that ends so soon is renewed before it is used, in seconds.
RENEWED_BEFORE_SECONDS = 60.0

#: How long a run's end waits for a renewal that has begun, in seconds: a kill must be over within five.
RENEWAL_SECONDS = 1.0

#: Claude Code's own id with its vendor; public, as a client has it that cannot keep a secret.
CLIENT_ID = "9d1c250a-e61b-44d9-88ed-5944d1962f5e"

_LIFETIME_SECONDS = 8 * 3600

Renewal = asyncio.Task[EngineCredential | None]


class _Issued(BaseModel):
    access_token: str = Field(min_length=1, max_length=10_000, pattern=r"^[\x21-\x7e]+$")
    refresh_token: str | None = Field(None, min_length=1, max_length=10_000, pattern=r"^[\x21-\x7e]+$")
    expires_in: float = Field(_LIFETIME_SECONDS, gt=0, le=10 * 365 * 86_400)
    scope: str | None = Field(None, max_length=10_000)


@dataclass(eq=False)
class _Lineage:
    """A license and what follows it, for all runs here that have it. One renewal at a time; whoever comes later waits
    for its outcome."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    renewed: dict[str, OAuthLicense] = field(default_factory=dict)  # by the access token that it follows
    refused: set[str] = field(default_factory=set)


#: By each refresh token of it; forgotten with the last run that has it.
Lineages = WeakValueDictionary[str, _Lineage]


class Licenses:
    """Of one run. `lineages`: of the worker; `renewals`: of all."""

    def __init__(
        self,
        account: Account,
        clock: Clock,
        outside: Outside,
        token_url: str,
        renewals: LicenseRenewals,
        lineages: Lineages,
    ) -> None:
        self._account = account
        self._clock = clock
        self._outside = outside
        self._token_url = token_url
        self._renewals = renewals
        self._lineages = lineages
        self._held: set[_Lineage] = set()
        self._kept: set[str] = set()  # access tokens that the account was told of
        self._open: set[Renewal] = set()

    async def current(self) -> EngineCredential:
        """To send a request with. Raises Refusal."""
        credential = await self._newest()
        if _refresh_token(credential) is None or not self._ends_soon(credential.license):
            return credential
        return await self.renewed(credential) or credential  # the API has the last word on the old one

    async def renewed(self, used: EngineCredential) -> EngineCredential | None:
        """What follows one that the API refuses; None: nothing does."""
        if _refresh_token(used) is None:
            newest = await self._newest()
            return newest if newest != used else None
        task = asyncio.create_task(self._renew(used))
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        return await asyncio.shield(task)

    async def close(self) -> Collection[Renewal]:
        """Those that have begun and not ended yet: they must go on, since their old tokens are used up."""
        if not self._open:
            return ()
        _, late = await asyncio.wait(tuple(self._open), timeout=RENEWAL_SECONDS)
        return late

    async def _newest(self) -> EngineCredential:
        try:
            credential = await self._account.credential()
        except EngineAuthenticationFailed:
            raise Refusal(401, "This run has no valid credential for its model.") from None
        except TreadleError as error:
            log.warning("a run's credential could not be opened", code=error.code)
            raise Refusal(503, "This run's credential cannot be opened now.") from None
        token, held = _refresh_token(credential), credential.license
        if token is None or held is None:
            return credential
        lineage = self._lineage(token)
        while later := lineage.renewed.get(held.access_token):
            held = later  # what was renewed counts even where it could not be kept
        newest = replace(credential, license=held)
        if held != credential.license:
            await self._keep(credential, newest)
        return newest

    def _lineage(self, token: str) -> _Lineage:
        found = self._lineages.setdefault(token, _Lineage())
        self._held.add(found)
        return found

    async def _keep(self, used: EngineCredential, new: EngineCredential) -> None:
        """Each once."""
        if new.license is None or new.license.access_token in self._kept:
            return
        self._kept.add(new.license.access_token)
        try:
            await self._account.renewed(used, new)
        except TreadleError as error:
            log.warning("a renewed license could not be kept", code=error.code)

    def _ends_soon(self, held: OAuthLicense | None) -> bool:
        if held is None or held.expires_at is None:
            return False
        return held.expires_at <= self._clock.now() + timedelta(seconds=RENEWED_BEFORE_SECONDS)

    async def _renew(self, used: EngineCredential) -> EngineCredential | None:
        token, held = _refresh_token(used), used.license
        if held is None or token is None:
            return None
        lineage = self._lineage(token)
        async with lineage.lock:
            newest = await self._newest()
            if newest != used:
                return newest
            later = await self._follows(held, token, lineage)
            if later is None:
                return None
            lineage.renewed[held.access_token] = later
            lineage.renewed.pop(later.access_token, None)  # so that no chain of them has a ring
            self._lineages[later.refresh_token or token] = lineage
            await self._keep(used, replace(used, license=later))
            newest = await self._newest()  # somebody may have sent another one meanwhile
            return newest if newest != used else None

    async def _follows(self, held: OAuthLicense, token: str, lineage: _Lineage) -> OAuthLicense | None:
        async def renew() -> OAuthLicense | None:
            issued = await self._ask(token, lineage) if token not in lineage.refused else None
            return None if issued is None else self._license(held, issued)

        try:
            return await self._renewals.once(held, renew)
        except TreadleError as error:
            log.warning("whether others renew a license could not be found out", code=error.code)
            return None

    async def _ask(self, token: str, lineage: _Lineage) -> _Issued | None:
        asked = {"grant_type": "refresh_token", "refresh_token": token, "client_id": CLIENT_ID}
        try:
            status, body = await self._outside.post_json(self._token_url, asked)
        except Trouble as trouble:
            log.warning("a license could not be renewed", error=trouble.kind)
            return None
        if status in {400, 401, 403}:
            lineage.refused.add(token)
            log.warning("the renewal of a license was refused", status=status)
            return None
        try:
            return _Issued.model_validate_json(body) if status == 200 else None  # noqa: PLR2004 - OK
        except ValidationError:
            log.warning("a license's renewal was answered with something else")
            return None

    def _license(self, old: OAuthLicense, issued: _Issued) -> OAuthLicense:
        return replace(
            old,
            access_token=issued.access_token,
            refresh_token=issued.refresh_token or old.refresh_token,
            expires_at=self._clock.now() + timedelta(seconds=issued.expires_in),
            scopes=tuple(issued.scope.split()) if issued.scope else old.scopes,
        )


def _refresh_token(credential: EngineCredential) -> str | None:
    return credential.license.refresh_token if credential.api_key is None and credential.license is not None else None
