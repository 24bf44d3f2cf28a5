"""The page of the agent-run API names everything that there is, with the numbers that the code has."""

import re

import pytest
from pydantic import BaseModel
from tests.unit.docs.pages import codes, page, rows, section

from treadle.api.codegen import schemas
from treadle.api.codegen.guard import Group
from treadle.api.codegen.requests import CreateAgentRunInput
from treadle.api.codegen.wire import STATUSES
from treadle.services.agent_log import MessageType
from treadle.settings import Settings

PAGE = page("reference/agent-runs-api.md")


def column(heading: str, number: int = 0) -> list[str]:
    """A column of the table under a heading, without backticks."""
    return [row[number].strip("`") for row in rows(section(PAGE, heading))]


def test_every_group_of_rate_limits_is_there_with_its_setting_and_number() -> None:
    assert column("Rate limits") == [str(group) for group in Group]
    defaults = {name: default for name, default, _ in Settings.table()}
    for group, setting, said in zip(Group, column("Rate limits", 1), column("Rate limits", 2), strict=True):
        assert setting == f"TREADLE_RATE_LIMIT_{group.upper()}"
        match = re.fullmatch(r"(\d+) in (\d+) s", said)
        assert match is not None
        assert defaults[setting] == f"{match[1]}/{match[2]}"


def test_every_type_of_log_entry_is_there() -> None:
    assert sorted(column("Logs")) == sorted(MessageType)


def test_every_status_is_there() -> None:
    said = dict(zip(column("An agent run"), column("An agent run", 1), strict=True))
    assert said == {status: str(state) for state, status in STATUSES.items()}


def test_every_field_of_a_new_run_is_there() -> None:
    fields = CreateAgentRunInput.model_fields
    assert sorted(column("Create")) == sorted(field.alias or name for name, field in fields.items())


@pytest.mark.parametrize(
    ("shape", "heading"),
    [
        (schemas.AgentRunResponse, "An agent run"),
        (schemas.AgentRunLogResponse, "Logs"),
        (schemas.AgentRunWithLogsResponse, "Logs"),
        (schemas.CheckSuiteSettingsResponse, "Repositories and checks"),
        (schemas.RepoResponse, "Repositories and checks"),
        (schemas.EditPRResponse, "Pull requests"),
        (schemas.CLIRulesResponse, "Rules"),
        (schemas.SetupCommandsResponse, "Setup commands"),
        (schemas.AnalyzeLogsResponse, "Setup commands"),
    ],
)
def test_every_field_of_an_answer_is_there(shape: type[BaseModel], heading: str) -> None:
    said = section(PAGE, heading) + (section(PAGE, "An agent run") if heading == "Logs" else "")
    assert [name for name in shape.model_fields if not re.search(rf"\b{name}\b", said)] == []


def test_every_command_beside_it_is_named() -> None:
    assert {"treadle admin repo setup", "treadle admin repo rules", "treadle admin mcp"} <= {
        " ".join(code.split()) for code in codes(PAGE.replace("\n", " "))
    }
