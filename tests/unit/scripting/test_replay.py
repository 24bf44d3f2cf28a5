"""A script that was ended goes on, from what its calls were answered."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.scripting.scene import Scene

from treadle.ports.scripting import (
    MAX_SCRIPT_CALLS,
    Answer,
    JsonValue,
    Pending,
    ScriptCall,
    ScriptEnd,
    ScriptFault,
    ScriptOutcome,
)
from treadle.scripting.calls import digest_of

pytestmark = pytest.mark.anyio

SOURCE = """
runs = [codegeneration.start(git_url = url) for url in inputs.urls]
for run in runs:
    print("started", run.id)
ended = [codegeneration.await(run.id) for run in runs]
for run in ended:
    print("ended", run.id, run.status)
output([run.status for run in ended])
"""
INPUTS: dict[str, JsonValue] = {"urls": ["a", "b", "c"]}


class Runs(Scene):
    """Runs that end one after another, each at the second look at it."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[str] = []
        self.looked: set[str] = set()

    async def call(self, call: ScriptCall) -> JsonValue | Pending:
        if call.name == "codegeneration.start":
            self.started.append(str(call.arguments["git_url"]))
            self.replies = {call.name: {"id": f"{call.number}"}}
        else:
            run_id = str(call.arguments["id"])
            is_ended = run_id in self.looked
            self.looked.add(run_id)
            self.replies = {call.name: {"id": run_id, "status": "Success"} if is_ended else Pending(run_id)}
        return await super().call(call)


async def test_a_script_that_waits_is_run_again_and_does_nothing_twice() -> None:
    runs = Runs()
    outcomes: list[ScriptOutcome] = []
    while not outcomes or outcomes[-1].end == ScriptEnd.PENDING:
        outcomes.append(await runs.run(SOURCE, INPUTS))
    assert [one.end for one in outcomes] == [*[ScriptEnd.PENDING] * 3, ScriptEnd.SUCCESS]
    assert [one.pending.run_id for one in outcomes if one.pending is not None] == ["1", "2", "3"]
    assert runs.started == ["a", "b", "c"]
    assert runs.lines == [*(f"started {n}" for n in "123"), *(f"ended {n} Success" for n in "123")]
    assert outcomes[-1].output == ["Success"] * 3
    assert outcomes[-1].printed == 6

    again = await runs.run(SOURCE, INPUTS)
    assert (again.output, runs.started, len(runs.lines)) == (["Success"] * 3, ["a", "b", "c"], 6)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('\nfiles.get("1")', "Call 1 is files.get now and was files.list in an earlier execution."),
        ('files.list()\nfiles.get("2")', "Call 2, files.get, has other arguments than in an earlier execution."),
        ("files.list()", "The script made 1 calls, and 2 in an earlier execution."),
    ],
)
async def test_another_script_is_not_taken_for_the_same(source: str, said: str) -> None:
    scene = Scene()
    await scene.run('files.list()\nfiles.get("1")')
    done = len(scene.calls)
    outcome = await scene.run(source)
    assert outcome.failure is not None
    assert (outcome.end, outcome.failure.fault, outcome.failure.message) == (
        ScriptEnd.FAILED,
        ScriptFault.DIVERGED,
        said,
    )
    assert outcome.failure.hint is not None
    assert len(scene.calls) == done


async def test_as_many_calls_as_a_script_may_make_are_replayed() -> None:
    scene = Scene({"files.list": [{"id": "x" * 200}]})
    source = f"for i in range({MAX_SCRIPT_CALLS}):\n    files.list()\noutput(i)\n"
    for _ in range(2):
        outcome = await scene.run(source)
        assert (outcome.output, outcome.calls) == (MAX_SCRIPT_CALLS - 1, MAX_SCRIPT_CALLS)
    assert len(scene.calls) == MAX_SCRIPT_CALLS


async def test_an_answer_of_the_journal_is_what_the_script_sees() -> None:
    scene = Scene(journal=[Answer(1, "files.list", digest_of("files.list", {}), ["kept"])])
    assert (await scene.run("output(files.list())")).output == ["kept"]
    assert scene.calls == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
@settings(max_examples=50)
def test_a_digest_knows_arguments_whatever_their_order(arguments: dict[str, JsonValue]) -> None:
    assert digest_of("a", arguments) == digest_of("a", dict(reversed(arguments.items())))
    assert digest_of("a", arguments) != digest_of("b", arguments)
    assert digest_of("a", arguments) != digest_of("a", {**arguments, "another one": 1})
