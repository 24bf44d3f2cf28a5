"""Schedules: made, changed, looked at. `schedule_clock.py` has them fire."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeAlias
from uuid import UUID

from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.events import JsonObject
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, may, require
from treadle.domain.schedule import Firing, Missed, Outcome, Overlap, Schedule
from treadle.ports import Clock, Idempotency
from treadle.ports.schedules import ScheduleDraft, ScheduleStore
from treadle.services.audit import Audit
from treadle.services.audit_actions import Action
from treadle.services.chores import Chores
from treadle.services.cron import Cron
from treadle.services.kept_addresses import address_faults
from treadle.services.run_rules import text_fault
from treadle.services.runs import IDEMPOTENCY_SPAN, Repeatable
from treadle.services.schedule_targets import Faults, Starter

#: Of an organization.
MAX_SCHEDULES = 500

#: Of a name, in characters.
MAX_SCHEDULE_NAME = 200

#: Of what it starts, as JSON: lists hold it.
MAX_SCHEDULE_TARGET_BYTES = 512 << 10

#: That one call lists.
MAX_SCHEDULE_PAGE = 100

#: How many of its firings a schedule shows at most.
MAX_FIRINGS = 200

#: How many of the times to come are told.
TOLD_TIMES: Final = 5


#: Spelled out here: a method below is called `list`.
_Faults: TypeAlias = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class ScheduleRequest:
    """What somebody sets. None: as it is, or as it is by default."""

    name: str | None = None
    cron: str | None = None
    time_zone: str | None = None
    missed: Missed | None = None
    overlap: Overlap | None = None
    kind: str | None = None  # of the target
    target: JsonObject | None = None
    is_enabled: bool | None = None


class Times(Protocol):
    """Who starts what."""

    @property
    def starters(self) -> Mapping[str, Starter]: ...


class Schedules:
    """The use cases around schedules. One that is not the caller's to see is NotFound."""

    def __init__(
        self,
        store: ScheduleStore,
        times: Times,
        chores: Chores,
        clock: Clock,
        *,
        audit: Audit,
        new_uuid: Callable[[], UUID],
    ) -> None:
        self._store = store
        self._times = times
        self._chores = chores
        self._clock = clock
        self._audit = audit
        self._new_uuid = new_uuid

    async def list(self, principal: Principal, *, limit: int = MAX_SCHEDULES, after: str = "") -> Sequence[Schedule]:
        """By their names, those behind the name `after`: the organization's, or the caller's own. Raises InvalidInput,
        Forbidden."""
        require(principal, Permission.RUN)
        if after and (fault := text_fault(after)):
            raise InvalidInput({"after": [fault]})
        user_id = None if may(principal, Permission.RUNS_OF_OTHERS) else principal.user_id
        return await self._store.schedules(principal.organization_id, limit=limit, after=after, user_id=user_id)

    async def get(self, principal: Principal, schedule_id: int) -> Schedule:
        """Raises NotFound, Forbidden."""
        require(principal, Permission.RUN)
        found = await self._store.schedule(schedule_id)
        is_own = found.user_id == principal.user_id or may(principal, Permission.RUNS_OF_OTHERS)
        if found.organization_id != principal.organization_id or not is_own:
            raise NotFound("There is no such schedule.")
        return found

    async def add(self, principal: Principal, request: ScheduleRequest) -> Schedule:
        """From now on it fires, in the caller's name and with the rights that the caller has then. Raises InvalidInput
        naming every fault, NotFound, Conflict for a name that is taken and for one too many, Forbidden."""
        require(principal, Permission.RUN)
        draft = await self._draft(principal, request, None)
        now = self._clock.now()
        made = await self._store.add_schedule(
            draft,
            principal.organization_id,
            principal.user_id,
            uuid=self._new_uuid(),
            now=now,
            most=MAX_SCHEDULES,
        )
        self._chores.bell.ring()
        await self._note(Action.SCHEDULE_ADDED, principal, made)
        return made

    async def update(self, principal: Principal, schedule_id: int, request: ScheduleRequest) -> Schedule:
        """What is given changes; times that have come meanwhile are not made up for. Raises as `add`."""
        changed: Schedule | None = None
        while changed is None:  # somebody else's change of something else is not to be taken back
            known = await self.get(principal, schedule_id)
            draft = await self._draft(principal, request, known)
            changed = await self._store.update_schedule(known, draft, self._clock.now())
        self._chores.bell.ring()
        await self._note(Action.SCHEDULE_CHANGED, principal, changed)
        return changed

    async def remove(self, principal: Principal, schedule_id: int) -> None:
        """What it has started goes on. Raises NotFound, Forbidden."""
        known = await self.get(principal, schedule_id)
        await self._store.remove_schedule(known.id)
        await self._note(Action.SCHEDULE_REMOVED, principal, known)

    async def fire(self, principal: Principal, schedule_id: int, *, repeatable: Repeatable | None = None) -> Firing:
        """Now, besides its times, also when it is off; once what it started last has ended. Or the firing that the same
        Idempotency-Key asked for. Raises NotFound, Forbidden, IdempotencyMismatch."""
        known = await self.get(principal, schedule_id)
        now = self._clock.now()
        firing = Firing(known.id, now, now, Outcome.WAITING, "asked for")
        made = await self._store.add_firing(
            firing,
            asked_by=principal,
            idempotency=_idempotency(repeatable, now),
            audit=self._audit.entry(Action.SCHEDULE_FIRED, principal=principal, target=known.id, detail=_noted(known)),
        )
        self._chores.bell.ring()
        return made

    async def firings(self, principal: Principal, schedule_id: int, *, limit: int = 50) -> Sequence[Firing]:
        """The latest first. Raises InvalidInput, NotFound, Forbidden."""
        if not 1 <= limit <= MAX_FIRINGS:
            raise InvalidInput({"limit": [f"Must be from 1 to {MAX_FIRINGS}."]})
        known = await self.get(principal, schedule_id)
        return await self._store.firings(known.id, limit=limit)

    def coming(self, schedule: Schedule) -> Sequence[datetime]:
        """Its next times."""
        if schedule.date_next is None:
            return ()
        times = Cron(schedule.cron, schedule.time_zone).times(schedule.date_next)
        return (schedule.date_next, *(time for _, time in zip(range(TOLD_TIMES - 1), times, strict=False)))

    async def _draft(self, principal: Principal, request: ScheduleRequest, known: Schedule | None) -> ScheduleDraft:
        faults: _Faults = {}
        name = (request.name if request.name is not None else known.name if known else "").strip()
        if fault := _name_fault(name):
            faults["name"] = [fault]
        cron = request.cron if request.cron is not None else known.cron if known else ""
        zone = request.time_zone if request.time_zone is not None else known.time_zone if known else "UTC"
        read: Cron | None = None
        try:
            read = Cron(cron, zone)
        except ValueError as error:
            said = f"{str(error)[:1].upper()}{str(error)[1:]}."
            faults["timeZone" if "time zone" in said else "cron"] = [said]
        target = await self._target(principal, request, known, faults)
        if faults or read is None:
            raise InvalidInput(faults, "The schedule is not valid.")
        is_enabled = request.is_enabled if request.is_enabled is not None else known.is_enabled if known else True
        return ScheduleDraft(
            name,
            cron.strip(),
            zone,
            request.missed or (known.missed if known else Missed.ONCE),
            request.overlap or (known.overlap if known else Overlap.SKIP),
            target,
            is_enabled,
            read.after(self._clock.now()) if is_enabled else None,
        )

    async def _target(
        self, principal: Principal, request: ScheduleRequest, known: Schedule | None, faults: _Faults
    ) -> JsonObject:
        if request.kind is None or request.target is None:
            if known is None:
                faults["target"] = [f"Is required: one of {', '.join(sorted(self._times.starters))}."]
                return {}
            return known.target
        starter = self._times.starters.get(request.kind)
        if starter is None:
            faults["target"] = [f"Must be one of {', '.join(sorted(self._times.starters))}."]
            return {}
        found = _kept_faults(request.target) or await starter.faults(principal, request.target)
        for path, said in found.items():
            faults[f"{request.kind}.{path}".removesuffix(".")] = list(said)
        return {"kind": request.kind, **request.target}

    async def _note(self, action: Action, principal: Principal, schedule: Schedule) -> None:
        await self._audit.note(action, principal=principal, target=schedule.id, detail=_noted(schedule))


def _noted(schedule: Schedule) -> JsonObject:
    return {"name": schedule.name, "cron": schedule.cron}


def _idempotency(repeatable: Repeatable | None, now: datetime) -> Idempotency | None:
    """Apart from the keys of runs."""
    if repeatable is None:
        return None
    return Idempotency(f"firing {repeatable.key}", repeatable.digest, now - IDEMPOTENCY_SPAN)


def _name_fault(name: str) -> str | None:
    if not name:
        return "Is required."
    if len(name) > MAX_SCHEDULE_NAME:
        return f"Must be at most {MAX_SCHEDULE_NAME} characters."
    return text_fault(name) or (None if name.isprintable() else "Must hold printable characters alone.")


def _kept_faults(target: JsonObject) -> Faults:
    """What is wrong with keeping it: it is not sealed, and shown to whoever may see the schedule."""
    if (size := len(json.dumps(target))) > MAX_SCHEDULE_TARGET_BYTES:
        return {"": [f"Must be at most {MAX_SCHEDULE_TARGET_BYTES:,} bytes as JSON, not {size:,}."]}
    plan = target.get("plan")
    in_plan = {key: plan.get(key) for key in ("repo", "variables")} if isinstance(plan, Mapping) else None
    return address_faults({"plan": in_plan, **{key: target.get(key) for key in ("url", "variables", "inputs")}})
