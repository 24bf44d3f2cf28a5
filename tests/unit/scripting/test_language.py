"""What a script can say, and how it is told what is wrong with it."""

import pytest
from tests.unit.scripting.scene import Scene, failure_of, output_of

from treadle.domain.errors import InvalidInput, NotFound, Unavailable
from treadle.ports.scripting import JsonObject, Pending, ScriptEnd, ScriptFault
from treadle.scripting.host import StarlarkHost

pytestmark = pytest.mark.anyio

RUN: JsonObject = {"id": "1", "status": "Success", "steps": [{"step": "a", "output": "fine"}]}


async def test_calls_go_out_by_name_and_answers_come_back_as_dicts_with_attributes() -> None:
    scene = Scene({"codegeneration.start": RUN, "codegeneration.await": RUN, "codegeneration.list": [RUN, RUN]})
    outcome = await scene.run(
        'run = codegeneration.start(git_url = "u", steps = ["a", {"analysis": "b"}], max_cost_usd = 1.5)\n'
        "run = codegeneration.await(run.id)\n"
        "output([run.status, run['steps'][0].output, len(codegeneration.list(limit = 2))])\n"
    )
    assert outcome.output == ["Success", "fine", 2]
    assert [(call.number, call.name, call.arguments, call.line) for call in scene.calls] == [
        (1, "codegeneration.start", {"git_url": "u", "steps": ["a", {"analysis": "b"}], "max_cost_usd": 1.5}, 1),
        (2, "codegeneration.await", {"id": "1"}, 2),
        (3, "codegeneration.list", {"limit": 2}, 3),
    ]
    assert outcome.calls == 3
    assert 0 < outcome.steps < 100


async def test_every_call_of_the_reference() -> None:
    scene = Scene()
    outcome = await scene.run(
        'codegeneration.get("1"); codegeneration.diff("1"); codegeneration.resume("1", text = "t")\n'
        'codegeneration.kill(id = "1"); files.upload("n", "t"); files.list(); files.get("1"); repositories.list()\n'
    )
    assert outcome.end == ScriptEnd.SUCCESS
    assert [call.name for call in scene.calls] == [
        *("codegeneration.get", "codegeneration.diff", "codegeneration.resume", "codegeneration.kill"),
        *("files.upload", "files.list", "files.get", "repositories.list"),
    ]
    assert scene.calls[2].arguments == {"id": "1", "text": "t"}


@pytest.mark.parametrize("source", ["inputs.repository", "def f():\n    return inputs.repository\nf()"])
async def test_a_missing_input_is_called_that(source: str) -> None:
    failure = await failure_of(f"x = inputs.get('repository')\n{source}\n")
    assert failure.message == "The inputs have no `repository`."


async def test_what_another_dict_lacks_is_not_an_input() -> None:
    assert (await failure_of("x = {}\nx.repository\n")).message == "'dict' value has no field or method 'repository'."
    assert await output_of("output([hasattr(inputs, 'a'), getattr(inputs, 'a', 1), type(inputs)])") == [
        False,
        1,
        "dict",
    ]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("codegeneration.get()", "codegeneration.get needs id, a string."),
        ("codegeneration.get(3)", "codegeneration.get needs id, a string."),
        ('codegeneration.get("1", "2")', "codegeneration.get takes at most 1 arguments."),
        ('codegeneration.get("1", id = "2")', "codegeneration.get was given id twice."),
        ('codegeneration.get("1", x = 2)', "codegeneration.get has no argument x."),
        ('codegeneration.start("u")', "codegeneration.start takes its arguments by name."),
        ("codegeneration.start(x = len)", "A builtin_function_or_method has no form in JSON."),
        ("codegeneration.nope()", "'codegeneration' value has no field or method 'nope'."),
    ],
)
async def test_a_wrong_call_is_told(source: str, said: str) -> None:
    failure = await failure_of(f"x = 1\n{source}\n")
    assert (failure.fault, failure.message, failure.line) == (ScriptFault.ERROR, said, 2)


async def test_inputs_are_a_dict_that_stays_as_it_is() -> None:
    assert (
        await output_of("output(inputs.repositories[1] + inputs['n'])", {"repositories": ["a", "b"], "n": "c"}) == "bc"
    )
    failure = await failure_of('inputs["x"] = 1')
    assert failure.message == "Trying to mutate a frozen dict value."


async def test_the_last_output_counts_and_none_is_none() -> None:
    assert await output_of('output(1)\noutput({"a": (1, [2.5, None, True])})') == {"a": [1, [2.5, None, True]]}
    assert await output_of("x = 1") is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{1: 2}", "The keys of a dict must be strings to become JSON."),
        ("set([1])", "A set has no form in JSON."),
        ("1 << 70", "The integer is too large for JSON: 64 bits is the most."),
        ('float("inf")', "The number is not finite, and JSON has no form for it."),
        ("lambda: 1", "A function has no form in JSON."),
    ],
)
async def test_what_is_no_json_is_no_output(value: str, said: str) -> None:
    assert (await failure_of(f"output({value})")).message == said


async def test_lines_are_told_in_order_and_as_text() -> None:
    scene = Scene()
    await scene.run('print("a", 1, [2])\nprint()\nfor i in range(2): print(i, sep = "-")\n')
    assert scene.lines == ["a 1 [2]", "", "0", "1"]


async def test_what_a_database_refuses_is_not_in_a_line() -> None:
    scene = Scene()
    await scene.run("print(json.decode('\"a\\\\u0000b\"'), chr(55296))\n")
    assert scene.lines == ["a\N{REPLACEMENT CHARACTER}b ?"]


async def test_fail_ends_it_with_its_words() -> None:
    failure = await failure_of('def refuse(text):\n    fail("No:", text)\n\nrefuse("never")\n')
    assert (failure.fault, failure.message, failure.line) == (ScriptFault.FAIL, "No: never", 2)
    assert failure.trace == (("<toplevel>", 4), ("refuse", 2))
    assert failure.sentence("a.star") == "a.star:2: No: never"


async def test_an_error_has_the_line_of_the_expression_and_those_of_its_callers() -> None:
    source = (
        "def inner(x):\n    return (1 +\n        x // 0)\n\n"
        "def outer():\n    return [inner(y) for y in [1]]\n\nouter()\n"
    )
    failure = await failure_of(source)
    assert (failure.fault, failure.message, failure.line) == (ScriptFault.ERROR, "Integer division by zero.", 3)
    assert failure.trace == (("<toplevel>", 8), ("outer", 6), ("inner", 3))


@pytest.mark.parametrize(
    ("source", "line", "said"),
    [
        ("x = (\n", 2, "Syntax error at 'newline': expected expression."),
        ("while True:\n    pass\n", 1, "'while' not supported, use 'for' instead."),
        ("print(1)\ndef f():\n    return [nope for x in [1]]\n", 3, "Name 'nope' is not defined."),
        ("import os\n", 1, "A script is one file: there is no `import`."),
        ("\nload('a.star', 'b')\nprint(nope)\n", 2, "A script is one file: there is no `load`."),
        ("load()\n", 1, "A script is one file: there is no `load`."),
        ("def f():\n    load('a.star', b = 1)\n", 2, "A script is one file: there is no `load`."),
        ("x = load\n", 1, "A script is one file: there is no `load`."),
        ("x = 'load\nload('a', 'b')\n", 1, "Unclosed string literal."),
    ],
)
async def test_what_is_no_script_is_told_before_it_begins(source: str, line: int, said: str) -> None:
    for failure in (await failure_of(source), await StarlarkHost().check(source)):
        assert failure is not None
        assert (failure.fault, failure.line, failure.message) == (ScriptFault.SYNTAX, line, said)


async def test_a_script_is_checked_without_being_run() -> None:
    source = (
        "def f(n, *rest, k = 1, **more):\n    return [g(n) for x in rest if x]\n"
        "def g(n):\n    return inputs\nfail(f(1))\n"
    )
    assert await StarlarkHost().check(source) is None


async def test_a_refused_call_ends_it_at_its_line() -> None:
    refused = InvalidInput({"gitUrl": ["is missing"]})
    failure = await failure_of("x = 1\ncodegeneration.start()\n", codegeneration_start=refused)
    assert (failure.fault, failure.line) == (ScriptFault.CALL, 2)
    assert failure.message == "codegeneration.start: The request is not valid. gitUrl: is missing"
    missing = await failure_of('codegeneration.get("1")', codegeneration_get=NotFound("Nothing there.", hint="Look."))
    assert (missing.message, missing.hint) == ("codegeneration.get: Nothing there.", "Look.")


async def test_what_may_be_tried_again_is_not_the_scripts_end() -> None:
    with pytest.raises(Unavailable):
        await Scene({"files.list": Unavailable("The database is away.")}).run("files.list()")


async def test_a_pending_call_ends_the_execution_and_names_the_call() -> None:
    scene = Scene({"codegeneration.await": Pending("7")})
    outcome = await scene.run('print("before")\ncodegeneration.await("7")\nprint("after")\n')
    assert (outcome.end, outcome.pending, scene.lines) == (ScriptEnd.PENDING, Pending("7"), ["before"])
    assert outcome.waits_in == scene.calls[0]


async def test_nothing_differs_between_two_processes() -> None:
    source = (
        'd = {k: hash(k) for k in ["b", "a", "c"]}\n'
        'output([d, dir(""), str(set(["x", "y"])), json.encode({"b": 1, "a": [1.5]}), str(len), str([print, fail])])\n'
    )
    assert await output_of(source) == await output_of(source)
    assert await output_of('output([hash("abc"), hash(chr(128512)), hash("polygenelubricants")])') == [
        96354,
        1772899,
        -2147483648,
    ]
