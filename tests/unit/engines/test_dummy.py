"""The Dummy engine as a real process, in every sandbox."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from tests.support.clis import give_up
from tests.support.processes import wait_until_dead, wait_until_marked

from treadle import command
from treadle.domain.credentials import EngineCredential
from treadle.domain.errors import (
    ConfigurationError,
    EngineAuthenticationFailed,
    EngineError,
    EngineFailed,
    EngineRefused,
    StructuredOutputInvalid,
    UsageLimitReached,
)
from treadle.domain.events import Draft, EventType
from treadle.domain.run import StructuredOutput, Usage
from treadle.domain.states import Phase
from treadle.engines.dummy import DummyEngine
from treadle.ports import Box, EngineCall, Invocation, Outcome
from treadle.sandbox import SANDBOXES, CheckedSandbox
from treadle.settings import Settings

pytestmark = pytest.mark.anyio

SECONDS = 120.0
SESSION = UUID("6fb3019d-db6e-4718-8c32-364a72a14cbf")


@dataclass(frozen=True)
class Said:
    outcome: Outcome
    drafts: list[Draft]
    longest: int  # bytes of a line

    def texts(self, kind: EventType = EventType.ENGINE_TEXT) -> list[object]:
        return [draft.data["text"] for draft in self.drafts if draft.type is kind]

    @property
    def results(self) -> list[tuple[object, object]]:
        found = [draft.data for draft in self.drafts if draft.type is EventType.TOOL_FINISHED]
        return [(data["output"], data["isError"]) for data in found]


@dataclass(frozen=True)
class Place:
    """An engine in a sandbox, with its box."""

    sandbox: CheckedSandbox
    box: Box
    engine: DummyEngine

    def call(self, text: str, phase: Phase = Phase.IMPLEMENTATION, **changes: object) -> EngineCall:
        plain = EngineCall(
            prompt=f"Please: {text}",
            layout=self.sandbox.layout(self.box),
            credential=EngineCredential(api_key="000-dummy"),
            session=None,
            new_session=uuid4(),
            phase=phase,
            step_text=text,
            is_structured=False,
            is_read_only=phase is Phase.ANALYSIS,
        )
        return replace(plain, **changes)  # type: ignore[arg-type] # fields of EngineCall

    async def run(self, text: str, phase: Phase = Phase.IMPLEMENTATION, **changes: object) -> Said:
        return await self.perform(self.call(text, phase, **changes))

    async def script(self, *actions: object, **changes: object) -> Said:
        return await self.run(f"dummy: {json.dumps(actions)}", Phase.IMPLEMENTATION, **changes)

    @asynccontextmanager
    async def spawn(self, invocation: Invocation, box: Box, *, grace_seconds: float) -> AsyncIterator[command.Running]:
        with self.sandbox.enclose(invocation.argv, invocation.environment, box) as enclosed:
            async with command.spawn(
                enclosed.argv,
                environment=enclosed.environment,
                stdin=invocation.stdin,
                grace_seconds=grace_seconds,
            ) as process:
                yield process

    async def perform(self, call: EngineCall) -> Said:
        invocation = self.engine.command(call)
        box = replace(self.box, readable=invocation.readable, is_read_only=call.is_read_only)
        reader, drafts, longest = self.engine.reader(call), list[Draft](), 0
        async with self.spawn(invocation, box, grace_seconds=0.2) as process:
            async for line in process.lines(idle_seconds=SECONDS):
                drafts += reader.feed(line)
                longest = max(longest, len(line))
            code = await process.wait(SECONDS)
            return Said(reader.finish(code, process.stderr), drafts, longest)


@pytest.fixture(params=["bubblewrap", "none"])  # containers have their own tests: a start takes them long
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    sandbox = SANDBOXES[request.param](Settings.load({}))
    try:
        await sandbox.check()
    except ConfigurationError as error:
        give_up(error.message)
    tree, home, config, files = (tmp_path / name for name in ("tree", "home", "config", "files"))
    for path in (tree, home, config, files):
        path.mkdir()
    return Place(sandbox, Box(tree, home, config, files, is_read_only=False), DummyEngine.here())


async def test_a_plain_step(place: Place) -> None:
    analysis = await place.run("Add a\npage", Phase.ANALYSIS)
    assert analysis.outcome.error is None
    assert analysis.outcome.output == "A line in DUMMY.md would do it."
    session = analysis.outcome.session
    implementation = await place.run("Add a\npage", session=session)
    validation = await place.run("Add a\npage", Phase.VALIDATION, session=session)
    assert (place.box.work_tree / "DUMMY.md").read_text() == "- Add a page\n"
    assert implementation.outcome == Outcome("DUMMY.md has a new line.", None, session, Usage(), None)
    assert validation.outcome == Outcome("DUMMY.md is as it should be.", None, session, Usage(), None)
    assert [draft.type for draft in implementation.drafts] == [
        EventType.ENGINE_STARTED,
        EventType.TOOL_STARTED,
        EventType.TOOL_FINISHED,
        EventType.ENGINE_TEXT,
    ]


async def test_an_analysis_only_step(place: Place) -> None:
    found = await place.run("How big is it?", Phase.ANALYSIS, is_commitable=False)
    assert found.outcome.output == "I have looked at: How big is it?"
    text = 'dummy: [{"say": "Big."}, {"say": "Not here.", "phase": "implementation"}]'
    found = await place.run(text, Phase.ANALYSIS, is_commitable=False)
    assert found.outcome.output == "Big."


async def test_actions_keep_to_their_phases(place: Place) -> None:
    actions = [{"say": name, "phase": name} for name in ("analysis", "validation")]
    text = f"dummy: {json.dumps([*actions, {'say': 'here'}])}"
    assert [(await place.run(text, phase)).outcome.output for phase in Phase] == ["analysis", "here", "validation"]
    assert (await place.run('dummy: [{"say": "here"}]', Phase.ANALYSIS)).texts() == ["I will do as the script says."]


async def test_files_and_shell(place: Place) -> None:
    (place.box.work_tree / "old").write_text("")
    found = await place.script(
        {"write": ["src/ä.py", "print(1)\n"]},
        {"append": ["src/ä.py", "print('é')\n"]},
        {"delete": "old"},
        {"delete": "older"},
        {"run": "cat src/ä.py; echo out >&2; setsid sleep 1000 & exit 3"},
        {"run": "pwd; echo $HOME"},
        {"write": ["/proc/nowhere/at/all", ""]},
    )
    layout = place.sandbox.layout(place.box)
    assert found.outcome.error is None
    assert [is_error for _, is_error in found.results] == [False, False, False, True, True, False, True]
    assert found.results[4] == ("Exit code 3\nprint(1)\nprint('é')\nout\n", True)
    assert found.results[5] == (f"{layout.work_tree}\n{layout.home}\n", False)
    assert sorted(path.name for path in place.box.work_tree.iterdir()) == ["src"]


async def test_a_read_only_tree_makes_the_tool_fail_and_not_the_call(place: Place) -> None:
    found = await place.run('dummy: [{"write": ["a", ""]}, {"say": "on"}]', Phase.ANALYSIS, is_commitable=False)
    assert (found.outcome.output, found.outcome.error) == ("on", None)
    ((text, is_error),) = found.results
    assert is_error is place.sandbox.enforces_read_only
    assert ("Read-only" in str(text)) is place.sandbox.enforces_read_only
    assert (place.box.work_tree / "a").exists() is not place.sandbox.enforces_read_only


async def test_words_and_the_bill(place: Place) -> None:
    found = await place.script(
        {"think": "hm"},
        {"say": 'a \U0001f600 \\ " \u2028'},
        {"usage": {"input": 3, "cost": 0.25}},
        {"usage": {"output": 5}},
    )
    assert found.texts(EventType.ENGINE_THOUGHT) == ["hm"]
    assert found.outcome.output == 'a \U0001f600 \\ " \u2028'
    assert found.outcome.usage == Usage(3, 5, 0.25)


async def test_structured_answers(place: Place) -> None:
    found = await place.script({"write": ["a", ""]}, {"say": "Yes."}, is_structured=True)
    assert found.outcome.structured_output == StructuredOutput(
        output="Yes.",
        thinking="A dummy does not think.",
        was_successful=True,
        did_generate_code=True,
        is_additional_work_required_to_continue=False,
    )
    found = await place.script({"structured": {"wasSuccessful": "perhaps"}}, is_structured=True)
    assert type(found.outcome.error) is StructuredOutputInvalid
    found = await place.script({"structured": None}, is_structured=True)
    assert type(found.outcome.error) is StructuredOutputInvalid
    assert (await place.script({"structured": {}})).outcome.structured_output is None


@pytest.mark.parametrize(
    ("action", "kind", "words"),
    [
        ({"fail": 401}, EngineAuthenticationFailed, "Invalid API key"),
        ({"fail": 400}, EngineRefused, "Credit balance"),
        ({"fail": 404}, EngineRefused, "selected model"),
        ({"fail": 418}, EngineFailed, "418"),
        ({"fail": 429}, EngineFailed, "429"),
        ({"fail": 529}, EngineFailed, "529"),
        ({"exit": 3}, EngineFailed, "exit code 3 before it had answered: Ended as the script says."),
    ],
)
async def test_failures(place: Place, action: object, kind: type[EngineError], words: str) -> None:
    found = await place.script({"usage": {"input": 7}}, action, {"say": "too late"})
    assert type(found.outcome.error) is kind
    assert words in found.outcome.error.message
    assert "too late" not in found.texts()
    assert found.outcome.usage.input_tokens == (0 if action == {"exit": 3} else 7)
    assert found.outcome.session is not None


async def test_a_usage_limit(place: Place) -> None:
    error = (await place.script({"limit": "2027-01-15T08:00:00Z"})).outcome.error
    assert isinstance(error, UsageLimitReached)
    assert error.resets_at == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert "2027-01-15 08:00 UTC" in error.message


async def test_some_calls_only(place: Place) -> None:
    kinds = [type((await place.script({"fail": 500, "times": 2}, attempt=n)).outcome.error) for n in (1, 2, 3)]
    assert kinds == [EngineFailed, EngineFailed, type(None)]


@pytest.mark.parametrize("text", ['dummy: [{"wrte": 1}]', "dummy: do it"])
async def test_a_script_with_a_fault_is_refused(place: Place, text: str) -> None:
    error = (await place.run(text, Phase.ANALYSIS)).outcome.error
    assert type(error) is EngineRefused
    assert not error.is_retryable
    assert "`wrte` is unknown" in error.message or "not JSON" in error.message


@pytest.mark.parametrize("size", [0, 10, 300, 3_000_000])
async def test_a_line_of_any_length(place: Place, size: int) -> None:
    found = await place.script({"line": size})
    assert found.outcome.error is None
    assert found.longest == size or size < 1000


async def test_conversations_go_on_only_where_their_transcript_is(place: Place, tmp_path: Path) -> None:
    first = await place.run("One", new_session=SESSION)
    assert first.outcome.session == str(SESSION)
    (name,) = place.engine.session_files(place.sandbox.layout(place.box), str(SESSION))
    transcript = place.box.config / name
    assert [json.loads(line)["text"] for line in transcript.read_text().splitlines()] == [
        "Please: One",
        "DUMMY.md has a new line.",
    ]
    again = await place.run("One", new_session=SESSION)
    assert "There is a conversation" in str(again.outcome.error)

    elsewhere = tmp_path / "elsewhere"
    other = replace(place, box=replace(place.box, config=elsewhere))
    elsewhere.mkdir()
    lost = await other.run("Two", session=str(SESSION))
    assert type(lost.outcome.error) is EngineFailed
    assert "No conversation found" in lost.outcome.error.message
    (elsewhere / name).parent.mkdir(exist_ok=True)
    (elsewhere / name).write_bytes(transcript.read_bytes())
    assert (await other.run("Two", session=str(SESSION))).outcome.error is None


async def test_a_stubborn_hang_can_be_ended(place: Place) -> None:
    text = 'dummy: [{"ignore_sigterm": true}, {"spawn": 1000}, {"say": "up"}, {"hang": true}]'
    call = place.call(text)
    invocation = place.engine.command(call)
    box = replace(place.box, readable=invocation.readable)
    marker = f"TREADLE_TEST_{uuid4().hex}"
    reader = place.engine.reader(call)
    invocation = replace(invocation, environment={**invocation.environment, "MARKER": marker})
    async with place.spawn(invocation, box, grace_seconds=0.3) as process:
        async for line in process.lines(idle_seconds=SECONDS):
            if any(draft.type is EventType.ENGINE_TEXT for draft in reader.feed(line)):
                break
        wait_until_marked(marker, 2)
        code = await process.end()
        wait_until_dead(marker, 60)
    assert not reader.is_final
    assert type(reader.finish(code, "").error) is EngineFailed


async def test_nothing_of_a_step_is_in_argv_or_in_the_environment(place: Place) -> None:
    invocation = place.engine.command(place.call("dummy: a secret plan"))
    assert "secret" not in str((invocation.argv, dict(invocation.environment)))
    assert set(invocation.environment) == {"PATH", "HOME", "LANG"}
