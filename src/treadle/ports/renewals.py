"""The port to renewals of licenses: a refresh token works once, so that one process alone shows it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Renewal:
    """A refresh token's. `is_mine`: whoever asks has the claim, until it ends. `follows`: what the token was used up
    for, sealed; None: nothing yet."""

    is_mine: bool
    follows: str | None = field(default=None, repr=False)


class RenewalStore(Protocol):
    """`token` names a refresh token and tells nothing of it. Claims end by the database's clock where it has one, so
    that clocks which disagree break none. Every method may raise Unavailable."""

    async def claim_renewal(
        self, token: str, holder: str, now: datetime, *, seconds: float, instead_of: str | None = None
    ) -> Renewal:
        """To be had by one holder at a time, and not again once something follows, unless that is `instead_of`: then
        it is forgotten. A claim whose time is over is whoever's asks next."""

    async def renewal(self, token: str) -> str | None:
        """What follows it."""

    async def finish_renewal(self, token: str, holder: str, follows: str, now: datetime) -> None:
        """For all who wait. Of a holder whose claim is another's or nobody's by now too, unless that one was first: the
        vendor has said it."""

    async def drop_renewal(self, token: str, holder: str) -> None:
        """The claim is anybody's again; nothing changes where it is another's, or has been finished."""

    async def prune_renewals(self, before: datetime) -> int:
        """Forgets what was claimed or finished last before then; how many."""
