"""Issues and comments start runs, or go on with one."""

import asyncio
from typing import Final
from uuid import uuid5

from treadle.domain.deliveries import CommentPosted, Issue, IssueAssigned, IssueLabelled, Subject
from treadle.domain.plan import Plan, StepSpec
from treadle.domain.run import Run
from treadle.domain.triggers import Thread
from treadle.services.plan_runs import PlanTarget
from treadle.services.trigger_texts import comment_text, issue_text, line_of, mentions, shown
from treadle.services.trigger_wake import Outcome, Place, Wake, Waking, done, ignored, may_ask, source_of

#: What our own comments hold, wherever they are seen (forges/conversations/texts.py).
HIDDEN_MARK: Final = "<!-- treadle:"

#: The plan where a trigger brings none; a variable's value is never looked through again.
DEFAULT_PLAN: Final = Plan(steps=(StepSpec("${{ trigger.text }}"),))

_OWN: Final = "It comes from the account whose token the repository has."


class IssueTriggers:
    def __init__(self, waking: Waking) -> None:
        self._waking = waking

    async def labelled(self, wake: Wake, event: IssueLabelled) -> Outcome:
        if event.label.casefold() not in {label.casefold() for label in wake.trigger.settings.labels}:
            return ignored(f"The label {line_of(event.label)} is not the trigger's.")
        return await self._start(wake, event.issue, event.label)

    async def assigned(self, wake: Wake, event: IssueAssigned) -> Outcome:
        login, place = event.assignee.login, wake.place
        known = {name.casefold() for name in wake.trigger.settings.assignees}
        if login.casefold() not in known and not (place is not None and place.is_own(event.assignee)):
            return ignored(f"{line_of(login)} is not the trigger's assignee.")
        return await self._start(wake, event.issue, "")

    async def _start(self, wake: Wake, issue: Issue, label: str) -> Outcome:
        place, told = wake.place, wake.told
        if place is None or told is None:
            return ignored("The hook is of no repository.")
        if place.is_own(told.sender) and not wake.trigger.settings.heeds_token_owner:
            return ignored(_OWN)
        if not await may_ask(wake, place, told.sender):
            return ignored("Whoever did this is not among those who may ask.")
        key = f"{place.repository.id} {Subject.ISSUE} {issue.number}"
        known = await self._waking.store.threads_about(place.repository.id, Subject.ISSUE, issue.number)
        mine = next((thread for thread in known if thread.trigger_id == wake.trigger.id), None)
        if mine is None:
            await self._waking.admit(key)
        text = await asyncio.to_thread(issue_text, issue, place.repository.name, wake.trigger.uuid)
        variables = {
            "trigger.kind": "issue",
            "trigger.text": text,
            "trigger.number": str(issue.number),
            "trigger.title": line_of(issue.title),
            "trigger.url": issue.url,
            "trigger.author": line_of(issue.author.login),
            "trigger.label": line_of(label),
        }
        # Of the issue: told of twice, by a label and by an assignee, or by another delivery, it is one run.
        run = await self._waking.start(
            wake,
            wake.trigger.plan or DEFAULT_PLAN,
            f"issue {issue.number}",
            variables,
            target=PlanTarget(repository_id=place.repository.id, branch_words=line_of(issue.title)),
            source=source_of(wake.hook.kind),
            opens_pull_request=wake.trigger.settings.opens_pull_request,
        )
        if mine is not None and mine.run_id == run.id and mine.answered_step:
            return ignored(f"Run {run.id} is this issue's already: a comment goes on with it.", run.id)
        await _talk(self._waking, wake, place, Subject.ISSUE, issue.number, run, len(run.steps))
        return done(f"Issue #{issue.number} started run {run.id}.", run.id)


class CommentTriggers:
    def __init__(self, waking: Waking) -> None:
        self._waking = waking

    async def posted(self, wake: Wake, event: CommentPosted) -> Outcome:
        place = wake.place
        if place is None:
            return ignored("The hook is of no repository.")
        if (reason := _reason(wake, place, event)) is not None:
            return ignored(reason)
        if not await may_ask(wake, place, event.author):
            return ignored(f"{line_of(event.author.login)} is not among those who may ask.")
        # Looked at more closely, which takes time, of those alone who may ask.
        if not mentions(await asyncio.to_thread(shown, event.body), wake.trigger.settings.mention):
            return ignored(f"The comment mentions {wake.trigger.settings.mention} where nobody sees it.")
        run = await self._known_run(place, event)
        if run is None:
            return await self._start(wake, place, event)
        await self._admit(place, event)
        # Of the comment: told of by another delivery, it is one step.
        step_id = uuid5(wake.hook.uuid, f"comment {event.subject} {event.comment_id}")
        text = await asyncio.to_thread(comment_text, event, place.repository.name, wake.trigger.uuid, with_about=False)
        run, position = await self._waking.resume(wake, run, text, step_id)
        await _talk(self._waking, wake, place, event.subject, event.number, run, position)
        return done(f"The comment on #{event.number} goes on with run {run.id}.", run.id)

    async def _admit(self, place: Place, event: CommentPosted) -> None:
        await self._waking.admit(f"{place.repository.id} {event.subject} {event.number}")

    async def _known_run(self, place: Place, event: CommentPosted) -> Run | None:
        """The run that is talked with there, or that opened the pull request."""
        store = self._waking.store
        for thread in await store.threads_about(place.repository.id, event.subject, event.number):
            if thread.detail.get("kind") != "review":
                return await self._waking.run_of(thread.run_id)
        if event.subject is Subject.PULL_REQUEST:
            run_id = await store.run_of_pull_request(place.repository.id, event.number)
            return None if run_id is None else await self._waking.run_of(run_id)
        return None

    async def _start(self, wake: Wake, place: Place, event: CommentPosted) -> Outcome:
        source = None
        if event.subject is Subject.PULL_REQUEST:
            if place.at_forge is None or place.talk is None:
                return ignored("There is no token to look at the pull request with.")
            pull = await place.talk.pull_request_details(place.at_forge, event.number)
            if pull.is_from_fork:
                return ignored("The pull request comes from a fork: runs work on the repository's own branches.")
            source = pull.head_branch
        await self._admit(place, event)  # once the forge has answered: what it refuses is tried again, and wakes nobody
        text = await asyncio.to_thread(comment_text, event, place.repository.name, wake.trigger.uuid, with_about=True)
        variables = {
            "trigger.kind": "comment",
            "trigger.text": text,
            "trigger.number": str(event.number),
            "trigger.title": line_of(event.title),
            "trigger.url": event.url,
            "trigger.author": line_of(event.author.login),
        }
        run = await self._waking.start(
            wake,
            wake.trigger.plan or DEFAULT_PLAN,
            f"comment {event.subject} {event.comment_id}",
            variables,
            target=PlanTarget(
                repository_id=place.repository.id, branch_source=source, branch_words=line_of(event.title)
            ),
            source=source_of(wake.hook.kind),
            opens_pull_request=wake.trigger.settings.opens_pull_request,
        )
        await _talk(self._waking, wake, place, event.subject, event.number, run, len(run.steps))
        return done(f"The comment on #{event.number} started run {run.id}.", run.id)


def _reason(wake: Wake, place: Place, event: CommentPosted) -> str | None:
    """Why nothing follows from it."""
    settings, sender = wake.trigger.settings, wake.told.sender if wake.told is not None else None
    if HIDDEN_MARK in event.body:
        return "It is an answer of Treadle's own."
    if (place.is_own(event.author) or place.is_own(sender)) and not settings.heeds_token_owner:
        return _OWN
    if not mentions(event.body, settings.mention):
        return f"The comment does not mention {settings.mention}."
    return None


async def _talk(waking: Waking, wake: Wake, place: Place, subject: Subject, number: int, run: Run, step: int) -> Thread:
    """The answer comes when the run has ended."""
    thread = await waking.store.put_thread(
        place.repository.id,
        subject,
        number,
        wake.trigger.id,
        run_id=run.id,
        step=step,
        detail={"kind": str(wake.trigger.kind)},
        now=waking.clock.now(),
    )
    await waking.answer_later(thread)
    return thread
