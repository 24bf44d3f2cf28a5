"""The port to chores: background work that is due at a time, done by whichever process claims it. A batch that starts
its next runs, a schedule that fires, a delivery that is worked off, a message that is sent, a script that goes on: each
is one chore, however many processes there are and whenever they die."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class ChoreKind(StrEnum):
    """What a chore is about; its subject is the id of such a one."""

    ANSWER = "answer"  # a thread at a forge, whose run has ended
    BATCH = "batch"
    DELIVERY = "delivery"
    MESSAGES = "messages"  # a webhook, whose messages wait
    SCHEDULE = "schedule"
    SCRIPT = "script"  # a run of a script


@dataclass(frozen=True, slots=True)
class Chore:
    """One that is claimed. `tries`: how often it has failed since it last went well."""

    kind: ChoreKind
    subject: int
    lease: int
    tries: int = 0


class ChoreStore(Protocol):
    """At most one process has a chore at a time, for as long as its lease lasts. Every method may raise Unavailable."""

    async def plan_chore(self, kind: ChoreKind, subject: int, due: datetime) -> None:
        """It is due then, or earlier if it was. One that is being done is done once more afterwards."""

    async def claim_chore(
        self, worker: str, now: datetime, *, lease_seconds: float, kinds: frozenset[ChoreKind]
    ) -> Chore | None:
        """The one that has been due for longest, also one whose lease has run out; None when nothing is due."""

    async def keep_chore(self, chore: Chore, now: datetime, *, lease_seconds: float) -> bool:
        """Renews its lease; False when it is another's by now."""

    async def end_chore(self, chore: Chore, *, again: datetime | None, failed: bool = False) -> bool:
        """It is due again then; None: it is over, unless somebody has planned it meanwhile. `failed` counts a try.
        False when it was another's by then: nothing changes."""

    async def watch_run(self, run_id: int, kind: ChoreKind, subject: int, now: datetime) -> None:
        """Plans the chore for the run's end; for now when it has ended. Repeating it is harmless. The run's end and the
        plan are one transaction. A run that is resumed later ends again without it."""
