"""Dummy: an engine without a model, in a real process that speaks the Claude stream. By default the analysis says a
line, the implementation appends one to `DUMMY.md`, the validation approves; `dummy_script` is how a step asks for more.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from treadle import command
from treadle.domain.errors import EngineRefused
from treadle.domain.events import Draft, JsonValue
from treadle.domain.run import EngineName
from treadle.domain.states import Phase
from treadle.engines import dummy_cli, dummy_script
from treadle.engines.claude_stream import ClaudeReader
from treadle.engines.search_path import SEARCH_PATH
from treadle.ports import EngineCall, Invocation, Layout, Outcome

_NOTE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class DummyEngine:
    """`python`, `library`: the interpreter, and where its standard library is. `program`: what it runs."""

    python: Path
    library: Path
    program: Path
    search_path: str = SEARCH_PATH
    name = EngineName.DUMMY

    @classmethod
    def here(cls, search_path: str = SEARCH_PATH) -> "DummyEngine":
        """On the Python that runs this."""
        python, library = Path(os.path.realpath(sys.executable)), Path(sys.base_prefix)
        return cls(python, library, command.script_of(dummy_cli), search_path)

    def command(self, call: EngineCall) -> Invocation:
        """Everything it is told goes in on stdin."""
        return Invocation(
            argv=(str(self.python), "-I", "-S", str(self.program)),
            environment={"PATH": self.search_path, "HOME": str(call.layout.home), "LANG": "C.UTF-8"},
            stdin=json.dumps(_order(call)).encode(),
            readable=(self.library, self.program),
        )

    def reader(self, call: EngineCall) -> "DummyReader":
        return DummyReader(ClaudeReader(self.name, is_structured=call.is_structured, session=call.session))

    def session_files(self, layout: Layout, session: str) -> Sequence[str]:  # noqa: ARG002 - the same for every layout
        return (f"sessions/{session}.jsonl",)


class DummyReader:
    """The Claude stream, and the one exit code that Claude has not."""

    def __init__(self, stream: ClaudeReader) -> None:
        self._stream = stream

    @property
    def is_final(self) -> bool:
        return self._stream.is_final

    def feed(self, line: bytes) -> Sequence[Draft]:
        return self._stream.feed(line)

    def finish(self, exit_code: int, stderr: str) -> Outcome:
        outcome = self._stream.finish(exit_code, stderr)
        if exit_code != dummy_cli.USAGE_ERROR or self.is_final:
            return outcome
        refused = EngineRefused(
            f"The step's dummy script is not valid: {stderr.strip()}.",
            hint="docs/reference/dummy.md lists the actions.",
        )
        return Outcome(None, None, outcome.session, outcome.usage, refused)


def _order(call: EngineCall) -> dict[str, JsonValue]:
    try:
        script = dummy_script.parse(call.step_text)
    except ValueError as fault:
        return {"fault": str(fault)}
    actions = _by_default(call) if script is None else _scripted(call, script)
    return {
        "fault": None,
        "session": call.session or str(call.new_session),
        "is_resumed": call.session is not None,
        "config": str(call.layout.config),
        "model": call.model or "dummy",
        "prompt": call.prompt,
        "answer": "Done.",
        "is_structured": call.is_structured,
        "actions": actions,
    }


def _by_default(call: EngineCall) -> list[JsonValue]:
    note = " ".join(call.step_text.split())[:_NOTE_CHARACTERS]
    match call.phase:
        case Phase.ANALYSIS:
            return [["say", "A line in DUMMY.md would do it." if call.is_commitable else f"I have looked at: {note}"]]
        case Phase.IMPLEMENTATION:
            return [["append", ["DUMMY.md", f"- {note}\n"]], ["say", "DUMMY.md has a new line."]]
        case Phase.VALIDATION:
            return [["say", "DUMMY.md is as it should be."]]


def _scripted(call: EngineCall, script: Sequence[dummy_script.Action]) -> list[JsonValue]:
    own = Phase.IMPLEMENTATION if call.is_commitable else Phase.ANALYSIS
    actions: list[JsonValue] = [
        [action.name, dummy_script.reset_epoch(action.value) if action.name == "limit" else action.value]
        for action in script
        if (action.phase or own) is call.phase
        and (action.times is None or call.attempt <= action.times)
        and (action.repair or 0) == call.repair
    ]
    aside: dict[Phase, JsonValue] = {
        Phase.ANALYSIS: "I will do as the script says.",
        Phase.IMPLEMENTATION: "I did as the script says.",
        Phase.VALIDATION: "All is as the script says.",
    }
    return [["say", aside[call.phase]], *actions] if call.phase is not own else actions
