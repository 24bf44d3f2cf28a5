"""What each kind of event is called in a trace, in plain words. Data may have any shape: what lacks is not told."""

from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

from treadle.domain.events import EventType, JsonObject
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.web.said import Said, number_of, text_of
from treadle.web.text import count, duration, money
from treadle.web.trace_trust_words import TRUST_WORDS

#: Characters of a commit's name that are shown.
SHORT_SHA = 9


def outside(url: str) -> str | None:
    """An address that may be linked to: a page, never a script."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in {"http", "https"} and parts.netloc and url.isprintable() else None


def size(number: float) -> str:
    """`312 bytes`, `4.2 kB`."""
    return f"{int(number)} bytes" if number < 1000 else f"{count(int(number))}B"  # noqa: PLR2004 - the unit's


def _sha(data: JsonObject, name: str = "sha") -> str:
    return text_of(data, name)[:SHORT_SHA]


def _many(number: float, one: str) -> str:
    return f"{int(number):,} {one}{'' if number == 1 else 's'}"


def _created(data: JsonObject) -> Said:
    return Said("Asked for", f"{_many(number_of(data, 'steps'), 'step')}, {text_of(data, 'engine')}")


def _started(data: JsonObject) -> Said:
    again = number_of(data, "lease") > 1
    return Said("Another worker goes on" if again else "A worker began", text_of(data, "worker"))


_REQUEUES = {
    "lease_expired": Said("The worker was lost; another goes on", tone="warn"),
    "released": Said("The worker handed the run over; another goes on", tone="warn"),
    "follow_up": Said("It goes on with the follow-up"),
}


def _requeued(data: JsonObject) -> Said:
    reason = text_of(data, "reason")
    return _REQUEUES.get(reason, Said("Back in the queue", reason, tone="warn"))


def _resumed(data: JsonObject) -> Said:
    return Said("Resumed with a follow-up", body=text_of(data, "text"), tone="busy")


def _credentials(data: JsonObject) -> Said:
    return Said("Credentials were replaced", text_of(data, "kind"))


_ENDS = {
    RunStatus.SUCCESS: ("Done", "good"),
    RunStatus.FAILED: ("The run failed", "bad"),
    RunStatus.KILLED: ("The run was stopped", "warn"),
}


def _ended(data: JsonObject) -> Said:
    title, tone = next((said for status, said in _ENDS.items() if status == data.get("status")), ("Ended", ""))
    return Said(title, body=text_of(data, "failureDetails"), tone=tone)


def _prepared(data: JsonObject) -> Said:
    branch = "a new branch" if data.get("isNewBranch") is True else "the branch as it was"
    at = _sha(data, "workSha")
    warm = ", warm" if data.get("isWarm") is True else ""
    took = duration(number_of(data, "durationMs") / 1000)
    return Said("The workspace is ready", f"{branch}{f' at {at}' if at else ''}{warm}, {took}")


def _restored(data: JsonObject) -> Said:
    steps = data.get("steps")
    done = [str(step) for step in steps if isinstance(step, int)] if isinstance(steps, list | tuple) else []
    parts = [f"steps already done: {', '.join(done)}"] if done else []
    if phase := text_of(data, "phase"):
        parts.append(f"kept up to its {phase}")
    if data.get("isConversationKept") is True:
        parts.append("in the same conversation")
    return Said("Taken up where it was left", ", ".join(parts))


def _work_restored(data: JsonObject) -> Said:
    if reason := text_of(data, "reason"):
        return Said("Uncommitted work of an earlier step could not be taken up", reason, tone="warn")
    return Said("Uncommitted work of an earlier step is back", text_of(data, "name"))


def _undone(data: JsonObject) -> Said:
    paths = data.get("paths")
    named = "\n".join(str(path) for path in paths) if isinstance(paths, list | tuple) else ""
    return Said(
        "Changes were undone", f"{_many(number_of(data, 'count'), 'file')}, which may only be read", named, "warn"
    )


def _nested(data: JsonObject) -> Said:
    return Said(
        "A repository within the repository: its files were kept, its .git was not", text_of(data, "path"), tone="warn"
    )


def _step_started(data: JsonObject) -> Said:
    kind = "" if data.get("isCommitable") is not False else ", analysis only"
    return Said(kind, body=text_of(data, "text"))


def _step_finished(data: JsonObject) -> Said:
    if data.get("status") == StepStatus.SUCCESS:
        return Said(" is done", tone="good")
    return Said(" failed", body=text_of(data, "failureDetails"), tone="bad")


def _phase_started(data: JsonObject) -> Said:
    attempt = number_of(data, "attempt")
    return Said(f", attempt {int(attempt)}" if attempt > 1 else "", text_of(data, "engine"), text_of(data, "prompt"))


def _phase_finished(data: JsonObject) -> Said:
    usage = data.get("usage")
    spent = usage if isinstance(usage, Mapping) else {}
    tokens = number_of(spent, "inputTokens") + number_of(spent, "outputTokens")
    parts = [duration(number_of(spent, "durationMs") / 1000), f"{count(int(tokens))} tokens"]
    return Said("is done", ", ".join([*parts, money(number_of(spent, "costUsd"))]))


def _engine_started(data: JsonObject) -> Said:
    tools = number_of(data, "tools")
    parts = [text_of(data, "model"), _many(tools, "tool") if tools else ""]
    return Said("The engine began", ", ".join(part for part in parts if part))


def _notice(data: JsonObject) -> Said:
    return Said("Notice", body=text_of(data, "text"), tone="warn")


def _retry(data: JsonObject) -> Said:
    what = "A request is sent again" if data.get("by") == "engine" else "The phase is tried again"
    attempt, delay = number_of(data, "attempt"), number_of(data, "delaySeconds")
    title = f"{what}{f' in {duration(delay)}' if delay else ''}{f', attempt {int(attempt)}' if attempt else ''}"
    return Said(title, body=text_of(data, "reason"), tone="warn")


def _setup_started(_data: JsonObject) -> Said:
    return Said("Setup commands", tone="busy")


def _setup_finished(data: JsonObject) -> Said:
    code = data.get("exitCode")
    took = duration(number_of(data, "durationMs") / 1000)
    if code == 0:
        kept = ", kept for the next run" if data.get("isKept") is True else ""
        return Said("The setup commands are done", f"{took}{kept}", tone="good")
    if isinstance(code, int):
        return Said(f"The setup commands ended with exit code {code}", took, tone="bad")
    return Said("The setup commands were ended", took, tone="bad")


def _setup_reused(data: JsonObject) -> Said:
    return Said("What the setup commands made is reused", duration(number_of(data, "durationMs") / 1000))


def _validation_started(data: JsonObject) -> Said:
    attempt = int(number_of(data, "attempt"))
    return Said("Validation", text_of(data, "command") + (f", attempt {attempt}" if attempt > 1 else ""), tone="busy")


def _validation_finished(data: JsonObject) -> Said:
    code, named = data.get("exitCode"), text_of(data, "command")
    took = duration(number_of(data, "durationMs") / 1000)
    if code == 0:
        return Said(f"{named} passed", took, tone="good")
    if isinstance(code, int):
        return Said(f"{named} failed with exit code {code}", took, tone="bad")
    return Said(f"{named} was ended", text_of(data, "reason") or took, tone="bad")


def _setup_stored(data: JsonObject) -> Said:
    return Said("Setup commands were kept with the repository", _many(number_of(data, "lines"), "line"), tone="good")


def _pull_opened(data: JsonObject) -> Said:
    link = outside(text_of(data, "url"))
    name = f"#{int(number_of(data, 'number'))}"
    return Said("A pull request is open", text_of(data, "title"), tone="good", link=(link, name) if link else None)


def _pull_failed(data: JsonObject) -> Said:
    return Said("No pull request could be opened; the branch is pushed", body=text_of(data, "reason"), tone="warn")


def _committed(data: JsonObject) -> Said:
    return Said(f"Committed {_sha(data)}", _changed(data), tone="good")


def _changed(data: JsonObject) -> str:
    files = _many(number_of(data, "files"), "file")
    return f"{files}, +{int(number_of(data, 'additions')):,} -{int(number_of(data, 'deletions')):,}"


def _compared(data: JsonObject) -> Said:
    ahead, behind = number_of(data, "ahead"), number_of(data, "behind")
    return Said("Compared with the source branch", f"{int(ahead):,} ahead, {int(behind):,} behind")


def _rebased(data: JsonObject) -> Said:
    return Said("Rebased: the branch had moved", f"{_sha(data, 'from')} became {_sha(data, 'to')}", tone="warn")


def _pushed(data: JsonObject) -> Said:
    return Said(f"Pushed {_sha(data)} to", text_of(data, "branch"), tone="good")


def _diff(data: JsonObject) -> Said:
    return Said("The diff is ready", _changed(data), link=("/diff", "Look at it"))


def _kept(data: JsonObject) -> Said:
    name = text_of(data, "name")
    link = (f"/artifacts/{quote(name, safe='')}", "Download") if name else None
    return Said("Kept", f"{name}, {size(number_of(data, 'size'))}", link=link)


WORDS: Mapping[EventType, Callable[[JsonObject], Said]] = {
    EventType.RUN_CREATED: _created,
    EventType.RUN_STARTED: _started,
    EventType.RUN_REQUEUED: _requeued,
    EventType.RUN_RESUMED: _resumed,
    EventType.RUN_CREDENTIALS_UPDATED: _credentials,
    EventType.RUN_KILL_REQUESTED: lambda _: Said("Somebody asked to stop it", tone="warn"),
    EventType.RUN_FINISHED: _ended,
    EventType.WORKSPACE_PREPARED: _prepared,
    EventType.WORKSPACE_RESTORED: _restored,
    EventType.WORKSPACE_WORK_RESTORED: _work_restored,
    EventType.WORKSPACE_CHANGES_UNDONE: _undone,
    EventType.WORKSPACE_NESTED_REPOSITORY: _nested,
    EventType.STEP_STARTED: _step_started,
    EventType.STEP_FINISHED: _step_finished,
    EventType.PHASE_STARTED: _phase_started,
    EventType.PHASE_FINISHED: _phase_finished,
    EventType.ENGINE_STARTED: _engine_started,
    EventType.ENGINE_NOTICE: _notice,
    EventType.ENGINE_RETRY: _retry,
    EventType.SETUP_STARTED: _setup_started,
    EventType.SETUP_FINISHED: _setup_finished,
    EventType.SETUP_REUSED: _setup_reused,
    EventType.VALIDATION_STARTED: _validation_started,
    EventType.VALIDATION_FINISHED: _validation_finished,
    EventType.SETUP_COMMANDS_STORED: _setup_stored,
    EventType.PULL_REQUEST_OPENED: _pull_opened,
    EventType.PULL_REQUEST_FAILED: _pull_failed,
    EventType.GIT_COMMITTED: _committed,
    EventType.GIT_NOTHING_TO_COMMIT: lambda _: Said("Nothing to commit: the step changed no file"),
    EventType.GIT_COMPARED: _compared,
    EventType.GIT_REBASED: _rebased,
    EventType.GIT_PUSHED: _pushed,
    EventType.DIFF_READY: _diff,
    EventType.ARTIFACT_KEPT: _kept,
    **TRUST_WORDS,
}

#: Words for the phases, in a line of stages.
PHASES: Mapping[Phase, str] = {
    Phase.ANALYSIS: "Analysis",
    Phase.IMPLEMENTATION: "Implementation",
    Phase.VALIDATION: "Validation",
}
