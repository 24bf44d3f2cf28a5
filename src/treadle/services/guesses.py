"""Credentials that do not count, counted by the address that sends them: whoever guesses is slowed down, and whoever is
right is let in all the same, also from the same address."""

import hashlib
import math

from treadle.domain.errors import TooManyRequests
from treadle.ports import Clock
from treadle.ports.directory import RateStore
from treadle.services.audit import Audit
from treadle.services.audit_actions import Action
from treadle.services.callers import network_of
from treadle.services.recent import Recent

#: Wrong credentials that an address may send the API within a time, in seconds.
MAX_BAD_CREDENTIALS = 60
BAD_CREDENTIALS_SECONDS = 60

#: Addresses that a process remembers to have gone too far.
_MAX_REMEMBERED = 10_000


class Guesses:
    """One for a process; the store counts for all together."""

    def __init__(self, store: RateStore, clock: Clock, *, audit: Audit) -> None:
        self._store = store
        self._clock = clock
        self._audit = audit
        self._stopped: Recent[str, float] = Recent(clock, seconds=BAD_CREDENTIALS_SECONDS, size=_MAX_REMEMBERED)

    async def wrong(self, address: str | None) -> None:
        """Somebody there has just been refused. Raises TooManyRequests after too many; then the store is asked no more
        until the time is over."""
        name = network_of(address or "")
        now = self._clock.now().timestamp()
        until = self._stopped.get(name)
        if until is None or until <= now:
            hashed = hashlib.sha256(name.encode()).hexdigest()
            found = await self._store.admit(
                f"credentials {hashed}",
                limit=MAX_BAD_CREDENTIALS,
                seconds=BAD_CREDENTIALS_SECONDS,
                now=self._clock.now(),
            )
            if found.is_admitted:
                return
            is_known = (self._stopped.get(name) or 0.0) > now  # by others, who asked at the same time
            until = now + found.retry_after
            self._stopped.put(name, until)
            if not is_known:  # whoever goes on must not fill the log
                await self._audit.note(Action.CREDENTIALS_THROTTLED)
        raise TooManyRequests("Too many wrong credentials from here.", retry_after=max(1, math.ceil(until - now)))
