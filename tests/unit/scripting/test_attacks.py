"""Scripts that want more than they are given. Each ends with a sentence, soon, and leaves nothing."""

import asyncio

import psutil
import pytest
from tests.unit.scripting.scene import Scene, failure_of, output_of

from treadle.ports.scripting import Execution, JsonValue, Pending, ScriptCall, ScriptFault, ScriptLimits
from treadle.scripting.host import StarlarkHost

pytestmark = pytest.mark.anyio

FEW = ScriptLimits(steps=10_000)
EVER = "def f():\n    for i in range(1 << 60):\n        %s\nf()\n"


@pytest.mark.parametrize(
    ("source", "limits", "said"),
    [
        (EVER % "pass", FEW, "The script took more than 10,000 steps."),
        (EVER % "pass", ScriptLimits(), "The script took more than 1,000,000 steps."),
        ("x = [i for i in range(1 << 60)]", FEW, "The script took more than 10,000 steps."),
        (
            "x = sorted([2, 1], key = lambda v: [i for i in range(1 << 60)])",
            FEW,
            "The script took more than 10,000 steps.",
        ),
        ("x = [1 for a in range(1 << 60) if False]", FEW, "The script took more than 10,000 steps."),
        ("x = [1]\nfor i in range(60):\n    x = x + x\n", ScriptLimits(), "The script allocated more than 256 MiB."),
        (
            'x = ("a" * 16000000).replace("a", "b" * 1000)',
            ScriptLimits(),
            "The script used more than 512 MiB of memory.",
        ),
        ('x = ",".join(["a" * 16000000] * 1000)', ScriptLimits(), "The script used more than 512 MiB of memory."),
        (EVER % "files.list()", ScriptLimits(calls=5), "The script made more than 5 calls."),
        (EVER % 'print("x")', ScriptLimits(log_lines=5), "The script printed more than 5 lines."),
        (EVER % 'print("x" * 1000)', ScriptLimits(log_bytes=9 << 10), "The script printed more than 9 KiB."),
        ('print("x" * 16000000)', ScriptLimits(), "A printed line is larger than 1 MiB."),
        ('output("x" * 16000000)', ScriptLimits(), "The output is larger than 1 MiB."),
        ('files.upload("n", "x" * 16000000)', ScriptLimits(), "What files.upload is given is larger than 4 MiB."),
        ("#" + "x" * 10_000_000, ScriptLimits(), "The script is larger than 256 KiB."),
    ],
)
async def test_a_limit_is_named(source: str, limits: ScriptLimits, said: str) -> None:
    failure = await failure_of(source, limits)
    assert (failure.fault, failure.message) == (ScriptFault.LIMIT, said)


async def test_processor_time_ends_what_is_one_step() -> None:
    source = 'x = ("a" * 16000000)\nfor i in range(1000000):\n    y = x.count("b")\n'
    failure = await failure_of(source, ScriptLimits(cpu_seconds=1))
    assert (failure.fault, failure.message) == (
        ScriptFault.LIMIT,
        "The script took more than 1 s of processor time.",
    )


async def test_time_ends_it_and_calls_do_not_count() -> None:
    slow = ScriptLimits(seconds=0.5)
    source = 'x = ("a" * 16000000)\nfor i in range(1000000):\n    y = x.count("b")\n'
    assert (await failure_of(source, slow)).message == "The script took longer than 0.5 s."

    for seconds in (0.5, 5, 20):  # as long as a busy machine needs to start an interpreter

        class Waiting(Scene):
            pause = seconds + 0.1

            async def call(self, call: ScriptCall) -> JsonValue | Pending:
                await asyncio.sleep(self.pause)
                return await super().call(call)

        outcome = await Waiting().run("files.list()", limits=ScriptLimits(seconds=seconds))
        if outcome.failure is None:
            break
    assert outcome.failure is None


@pytest.mark.parametrize(
    "source",
    [
        'x = "x" * 10000000000',
        'x = "xy"\nfor i in range(60):\n    x += x\n',
        "x = 3\nfor i in range(60):\n    x = x * x\n",
        "x = 1 << 10000000000",
        "x = [0] * 10000000000",
        "x = list(range(1 << 60))",
        "def f():\n    f()\nf()\n",
        "def f():\n    return sorted([1, 2], key = lambda v: g())\ndef g():\n    return f()\nf()\n",
        "x = []\nfor i in range(5000):\n    x = [x]\nprint(x)\n",
        "x = []\nfor i in range(5000):\n    x = [x]\noutput(x)\n",
        "x = []\nx.append(x)\noutput(x)\n",
        "x = json.decode('[' * 100000)",
        "x = " + "(" * 5000 + "1" + ")" * 5000,
        "x = " + "-" * 50_000 + "1",
        "\n".join(f"{' ' * n}if 1:" for n in range(500)) + f"\n{' ' * 500}pass\n",
        'load("os", "system")',
    ],
)
async def test_nothing_grows_nests_or_recurses_without_end(source: str) -> None:
    failure = await failure_of(source)
    assert failure.fault != ScriptFault.BROKEN, failure
    assert failure.message.endswith(".")


@pytest.mark.parametrize(
    "source",
    [
        'x = "".__class__',
        'x = getattr("", "__class__")',
        'x = getattr(codegeneration.get, "impl")',
        'x = getattr(codegeneration.get, "__globals__")',
        "x = codegeneration.fields",
        "x = inputs.mutability",
        "x = inputs._data",
        'x = "{0.__class__}".format(1)',
        'x = "{0[__class__]}".format({})',
        'x = "%(a)s" % {"a": 1}',
        "codegeneration.get = 1",
        "inputs.fields = {}",
        'x = eval("1")',
        'x = open("/etc/passwd")',
        'x = __import__("os")',
        "x = (lambda: 1).__code__",
        "x = fail.self_repr",
        "x = (lambda: 1)._starlark_type",
    ],
)
async def test_no_name_leads_out_of_the_language(source: str) -> None:
    assert (await failure_of(source)).fault in {ScriptFault.ERROR, ScriptFault.SYNTAX}


async def test_type_and_dir_tell_of_the_language_only() -> None:
    assert await output_of('output([type(""), type(codegeneration), dir(codegeneration.get), dir(inputs)[:1]])') == [
        "string",
        "codegeneration",
        [],
        ["clear"],
    ]


async def test_an_answer_may_be_large_and_not_without_end() -> None:
    limits = ScriptLimits(answer_bytes=1000, answers_bytes=1500)
    at_once = await failure_of("x = 1\nfiles.list()", limits, files_list="x" * 2000)
    assert (at_once.message, at_once.line) == ("The answer to files.list is larger than 1,000 bytes.", 2)
    in_all = await failure_of("files.list()\nfiles.list()", limits, files_list="x" * 900)
    assert in_all.message == "The answers to the script's calls are larger than 1,500 bytes."
    assert await output_of("output(len(files.list()))", files_list="x" * (4_000_000)) == 4_000_000


async def test_hostile_answers_are_only_data() -> None:
    hostile: dict[str, JsonValue] = {"fields": 1, "__class__": 2, "get": 3, "\ud800": "\ud800\0"}
    assert await output_of("output(sorted(files.list().values(), key = str)[:3])", files_list=hostile) == [1, 2, 3]


async def test_nothing_is_left_of_an_interpreter() -> None:
    called = asyncio.Event()

    def reply(call: ScriptCall) -> None:
        called.set()

    before = {child.pid for child in psutil.Process().children(recursive=True)}
    scene = Scene({"files.list": reply})
    running = asyncio.create_task(scene.run(EVER % "files.list()", limits=ScriptLimits(calls=1 << 40)))
    await called.wait()
    (child,) = {one.pid for one in psutil.Process().children(recursive=True)} - before
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not psutil.pid_exists(child)


async def test_interpreters_wait_for_their_turn() -> None:
    host, at_work, most, together = StarlarkHost(at_once=2), 0, 0, asyncio.Event()

    class Counting(Scene):
        async def call(self, call: ScriptCall) -> JsonValue | Pending:
            nonlocal at_work, most
            at_work += 1
            most = max(most, at_work)
            if most == 2:
                together.set()
            await asyncio.wait_for(together.wait(), 60)
            await asyncio.sleep(0.2)  # for a third one to come
            at_work -= 1
            return await super().call(call)

    scene = Counting()
    outcomes = await asyncio.gather(*(host.run(Execution("files.list()"), scene, scene.tell) for _ in range(5)))
    assert all(outcome.failure is None for outcome in outcomes)
    assert most == 2
