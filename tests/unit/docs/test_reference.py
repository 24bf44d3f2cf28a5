"""The reference names everything that there is, and nothing that there is not."""

import inspect
import json
import re

import pytest
from tests.unit.docs.generated import AGENT_RUNS, openapi
from tests.unit.docs.pages import ROOT, blocks, codes, page, pages, rows, section

import treadle
from treadle.api.maitento.requests import ClaudeAuthenticationBody, ProcessBody, StepBody
from treadle.api.maitento.schemas import (
    DiffChangeShape,
    DiffFileShape,
    DiffLineShape,
    FileShape,
    ProcessShape,
    StepShape,
)
from treadle.domain.diff import DiffEncoder, from_json
from treadle.domain.events import EventType
from treadle.domain.states import RunStatus
from treadle.engines.dummy_script import parse as parse_script
from treadle.sdk._agent_models import AgentRun
from treadle.sdk._agents import Agents
from treadle.sdk._client import Auth, Files, Processes
from treadle.sdk._inputs import ClaudeAuthentication
from treadle.sdk._models import Event, Process


def test_every_event_is_documented() -> None:
    listed = [row[0].strip("`") for row in rows(page("reference/events.md"))]
    assert listed == [str(kind) for kind in EventType]


def test_every_action_of_the_dummy_is_documented() -> None:
    with pytest.raises(ValueError, match="there are") as unknown:
        parse_script('dummy: [{"no_such_action": 1}]')
    actions = set(re.findall(r"\w+", str(unknown.value).partition("there are ")[2]))
    assert {code for row in rows(page("reference/dummy.md")) for code in codes(row[0])} == actions
    assert len(actions) > 10


def test_every_action_of_the_dummy_has_a_method() -> None:
    program = (ROOT / "src/treadle/engines/dummy_cli.py").read_text(encoding="utf-8")
    methods = set(re.findall(r"def do_(\w+)\(", program))
    assert {code for row in rows(page("reference/dummy.md")) for code in codes(row[0])} == methods


@pytest.mark.parametrize("body", [ProcessBody, StepBody, ClaudeAuthenticationBody])
def test_every_field_of_a_request_is_documented(body: type[ProcessBody]) -> None:
    listed = [row[0].strip("`") for row in rows(section(page("reference/rest-api.md"), "Start a process"))]
    fields = [field.alias for field in body.model_fields.values()]
    start = listed.index(str(fields[0]))
    assert sorted(listed[start : start + len(fields)]) == sorted(map(str, fields))


@pytest.mark.parametrize(
    ("shape", "heading"), [(ProcessShape, "A process"), (StepShape, "A process"), (FileShape, "Files")]
)
def test_every_field_of_an_answer_is_documented(shape: type[ProcessShape], heading: str) -> None:
    said = section(page("reference/rest-api.md"), heading)
    missing = [field.alias for field in shape.model_fields.values() if not re.search(rf"\b{field.alias}\b", said)]
    assert missing == []


def test_every_status_is_documented() -> None:
    assert {row[0].strip("`") for row in rows(page("reference/states.md"))} >= set(RunStatus)


@pytest.mark.parametrize(("name", "is_agent_runs"), [("rest-api", False), ("agent-runs-api", True)])
def test_every_problem_is_documented(name: str, is_agent_runs: bool) -> None:
    listed = {row[0] for row in rows(section(page(f"reference/{name}.md"), "Errors"))}
    paths = [path for at, path in openapi()["paths"].items() if at.startswith(AGENT_RUNS) is is_agent_runs]
    assert listed >= {code for path in paths for each in path.values() for code in each["responses"] if code >= "400"}
    assert paths


def test_every_field_of_the_diff_is_documented() -> None:
    text = page("reference/diff.md")
    shown = json.loads(next(block.code for block in blocks(text) if block.language == "json"))
    [file] = shown["files"]
    written = json.loads(DiffEncoder().close().decode())
    assert written.keys() == shown.keys()
    for shape in (DiffFileShape, DiffChangeShape, DiffLineShape):
        assert codes(text) >= {str(field.alias) for field in shape.model_fields.values()}
    assert codes(text) >= file.keys()
    assert from_json(json.dumps(shown).encode()).files[0].filename == "README.md"


def test_every_name_of_the_sdk_is_documented() -> None:
    said = page("reference/sdk.md")
    assert [name for name in treadle.__all__ if not re.search(rf"\b{name}\b", said)] == []


@pytest.mark.parametrize(
    ("part", "heading"),
    [
        (Processes, "client.processes"),
        (Agents, "client.agents"),
        (Files, "client.files"),
        (Auth, "client.auth"),
        (ClaudeAuthentication, "client.processes"),
    ],
)
def test_every_method_of_the_sdk_is_documented(part: type[object], heading: str) -> None:
    said = section(page("reference/sdk.md"), heading)
    for name, method in inspect.getmembers(part, callable):
        if name.startswith("_") or name == "to_json" or isinstance(method, type):
            continue
        match = re.search(rf"`{name}\(([^)]*)\)", said)
        assert match is not None, name
        given = {text.strip(" *\n").partition("=")[0] for text in match[1].split(",")} - {""}
        assert given == inspect.signature(method).parameters.keys() - {"self", "cls"}, name


def test_every_property_of_the_models_is_documented() -> None:
    said = page("reference/sdk.md")
    for model in (Process, Event, AgentRun):
        for name, _ in inspect.getmembers(model, lambda member: isinstance(member, property)):
            assert f"`{name}`" in said


def test_every_command_that_a_page_names_is_there() -> None:
    """A command is documented under a heading of its own; a group is the beginning of one."""
    known = set(re.findall(r"^### (treadle .+)$", page("reference/cli.md"), re.MULTILINE))
    unknown = set[tuple[str, str]]()
    for path in pages():
        for said in re.findall(r"`(treadle(?: [a-z]+\b(?![.:/=@-]))+)", path.read_text(encoding="utf-8")):
            words = said.split(" ")
            beginnings = {" ".join(words[:count]) for count in range(2, len(words) + 1)}
            if not (beginnings & known or any(one.startswith(f"{said} ") for one in known)):
                unknown.add((path.name, said))
    assert not unknown
    assert len(known) > 20
