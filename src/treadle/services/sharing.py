"""Links to one run, to read without signing in: they expire, can be revoked, and open no more than their makers may see
themselves."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from treadle.domain.errors import Conflict, InvalidInput, NotFound
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, may
from treadle.domain.run import Run
from treadle.ports import Clock, RunFilter, Store
from treadle.ports.page import ShareLink
from treadle.services.audit import Audit
from treadle.services.audit_actions import Action
from treadle.services.identity import digest_of
from treadle.services.sessions import generate_token

#: How long a link is good for, in days, unless whoever makes it says so; and at most.
DEFAULT_DAYS = 7
MAX_DAYS = 30

#: Links to one run that count at the same time.
MAX_LINKS = 20

_MAX_TOKEN = 200  # characters; no token of ours comes near
_UNKNOWN = "This link is unknown, has expired, or was revoked."


def seen_by(principal: Principal) -> RunFilter:
    """Which runs somebody sees on the page: everybody's, or its own."""
    user_id = None if may(principal, Permission.RUNS_OF_OTHERS) else principal.user_id
    return RunFilter(principal.organization_id, user_id)


def sees(principal: Principal, run: Run) -> bool:
    """Whether that is one of them."""
    is_own = run.user_id == principal.user_id and may(principal, Permission.RUN)
    return run.organization_id == principal.organization_id and (is_own or may(principal, Permission.RUNS_OF_OTHERS))


class Sharing:
    """Whoever may see a run may share it, and sees and revokes the links to it."""

    def __init__(
        self, store: Store, clock: Clock, *, audit: Audit, new_token: Callable[[], str] = generate_token
    ) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._new_token = new_token

    async def make(self, principal: Principal, run: Run, *, days: int = DEFAULT_DAYS) -> tuple[ShareLink, str]:
        """The link, and the token for its address, which is shown this once. Raises InvalidInput (path `days`),
        NotFound for a run that is not the caller's to see, Conflict for one that has MAX_LINKS."""
        _require_sight(principal, run)
        if not 1 <= days <= MAX_DAYS:
            raise InvalidInput({"days": [f"Must be 1 to {MAX_DAYS}."]})
        now = self._clock.now()
        if len(await self._store.share_links(run.id, now)) >= MAX_LINKS:
            raise Conflict(f"This run has {MAX_LINKS} links, which is the most there may be.", hint="Revoke one.")
        token = self._new_token()
        link = await self._store.add_share_link(
            digest_of(token), run.id, principal.user_id, now, now + timedelta(days=days)
        )
        detail = {"run": run.id, "days": days}
        await self._audit.note(Action.SHARE_CREATED, principal=principal, target=link.id, detail=detail)
        return link, token

    async def list(self, principal: Principal, run: Run) -> Sequence[ShareLink]:
        """Those that have not expired, newest first. Raises NotFound."""
        _require_sight(principal, run)
        return await self._store.share_links(run.id, self._clock.now())

    async def revoke(self, principal: Principal, run: Run, link_id: int) -> None:
        """Raises NotFound."""
        _require_sight(principal, run)
        if not await self._store.revoke_share_link(link_id, run.id, self._clock.now()):
            raise NotFound(f"There is no link {link_id} to this run.")
        await self._audit.note(Action.SHARE_REVOKED, principal=principal, target=link_id, detail={"run": run.id})

    async def open(self, token: str) -> Run:
        """The run that it leads to, for as long as whoever made the link may see it. Raises NotFound, in the same words
        whatever the reason."""
        link = None
        if 0 < len(token) <= _MAX_TOKEN:
            link = await self._store.share_link(digest_of(token), self._clock.now())
        if link is not None:
            run = await self._store.get_run_by_id(link.run_id)
            maker = await self._store.principal_in(run.organization_id, link.user_id)
            if maker is not None and sees(maker, run):
                return run
        raise NotFound(_UNKNOWN, hint="Whoever sent it can make another one.")


def _require_sight(principal: Principal, run: Run) -> None:
    if not sees(principal, run):
        raise NotFound(f"There is no run {run.id}.")
