"""What the engine is told. Guidelines and attached files lead the first prompt of a conversation."""

from collections.abc import Sequence

from treadle.domain.run import Run, Step
from treadle.domain.states import Phase
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


def lead(run: Run, layout: Layout, file_names: Sequence[str]) -> str:
    """What comes before a conversation's first prompt; empty when there is nothing to say."""
    parts = []
    if run.code_guidelines:
        parts.append(f"Follow these guidelines in all the code you write:\n\n{run.code_guidelines}")
    if file_names:
        listed = "\n".join(f"- {layout.files / name}" for name in file_names)
        parts.append(f"These files are attached for you to read:\n\n{listed}")
    return "".join(f"{part}\n\n" for part in parts)


def prompt(step: Step, phase: Phase) -> str:
    """The message that begins `phase` of `step`."""
    if not step.is_commitable:
        return _ANALYSIS_ONLY.format(text=step.text)
    template = {Phase.ANALYSIS: _ANALYSIS, Phase.IMPLEMENTATION: _IMPLEMENTATION, Phase.VALIDATION: _VALIDATION}[phase]
    return template.format(text=step.text)
