"""The real Kimi CLI, called as the engine says, in front of a scripted model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.clis import require_kimi, require_program
from tests.support.engine_calls import make_box, make_call, make_layout, run_call
from tests.support.model_script import Fail, ToolUse, bash, say
from tests.support.model_server import ModelServer

from treadle.domain.errors import EngineAuthenticationFailed, EngineFailed, EngineRefused, UsageLimitReached
from treadle.domain.events import EventType
from treadle.engines.kimi import KimiEngine
from treadle.ports import Layout
from treadle.ports.sandbox import Door
from treadle.sandbox.bubblewrap import BubblewrapSandbox

pytestmark = pytest.mark.kimi


@pytest.fixture
def engine() -> KimiEngine:
    return KimiEngine(require_kimi().command)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return make_layout(tmp_path)


def test_it_writes_a_file_runs_it_answers_and_resumes(engine: KimiEngine, layout: Layout) -> None:
    target = layout.work_tree / "hello.py"
    write = ToolUse("Write", {"path": str(target), "content": "print(6 * 7)\n"})
    with ModelServer([say("I will.", write), say(bash("python3 hello.py; exit 3")), say("42"), say("Again.")]) as model:
        done = run_call(engine, make_call(layout, endpoint=model.openai_url, prompt="-PROMPT ONE", model="kimi-test"))
        session = done.outcome.session
        again = run_call(engine, make_call(layout, endpoint=model.openai_url, session=session))
        assert model.turns[0].credential == "Bearer sk-ant-api03-canary"
        assert model.turns[0].model == "kimi-test"
        assert "-PROMPT ONE" in model.turns[3].transcript
    assert done.outcome.error is None
    assert done.outcome.output == "42"
    assert target.read_text() == "print(6 * 7)\n"
    assert done.texts(EventType.TOOL_STARTED, "tool") == ["Write", "Bash"]
    assert done.texts(EventType.TOOL_FINISHED, "isError") == [False, True]
    assert (again.outcome.output, again.outcome.session) == ("Again.", session)
    assert session is not None
    (pattern,) = engine.session_files(layout, session)
    kept = [path for path in layout.config.glob(pattern) if path.is_file()]
    assert any(path.name == "wire.jsonl" for path in kept)


def test_structured_output(engine: KimiEngine, layout: Layout) -> None:
    answer = {
        "output": "Done.",
        "thinking": "{}",
        "wasSuccessful": False,
        "didGenerateCode": True,
        "isAdditionalWorkRequiredToContinue": True,
    }
    with ModelServer([say(f"Here it is:\n```json\n{json.dumps(answer)}\n```")]) as model:
        done = run_call(engine, make_call(layout, endpoint=model.openai_url, is_structured=True))
        assert "JSON Schema" in model.turns[0].transcript
    found = done.outcome.structured_output
    assert found is not None
    assert (found.output, found.was_successful, done.outcome.output) == ("Done.", False, "Done.")


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Fail(401, "Invalid Authentication"), EngineAuthenticationFailed),
        (Fail(429, "Your account reached its rate limit"), EngineFailed),
        (Fail(429, "You exceeded your current token quota"), UsageLimitReached),
        (Fail(404, "no such model"), EngineRefused),
        (Fail(500, "oops"), EngineFailed),
    ],
)
def test_failures(engine: KimiEngine, layout: Layout, failure: Fail, error: type[Exception]) -> None:
    with ModelServer([failure]) as model:
        done = run_call(engine, make_call(layout, endpoint=model.openai_url))
    assert type(done.outcome.error) is error
    assert failure.message in str(done.outcome.error)


def test_a_prompt_longer_than_an_argument(engine: KimiEngine, layout: Layout) -> None:
    prompt = "word " * 50_000 + "LAST WORD"
    path = str(layout.config / "prompt.md")
    turns = [say(ToolUse("Read", {"path": path, "line_offset": 1})), say("ok")]
    with ModelServer(turns) as model:
        done = run_call(engine, make_call(layout, endpoint=model.openai_url, prompt=prompt))
        assert path in model.turns[0].transcript
    assert done.outcome.output == "ok"
    assert Path(path).read_text() == prompt


@pytest.mark.bubblewrap
def test_in_a_sandbox(engine: KimiEngine, layout: Layout) -> None:
    require_program("bwrap")
    socket = layout.home / "model.sock"
    sandbox, box = BubblewrapSandbox(), replace(make_box(layout), doors=(Door(8418, socket),))
    with ModelServer([say(bash("id -u; touch x.txt")), say("ok")], unix_socket=socket):
        call = make_call(sandbox.layout(box), endpoint="http://127.0.0.1:8418/v1")
        done = run_call(engine, call, sandbox=sandbox, box=box)
    assert done.outcome.error is None
    assert str(done.texts(EventType.TOOL_FINISHED, "output")[0]).startswith("1000\n")
    assert (layout.work_tree / "x.txt").exists()
