"""What came of a run is said where it was asked for: once, however often it is tried."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from treadle.domain.deliveries import Subject
from treadle.domain.errors import ForgeAuthenticationFailed, ForgeError, NotFound, SealBroken
from treadle.domain.repository import PullRequest
from treadle.domain.run import Run
from treadle.domain.states import RunStatus
from treadle.domain.triggers import Thread
from treadle.ports import Clock
from treadle.ports.chores import Chore, ChoreKind
from treadle.services.chores import Chores
from treadle.services.trigger_findings import findings_in
from treadle.services.trigger_texts import answer_text, cut, footer, step_of
from treadle.services.trigger_wake import Place, Places, Store

log = structlog.get_logger(__name__)

#: A forge that does not take an answer is tried so often; the pauses double.
MAX_ANSWER_TRIES = 12


class PullRequestLists(Protocol):
    async def of(self, run_ids: Sequence[int]) -> Mapping[int, Sequence[PullRequest]]: ...


class Answers:
    def __init__(
        self,
        store: Store,
        places: Places,
        pull_requests: PullRequestLists,
        chores: Chores,
        clock: Clock,
        *,
        public_url: str | None,
    ) -> None:
        self._store = store
        self._places = places
        self._pull_requests = pull_requests
        self._chores = chores
        self._clock = clock
        self._public_url = public_url.rstrip("/") if public_url else None

    async def handle(self, chore: Chore) -> datetime | None:
        """ChoreKind.ANSWER, of a thread."""
        thread = await self._store.thread(chore.subject)
        if thread is None or thread.answered_step >= thread.last_step:
            return None
        run = await self._store.get_run_by_id(thread.run_id)
        if not run.is_finished:
            await self._chores.watch_run(run.id, ChoreKind.ANSWER, thread.id, self._clock.now())
            return None
        try:
            place = await self._places.of(run.organization_id, thread.repository_id)
            await self._say(place, thread, run)
        except (NotFound, SealBroken, ForgeAuthenticationFailed) as error:
            log.warning("an answer cannot be posted", thread=thread.id, run=run.id, error=error.sentence())
        except ForgeError as error:
            if chore.tries < MAX_ANSWER_TRIES:
                raise
            log.warning("an answer was given up", thread=thread.id, run=run.id, error=error.sentence())
        now = self._clock.now()
        await self._store.answered(thread.id, run.id, thread.last_step, now)
        after = await self._store.thread(thread.id)
        is_more = after is not None and after.answered_step < after.last_step
        return now + timedelta(seconds=1) if is_more else None

    async def _say(self, place: Place, thread: Thread, run: Run) -> None:
        if place.at_forge is None or place.talk is None:
            raise NotFound("The repository has no forge, or no token to it, to answer with.")
        pulls = (await self._pull_requests.of([run.id])).get(run.id, ())
        # The run's UUID is told to nobody at the forge.
        marker = f"answer-{run.uuid}-{thread.last_step}"
        if thread.detail.get("kind") == "review" and run.status is RunStatus.SUCCESS:
            findings, rest = findings_in(run.result or "")
            body = rest or ("These are the findings." if findings else "Nothing to find fault with.")
            said = f"{cut(body)}\n\n{footer(run, (), self._public_url)}"
            sha = str(thread.detail.get("sha", ""))
            await place.talk.review(place.at_forge, thread.number, sha, said, findings, marker=marker)
            return
        text = answer_text(run, step_of(run, thread.last_step), pulls, self._public_url)
        subject = Subject(thread.subject)
        await place.talk.comment(place.at_forge, subject, thread.number, text, marker=marker)
