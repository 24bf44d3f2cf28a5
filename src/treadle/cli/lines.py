"""A run as plain lines: one an event, in fixed columns, for pipes and logs.

08:15:30Z  step.started              2/3  Add a word counter
08:15:31Z  tool.started              2/3  Implementation  Write src/words.py
"""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from treadle.cli.event_data import Cost, cost_of, describe_tool, first_line, number_of, outcome_of, text_of, whole
from treadle.cli.progress import Happening, RunView, StepView
from treadle.cli.text import neutral, one_line

Data = Mapping[str, object]

#: Longest detail on a line, in columns.
DETAIL_COLUMNS: Final = 200

SHA_COLUMNS: Final = 8
ID_COLUMNS: Final = 8


def event_line(event: Happening, steps: int) -> str:
    """One line without its line end; `steps` is how many the run has."""
    time = event.date.astimezone(UTC).strftime("%H:%M:%SZ") if event.date is not None else "--:--:--Z"
    where = f"{event.step}/{steps}" if event.step is not None else "-"
    parts = [time, f"{one_line(event.type):<24}", f"{where:<5}"]
    if event.phase:
        parts.append(f"{one_line(event.phase):<14}")
    if detail := _detail(event):
        parts.append(detail)
    return "  ".join(parts).rstrip()


def full_text(event: Happening) -> Iterator[str]:
    """The long text of an event, line by line, indented; nothing where the event line says all."""
    key = _LONG.get(event.type)
    text = text_of(event.data, key) if key else ""
    if len(text.splitlines()) > 1 or len(text) > DETAIL_COLUMNS:
        for line in neutral(text).splitlines():
            yield f"    {line}"


def ending_lines(run: RunView) -> Iterator[str]:
    """How a run ended, in a few lines."""
    took = run.seconds(run.ended) if run.ended is not None else None
    parts = [f"{run.status}: {run.done} of {counted(len(run.steps), 'step')}"]
    if took is not None:
        parts.append(f"in {duration(took)}")
    if run.cost != Cost():
        parts.append(cost_text(run.cost))
    yield ", ".join(parts)
    for step in run.steps:
        if step.commit_sha:
            yield f"  {step.commit_sha[:SHA_COLUMNS]}  {one_line(step.title, DETAIL_COLUMNS)}"
    if run.failure:
        yield from (f"  {line}" for line in neutral(run.failure).splitlines())


def duration(seconds: float) -> str:
    """`0.4s`, `42s`, `12:40` or `1:02:03`."""
    if seconds < 10:  # noqa: PLR2004 - with one decimal, cut like the others
        return f"{int(seconds * 10) / 10:.1f}s"
    total = int(seconds)
    if total < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{total}s"
    hours, minutes = total // 3600, total // 60 % 60
    return f"{hours}:{minutes:02}:{total % 60:02}" if hours else f"{minutes}:{total % 60:02}"


def count(number: int) -> str:
    """`950`, `1.2k`, `3.4M`."""
    for factor, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= factor:
            return f"{number / factor:.1f}{unit}"
    return str(number)


def cost_text(cost: Cost) -> str:
    """Tokens, and dollars where they are known."""
    tokens = f"{count(cost.input_tokens)} in, {count(cost.output_tokens)} out"
    return f"{tokens}, ${cost.cost_usd:.2f}" if cost.cost_usd else tokens


def change_text(files: int, additions: int, deletions: int) -> str:
    """`2 files, +10 -3`."""
    return f"{counted(files, 'file')}, +{additions} -{deletions}"


def counted(number: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def step_state(step: StepView) -> str:
    """What to say of a step beside its text: the commit it made, the phase it is in, or why there is neither."""
    if step.status == "Success":
        if step.commit_sha:
            return step.commit_sha[:SHA_COLUMNS]
        return "nothing to commit" if step.has_nothing_to_commit else "analysis" if not step.is_commitable else "done"
    if step.status == "Running":
        return (step.phase or "Running") + (f", try {step.attempt}" if step.attempt > 1 else "")
    return {"NotStarted": "", "Failed": "Failed"}.get(step.status, step.status)


def when(date: datetime | None) -> str:
    """A date to the second, in UTC."""
    return date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if date is not None else "-"


def ago(date: datetime | None, now: datetime) -> str:
    """`3 min ago`."""
    if date is None:
        return "-"
    seconds = max(0, int((now - date).total_seconds()))
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit} {name} ago"
    return f"{seconds} s ago"


def compact_json(value: object) -> str:
    """JSON on one line, readable."""
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "), default=str)


def _detail(event: Happening) -> str:
    say = _DETAILS.get(event.type, compact_json)
    return one_line(say(event.data), DETAIL_COLUMNS)


def _text(key: str) -> Callable[[Data], str]:
    return lambda data: text_of(data, key)


def _of_status(data: Data) -> str:
    failure = text_of(data, "failureDetails")
    return text_of(data, "status") + (f": {failure}" if failure else "")


def _changes(data: Data) -> str:
    return change_text(whole(data, "files"), whole(data, "additions"), whole(data, "deletions"))


def _usage(data: Data) -> str:
    usage = data.get("usage")
    if not isinstance(usage, Mapping):
        return ""
    spent = cost_of(usage)
    said = f"{cost_text(spent)}, " if spent != Cost() else ""
    return f"{said}{number_of(usage, 'durationMs') / 1000:.1f} s"


def _prepared(data: Data) -> str:
    branch = "new branch" if data.get("isNewBranch") else "branch continued"
    warmth = "warm mirror" if data.get("isWarm") else "cold mirror"
    return f"{branch} at {text_of(data, 'workSha')[:SHA_COLUMNS]}, {warmth}, {whole(data, 'durationMs')} ms"


def _tool_result(data: Data) -> str:
    return ("error: " if data.get("isError") else "") + text_of(data, "output")


def _answer(data: Data) -> str:
    read = sum(whole(data, key) for key in ("inputTokens", "cacheReadTokens", "cacheWriteTokens"))
    spent = cost_text(Cost(read, whole(data, "outputTokens"), number_of(data, "costUsd")))
    status = whole(data, "status")
    return f"{text_of(data, 'model')}: {spent}" if status == HTTPStatus.OK else f"HTTP {status}, {spent}"


def _budget(data: Data) -> str:
    whose = "the month's" if text_of(data, "of") == "organization" else "the run's"
    return f"${number_of(data, 'spentUsd'):.4f} spent, {whose} budget is ${number_of(data, 'limitUsd'):g}"


def _policy(data: Data) -> str:
    policy = data.get("policy")
    hosts = policy.get("allow") if isinstance(policy, Mapping) else None
    said = f"allow {', '.join(map(str, hosts))}" if isinstance(hosts, list) else str(policy)
    return said if data.get("isEnforced") else f"{said} (not enforced: there is no sandbox)"


def _place(data: Data) -> str:
    return f"{text_of(data, 'host')}:{whole(data, 'port')}"


def _secrets(data: Data) -> str:
    findings = data.get("findings")
    first = findings[0] if isinstance(findings, list) and findings else {}
    place = f"{text_of(first, 'path')}: {text_of(first, 'kind')}" if isinstance(first, Mapping) else ""
    more = whole(data, "count") - 1
    return place + (f", and {more} more" if more > 0 else "")


_DETAILS: Final[Mapping[str, Callable[[Data], str]]] = {
    "run.created": lambda data: (
        f"{whole(data, 'steps')} step{'s' * (whole(data, 'steps') != 1)}, engine {text_of(data, 'engine')}"
    ),
    "run.started": lambda data: f"worker {text_of(data, 'worker')}, lease {whole(data, 'lease')}",
    "run.requeued": _text("reason"),
    "run.credentials_updated": _text("kind"),
    "run.kill_requested": lambda _data: "",
    "run.finished": _of_status,
    "workspace.prepared": _prepared,
    "step.started": lambda data: first_line(text_of(data, "text")),
    "step.finished": _of_status,
    "phase.started": lambda data: f"attempt {whole(data, 'attempt')}" if number_of(data, "attempt") > 1 else "",
    "phase.finished": _usage,
    "engine.started": lambda data: text_of(data, "model"),
    "engine.text": _text("text"),
    "engine.thought": _text("text"),
    "engine.notice": _text("text"),
    "engine.retry": lambda data: f"in {number_of(data, 'delaySeconds'):g} s: {text_of(data, 'reason')}",
    "tool.started": describe_tool,
    "tool.finished": _tool_result,
    "model.answered": _answer,
    "budget.passed": _budget,
    "network.policy": _policy,
    "network.connected": lambda data: f"{_place(data)} at {text_of(data, 'address')}",
    "network.refused": lambda data: f"{_place(data)}: {text_of(data, 'reason')}",
    "sandbox.limit": _text("text"),
    "validation.started": _text("command"),
    "validation.output": _text("text"),
    "validation.finished": lambda data: f"{text_of(data, 'command')}: {outcome_of(data)}",
    "git.secrets_found": _secrets,
    "git.committed": lambda data: f"{text_of(data, 'sha')[:SHA_COLUMNS]} {_changes(data)}",
    "git.nothing_to_commit": lambda _data: "",
    "git.compared": lambda data: f"{whole(data, 'ahead')} ahead, {whole(data, 'behind')} behind",
    "git.pushed": lambda data: f"{text_of(data, 'sha')[:SHA_COLUMNS]} {text_of(data, 'branch')}",
    "diff.ready": _changes,
    "artifact.kept": lambda data: f"{text_of(data, 'name')}, {whole(data, 'size')} bytes",
}

#: Where each event keeps the text that a line may have to cut.
_LONG: Final[Mapping[str, str]] = {
    "engine.text": "text",
    "engine.thought": "text",
    "engine.notice": "text",
    "validation.output": "text",
    "tool.finished": "output",
    "phase.started": "prompt",
    "phase.finished": "output",
    "step.started": "text",
    "step.finished": "failureDetails",
    "run.finished": "failureDetails",
}
