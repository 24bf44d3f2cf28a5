"""A host does not trust its interpreter: whatever that does, the host's memory and time are bounded."""

import pytest
from tests.unit.scripting.scene import Scene

from treadle.ports.scripting import ScriptFault, ScriptLimits
from treadle.scripting import line

pytestmark = pytest.mark.anyio

PROGRAM = "import json, os, sys, time\nfd = int(sys.argv[1])\ndef say(text): os.write(fd, text.encode() + b'\\n')\n"

SMALL = ScriptLimits(arguments_bytes=1000, output_bytes=1000, log_bytes=1000)


@pytest.mark.parametrize(
    "program",
    [
        "say('nonsense')",
        "say('[1]')",
        "say('{}')",
        "say('{\"call\": 1}')",
        'say(\'{"call": 1, "name": "os.system", "arguments": {}}\')',
        'say(\'{"call": 7, "name": "files.list", "arguments": {}}\')',
        'say(\'{"call": 1, "name": "files.list", "arguments": []}\')',
        'say(\'{"failed": "nonsense", "message": "x", "trace": []}\')',
        'say(\'{"failed": "error", "message": "x", "trace": [[1]]}\')',
        'say(\'{"done": null, "steps": "x"}\')',
        "say('[' * 50000)",
        "say('1' * 50000)",
        "os.write(fd, b'\\xff\\n')",
        "os.write(fd, b'{\"done\"')",
        "sys.exit(3)",
        "os.close(fd)",
        "while True: os.write(fd, b'x' * 10000)",
    ],
)
async def test_what_is_no_message_ends_it(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "_CHILD", ("-I", "-c", PROGRAM + program))
    outcome = await Scene().run("x = 1", limits=SMALL)
    assert outcome.failure is not None
    assert outcome.failure.fault == ScriptFault.BROKEN
    assert outcome.failure.message.startswith("The script's interpreter failed: ")


@pytest.mark.parametrize("program", ["time.sleep(60)", "os.write(fd, b'{')\ntime.sleep(60)", "while True: pass"])
async def test_silence_ends_it(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "_CHILD", ("-I", "-c", PROGRAM + program))
    outcome = await Scene().run("x = 1", limits=ScriptLimits(seconds=0.5))
    assert outcome.failure is not None
    assert outcome.failure.message == "The script took longer than 0.5 s."


async def test_one_that_does_not_read_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    program = 'say(\'{"call": 1, "name": "files.list", "arguments": {}}\')\ntime.sleep(60)'
    monkeypatch.setattr(line, "_CHILD", ("-I", "-c", PROGRAM + program))
    outcome = await Scene({"files.list": "x" * 4_000_000}).run("x = 1", limits=ScriptLimits(seconds=0.5))
    assert outcome.failure is not None
    assert outcome.failure.message == "The script took longer than 0.5 s."


async def test_a_flood_of_calls_and_lines_is_counted_here(monkeypatch: pytest.MonkeyPatch) -> None:
    flood = 'n = 0\nwhile True:\n    n += 1\n    say(\'{"call": %d, "name": "files.list", "arguments": {}}\' % n)'
    monkeypatch.setattr(line, "_CHILD", ("-I", "-c", PROGRAM + flood))
    scene = Scene()
    outcome = await scene.run("x = 1", limits=ScriptLimits(calls=20))
    assert outcome.failure is not None
    assert (outcome.failure.message, len(scene.calls)) == ("The script made more than 20 calls.", 20)
    monkeypatch.setattr(line, "_CHILD", ("-I", "-c", PROGRAM + 'while True: say(\'{"print": "x"}\')'))
    outcome = await scene.run("x = 1", limits=ScriptLimits(log_lines=20))
    assert outcome.failure is not None
    assert (outcome.failure.message, len(scene.lines)) == ("The script printed more than 20 lines.", 20)


async def test_it_is_given_its_line_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("TREADLE_SECRET", "secret")
    program = (
        "found = [os.readlink(f'/proc/self/fd/{n}').split(':')[0] for n in os.listdir('/proc/self/fd') if "
        "os.path.exists(f'/proc/self/fd/{n}') or int(n) == fd]\n"
        "say(json.dumps({'done': [sorted(found), sorted(os.environ), os.getcwd()], 'steps': 1}))"
    )
    monkeypatch.setattr(line, "_CHILD", ("-I", "-c", PROGRAM + program))
    outcome = await Scene().run("x = 1")
    assert isinstance(outcome.output, list), outcome.failure
    files, variables, folder = outcome.output
    assert set(files if isinstance(files, list) else ()) <= {"/dev/null", "pipe", "socket", "/proc/self/fd"}
    assert isinstance(files, list)
    assert files.count("socket") == 1
    assert set(variables if isinstance(variables, list) else ()) <= {"LC_CTYPE"}  # Python's own
    assert folder == "/"
