"""What a message says to a person."""

from collections.abc import Mapping
from dataclasses import dataclass

from treadle.ports.webhooks import Letter

#: Characters of a title, and of what is said below it.
_TITLE = 150
_TEXT = 1_500

_SAID: Mapping[str, str] = {
    "run.created": "was asked for",
    "run.started": "began",
    "run.resumed": "goes on",
    "run.finished": "ended",
    "step.started": "began a step",
    "step.finished": "ended a step",
    "validation.finished": "was validated",
    "git.committed": "made a commit",
    "git.pushed": "pushed",
    "git.secrets_found": "would commit what looks like keys",
    "pull_request.opened": "has a pull request",
    "pull_request.failed": "could not open a pull request",
    "budget.passed": "passed a budget",
    "batch.created": "was asked for",
    "batch.finished": "ended",
}


@dataclass(frozen=True, slots=True)
class Words:
    """`url` None: the service has no address for links."""

    title: str
    text: str
    url: str | None


def words_of(letter: Letter) -> Words:
    """In one line, and some below it."""
    data = _object(_object(letter.body), "data")
    event = _object(data, "event")
    batch, run = _object(data, "batch"), _object(data, "run")
    if not run and not batch:
        return Words("Treadle", "This is a test: messages arrive.", None)
    about = batch or run
    name = f"Batch {_text(batch, 'name') or _text(batch, 'id')}" if batch else f"Run {_text(run, 'id')}"
    place = _text(_object(run, "repository"), "name") or _text(run, "gitUrl")
    status = _text(event, "status") or (_text(batch, "status") if batch else "")
    title = f"{name}{f' on {place}' if place else ''} {_SAID.get(letter.type, letter.type)}"
    title += f": {status}" if status else ""
    lines = [
        _text(event, "title"),
        _text(event, "url") if _text(event, "url").startswith("https://") else "",
        _text(event, "text"),
        _text(event, "failureDetails") or _text(event, "reason"),
        _text(event, "output"),
        _text(event, "sha"),
    ]
    return Words(
        " ".join(title.split())[:_TITLE], "\n".join(line for line in lines if line)[:_TEXT], _text(about, "url") or None
    )


def _object(value: object, name: str | None = None) -> Mapping[str, object]:
    found = value.get(name) if name is not None and isinstance(value, Mapping) else value
    return found if isinstance(found, Mapping) else {}


def _text(of: Mapping[str, object], name: str) -> str:
    found = of.get(name)
    return "" if found is None else str(found)
