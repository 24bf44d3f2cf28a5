"""What the engine is told. Guidelines and attached files lead the first prompt of a conversation."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from treadle.domain.run import Run, Step
from treadle.domain.states import Phase
from treadle.domain.validation import CommandResult
from treadle.ports import Layout

_ANALYSIS = """Analyse the changes you need to make for: {text}

Only read and think: change no file. Say which files you will change and how; the next message asks you to do it."""

_ANALYSIS_ONLY = """{text}

Only read and answer: change no file of the repository."""

_IMPLEMENTATION = """Now implement your changes as proposed for: {text}

Change the files in the working directory. Do not commit and do not push: that is done for you."""

_VALIDATION = """Check your code compiles fully and that what you changed does what was asked: {text}

Build it and run its tests where it has any, mend what is wrong, and say what you checked. Do not commit and do not
push."""

_REPAIR = """{command} {how}. It must pass before your work is committed. What you were asked to do: {text}

Mend the work so that it passes. Do not weaken the check itself, do not commit and do not push; it is run again for \
you. The end of what it said:

{fence}
{end}
{fence}"""

_UNFINISHED = (
    """The step before this one did not finish. What it had changed is in the working directory, uncommitted."""
)


@dataclass(frozen=True, slots=True)
class Briefing:
    """What the prompts of a run say beside its steps. `lead` opens a conversation, `rules` every prompt; `news` open
    the first prompt of this claim, though the conversation may be an older one. `names`: the attached files'."""

    lead: str = ""
    rules: str = ""
    news: str = ""
    names: Mapping[UUID, str] = field(default_factory=dict)


def lead(run: Run, layout: Layout, file_names: Sequence[str]) -> str:
    """What comes before a conversation's first prompt; empty when there is nothing to say."""
    parts = []
    if run.code_guidelines:
        parts.append(f"Follow these guidelines in all the code you write:\n\n{run.code_guidelines}")
    if file_names:
        parts.append(_attached(layout, file_names))
    return _joined(parts)


def news(*, setup: str | None, has_unfinished_work: bool) -> str:
    """What is new in the workspace: how setting it up went wrong, and work of a step that had failed."""
    return _joined([part for part in (setup, _UNFINISHED if has_unfinished_work else None) if part])


def prompt(step: Step, phase: Phase, *, rules: str = "", files: str = "") -> str:
    """The message that begins `phase` of `step`. `files`: what `attached` says of those that came with the step."""
    if not step.is_commitable:
        template = _ANALYSIS_ONLY
    else:
        template = {Phase.ANALYSIS: _ANALYSIS, Phase.IMPLEMENTATION: _IMPLEMENTATION, Phase.VALIDATION: _VALIDATION}[
            phase
        ]
    return _joined([part for part in (rules, files if phase is Phase.ANALYSIS else "") if part]) + template.format(
        text=step.text
    )


def repair(step: Step, failed: CommandResult, end: str, *, rules: str = "") -> str:
    """The message that asks for another try after a validation command failed. `end`: of what it said."""
    fence = _fence(end)
    command = f"`{failed.command}`" if "`" not in failed.command and "\n" not in failed.command else "This command:"
    if command == "This command:":
        block = _fence(failed.command)
        command += f"\n\n{block}\n{failed.command}\n{block}\n\nIt"
    said = _REPAIR.format(command=command, how=failed.how, text=step.text, fence=fence, end=end.rstrip("\n"))
    return _joined([rules] if rules else []) + said


def attached(layout: Layout, step: Step, names: Mapping[UUID, str]) -> str:
    """Which files came with this step; empty where none did."""
    found = [names[file_id] for file_id in step.file_ids if file_id in names]
    return _attached(layout, found) if found else ""


def _attached(layout: Layout, names: Sequence[str]) -> str:
    listed = "\n".join(f"- {layout.files / name}" for name in names)
    return f"These files are attached for you to read:\n\n{listed}"


def _fence(text: str) -> str:
    """Longer than any inside."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))


def _joined(parts: Sequence[str]) -> str:
    return "".join(f"{part}\n\n" for part in parts)
