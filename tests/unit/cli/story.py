"""The events of a run, as a server would tell them, for the views to show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from treadle.cli.progress import RunView, waiting_steps

START = datetime(2025, 1, 2, 8, 15, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Told:
    number: int
    type: str
    date: datetime
    step: int | None = None
    phase: str | None = None
    data: Mapping[str, object] = field(default_factory=dict)


Telling = tuple[str, int | None, str | None, Mapping[str, object]]


def tell(*tellings: Telling) -> Sequence[Told]:
    """One a second, from START on."""
    return [
        Told(number, type_, START + timedelta(seconds=number - 1), step, phase, data)
        for number, (type_, step, phase, data) in enumerate(tellings, start=1)
    ]


USAGE = {"inputTokens": 1_200, "outputTokens": 345, "costUsd": 0.0123, "durationMs": 2_500}

STORY = tell(
    ("run.created", None, None, {"steps": 2, "engine": "Dummy"}),
    ("run.started", None, None, {"worker": "host-1", "lease": 1}),
    (
        "workspace.prepared",
        None,
        None,
        {"sourceSha": "a" * 40, "workSha": "a" * 40, "isNewBranch": True, "isWarm": False, "durationMs": 41},
    ),
    ("step.started", 1, None, {"text": "Describe the project", "isCommitable": False}),
    ("phase.started", 1, "Analysis", {"prompt": "Describe the project\n\nOnly read.", "attempt": 1}),
    ("engine.started", 1, "Analysis", {"model": "dummy", "session": "s", "tools": 3}),
    ("engine.text", 1, "Analysis", {"text": "It counts words.\nThat is all."}),
    ("phase.finished", 1, "Analysis", {"output": "It counts words.", "usage": USAGE}),
    ("step.finished", 1, None, {"status": "Success", "failureDetails": None}),
    ("step.started", 2, None, {"text": "Add a --top option", "isCommitable": True}),
    ("phase.started", 2, "Implementation", {"prompt": "Now", "attempt": 1}),
    ("engine.retry", 2, "Implementation", {"reason": "API Error: 529", "attempt": 2, "delaySeconds": 2.5}),
    ("phase.started", 2, "Implementation", {"prompt": "Now", "attempt": 2}),
    ("tool.started", 2, "Implementation", {"id": "t", "tool": "Write", "input": {"file_path": "src/top.py"}}),
    ("tool.finished", 2, "Implementation", {"id": "t", "output": "written", "isError": False}),
    ("phase.finished", 2, "Implementation", {"output": "Done.", "usage": USAGE}),
    ("git.committed", 2, None, {"sha": "c0ffee12" + "0" * 32, "files": 1, "additions": 5, "deletions": 2}),
    ("git.compared", 2, None, {"ahead": 1, "behind": 0}),
    ("git.pushed", 2, None, {"sha": "c0ffee12" + "0" * 32, "branch": "feature/top"}),
    ("diff.ready", 2, None, {"files": 1, "additions": 5, "deletions": 2, "patchBytes": 512}),
    ("step.finished", 2, None, {"status": "Success", "failureDetails": None}),
    ("run.finished", None, None, {"status": "Success", "failureDetails": None}),
)


def waiting() -> RunView:
    return RunView(
        id="6f2c1a3e-0000-4000-8000-000000000000",
        repo="https://git.example.com/words.git",
        branch_source="main",
        branch_work="feature/top",
        engine="Dummy",
        steps=waiting_steps([("Describe the project", False), ("Add a --top option", True)]),
    )
