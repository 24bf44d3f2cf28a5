"""A pull request that is to be reviewed is read by a run that changes nothing, and commented on."""

import asyncio
from typing import Final

from treadle.domain.deliveries import Person, ReviewRequested, Subject
from treadle.domain.plan import Plan, StepSpec
from treadle.domain.run import RunSource
from treadle.services.plan_runs import PlanTarget
from treadle.services.trigger_texts import FINDINGS_ASKED, line_of, review_text
from treadle.services.trigger_wake import Outcome, Place, Wake, Waking, done, ignored, may_ask, source_of

DEFAULT_REVIEW: Final = Plan(steps=(StepSpec("${{ trigger.text }}", is_commitable=False),))


class ReviewTriggers:
    def __init__(self, waking: Waking) -> None:
        self._waking = waking

    async def requested(self, wake: Wake, event: ReviewRequested) -> Outcome:
        place = wake.place
        if place is None or wake.told is None:
            return ignored("The hook is of no repository.")
        if (reason := _reason(wake, place, wake.told.sender, event)) is not None:
            return ignored(reason)
        if not await may_ask(wake, place, wake.told.sender):
            return ignored("Whoever asked is not among those who may ask.")
        await self._waking.admit(f"{place.repository.id} review {event.number}")
        variables = {
            "trigger.kind": "review",
            "trigger.text": await asyncio.to_thread(review_text, event, place.repository.name, wake.trigger.uuid),
            "trigger.findings": FINDINGS_ASKED,
            "trigger.number": str(event.number),
            "trigger.title": line_of(event.title),
            "trigger.url": event.url,
            "trigger.author": line_of(event.author.login),
            "trigger.branch": event.head_branch,
            "trigger.base": event.base_branch,
            "trigger.sha": event.head_sha,
        }
        # Of the commit: whoever is asked twice for the same reads it once.
        run = await self._waking.start(
            wake,
            wake.trigger.plan or DEFAULT_REVIEW,
            f"review {event.number} {event.head_sha}",
            variables,
            target=PlanTarget(
                repository_id=place.repository.id,
                branch_source=event.head_branch,
                branch_words=f"review {line_of(event.title)}",
            ),
            source=source_of(wake.hook.kind, RunSource.GITHUB_PR_REVIEW),
            opens_pull_request=False,
        )
        thread = await self._waking.store.put_thread(
            place.repository.id,
            Subject.PULL_REQUEST,
            event.number,
            wake.trigger.id,
            run_id=run.id,
            step=len(run.steps),
            detail={"kind": "review", "sha": event.head_sha},
            now=self._waking.clock.now(),
        )
        await self._waking.answer_later(thread)
        return done(f"Pull request #{event.number} is reviewed by run {run.id}.", run.id)


def _reason(wake: Wake, place: Place, sender: Person | None, event: ReviewRequested) -> str | None:
    """Why nothing follows from it."""
    settings = wake.trigger.settings
    if place.is_own(sender) and not settings.heeds_token_owner:
        return "It comes from the account whose token the repository has."
    known = {name.casefold() for name in settings.reviewers}
    if event.reviewer.login.casefold() not in known and not place.is_own(event.reviewer):
        return f"{line_of(event.reviewer.login)} is not the trigger's reviewer."
    if event.is_from_fork:
        return "The pull request comes from a fork: runs read the repository's own branches."
    return None if place.at_forge is not None else "There is no token to say the findings with."
