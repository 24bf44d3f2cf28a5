"""/automation/scripts: checked, saved in versions, started with inputs; their runs with log and outputs."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from tests.support.deployment import deployed
from tests.support.pages import Pages, Person, field_errors, looking, refuses_forged, roles_of, text

from treadle.domain.identity import Role
from treadle.domain.script_runs import ScriptRun, ScriptRunStatus
from treadle.ports.script_runs import ScriptFilter
from treadle.ports.scripting import ScriptLine
from treadle.web.pages.automation import script_changes, script_runs, scripts
from treadle.web.pages.automation.script_runs import LINES
from treadle.web.pages.automation.scripts import PATH, RUNS

pytestmark = pytest.mark.anyio

EVERYBODYS = ScriptFilter(1)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path) as here, looking(here, scripts, script_changes, script_runs) as pages:
        yield pages


async def save(person: Person, source: str = "x = 1\r\ny = 2\r\n", name: str = "night") -> httpx2.Response:
    return await person.post(PATH, name=name, source=source, description="Every night", action="save")


async def started(there: Pages, person: Person, **fields: str) -> ScriptRun:
    answer = await person.post(f"{PATH}/1/start", **fields)
    assert answer.headers["location"].startswith(f"{RUNS}/"), answer.text
    return await there.here.store.script_run_by_id(int(answer.headers["location"].rpartition("/")[2]))


async def test_a_script_is_checked_and_saved_in_versions(there: Pages) -> None:
    person, store = await there.signed_in(), there.here.store
    broken = await person.post(PATH, name="night", source="x = <u>(\n", action="check")
    assert "night:1:" in text(broken)
    assert "&lt;u&gt;" in broken.text
    assert "Nothing is wrong with it" in text(await person.post(PATH, source="x = 1", action="check"))
    assert await store.scripts(EVERYBODYS) == ()
    assert (await save(person)).headers["location"] == f"{PATH}/1?done=saved"
    assert (await store.script_version(1, 1)).source == "x = 1\ny = 2\n"
    assert "Nothing is wrong" in text(await person.post(f"{PATH}/1", source="x = 3", action="check"))
    assert (await store.script(1, EVERYBODYS)).version == 1
    await person.post(f"{PATH}/1", source="x = 3", description="", action="save")
    page = await person.get(f"{PATH}/1")
    assert ">\nx = 3</textarea>" in page.text
    assert "Every night" not in text(page)
    assert "x = 1\ny = 2\n</textarea>" in (await person.get(f"{PATH}/1?version=1")).text
    assert (await person.get(f"{PATH}/1?version=7")).status_code == 404


async def test_what_a_version_changed_is_shown(there: Pages) -> None:
    person = await there.signed_in()
    lines = [f"x{number} = {number}" for number in range(20)]
    await save(person, "\n".join(lines) + "\n")
    for version, line in ((1, "x9 = '<u>'"), (2, "x9 = 'b'")):
        changed = "\n".join([*lines[:9], line, *lines[10:]]) + "\n"
        await person.post(f"{PATH}/1", source=changed, description="", action="save", if_version=str(version))
    assert f'href="{PATH}/1/changes?to=2"' in (await person.get(f"{PATH}/1")).text

    async def rows(query: str) -> list[str]:
        page = await person.get(f"{PATH}/1/changes{query}")
        assert page.status_code == 200, query
        return re.findall(r'<div class="row-(?:added|removed)"><span class="sign">(.*?)</div>', page.text)

    second = ["-</span>x9 = 9", "+</span>x9 = &#39;&lt;u&gt;&#39;"]
    assert await rows("?to=2") == await rows("?from=1&to=2") == second
    assert await rows("") == await rows("?from=2&to=3") == [second[1].replace("+", "-"), "+</span>x9 = &#39;b&#39;"]
    assert await rows("?from=1&to=3") == [second[0], "+</span>x9 = &#39;b&#39;"]
    assert await rows("?from=2&to=1") == [second[1].replace("+", "-"), second[0].replace("-", "+")]
    assert "x0 = 0" not in (await person.get(f"{PATH}/1/changes")).text
    assert "No line is different." in text(await person.get(f"{PATH}/1/changes?to=1"))
    longer = "\n".join(f"y{number} = 1" for number in range(500))
    await person.post(f"{PATH}/1", source=longer, description="", action="save", if_version="3")
    assert "Too many lines to compare" in text(await person.get(f"{PATH}/1/changes"))
    assert "No line is different." in text(await person.get(f"{PATH}/1/changes?from=4&to=4"))
    for query in ("?to=9", "?from=9"):
        assert (await person.get(f"{PATH}/1/changes{query}")).status_code == 404
    member = await there.signed_in((await there.here.member("eve@example.org")).key)
    assert (await member.get(f"{PATH}/1/changes")).status_code == 404


async def test_of_two_who_edit_one_version_the_second_is_told_and_keeps_the_text(there: Pages) -> None:
    person, store = await there.signed_in(), there.here.store
    await save(person)
    assert 'name="if_version" value="1"' in (await person.get(f"{PATH}/1")).text
    await person.post(f"{PATH}/1", source="x = 2", if_version="1", action="save")
    checked = await person.post(f"{PATH}/1", source="x = 3", if_version="1", action="check")
    assert 'name="if_version" value="1"' in checked.text, "a look at it is no reason to forget what it was made from"
    late = await person.post(f"{PATH}/1", source="x = 3", if_version="1", action="save")
    assert late.status_code == 409
    assert "was changed meanwhile: it has version 2" in text(late)
    assert ">\nx = 3</textarea>" in late.text
    assert (await store.script(1, EVERYBODYS)).version == 2
    assert 'name="if_version" value="2"' in late.text
    assert (await person.post(f"{PATH}/1", source="x = 3", if_version="2", action="save")).status_code == 303
    assert (await store.script_version(1, 3)).source == "x = 3"


async def test_a_new_script_is_not_saved_over_one_of_its_name(there: Pages) -> None:
    person = await there.signed_in()
    await save(person)
    second = await save(person, "x = 2")
    assert second.status_code == 409
    assert "There is a script of that name: it has version 1." in text(second)
    assert ">\nx = 2</textarea>" in second.text
    assert (await there.here.store.script(1, EVERYBODYS)).version == 1
    await person.post(f"{PATH}/1/remove")
    assert (await save(person, "x = 2")).headers["location"] == f"{PATH}/1?done=saved"


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("no name", "x = 1", {"script-name": "Must be 1 to 100 letters"}),
        ("night", "x = (", {"script-source": "night:1:"}),
        ("night", "x = 'https://bot:hush@git.example/a.git'", {"script-source": "night:1: The line holds an address"}),
        ("", "def", {"script-name": "Must be", "script-source": ":1:"}),
    ],
)
async def test_what_is_wrong_is_said_beside_its_field(
    there: Pages, name: str, source: str, wrong: dict[str, str]
) -> None:
    answer = await save(await there.signed_in(), source, name)
    assert answer.status_code == 400
    found = field_errors(answer)
    assert list(found) == list(wrong)
    assert all(said in found[field] for field, said in wrong.items()), found
    assert await there.here.store.scripts(EVERYBODYS) == ()


async def test_inputs_are_json_or_lines(there: Pages) -> None:
    person = await there.signed_in()
    await save(person)
    await person.post(f"{PATH}/1", source="x = 3", action="save")
    assert (await started(there, person, inputs='{"a": [1]}')).inputs == {"a": [1]}
    run = await started(there, person, inputs="a=1\r\n b = two words\r\n", version="1")
    assert (run.inputs, run.version) == ({"a": "1", "b": "two words"}, 1)
    for inputs, said in (('{"a": ', "Is no JSON."), ("a", "is no NAME=VALUE"), ('{"a": NaN}', "NaN")):
        answer = await person.post(f"{PATH}/1/start", inputs=inputs)
        assert answer.status_code == 400
        assert said in field_errors(answer)["start-inputs"]
    answer = await person.post(f"{PATH}/1/start", inputs='{"a": ["https://bot:hush@git.example/a.git"]}')
    assert (answer.status_code, "inputs.a[0]: Holds credentials" in text(answer)) == (400, True)


async def test_a_run_shows_what_it_waits_for_its_log_and_its_output(there: Pages) -> None:
    person, store, now = await there.signed_in(), there.here.store, there.here.clock.now()
    await save(person)
    run = await started(there, person, inputs="who=<u>")
    at = f"{RUNS}/{run.id}"
    assert "It has printed nothing yet." in text(await person.get(at))
    made = await there.here.start()
    await store.begin_script_run(run.id, now)
    waits = {"call": 1, "name": "codegeneration.await", "line": 3, "run": made["id"]}
    await store.wait_script_run(run.id, waits)
    for number in range(1, LINES + 3):
        await store.tell_script_line(run.id, ScriptLine(number, f"line {number} <u>"), now)
    page = await person.get(at)
    assert "Waits for run 1 , in codegeneration.await on line 3." in text(page)
    assert "<live-stream" in page.text
    assert "line 2 &lt;u&gt;" not in page.text
    assert f"line {LINES + 2} &lt;u&gt;" in page.text
    assert f'href="{at}?before=3"' in page.text
    earlier = text(await person.get(f"{at}?before=3"))
    assert "line 1 <u> line 2 <u> " in earlier
    assert "line 3 <u>" not in earlier
    await store.end_script_run(run.id, ScriptRunStatus.SUCCESS, now, outputs={"made": ["<u>"]})
    page = await person.get(at)
    assert '"made": [' in text(page)
    assert "<u>" not in page.text
    assert "<live-stream" not in page.text
    assert "Waits for" not in text(page)
    assert (await person.post(f"{at}/kill")).status_code == 409


async def test_a_run_is_ended_and_a_script_leaves_the_list(there: Pages) -> None:
    person = await there.signed_in()
    await save(person)
    run = await started(there, person)
    assert (await person.post(f"{RUNS}/{run.id}/kill")).headers["location"] == f"{RUNS}/{run.id}?done=killed"
    assert (await there.here.store.script_run_by_id(run.id)).status is ScriptRunStatus.KILLED
    assert (await person.post(f"{PATH}/1/remove")).headers["location"] == f"{PATH}?done=removed"
    assert (await person.get(f"{PATH}/1")).status_code == 404
    assert "There is no script yet." in text(page := await person.get(PATH))
    assert f'href="{RUNS}/{run.id}"' in page.text


async def test_a_member_has_its_own_and_forms_are_ours(there: Pages) -> None:
    people = await roles_of(there)
    await save(people[Role.ADMIN])
    run = await started(there, people[Role.ADMIN])
    forms = {
        PATH: {"name": "other", "source": "x = 1"},
        f"{PATH}/1": {"source": "x = 2"},
        f"{PATH}/1/start": {},
        f"{RUNS}/{run.id}/kill": {},
        f"{PATH}/1/remove": {},
    }
    for path, fields in forms.items():
        await refuses_forged(people[Role.ADMIN], path, fields)
        if path != PATH:
            assert (await people[Role.MEMBER].post(path, **fields)).status_code == 404, path
    for path in (f"{PATH}/1", f"{RUNS}/{run.id}", f"{RUNS}/{run.id}/stream"):
        assert (await people[Role.MEMBER].get(path)).status_code == 404
    assert "night" not in text(await people[Role.MEMBER].get(PATH))
    assert "night" in text(await people[Role.MANAGER].get(PATH))
    assert (await there.here.store.script(1, EVERYBODYS)).version == 1
    assert (await save(people[Role.MEMBER], name="mine")).status_code == 303
