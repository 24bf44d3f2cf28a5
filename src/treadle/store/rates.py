"""Who asked how often: for each name the moments at which a request passed, as far back as the rate looks.

A log and no counter: a counter, however it is weighed, lets too many or too few pass around the edge of its window. The
name's row is the lock, so processes take turns; those whose limit is used up only look at it, and wait for nobody.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or  # SQLite's dialect writes its ON CONFLICT the same way

from treadle.ports.directory import Admission
from treadle.store.prepared import Prepared, Row, in_portion
from treadle.store.session import Executor, Session
from treadle.store.tables import rates
from treadle.store.values import json_of, micros, plain

#: Names that one transaction forgets at most.
PORTION = 500

_SECOND = 1_000_000  # microseconds

_found = select(rates.c.passed).where(rates.c.name == bindparam("called"))
_FOUND = Prepared(_found)
_LOCKED = Prepared(_found.with_for_update())
# The row of somebody who was faster is locked by changing nothing in it.
_MADE = Prepared(
    insert_or(rates)
    .values(
        name=bindparam("called", type_=rates.c.name.type),
        passed=literal_column("'[]'"),
        date_expires=literal_column("0"),
    )
    .on_conflict_do_update(index_elements=[*rates.primary_key], set_={"passed": rates.c.passed})
    .returning(rates.c.passed)
)
_KEEP = Prepared(
    update(rates)
    .where(rates.c.name == bindparam("called"))
    .values(
        passed=bindparam("moments", type_=rates.c.passed.type),
        date_expires=bindparam("until", type_=rates.c.date_expires.type),
    )
)
_expired = (
    select(rates.c.name)
    .where(rates.c.date_expires <= bindparam("now"))
    .order_by(rates.c.date_expires)
    .limit(PORTION)
    .with_for_update(skip_locked=True)  # whoever asks under that name just now keeps it
)
_FORGET = Prepared(delete(rates).where(in_portion(rates.c.name, _expired)))


class Rates:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def admit(self, name: str, *, limit: int, seconds: int, now: datetime) -> Admission:
        asked = _Asked(plain(name), limit, seconds * _SECOND, micros(now))
        return await self._executor.write(asked.admit, again=asked.admit_again)

    async def prune_rates(self, now: datetime) -> int:
        def work(session: Session) -> int:
            server = session.time()
            return session.run(_FORGET, now=micros(now) if server is None else server)

        forgotten = 0
        while True:
            found = await self._executor.write(work, again=work)
            forgotten += found
            if found < PORTION:
                return forgotten


@dataclass(slots=True)
class _Asked:
    """One request for admission; times in microseconds. It remembers the moment at which it last passed: that is what
    it finds itself by when nobody knows whether its transaction was committed."""

    name: str
    limit: int
    span: int
    now: int
    moment: int | None = None

    def admit(self, session: Session) -> Admission:
        self.moment = None
        known = _moments(session.one(_FOUND, called=self.name))
        # Read before there is a lock to wait for: a request passes at some moment between its coming and its answer.
        server = session.time()
        clock = self.now if server is None else server
        if not self._is_ahead(known, clock) and len(self._counted(known, clock)) >= self.limit:
            return self._answer(known, clock, is_admitted=False)
        known = _moments(session.one(_LOCKED, called=self.name) or session.one(_MADE, called=self.name))
        counted = self._counted(known, clock)
        is_admitted = len(counted) < self.limit
        if is_admitted:
            newest = counted[-1] if counted else clock
            # No two alike on a server, where an answer may be lost, even while its clock has been set back a little.
            self.moment = max(clock, newest if server is None or not counted else newest + 1)
            counted.append(self.moment)
        if is_admitted or self._is_ahead(known, clock):
            session.run(_KEEP, called=self.name, moments=json_of(counted), until=counted[-1] + self.span)
        return self._answer(counted, clock, is_admitted=is_admitted)

    def admit_again(self, session: Session) -> Admission:
        known = _moments(session.one(_FOUND, called=self.name))
        if self.moment not in known:
            return self.admit(session)
        server = session.time()
        return self._answer(known, self.now if server is None else server, is_admitted=True)

    def _is_ahead(self, known: Sequence[int], clock: int) -> bool:
        """Whether the clock was set back: others' clocks may differ by less."""
        return bool(known) and known[-1] > clock + self.span

    def _counted(self, known: Sequence[int], clock: int) -> list[int]:
        """What passed within the span. What lies ahead of a clock that was set back counts as if it had passed now: it
        is in the way for one span, not until the clock has caught up."""
        if self._is_ahead(known, clock):
            known = [min(moment, clock) for moment in known]
        since = max([clock, *known[-1:]]) - self.span
        return [moment for moment in known if moment > since]

    def _answer(self, known: Sequence[int], clock: int, *, is_admitted: bool) -> Admission:
        counted = self._counted(known, clock)
        free = self.limit - len(counted)
        # Those that have to leave the window before one more may pass; there are more when the limit was lowered.
        wait = 0 if free > 0 else counted[-free] + self.span - clock
        reset = counted[-1] + self.span - clock if counted else 0
        return Admission(is_admitted, max(0, free), wait / _SECOND, reset / _SECOND)


def _moments(row: Row | None) -> list[int]:
    """Ascending."""
    return [] if row is None else json.loads(row[0])
