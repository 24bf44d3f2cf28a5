"""Works deliveries off: for each event what each trigger of the hook makes of it. Everything that follows has an id
made of what it follows from, so that a delivery which is worked off twice, or half and again, makes one run."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from treadle.domain.deliveries import (
    CheckFailed,
    CheckPassed,
    CommentPosted,
    Delivery,
    Event,
    Ignored,
    IssueAssigned,
    IssueLabelled,
    Ping,
    ReviewRequested,
)
from treadle.domain.errors import (
    AllowanceUsedUp,
    Conflict,
    Forbidden,
    ForgeAuthenticationFailed,
    InvalidInput,
    NotFound,
    SealBroken,
    TooManyRequests,
    TreadleError,
)
from treadle.domain.repository import ForgeKind
from treadle.domain.triggers import DeliveryStatus, Hook, HookKind, StoredDelivery, Trigger, TriggerKind
from treadle.ports import hooks as hook_ports
from treadle.ports.chores import Chore
from treadle.services.audit import Door, acting, origin
from treadle.services.pull_requests import name_at_forge
from treadle.services.trigger_calls import CallTriggers
from treadle.services.trigger_checks import COLLECT_SECONDS, CheckTriggers
from treadle.services.trigger_reviews import ReviewTriggers
from treadle.services.trigger_talk import CommentTriggers, IssueTriggers
from treadle.services.trigger_texts import line_of
from treadle.services.trigger_wake import Outcome, Place, Places, Wake, Waking, ignored

log = structlog.get_logger(__name__)

#: What may pass, such as a forge that does not answer, is tried so often; the pauses double.
MAX_DELIVERY_TRIES = 8

#: Deliveries are kept for so many days after they were worked off.
DELIVERY_DAYS = 30

#: Of what is told of a delivery, in characters.
MAX_DETAIL = 2_000

_FINAL: Final = (
    AllowanceUsedUp, Conflict, Forbidden, ForgeAuthenticationFailed, InvalidInput, NotFound, SealBroken,
    TooManyRequests,
)  # fmt: skip
_RANK: Final = (DeliveryStatus.IGNORED, DeliveryStatus.DONE, DeliveryStatus.FAILED)


class DeliveryWork:
    def __init__(self, waking: Waking, places: Places, readers: Mapping[ForgeKind, hook_ports.Hook]) -> None:
        self._waking = waking
        self._store = waking.store
        self._clock = waking.clock
        self._places = places
        self._readers = readers
        self._checks = CheckTriggers(waking, self._read)
        self._issues = IssueTriggers(waking)
        self._comments = CommentTriggers(waking)
        self._reviews = ReviewTriggers(waking)
        self._calls = CallTriggers(waking)

    async def handle(self, chore: Chore) -> datetime | None:
        """ChoreKind.DELIVERY, of a stored delivery."""
        stored = await self._store.delivery(chore.subject)
        if stored is None or stored.status is not DeliveryStatus.WAITING:
            return None
        hook = await self._store.hook_by_id(stored.hook_id)
        if hook is None:
            return None
        is_last = chore.tries + 1 >= MAX_DELIVERY_TRIES
        try:
            told = None if hook.kind is HookKind.URL else self._read(hook, stored)
            again = _collected(told, stored)
            if again is not None and self._clock.now() < again:
                return again
            outcome = _joined(await self._outcomes(hook, stored, told, is_last=is_last))
        except _FINAL as error:
            outcome = _failed(error)
        except TreadleError as error:
            if not is_last:
                raise
            outcome = _failed(error)
        except Exception:  # a fault of ours, which is no better the next time: it would be tried for ever
            if not is_last:
                raise
            log.exception("a delivery cannot be worked off", delivery=stored.id)
            outcome = Outcome(DeliveryStatus.FAILED, "The service failed at it, and its log says how.")
        now = self._clock.now()
        detail = outcome.detail[:MAX_DETAIL]
        await self._store.end_delivery(stored.id, outcome.status, detail, outcome.run_id, now)
        await self._store.prune_deliveries(hook.id, now - timedelta(days=DELIVERY_DAYS))
        return None

    async def _outcomes(
        self, hook: Hook, stored: StoredDelivery, told: Delivery | None, *, is_last: bool
    ) -> Sequence[Outcome]:
        place = None
        if hook.repository_id is not None:
            place = await self._places.of(hook.organization_id, hook.repository_id)
        triggers = [trigger for trigger in await self._store.triggers_of_hook(hook.id) if trigger.is_enabled]
        if not triggers:
            return [ignored("The hook has no trigger that is on.")]
        if told is not None and place is not None and not _is_of(told, place):
            return [ignored(f"It tells of another repository: {line_of(told.repository_name, 100)}.")]
        return [await self._try(trigger, hook, stored, told, place, is_last=is_last) for trigger in triggers]

    async def _try(
        self,
        trigger: Trigger,
        hook: Hook,
        stored: StoredDelivery,
        told: Delivery | None,
        place: Place | None,
        *,
        is_last: bool,
    ) -> Outcome:
        """What one trigger makes of it; what it cannot have for a while is raised, until it was tried often enough."""
        principal = await self._store.principal_in(trigger.organization_id, trigger.user_id)
        if principal is None or principal.role is None:
            return _named(trigger, _failed(Forbidden("Whoever made the trigger has left the organization.")))
        wake = Wake(hook, trigger, stored, told, principal, place)
        events: Sequence[Event | None] = (None,) if told is None else told.events
        found = list[Outcome]()
        with origin(Door.SERVICE):
            acting(principal)
            for event in events:
                try:
                    found.append(await self._of(wake, event))
                except _FINAL as error:
                    found.append(_failed(error))
                except TreadleError as error:
                    if not is_last:
                        raise
                    found.append(_failed(error))
        return _named(trigger, _joined(found))

    async def _of(self, wake: Wake, event: Event | None) -> Outcome:  # noqa: PLR0911 - one for each pair
        match wake.trigger.kind, event:
            case TriggerKind.URL, None:
                return await self._calls.called(wake)
            case _, Ping():
                return ignored("The forge has tried whether the address answers.")
            case _, Ignored(reason):
                return ignored(reason)
            case TriggerKind.CHECK, CheckFailed() as failed:
                return await self._checks.failed(wake, failed)
            case TriggerKind.CHECK, CheckPassed() as passed:
                return await self._checks.passed(wake, passed)
            case TriggerKind.ISSUE, IssueLabelled() as labelled:
                return await self._issues.labelled(wake, labelled)
            case TriggerKind.ISSUE, IssueAssigned() as assigned:
                return await self._issues.assigned(wake, assigned)
            case TriggerKind.COMMENT, CommentPosted() as posted:
                return await self._comments.posted(wake, posted)
            case TriggerKind.REVIEW, ReviewRequested() as requested:
                return await self._reviews.requested(wake, requested)
            case _:
                return ignored("Not what this trigger is about.")

    def _read(self, hook: Hook, stored: StoredDelivery) -> Delivery:
        headers = {name: str(value) for name, value in stored.headers.items()}
        return self._readers[ForgeKind(hook.kind)].read(headers, stored.body)


def _is_of(told: Delivery, place: Place) -> bool:
    """Whether it tells of the hook's repository: an address that a whole organization's deliveries go to gets those of
    others, too, whose numbers mean something else. One that was renamed is known by the forge's own id."""
    repository = place.repository
    if not told.repository_name or told.repository_name.casefold() == name_at_forge(repository).casefold():
        return True
    return bool(repository.forge_id) and told.repository_id == repository.forge_id


def _collected(told: Delivery | None, stored: StoredDelivery) -> datetime | None:
    """Until when it waits for others of its kind."""
    if told is None or not any(isinstance(event, CheckFailed) for event in told.events):
        return None
    return stored.date_received + timedelta(seconds=COLLECT_SECONDS)


def _failed(error: TreadleError) -> Outcome:
    return Outcome(DeliveryStatus.FAILED, error.sentence())


def _named(trigger: Trigger, outcome: Outcome) -> Outcome:
    return Outcome(outcome.status, f"{trigger.name}: {outcome.detail}", outcome.run_id)


def _joined(outcomes: Sequence[Outcome]) -> Outcome:
    """What counts most, and what was said of it."""
    if not outcomes:
        return ignored("It tells of nothing.")
    status = max((outcome.status for outcome in outcomes), key=_RANK.index)
    told = [outcome for outcome in outcomes if outcome.status is status]
    run_id = next((outcome.run_id for outcome in told if outcome.run_id is not None), None)
    return Outcome(status, " ".join(dict.fromkeys(outcome.detail for outcome in told)), run_id)
