"""Records the golden transcripts anew from the real CLIs: `python -m tests.unit.engines.record`.

Do it when a CLI's version moves; the difference shows what moved with it. Paths and addresses of this machine are
replaced; `test_golden` refuses a transcript in which one is left.
"""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue
from tests.support.clis import require_claude, require_kimi
from tests.support.engine_calls import Finished, make_call, make_layout, run_call
from tests.support.model_script import Fail, Script, Thinking, ToolUse, bash, say, structured, usage_limit, write
from tests.support.model_server import ModelServer

from treadle.domain.credentials import EngineCredential, OAuthLicense
from treadle.engines.claude import ClaudeEngine
from treadle.engines.kimi import KimiEngine
from treadle.ports import Engine, Layout

GOLDEN = Path(__file__).with_name("golden")

ANSWER: Mapping[str, JsonValue] = {
    "output": "Wrote hello.py.",
    "thinking": "One print is enough.",
    "wasSuccessful": True,
    "didGenerateCode": True,
    "isAdditionalWorkRequiredToContinue": False,
}
RESETS_AT = 1_800_000_000  # seconds since the epoch


@dataclass(frozen=True)
class Scene:
    """One call to record. `first` is a script of a call before it, in the same conversation."""

    script: Script
    first: Script | None = None
    is_structured: bool = False
    is_license: bool = False


def scenes(hello: str) -> Mapping[str, Scene]:
    """What is recorded, by file name. `hello`: an absolute path in the work tree."""
    working = [
        say(Thinking("A file, then a run."), "I write it.", write(hello, "print(6 * 7)\n")),
        say(bash("python3 hello.py"), cache_read_tokens=1000),
        say(ToolUse("Read", {"file_path": "/does/not/exist"})),
        say("It prints 42."),
    ]
    kimi = [
        say(Thinking("A file."), "I write it.", ToolUse("Write", {"path": hello, "content": "print(6 * 7)\n"})),
        say(bash("python3 hello.py"), cache_read_tokens=60),
        say(bash("exit 3")),
        say("It prints 42."),
    ]
    never = say("I will not.")
    return {
        "claude_working": Scene(working),
        "claude_resumed": Scene([say("Second.", input_tokens=1000)], first=[say("First.")]),
        "claude_structured": Scene([say(structured({"output": 1})), say(structured(ANSWER))], is_structured=True),
        "claude_structured_never": Scene(lambda _: never, is_structured=True),
        "claude_structured_invalid": Scene(lambda _: say(structured({"output": 1})), is_structured=True),
        "claude_authentication": Scene(lambda _: Fail(401, "invalid x-api-key")),
        "claude_server_error": Scene(lambda _: Fail(500, "Internal server error")),
        "claude_no_credit": Scene(lambda _: Fail(400, "Your credit balance is too low to access the Anthropic API.")),
        "claude_usage_limit": Scene(lambda _: usage_limit(RESETS_AT), is_license=True),
        "kimi_working": Scene(kimi),
        "kimi_authentication": Scene(lambda _: Fail(401, "Invalid Authentication")),
    }


def main() -> None:
    claude, kimi = ClaudeEngine(require_claude()), KimiEngine(require_kimi().command)
    GOLDEN.mkdir(exist_ok=True)
    for name in scenes(""):
        with tempfile.TemporaryDirectory() as folder:
            layout = make_layout(Path(folder).resolve())
            engine: Engine = claude if name.startswith("claude") else kimi
            done = _play(engine, layout, scenes(str(layout.work_tree / "hello.py"))[name])
        text = _scrub(b"\n".join(done.lines).decode(), layout)
        (GOLDEN / f"{name}.jsonl").write_text(f"{text}\n")
        if done.stderr:
            (GOLDEN / f"{name}.stderr").write_text(_scrub(done.stderr, layout))
        print(f"{name}: {len(done.lines)} lines, exit code {done.exit_code}")  # noqa: T201 -- a program for people


def _play(engine: Engine, layout: Layout, scene: Scene) -> Finished:
    credential = EngineCredential(license=OAuthLicense("sk-ant-oat01-golden")) if scene.is_license else None
    session = None
    with ModelServer(scene.first or scene.script) as model:
        endpoint = model.url if isinstance(engine, ClaudeEngine) else model.openai_url
        if scene.first is not None:
            session = run_call(engine, make_call(layout, endpoint=endpoint)).outcome.session
            model.play(scene.script)
        call = make_call(
            layout, endpoint=endpoint, session=session, is_structured=scene.is_structured, credential=credential
        )
        return run_call(engine, call)


def _scrub(text: str, layout: Layout) -> str:
    for path, name in (
        (layout.work_tree, "/workspace"),
        (layout.config, "/config"),
        (layout.home, "/home/agent"),
        (layout.work_tree.parent, "/box"),
    ):
        text = text.replace(str(path), name).replace(re.sub("[^A-Za-z0-9]", "-", str(path)), name.replace("/", "-"))
    text = re.sub(r"/tmp/cc-socks[^/]*/\d+\.sock|/config/tmp/cc-socks/\d+\.sock", "/config/tmp/cc-socks/1.sock", text)
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", text)


if __name__ == "__main__":
    main()
