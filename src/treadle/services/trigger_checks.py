"""A failed check wakes the run that made the branch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import uuid5

import structlog

from treadle.domain.deliveries import Check, CheckFailed, CheckPassed, Delivery, Subject
from treadle.domain.errors import ForgeAuthenticationFailed, ForgeError
from treadle.domain.repository import CheckSuiteSettings, Repository
from treadle.domain.run import Run
from treadle.domain.triggers import Hook, StoredDelivery, Thread
from treadle.ports.triggers import CheckState, CheckWanted
from treadle.services.trigger_texts import checks_text, line_of
from treadle.services.trigger_wake import Outcome, Place, Wake, Waking, done, ignored

log = structlog.get_logger(__name__)

#: Failed checks of a commit are collected for so long, in seconds, before they wake their run together.
COLLECT_SECONDS = 5.0

#: How often failed checks wake the run of a branch, however often they pass in between.
MAX_CHECK_WAKES = 50

#: Deliveries that are looked through for more of them.
MAX_COLLECTED = 200

_GONE: Final = "The branch has moved on since."

Read = Callable[[Hook, StoredDelivery], Delivery]


@dataclass(frozen=True, slots=True)
class _Branch:
    """Where a check failed, and the run that made it."""

    repository: Repository
    run: Run
    name: str

    @property
    def key(self) -> str:
        return f"{self.repository.id} branch {self.name}"


class CheckTriggers:
    """`read` reads deliveries that were taken in."""

    def __init__(self, waking: Waking, read: Read) -> None:
        self._waking = waking
        self._store = waking.store
        self._read = read

    async def passed(self, wake: Wake, event: CheckPassed) -> Outcome:
        """Its tries are forgotten."""
        branch = await self._branch(wake.place, event.check)
        if branch is None:
            return ignored(_unknown(event.check))
        where = branch.repository.organization_id, branch.repository.url, branch.name
        await self._store.pass_check(*where, event.check.name)
        return ignored(f"{line_of(event.check.name)} passes.", branch.run.id)

    async def failed(self, wake: Wake, event: CheckFailed) -> Outcome:
        check, branch = event.check, await self._branch(wake.place, event.check)
        if branch is None or wake.place is None:
            return ignored(_unknown(check))
        repository, run = branch.repository, branch.run
        settings = repository.check_suite_settings
        if (reason := await self._reason(branch, check)) is not None:
            return ignored(reason, run.id)
        together = await self._together(wake, check, settings)
        _, states = await self._take(branch, check.sha, (), wake)
        if check.is_summary and _parts_are_known(check, together, states.values()):
            return ignored("The checks that it sums up have woken the run.", run.id)
        wanted = [CheckWanted(each.name, _most(settings, each.name)) for each in together]
        fresh = [each for each in wanted if _may_wake(each, check.sha, states.get(each.name), wake.stored.id)]
        are_mine = [_is_mine(states.get(each.name), check.sha, wake.stored.id) for each in fresh]
        if not fresh or (_is_last(states) and not any(are_mine)):
            return ignored(_why_not(check, settings, states.get(check.name), is_spent=bool(fresh)), run.id)
        if not all(are_mine):
            await self._waking.admit(branch.key)
        taken, states = await self._take(branch, check.sha, fresh, wake)
        mine = [each for each in together if each.name in taken]
        if not mine:
            return ignored("Another delivery has woken the run for it.", run.id)
        outcome = await self._wake(wake, wake.place, branch, check.sha, mine)
        if _is_last(states):
            await self._say_last(wake.place, run)
        return outcome

    async def _reason(self, branch: _Branch, check: Check) -> str | None:
        """Why nothing follows from it, whatever it is counted."""
        repository = branch.repository
        if await self._store.is_banned(repository.organization_id, repository.url, branch.name):
            return f"The branch {branch.name} is banned."
        if check.name in repository.check_suite_settings.ignored_checks:
            return f"{line_of(check.name)} is among the checks to ignore."
        commits = [step.commit_sha for step in branch.run.steps if step.commit_sha is not None]
        return _GONE if check.sha in commits[:-1] else None

    async def _wake(self, wake: Wake, place: Place, branch: _Branch, sha: str, checks: Sequence[Check]) -> Outcome:
        prompts = branch.repository.check_suite_settings.custom_prompts
        told = [(check, await _log(place, check), prompts.get(check.name)) for check in checks]
        # Of the hook, not of the trigger: two triggers that both heed a check ask for one step.
        step_id = uuid5(wake.hook.uuid, f"checks {branch.run.uuid} {sha} {wake.stored.id}")
        text = checks_text(told, sha, wake.trigger.uuid)
        run, position = await self._waking.resume(wake, branch.run, text, step_id)
        for thread in await self._threads(run):
            told_again = await self._store.put_thread(
                thread.repository_id,
                thread.subject,
                thread.number,
                thread.trigger_id,
                run_id=run.id,
                step=position,
                detail=thread.detail,
                now=self._waking.clock.now(),
            )
            await self._waking.answer_later(told_again)
        names = ", ".join(line_of(check.name, 60) for check in checks)
        return done(f"{names} failed on {sha[:12]}: run {run.id} goes on.", run.id)

    async def _say_last(self, place: Place, run: Run) -> None:
        """Where the run's work is seen: its pull request, or the issue that it is of."""
        text = (
            f"Failed checks have woken the run of this branch {MAX_CHECK_WAKES} times, and this was the last time: "
            "somebody has to look at why they fail again and again."
        )
        if place.at_forge is None or place.talk is None:
            return
        pulls = (await self._store.pull_requests_of([run.id])).get(run.id, ())
        places = [(Subject.PULL_REQUEST, pull.number) for pull in pulls]
        for subject, number in places or [(one.subject, one.number) for one in await self._threads(run)]:
            try:
                await place.talk.comment(place.at_forge, subject, number, text, marker=f"checks-{run.uuid}")
            except ForgeAuthenticationFailed as error:
                log.warning("the last wake of a branch cannot be told", run=run.id, error=error.sentence())

    async def _threads(self, run: Run) -> Sequence[Thread]:
        """Those in which it is answered what it does."""
        return [each for each in await self._store.threads_of_run(run.id) if each.detail.get("kind") != "review"]

    async def _branch(self, place: Place | None, check: Check) -> _Branch | None:
        if place is None:
            return None
        repository = place.repository
        if check.branch is not None:
            run = await self._store.newest_run_on(repository.organization_id, repository.url, check.branch)
        else:
            run = await self._store.run_that_pushed(repository.id, check.sha)
        return None if run is None else _Branch(repository, run, run.branch_work)

    async def _together(self, wake: Wake, check: Check, settings: CheckSuiteSettings) -> Sequence[Check]:
        """All that failed on the commit and waits, the most important ones first."""
        found = {check.name: check}
        # One at a time: each may be as large as a request may.
        for waiting in await self._store.waiting_deliveries(wake.hook.id, limit=MAX_COLLECTED):
            stored = await self._store.delivery(waiting)
            for event in self._read(wake.hook, stored).events if stored is not None else ():
                if isinstance(event, CheckFailed) and (event.check.branch, event.check.sha) == (
                    check.branch,
                    check.sha,
                ):
                    found.setdefault(event.check.name, event.check)
        counted = [each for each in found.values() if each.name not in settings.ignored_checks]
        parts = [each for each in counted if not each.is_summary]
        first = settings.high_priority_apps
        return sorted(parts or counted, key=lambda each: (each.app not in first, each.name))

    async def _take(
        self, branch: _Branch, sha: str, wanted: Sequence[CheckWanted], wake: Wake
    ) -> tuple[Sequence[str], dict[str, CheckState]]:
        repository = branch.repository
        taken, states = await self._store.take_checks(
            repository.organization_id,
            repository.url,
            branch.name,
            sha,
            wanted,
            most_wakes=MAX_CHECK_WAKES,
            run_id=branch.run.id,
            delivery=wake.stored.id,
            now=self._waking.clock.now(),
        )
        return taken, dict(states)


def _parts_are_known(check: Check, together: Sequence[Check], states: Iterable[CheckState]) -> bool:
    if all(each.name != check.name for each in together):
        return True
    return any(state.sha == check.sha and state.name != check.name for state in states)


def _is_last(states: Mapping[str, CheckState]) -> bool:
    return sum(state.wakes for state in states.values()) >= MAX_CHECK_WAKES


def _most(settings: CheckSuiteSettings, name: str) -> int:
    return settings.retry_counts.get(name, settings.retry_count)


def _is_mine(state: CheckState | None, sha: str, delivery: int) -> bool:
    return state is not None and state.sha == sha and state.delivery == delivery


def _may_wake(wanted: CheckWanted, sha: str, state: CheckState | None, delivery: int) -> bool:
    if state is not None and state.sha == sha:
        return state.delivery == delivery
    return (0 if state is None else state.tries) < wanted.most


def _why_not(check: Check, settings: CheckSuiteSettings, state: CheckState | None, *, is_spent: bool) -> str:
    if is_spent:
        return f"Failed checks have woken the run {MAX_CHECK_WAKES} times, which is the most."
    if state is not None and state.sha == check.sha:
        return f"The run was woken for {line_of(check.name)} on this commit already, by delivery {state.delivery}."
    most = _most(settings, check.name)
    return f"{line_of(check.name)} was worked on {most} times, which is the most, and it has not passed since."


def _unknown(check: Check) -> str:
    return f"No run made the branch {line_of(check.branch)}." if check.branch else "No run pushed the commit."


async def _log(place: Place, check: Check) -> str:
    """What can be had of it: a run that knows what the check says is worth more than none."""
    if place.at_forge is None or place.talk is None:
        return ""
    try:
        return await place.talk.check_log(place.at_forge, check)
    except ForgeError as error:
        log.warning("no log of a failed check", check=check.name, repository=place.repository.name, error=str(error))
        return ""
