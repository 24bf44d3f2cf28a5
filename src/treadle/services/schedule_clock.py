"""Has schedules fire: each time once, whichever process is at it and whenever it dies, and never two at once."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

import structlog

from treadle.domain.errors import ConfigurationError, Conflict, NotFound, TreadleError
from treadle.domain.identity import Principal
from treadle.domain.schedule import Firing, Missed, Outcome, Overlap, Schedule
from treadle.ports import Clock
from treadle.ports.chores import Chore, ChoreKind
from treadle.ports.directory import MemberStore
from treadle.ports.schedules import ScheduleStore
from treadle.services.chores import Chores
from treadle.services.cron import Cron, zone_of
from treadle.services.schedule_targets import Starter

log = structlog.get_logger(__name__)

#: A time that is longer ago than this was missed, in seconds.
MISSED_SECONDS = 60.0

#: Of times that were missed, so many are made up for at most, the last ones.
MAX_MISSED = 100

#: What waits for the end of a batch or of a script is looked at so often, in seconds.
LOOK_SECONDS = 10.0

#: A time at which the service itself fails, or a Git host, is tried so often.
MAX_FIRING_TRIES = 5

#: Firings are kept so many days.
KEPT_DAYS = 400

_ONGOING: Final = frozenset({Outcome.STARTED})
_OPEN: Final = frozenset({Outcome.STARTING, Outcome.WAITING})

#: The latest firings that are looked at for what may still be at work. One is; what was made up for may be of a time
#: before it.
_LATEST: Final = 5


class ScheduleClock:
    """The handler of schedules' chores."""

    def __init__(
        self,
        store: ScheduleStore,
        directory: MemberStore,
        chores: Chores,
        clock: Clock,
        starters: Mapping[str, Starter],
    ) -> None:
        self.starters = starters
        self._store = store
        self._directory = directory
        self._chores = chores
        self._clock = clock

    async def advance(self, chore: Chore) -> datetime | None:
        """Whatever is due of that schedule; when to look again."""
        try:
            schedule = await self._store.schedule(chore.subject)
        except NotFound:  # it was removed
            return None
        now = self._clock.now()
        waits = await self._go_on(schedule, chore.tries)
        due = schedule.date_next if schedule.is_enabled else None
        if due is not None and due <= now:
            return await self._due(schedule, due, now, waits=waits)
        look = now + timedelta(seconds=LOOK_SECONDS) if waits else None
        return min((each for each in (due, look) if each is not None), default=None)

    async def _due(self, schedule: Schedule, due: datetime, now: datetime, *, waits: bool) -> datetime | None:
        cron = Cron(schedule.cron, schedule.time_zone)
        latest = cron.latest(now, MAX_MISSED) or [due]
        is_late = (now - latest[0]).total_seconds() > MISSED_SECONDS
        is_busy = waits or await self._at_work(schedule) is not None
        if schedule.missed is Missed.ALL and (is_late or due < latest[0]):
            if is_busy:  # one after another
                return now + timedelta(seconds=LOOK_SECONDS)
            chosen = max(due, latest[-1])
            return await self._fire(schedule, due, chosen, now, cron.after(chosen), Outcome.STARTING)
        if is_late and schedule.missed is Missed.SKIP:
            outcome = Outcome.MISSED
        elif not is_busy:
            outcome = Outcome.STARTING
        else:
            outcome = Outcome.SKIPPED if waits or schedule.overlap is Overlap.SKIP else Outcome.WAITING
        return await self._fire(schedule, due, latest[0], now, cron.after(now), outcome)

    async def _fire(
        self,
        schedule: Schedule,
        due: datetime,
        chosen: datetime,
        now: datetime,
        following: datetime | None,
        outcome: Outcome,
    ) -> datetime | None:
        """Writes down what becomes of `chosen`, and that those from `due` up to it are missed; then starts it."""
        said = {
            Outcome.SKIPPED: "what was started before is still at work",
            Outcome.WAITING: "waits for the end of what was started before",
            Outcome.MISSED: "no process was there at the time",
        }.get(outcome)
        found = [Firing(schedule.id, chosen, now, outcome, said)]
        if due < chosen:
            missed = "missed, with all times up to the next that is told of"
            found.insert(0, Firing(schedule.id, due, now, Outcome.MISSED, missed))
        if not await self._store.add_firings(schedule.id, found, due=due, following=following):
            return now  # it was changed meanwhile: looked at anew
        if outcome is Outcome.STARTING:
            await self._start(schedule, found[-1], 0)
        await self._store.prune_firings(schedule.id, now - timedelta(days=KEPT_DAYS))
        look = now + timedelta(seconds=LOOK_SECONDS) if outcome is Outcome.WAITING else None
        return min((each for each in (following, look) if each is not None), default=None)

    async def _go_on(self, schedule: Schedule, tries: int) -> bool:
        """With what another process began, and with what waits; whether something still waits."""
        still_open = await self._store.firings(schedule.id, limit=MAX_MISSED, outcomes=_OPEN)
        for firing in reversed(still_open):
            if firing.outcome is Outcome.STARTING:
                await self._start(schedule, firing, tries)
        waiting = [firing for firing in reversed(still_open) if firing.outcome is Outcome.WAITING]
        if not waiting:
            return False
        if await self._at_work(schedule) is not None:
            return True
        begun = replace(waiting[0], outcome=Outcome.STARTING, detail=None)
        await self._store.update_firing(begun)
        await self._start(schedule, begun, tries)
        return len(waiting) > 1

    async def _at_work(self, schedule: Schedule) -> tuple[str, int] | None:
        """What it started last, while that has not ended. Whoever waits is woken by a run's end."""
        for firing in await self._store.firings(schedule.id, limit=_LATEST, outcomes=_ONGOING):
            if (started := firing.started) is None:
                continue
            kind, id_ = started
            if kind not in self.starters or await self.starters[kind].is_over(schedule.organization_id, id_):
                continue
            if kind == "plan":
                await self._chores.watch_run(id_, ChoreKind.SCHEDULE, schedule.id, self._clock.now())
            return started
        return None

    async def _start(self, schedule: Schedule, firing: Firing, tries: int) -> None:
        """Its id is the schedule's and the time's, so that of two who try it is one."""
        kind = str(schedule.target.get("kind"))
        uuid = uuid5(schedule.uuid, firing.date_due.isoformat())
        try:
            started = await self._started(schedule, kind, uuid, firing.date_due)
        except ConfigurationError:  # away for now, or the operator's to mend: tried again
            raise
        except TreadleError as error:
            if isinstance(error, Conflict) and tries + 1 < MAX_FIRING_TRIES:  # a Git host that is in trouble, say
                raise
            log.warning("a schedule could not start anything", schedule=schedule.id, error=error.message)
            await self._store.update_firing(replace(firing, outcome=Outcome.FAILED, detail=error.sentence()))
            return
        except Exception:  # a fault of ours, which is no better the next time: no later one would be served
            if tries + 1 < MAX_FIRING_TRIES:
                raise
            log.exception("a schedule cannot start", schedule=schedule.id)
            said = "The service failed at it, and its log says how."
            await self._store.update_firing(replace(firing, outcome=Outcome.FAILED, detail=said))
            return
        log.info("a schedule fired", schedule=schedule.id, started=kind, id=started)
        done = replace(firing, outcome=Outcome.STARTED, detail=None)
        match kind:
            case "batch":
                done = replace(done, batch_id=started)
            case "script":
                done = replace(done, script_run_id=started)
            case _:
                done = replace(done, run_id=started)
        await self._store.update_firing(done)

    async def _started(self, schedule: Schedule, kind: str, uuid: UUID, due: datetime) -> int:
        starter = self.starters.get(kind)
        if starter is None:
            raise NotFound(f"There is nothing called {kind} to start.")
        principal: Principal | None = await self._directory.principal_in(schedule.organization_id, schedule.user_id)
        if principal is None or principal.role is None:
            raise NotFound("Whoever made the schedule is no member any more.", hint="Make it anew.")
        local = due.astimezone(zone_of(schedule.time_zone))
        variables = {
            "schedule.name": schedule.name,
            "schedule.date": local.strftime("%Y-%m-%d"),
            "schedule.time": local.strftime("%H%M"),
        }
        return await starter.start(principal, schedule.target, uuid=uuid, variables=variables)
