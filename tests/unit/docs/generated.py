"""The parts of the documentation that the code writes: tables and diagrams between two comments of a page.

    .venv/bin/python -m tests.unit.docs.generated

writes them all anew; a test compares.
"""

import asyncio
import inspect
import re
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

import typer
from tests.support.deployment import deployed
from tests.unit.docs.pages import ROOT
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from treadle.api.problem_errors import STATUSES
from treadle.cli.main import app as cli
from treadle.domain import errors
from treadle.domain.errors import ConfigurationError, EngineError, TreadleError
from treadle.domain.identity import Role
from treadle.domain.permissions import PERMISSIONS, Permission
from treadle.domain.prices import LIST_PRICES, LONG_PROMPT_TOKENS
from treadle.domain.raw_diff import MalformedDiffError
from treadle.domain.secret_formats import FORMATS
from treadle.domain.states import RUN_TERMINAL, RUN_TRANSITIONS, STEP_TERMINAL, STEP_TRANSITIONS
from treadle.services.audit_actions import Action
from treadle.settings import Settings
from treadle.telemetry import METRICS

State = TypeVar("State", bound=StrEnum)

#: How the addresses of the agent-run API begin.
AGENT_RUNS: Final = "/v1/"

_ANGLE: Final = re.compile(r"<(.+?)>")
#: What every command that talks to a service takes.
_REMOTE: Final = {"--url URL", "--api-key KEY|@FILE"}
_PART: Final = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in body)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def settings() -> str:
    """Every setting."""
    shown = [(f"`{name}`", f"`{default}`" if default else "", text) for name, default, text in Settings.table()]
    return table(("setting", "default", "means"), shown)


def metrics() -> str:
    """Every metric."""
    shown = [
        (f"`{each.name}`", str(each.kind), ", ".join(f"`{label}`" for label in each.labels), each.help)
        for each in METRICS
    ]
    return table(("metric", "kind", "labels", "means"), shown)


def run_states() -> str:
    return _diagram(RUN_TRANSITIONS, RUN_TERMINAL, "New") + "\n" + _transitions(RUN_TRANSITIONS)


def step_states() -> str:
    return _diagram(STEP_TRANSITIONS, STEP_TERMINAL, "NotStarted") + "\n" + _transitions(STEP_TRANSITIONS)


def _diagram(transitions: Mapping[State, frozenset[State]], terminal: frozenset[State], first: str) -> str:
    arrows = [f"    [*] --> {first}"]
    arrows += [f"    {source} --> {target}" for source, target in _arrows(transitions)]
    arrows += [f"    {state} --> [*]" for state in transitions if state in terminal]
    return "\n".join(["```mermaid", "stateDiagram-v2", *arrows, "```", ""])


def _arrows(transitions: Mapping[State, frozenset[State]]) -> Iterator[tuple[State, State]]:
    for source, targets in transitions.items():
        yield from ((source, target) for target in transitions if target in targets)


def _transitions(transitions: Mapping[State, frozenset[State]]) -> str:
    return table(
        ("from", "to"),
        [
            (f"`{source}`", ", ".join(f"`{target}`" for target in transitions if target in targets) or "-")
            for source, targets in transitions.items()
        ],
    )


def error_tree() -> str:
    """The tree as the module draws it."""
    drawn = inspect.getdoc(errors) or ""
    tree = [line for line in drawn.splitlines() if line.startswith("    ")]
    return "```text\n" + inspect.cleandoc("\n".join(tree)) + "\n```\n"


def error_codes() -> str:
    """Every error with its code, what the API makes of it, and whether a call that ends so is made again."""
    return table(("error", "code", "HTTP", "tried again"), [_error(kind) for kind in _kinds(TreadleError)])


def _kinds(kind: type[TreadleError]) -> Iterator[type[TreadleError]]:
    for each in kind.__subclasses__():
        if each.__module__ in {errors.__name__, MalformedDiffError.__module__}:
            yield each
            yield from _kinds(each)


def _error(kind: type[TreadleError]) -> tuple[str, str, str, str]:
    statuses = {**STATUSES, ConfigurationError: 503}
    status = next((str(status) for base, status in statuses.items() if issubclass(kind, base)), "-")
    again = ("yes" if kind.is_retryable else "no") if issubclass(kind, EngineError) else "-"
    return f"`{kind.__name__}`", f"`{kind.code}`", status, again


def endpoints() -> str:
    """Every operation of the OpenAPI document but the agent-run API's."""
    return _operations(is_agent_runs=False)


def agent_endpoints() -> str:
    """Those of the agent-run API."""
    return _operations(is_agent_runs=True)


def _operations(*, is_agent_runs: bool) -> str:
    paths: Mapping[str, Mapping[str, Any]] = openapi()["paths"]
    return table(
        ("endpoint", "does", "answers"),
        [
            (f"`{method.upper()} {path}`", operation["summary"], ", ".join(sorted(operation["responses"])))
            for path, operations in paths.items()
            if path.startswith(AGENT_RUNS) is is_agent_runs
            for method, operation in operations.items()
        ],
    )


def roles() -> str:
    """What each role may do."""
    order = (Role.MEMBER, Role.MANAGER, Role.ADMIN)
    return table(
        ("may", *order),
        [
            (str(permission), *("yes" if permission in PERMISSIONS[role] else "-" for role in order))
            for permission in Permission
        ],
    )


def audit_actions() -> str:
    """Every action of the audit log."""
    return table(("action", "means"), [(f"`{action}`", action.means) for action in Action])


def prices() -> str:
    """The vendors' list prices."""
    body = []
    for name, price in LIST_PRICES.items():
        for each in filter(None, (price, price.long_prompt)):
            above = "" if each is price else f", above {LONG_PROMPT_TOKENS:,} tokens in"
            kinds = (each.input, each.output, each.cache_read, each.cache_write, each.for_an_hour, each.tool_requests)
            body.append((f"`{name}`{above}", *(f"{dollars:g}" for dollars in kinds)))
    return table(("model", "input", "output", "cache read", "cache write", "for an hour", "1,000 searches"), body)


def secret_formats() -> str:
    """The kinds of keys that are looked for before a commit."""
    kinds = sorted({each.kind for each in FORMATS}, key=str.lower)
    return textwrap.fill(f"{', '.join(kinds)}.", 120) + "\n"


def openapi() -> dict[str, Any]:
    """The OpenAPI document of the service."""

    async def ask() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            async with deployed(Path(folder)) as here:
                return here.app.openapi()

    return asyncio.run(ask())


def commands() -> str:
    """Every command with its arguments and options."""
    root = get_command(cli)
    assert isinstance(root, TyperGroup), "the console script has subcommands"
    return "\n".join(_commands(root, "treadle"))


def _commands(group: TyperGroup, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _commands(command, f"{path} {name}")
        elif isinstance(command, TyperCommand):
            yield _command(command, f"{path} {name}")


def _command(command: TyperCommand, path: str) -> str:
    with typer.Context(command, info_name=path) as context:
        pieces = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
        records = [record for each in command.params if (record := each.get_help_record(context)) is not None]
    options = {names: _plain(means) for names, means in records if names.startswith("-")}
    said = [f"### {path}", "", inspect.cleandoc(command.help or ""), ""]
    for piece in pieces:
        how = ", one or more" if piece.endswith("...") else ", optional" if piece.startswith("[") else ""
        said += [f"Takes `{piece.strip('{}[].')}`{how}.", ""]
    if options.keys() >= _REMOTE:
        options = {names: means for names, means in options.items() if names not in _REMOTE}
        said += ["Talks to a service: `--url`, `--api-key`.", ""]
    rows = [(f"`{_ANGLE.sub(_upper, names)}`", means) for names, means in options.items()]
    return "\n".join([*said, *([table(("option", "means"), rows)] if rows else [])])


def _plain(means: str) -> str:
    return re.sub(r"\[default: \((.+)\)([;\]])", r"[default: \1\2", " ".join(means.split()))


def _upper(angled: re.Match[str]) -> str:
    return angled[1] if "|" in angled[1] else angled[1].partition(" ")[0].upper()


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "settings": settings,
    "metrics": metrics,
    "run-states": run_states,
    "step-states": step_states,
    "error-tree": error_tree,
    "error-codes": error_codes,
    "endpoints": endpoints,
    "agent-endpoints": agent_endpoints,
    "roles": roles,
    "commands": commands,
    "audit-actions": audit_actions,
    "prices": prices,
    "secret-formats": secret_formats,
}


def renewed(text: str) -> str:
    """A page with its generated parts as they should be."""
    return _PART.sub(lambda part: f"{part[1]}{PARTS[part[2]]()}{part[3]}", text)


def names(text: str) -> list[str]:
    """The generated parts of a page."""
    return [part[2] for part in _PART.finditer(text)]


def main() -> None:
    for path in sorted((ROOT / "docs").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (new := renewed(text)) != text:
            path.write_text(new, encoding="utf-8")
            print(path.relative_to(ROOT))  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
