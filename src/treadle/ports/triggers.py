"""The port to what is kept of hooks, triggers, deliveries and what they are about. Every method may raise
Unavailable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from treadle.domain.deliveries import Subject
from treadle.domain.events import JsonObject
from treadle.domain.run import Run
from treadle.domain.triggers import DeliveryStatus, Hook, StoredDelivery, Thread, Trigger


@dataclass(frozen=True, slots=True)
class Arrival:
    """A delivery as it came. `digest` None: the same body may come again, under another id."""

    delivery: str
    digest: str | None
    event: str
    headers: JsonObject
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CheckWanted:
    """A failed check, by its name, and how often it may be worked on until it passes."""

    name: str
    most: int


@dataclass(frozen=True, slots=True)
class CheckState:
    """How a check on a branch stands: how often it was worked on since it passed, last for which commit, by which
    delivery and run; and `wakes`, how often it has woken the branch's run at all (of those that did so together one
    counts)."""

    name: str
    tries: int
    sha: str
    delivery: int
    run_id: int
    wakes: int


class TriggerStore(Protocol):
    # ---- hooks and triggers

    async def add_hook(self, hook: Hook) -> Hook:
        """With the id that it gets. Of an organization, a repository and a kind there is one, but for trigger URLs:
        the one that is there already is the answer then."""

    async def hooks(self, organization_id: int) -> Sequence[Hook]:
        """By their ids."""

    async def hook(self, uuid: UUID) -> Hook | None: ...

    async def hook_by_id(self, hook_id: int) -> Hook | None: ...

    async def rotate_hook(self, hook_id: int, sealed: str, *, was: str, before_ends: datetime) -> bool:
        """Puts another secret, if it still has that; whether it had."""

    async def remove_hook(self, hook_id: int) -> None:
        """With its triggers, deliveries and threads."""

    async def add_trigger(self, trigger: Trigger) -> Trigger:
        """With the id that it gets. NotFound when its hook is gone."""

    async def triggers(self, organization_id: int) -> Sequence[Trigger]:
        """By their ids."""

    async def triggers_of_hook(self, hook_id: int) -> Sequence[Trigger]: ...

    async def trigger(self, organization_id: int, uuid: UUID) -> Trigger | None: ...

    async def update_trigger(self, trigger: Trigger) -> None:
        """Whose it is, its name, settings, plan, whether it is enabled, and its date. NotFound."""

    async def remove_trigger(self, trigger_id: int) -> None:
        """With its threads."""

    # ---- deliveries

    async def add_delivery(self, hook_id: int, arrival: Arrival, now: datetime) -> tuple[int, bool]:
        """Its id, and whether it is new: neither its id nor its body was there. A new one's chore is planned in the
        same transaction."""

    async def delivery(self, delivery_id: int) -> StoredDelivery | None: ...

    async def deliveries(self, hook_id: int, *, limit: int, before: int | None = None) -> Sequence[StoredDelivery]:
        """Newest first, without their bodies."""

    async def waiting_deliveries(self, hook_id: int, *, limit: int) -> Sequence[int]:
        """Their ids, oldest first."""

    async def end_delivery(
        self, delivery_id: int, status: DeliveryStatus, detail: str | None, run_id: int | None, now: datetime
    ) -> None: ...

    async def repeat_delivery(self, delivery_id: int, now: datetime) -> None:
        """It waits again, and its chore is planned."""

    async def prune_deliveries(self, hook_id: int, before: datetime) -> int:
        """Those that were done before, a portion of them; how many."""

    # ---- what they are about

    async def newest_run_on(self, organization_id: int, git_url: str, branch: str) -> Run | None:
        """Of those that write code in a registered repository, the last that had this work branch."""

    async def run_on_any(self, organization_id: int, git_url: str, branches: Sequence[str]) -> tuple[int, str] | None:
        """The id of the last that writes code on one of these, registered or not, and its branch."""

    async def run_that_pushed(self, repository_id: int, sha: str) -> Run | None:
        """The last one of which a step has this commit, among the repository's newest."""

    async def run_of_pull_request(self, repository_id: int, number: int) -> int | None:
        """The id of the run that opened it."""

    async def thread(self, thread_id: int) -> Thread | None: ...

    async def threads_about(self, repository_id: int, subject: Subject, number: int) -> Sequence[Thread]:
        """The one that was talked in last comes first."""

    async def threads_of_run(self, run_id: int) -> Sequence[Thread]: ...

    async def put_thread(
        self,
        repository_id: int,
        subject: Subject,
        number: int,
        trigger_id: int,
        *,
        run_id: int,
        step: int,
        detail: JsonObject,
        now: datetime,
    ) -> Thread:
        """A step of a run was asked for there. Another run than before begins without an answer."""

    async def answered(self, thread_id: int, run_id: int, step: int, now: datetime) -> None: ...

    async def take_checks(
        self,
        organization_id: int,
        git_url: str,
        branch: str,
        sha: str,
        wanted: Sequence[CheckWanted],
        *,
        most_wakes: int,
        run_id: int,
        delivery: int,
        now: datetime,
    ) -> tuple[Sequence[str], Mapping[str, CheckState]]:
        """Counts a try for each that may have one: it has not been worked on for this commit, and not as often as it
        may; nor has the branch's run been woken as often as it may, which is once for all of a call. The names that
        this delivery has, also from an earlier call; and how all of the branch stand."""

    async def pass_check(self, organization_id: int, git_url: str, branch: str, name: str) -> bool:
        """Forgets its tries, and not that they woke the run; whether there were any."""
