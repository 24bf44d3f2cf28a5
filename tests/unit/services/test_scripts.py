"""Scripts on the service: saved, run to their end over any number of executions, each call done once."""

import json
from collections.abc import Awaitable

import pytest
from tests.support.chores import work_off
from tests.support.deployment import Deployment, Member

from treadle.domain.errors import AlreadyFinished, Conflict, InvalidInput, NotFound, Unavailable
from treadle.domain.events import JsonObject
from treadle.domain.identity import Principal, Role
from treadle.domain.run import StructuredOutput
from treadle.domain.script_runs import ScriptRun, ScriptRunStatus
from treadle.domain.states import RunStatus, StepStatus
from treadle.ports import Fence, RunFilter, StepUpdate
from treadle.ports.chores import Chore, ChoreKind
from treadle.ports.scripting import ScriptEnd, ScriptFailure, ScriptFault, ScriptOutcome
from treadle.scripting.host import StarlarkHost
from treadle.services import scripts
from treadle.services.script_calls import ScriptCalls
from treadle.services.script_chores import MAX_SCRIPT_DEATHS

pytestmark = pytest.mark.anyio

START = """
run = codegeneration.start(
    git_url = "https://git.example/acme/shop.git", branch_source = "main", branch_work = "b" + inputs.get("n", ""),
    engine = "Dummy", steps = [{"analysis": "Look", "is_structured": True}],
)
print("started", run.id)
"""
AWAIT = START + 'run = codegeneration.await(run.id)\nprint("ended", run.status)\noutput(run.status)\n'


async def me(here: Deployment, who: Member | None = None) -> Principal:
    return await here.services.identity.authenticate((who or here.admin).key)


async def start(here: Deployment, source: str, who: Member | None = None, /, **inputs: str) -> ScriptRun:
    return await here.services.scripts.start_source(await me(here, who), source, inputs)


async def seen(here: Deployment, run: ScriptRun) -> ScriptRun:
    return await here.services.scripts.run(await me(here), run.id)


async def lines(here: Deployment, run: ScriptRun) -> list[str]:
    _, found = await here.services.scripts.log(await me(here), run.id, after=0, limit=100)
    return [line.text for line in found]


async def done(here: Deployment, source: str, **inputs: str) -> ScriptRun:
    """The run of a script that waits for nothing."""
    run = await start(here, source, None, **inputs)
    await work_off(here, ChoreKind.SCRIPT)
    ended = await seen(here, run)
    assert ended.is_finished, ended
    return ended


async def test_a_script_that_waits_goes_on_when_the_run_has_ended(here: Deployment) -> None:
    run = await start(here, AWAIT)
    assert await work_off(here, ChoreKind.SCRIPT) == 1
    waiting = await seen(here, run)
    (process,) = await here.store.list_runs(RunFilter(1), limit=9)
    assert (waiting.status, waiting.calls) == (ScriptRunStatus.RUNNING, 1)
    assert waiting.waits_for == {"call": 2, "name": "codegeneration.await", "line": 7, "run": str(process.uuid)}
    here.clock.advance(3600)
    assert await work_off(here, ChoreKind.SCRIPT) == 0, "it costs nothing meanwhile"

    _, fence = await here.claim()
    await here.finish(fence)
    assert await work_off(here, ChoreKind.SCRIPT) == 1
    ended = await seen(here, run)
    assert (ended.status, ended.outputs, ended.waits_for) == (ScriptRunStatus.SUCCESS, "Success", None)
    assert await lines(here, run) == [f"started {process.uuid}", "ended Success"]
    assert await here.store.count_runs(RunFilter(1)) == 1


async def test_awaits_one_after_another_and_of_what_has_ended_already(here: Deployment) -> None:
    source = """
def begin(n):
    return codegeneration.start(
        git_url = "https://git.example/acme/shop.git", branch_source = "main", branch_work = "b" + str(n),
        engine = "Dummy", steps = ["Do it"],
    )
output([codegeneration.await(run.id).status for run in [begin(n) for n in range(3)]])
"""
    run = await start(here, source)
    await work_off(here, ChoreKind.SCRIPT)
    fences = [(await here.claim())[1] for _ in range(3)]
    await here.finish(fences[2], RunStatus.FAILED, "no")
    assert await work_off(here, ChoreKind.SCRIPT) == 0, "it waits for the first"
    for fence in fences[:2]:
        await here.finish(fence)
        await work_off(here, ChoreKind.SCRIPT)
    assert (await seen(here, run)).outputs == ["Success", "Success", "Failed"]


async def test_an_answer_is_branched_on(here: Deployment) -> None:
    source = START + "answer = codegeneration.await(run.id).steps[0].structured_output\n"
    source += "output(answer.output if answer.is_additional_work_required_to_continue else None)\n"
    run = await start(here, source)
    await work_off(here, ChoreKind.SCRIPT)
    _, fence = await here.claim()
    answer = StructuredOutput("b() lacks one", "", True, False, True)
    now = here.clock.now()
    await here.store.record(fence, [], now, step=StepUpdate(1, StepStatus.RUNNING))
    await here.store.record(fence, [], now, step=StepUpdate(1, StepStatus.SUCCESS, structured_output=answer))
    await here.finish(fence)
    await work_off(here, ChoreKind.SCRIPT)
    assert (await seen(here, run)).outputs == "b() lacks one"


@pytest.mark.parametrize("source", [AWAIT, START + 'files.upload("a.txt", "a")\n' + AWAIT])
async def test_an_execution_that_dies_before_its_journal_starts_nothing_twice(
    here: Deployment, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await start(here, source)
    real, dies = here.store.answer_call, True

    async def answer_call(*arguments: object, **named: object) -> object:
        nonlocal dies
        dies = not dies
        if not dies:
            raise Unavailable("gone")
        return await real(*arguments, **named)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(type(here.store), "answer_call", staticmethod(answer_call))
    for _ in range(8):
        chore = Chore(ChoreKind.SCRIPT, run.id, 1)
        try:
            await here.services.chores.handlers[ChoreKind.SCRIPT](chore)
        except Unavailable:
            continue
        break
    starts = source.count("codegeneration.start")
    waiting = await seen(here, run)
    assert waiting.waits_for is not None
    assert await here.store.count_runs(RunFilter(1)) == starts
    assert len(await here.services.files.list(await me(here), limit=9)) == source.count("files.upload")
    assert len(await lines(here, run)) == starts


async def test_the_calls_answer_as_the_api_does(here: Deployment) -> None:
    source = (
        START
        + """
file = files.upload("a.md", "text")
output({
    "get": codegeneration.get(run.id), "list": codegeneration.list(status = "New", limit = 5),
    "resume": codegeneration.resume(run.id, "More"), "kill": codegeneration.kill(run.id),
    "diff": codegeneration.diff(run.id), "file": files.get(file.id) == file, "files": files.list() == [file],
    "repositories": repositories.list(),
})
"""
    )
    run = await done(here, source)
    assert run.status is ScriptRunStatus.SUCCESS, run.failure_details
    found = run.outputs
    assert isinstance(found, dict)
    (process,) = (await here.http.get("/code-generation/processes", headers=here.admin.headers)).json()
    assert found["get"]["id"] == process["id"]
    assert set(found["get"]) >= {"git_url", "branch_work", "status", "steps", "failure_details", "diff", "engine"}
    assert [one["id"] for one in found["list"]] == [process["id"]]
    assert [step["step"] for step in found["resume"]["steps"]] == ["Look", "More"]
    assert (found["kill"]["status"], found["diff"]) == ("Killed", {"files": []})
    assert (found["file"], found["files"], found["repositories"]) == (True, True, [])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("\nfail('no')", "script.star:2: no"),
        ("x = 1 // 0", "script.star:1: Integer division by zero."),
        ("x = [i for i in range(1 << 60)]", "script.star:1: The script took more than 1,000,000 steps."),
        ("def f(n): return f(n)\nf(1)", "script.star:1: "),
        (
            "x = 'a' * (1 << 24)\ny = [x[1:] + str(i % 10) for i in range(1000)]",
            "script.star:2: The script allocated more than",
        ),
        ("codegeneration.get('1')", "script.star:1: codegeneration.get: There is no such run."),
        ("codegeneration.start(plan = {'steps': []}, color = 1)", "script.star:1: codegeneration.start: "),
        ("codegeneration.start(repository = 'acme/none')", "script.star:1: codegeneration.start: There is no repos"),
        ("codegeneration.list(status = 'Odd')", "script.star:1: codegeneration.list: "),
        ("codegeneration.start(git_url = 'u', git_http_credentials = 'a:b')", "script.star:1: codegeneration.start: "),
        ("codegeneration.start(git_url = 'https://a:b' + '@git.example/x')", "script.star:1: codegeneration.start: "),
    ],
)
async def test_what_goes_wrong_names_the_line_and_harms_nothing(here: Deployment, source: str, said: str) -> None:
    run = await done(here, source)
    assert run.status is ScriptRunStatus.FAILED
    assert (run.failure_details or "").startswith(said), run.failure_details
    assert (await done(here, "output(1)")).outputs == 1


async def test_no_secret_is_taken_from_a_script(here: Deployment) -> None:
    for given in ("git_http_credentials = 'a:b'", "claude_authentication = {'source': 'Default'}"):
        run = await done(here, f"codegeneration.start(git_url = 'https://git.example/a.git', {given})")
        assert "register the repository" in (run.failure_details or "")
    run = await done(here, START.replace("https://", "https://bea:secret' + '@").replace('"', "'"))
    assert "git_url: Is not taken from a stored script" in (run.failure_details or "")
    plan = "{'repo': 'https://a:b' + '@git.example/a.git', 'branch': 'b', 'steps': ['dummy: Go']}"
    run = await done(here, f"codegeneration.start(plan = {plan})")
    assert "repo: Holds credentials" in (run.failure_details or "")
    assert await here.store.count_runs(RunFilter(1)) == 0


async def test_no_address_with_credentials_is_kept(here: Deployment) -> None:
    service, admin = here.services.scripts, await me(here)
    await service.save(admin, "night", "x = 1")
    secret = "https://bea:hush@git.example/a.git"

    async def refused(call: Awaitable[object]) -> dict[str, list[str]]:
        with pytest.raises(InvalidInput) as caught:
            await call
        assert "hush" not in caught.value.sentence()
        return {path: list(said) for path, said in caught.value.faults.items()}

    said = "Holds credentials: register the repository, which keeps them sealed."
    inputs: JsonObject = {"a": secret, "b": [{"c": secret}]}
    assert await refused(service.start(admin, "night", inputs)) == {"inputs.a": [said], "inputs.b[0].c": [said]}
    assert await refused(service.start_source(admin, "x = 1", {"a": secret})) == {"inputs.a": [said]}
    source = f"x = 1\ncodegeneration.start(git_url = '{secret}')\n"
    told = "2: The line holds an address with credentials. Register the repository, which keeps them sealed."
    assert await refused(service.save(admin, "night", source)) == {"source": [f"night:{told}"]}
    assert await refused(service.start_source(admin, source, {})) == {"source": [f"script.star:{told}"]}
    failure = await service.check(admin, source)
    assert failure is not None
    assert failure.sentence("script.star") == f"script.star:{told}"
    assert [each.version for each in await service.versions(admin, "night")] == [1]
    assert list(await service.runs(admin, limit=9)) == []


async def test_a_plan_is_started_with_its_variables(here: Deployment) -> None:
    plan = {
        "repo": "https://git.example/acme/shop.git",
        "source": "main",
        "branch": "x/${{ what }}",
        "engine": "Dummy",
        "variables": {"what": "none"},
        "steps": ["Write of ${{ what }}"],
    }
    source = f"codegeneration.start(plan = {json.dumps(plan)}, variables = {{'what': 'cats'}}, max_cost_usd = 1)"
    assert (await done(here, source)).status is ScriptRunStatus.SUCCESS
    as_text = f"codegeneration.start(plan = json.encode({json.dumps(plan)}), branch_work = 'y')"
    assert (await done(here, as_text)).status is ScriptRunStatus.SUCCESS
    found = await here.store.list_runs(RunFilter(1), limit=9)
    assert [(run.branch_work, run.steps[0].text) for run in found] == [
        ("y", "Write of none"),
        ("x/cats", "Write of cats"),
    ]
    refused = await done(here, f"codegeneration.start(plan = {json.dumps(plan)}, steps = ['a'])")
    assert "steps: Is no argument of codegeneration.start" in (refused.failure_details or "")


async def test_a_script_has_the_rights_of_its_owner_at_that_moment(here: Deployment) -> None:
    member = await here.member("bea@example.com")
    hidden = await here.start()
    run = await start(here, f"codegeneration.get('{hidden['id']}')", member)
    await work_off(here, ChoreKind.SCRIPT)
    assert "There is no run" in str((await seen(here, run)).failure_details)
    waits = await start(here, AWAIT, member)
    await work_off(here, ChoreKind.SCRIPT)
    await here.store.set_role(1, member.user.id, None)
    while (claimed := await here.store.claim("worker", here.clock.now())) is not None:
        await here.store.finish(Fence(claimed.id, claimed.lease), RunStatus.SUCCESS, None, here.clock.now())
    await work_off(here, ChoreKind.SCRIPT)
    assert "has no role" in str((await seen(here, waits)).failure_details)


async def test_a_killed_one_does_nothing_more(here: Deployment) -> None:
    run = await start(here, AWAIT)
    await work_off(here, ChoreKind.SCRIPT)
    killed = await here.services.scripts.kill(await me(here), run.id)
    assert killed.status is ScriptRunStatus.KILLED
    with pytest.raises(AlreadyFinished):
        await here.services.scripts.kill(await me(here), run.id)
    (process,) = await here.store.list_runs(RunFilter(1), limit=9)
    assert process.status is RunStatus.NEW, "the runs that it started go on"
    _, fence = await here.claim()
    await here.finish(fence)
    await work_off(here, ChoreKind.SCRIPT)
    assert (await seen(here, run)).status is ScriptRunStatus.KILLED
    assert len(await lines(here, run)) == 1


async def test_one_that_is_killed_while_it_executes_stops_at_its_next_call(
    here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await start(here, "files.list()\nprint('not reached')\nfiles.list()")
    real = ScriptCalls.call

    async def call(self: ScriptCalls, *arguments: object) -> object:
        await here.services.scripts.kill(await me(here), run.id)
        return await real(self, *arguments)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(ScriptCalls, "call", call)
    await work_off(here, ChoreKind.SCRIPT)
    assert (await seen(here, run)).status is ScriptRunStatus.KILLED
    assert await lines(here, run) == []


async def test_an_interpreter_that_dies_is_tried_again_and_then_fails(
    here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: object) -> ScriptOutcome:
        return ScriptOutcome(ScriptEnd.FAILED, failure=ScriptFailure(ScriptFault.BROKEN, "It died."))

    monkeypatch.setattr(StarlarkHost, "run", dies)
    run = await start(here, "x = 1")
    handler = here.services.chores.handlers[ChoreKind.SCRIPT]
    for tries in range(MAX_SCRIPT_DEATHS - 1):
        with pytest.raises(Unavailable):
            await handler(Chore(ChoreKind.SCRIPT, run.id, 1, tries))
        assert (await seen(here, run)).status is ScriptRunStatus.RUNNING
    await handler(Chore(ChoreKind.SCRIPT, run.id, 1, MAX_SCRIPT_DEATHS - 1))
    assert (await seen(here, run)).failure_details == "script.star: It died."


async def test_versions_are_run_as_they_were(here: Deployment) -> None:
    service, admin = here.services.scripts, await me(here)
    first = await service.save(admin, "night", "output(1)")
    await service.save(admin, "night", "output(2)", "Better")
    older = await service.start(admin, "night", {}, version=1)
    newest = await service.start(admin, first.id, {})
    await service.save(admin, "night", "output(3)")
    await work_off(here, ChoreKind.SCRIPT)
    assert [(await seen(here, run)).outputs for run in (older, newest)] == [1, 2]
    assert [version.version for version in await service.versions(admin, "night")] == [3, 2, 1]
    await service.archive(admin, "night")
    for which in ("night", first.id):
        with pytest.raises(NotFound):
            await service.start(admin, which, {})
    assert [run.version for run in await service.runs(admin, script="night", limit=9)] == [2, 1]


async def test_what_cannot_be_saved_or_started_says_why(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    service, admin = here.services.scripts, await me(here)

    async def refused(call: Awaitable[object]) -> str:
        with pytest.raises(InvalidInput) as caught:
            await call
        return caught.value.sentence()

    for name in ("", "12", "a b", "a/b", "x" * 101, "-a", "é"):
        assert "name: " in await refused(service.save(admin, name, "x = 1"))
    assert "source: night:2: " in await refused(service.save(admin, "night", "x = 1\ny = nothing\n"))
    assert "source: script.star:1: " in await refused(service.start_source(admin, "x = (", {}))
    assert "inputs: Must be at most 256 KiB" in await refused(
        service.start_source(admin, "x = 1", {"a": "b" * (256 << 10)})
    )
    assert "source: Must be at most 256 KiB" in await refused(service.save(admin, "night", "#" * ((256 << 10) + 1)))
    monkeypatch.setattr(scripts, "MAX_SCRIPTS", 1)
    monkeypatch.setattr(scripts, "MAX_SCRIPT_RUNS", 1)
    await service.save(admin, "one", "x = 1")
    with pytest.raises(Conflict, match="scripts already"):
        await service.save(admin, "two", "x = 1")
    await service.start(admin, "one", {})
    with pytest.raises(Conflict, match="have not ended"):
        await service.start(admin, "one", {})


async def test_members_have_their_own(here: Deployment) -> None:
    service, admin = here.services.scripts, await me(here)
    member = await me(here, await here.member("bea@example.com"))
    manager = await me(here, await here.member("mo@example.com", Role.MANAGER))
    await service.save(member, "hers", "x = 1")
    await service.save(admin, "his", "x = 1")
    run = await service.start(admin, "his", {})
    assert [each.name for each in await service.list(member)] == ["hers"]
    assert [each.name for each in await service.list(manager)] == ["hers", "his"]
    with pytest.raises(NotFound):
        await service.get(member, "his")
    with pytest.raises(NotFound):
        await service.run(member, run.id)
    with pytest.raises(NotFound):
        await service.kill(member, run.id)
    with pytest.raises(Conflict, match="somebody else's"):
        await service.save(member, "his", "x = 2")
    assert (await service.save(manager, "his", "x = 2")).version == 2
    assert (await service.start(manager, "hers", {})).user_id == manager.user_id
