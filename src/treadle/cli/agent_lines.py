"""Agent runs and their logs as lines.

08:15:30Z  USER_MESSAGE           Add a word counter
08:15:31Z  ACTION                 Write src/words.py
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from treadle import AgentLog, AgentRun, Repository
from treadle.cli import output
from treadle.cli.event_data import describe_tool
from treadle.cli.lines import DETAIL_COLUMNS, ago, compact_json, when
from treadle.cli.text import neutral, one_line

RUNS: Final = ("ID", "STATUS", "SOURCE", "CREATED", "SUMMARY")
REPOSITORIES: Final = ("ID", "NAME", "SETUP", "LANGUAGE", "DESCRIPTION")


def log_line(entry: AgentLog) -> str:
    """One line without its line end."""
    time = entry.date.astimezone(UTC).strftime("%H:%M:%SZ") if entry.date is not None else "--:--:--Z"
    return f"{time}  {one_line(entry.type or '-'):<21}  {log_detail(entry)}".rstrip()


def log_detail(entry: AgentLog) -> str:
    """What it says, on one line."""
    if entry.tool_name is None:
        return one_line(_said(entry), DETAIL_COLUMNS)
    if isinstance(entry.observation, str):  # how setup commands ended
        return one_line(entry.observation, DETAIL_COLUMNS)
    done = describe_tool({"tool": entry.tool_name, "input": entry.tool_input})
    is_error = bool((entry.tool_output or {}).get("is_error"))
    return one_line(f"{done}{' (failed)' if is_error else ''}", DETAIL_COLUMNS)


def full_text(entry: AgentLog) -> Iterator[str]:
    """What does not fit its line, indented: a long text, or what a tool answered."""
    text = _said(entry) if entry.tool_name is None else _answered(entry)
    if entry.tool_name is not None or len(text.splitlines()) > 1 or len(text) > DETAIL_COLUMNS:
        yield from (f"    {line}" for line in neutral(text).splitlines())


def run_lines(run: AgentRun) -> Iterator[str]:
    """Everything of a run that a person wants to read."""
    facts = {
        "Agent run": str(run.id),
        "Status": str(run.status),
        "Source": str(run.source or ""),
        "Created": when(run.date_created),
        "Page": run.web_url or "",
        "Metadata": compact_json(run.metadata) if run.metadata else "",
    }
    yield from (f"{name:<9}  {one_line(value)}" for name, value in facts.items() if value)
    yield from (f"{'Pull':<9}  {one}" for one in _pulls(run))
    if run.result:
        yield ""
        yield from (f"    {line}" for line in neutral(run.result).strip().splitlines())


def ending_lines(run: AgentRun) -> Iterator[str]:
    """How a run ended."""
    yield f"{run.status}: agent run {run.id}" + (f", {one_line(run.web_url)}" if run.web_url else "")
    yield from _pulls(run)
    if run.result:
        yield from neutral(run.result).strip().splitlines()


def run_row(run: AgentRun) -> tuple[str, ...]:
    is_short = output.is_terminal()
    created = ago(run.date_created, datetime.now(UTC)) if is_short else when(run.date_created)
    return (str(run.id), str(run.status), str(run.source or ""), created, run.summary or "")


def repository_row(repository: Repository) -> tuple[str, ...]:
    return (
        str(repository.id),
        repository.full_name,
        repository.setup_status or "",
        repository.language or "",
        repository.description or "",
    )


def _pulls(run: AgentRun) -> Iterator[str]:
    return (
        f"{one_line(pull.url or str(pull.id))}  {one_line(pull.title or '')}".rstrip() for pull in run.pull_requests
    )


def _said(entry: AgentLog) -> str:
    said = entry.observation if entry.observation is not None else entry.thought
    if isinstance(said, Mapping):
        known = [said[name] for name in ("url", "title") if isinstance(said.get(name), str)]
        return " ".join(map(str, known)) or compact_json(said)
    return said or ""


def _answered(entry: AgentLog) -> str:
    found = (entry.tool_output or {}).get("output")
    return found if isinstance(found, str) else compact_json(entry.tool_output) if entry.tool_output else ""
