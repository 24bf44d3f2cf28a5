"""Arguments that a tool does not take: refused in the words of the other APIs, which repeat nothing that was given."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mcp.client.client import Client
from tests.support.deployment import Deployment, deployed
from tests.support.mcp_doors import call, connected, refused

from treadle.server import listening

pytestmark = pytest.mark.anyio

SECRET = "a-secret-of-a-test"
STEPS = [{"text": "Do it"}]

WRONG: list[tuple[str, dict[str, object], str]] = [
    ("start_run", {}, "steps: Is required."),
    ("start_run", {"steps": [SECRET]}, "steps[0]: Must be an object."),
    ("start_run", {"steps": SECRET}, "steps: Must be an array."),
    ("start_run", {"steps": [{"text": 3}]}, "steps[0].text: Must be a string."),
    (
        "start_run",
        {"steps": [{"txt": SECRET}]},
        "steps[0].text: Is required. steps[0].txt: Is not a known field; did you mean text?",
    ),
    (
        "start_run",
        {"steps": STEPS, "claude_authentication": SECRET},
        "claude_authentication: Must be an object.",
    ),
    (
        "start_run",
        {"steps": STEPS, "claude_authentication": {"source": SECRET}},
        "claude_authentication.source: Must be 'Default', 'ClientApiKey' or 'ClientLicense'.",
    ),
    ("start_run", {"steps": STEPS, "repository": [SECRET]}, "repository: Must be a whole number, or a string."),
    (
        "start_run",
        {"steps": STEPS, "network": SECRET},
        "network: Must be 'none', 'model' or 'full', or an object.",
    ),
    (
        "start_run",
        {"steps": STEPS, "repository": f"https://user:{SECRET}@git.example/acme/shop.git"},
        "repository: Is no OWNER/NAME: an address belongs in git_url.",
    ),
    ("start_run", {"steps": STEPS, "network": {"allow": [3]}}, "network.allow[0]: Must be a string."),
    ("start_run", {"steps": STEPS, "max_cost_usd": SECRET}, "max_cost_usd: Must be a number."),
    ("start_run", {"steps": STEPS, "file_ids": [SECRET]}, "file_ids[0]: Must be a UUID."),
    ("start_run", {"steps": STEPS, "generate_diff": SECRET}, "generate_diff: Must be true or false."),
    ("wait_for_run", {"run": 1, "seconds": 0}, "seconds: Must be at least 1."),
    ("wait_for_run", {"run": 1, "seconds": 10**6}, "seconds: Must be at most 600."),
    ("wait_for_run", {"run": 1, "seconds": SECRET}, "seconds: Must be a whole number."),
    ("start_batch", {"plan": "p", "name": SECRET * 20}, "name: Must be at most 200 characters."),
    ("start_batch", {"plan": "p", "variables": SECRET}, "variables: Must be an object."),
    (
        "start_batch",
        {"plan": "p", "targets": ["acme/shop", {"variables": {"int": [SECRET]}}, 2.5]},
        "targets[1].variables.int: Must be a string. targets[2]: Must be a whole number, or a string, or an object.",
    ),
]


UNKNOWN: list[tuple[str, dict[str, object], str]] = [
    ("start_run", {"steps": STEPS, "netwrok": "none"}, "netwrok: Is not a known field; did you mean network?"),
    ("start_run", {"steps": STEPS, "max_cost": 1}, "max_cost: Is not a known field; did you mean max_cost_usd?"),
    ("start_run", {"steps": STEPS, "api_key": SECRET}, "api_key: Is not a known field."),
    ("wait_for_run", {"run": 3, "timeout_seconds": -4}, "timeout_seconds: Is not a known field"),
    ("list_repositories", {"x" * 1_000: 1}, f"{'x' * 100}: Is not a known field."),
    ("list_repositories", {"\ud800": 1}, "Is not a known field."),
]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path) as found:
        yield found


@pytest.fixture
async def client(here: Deployment) -> AsyncIterator[Client]:
    async with listening(here.app, "127.0.0.1", 0) as url, connected("http", url, here.admin.key) as found:
        yield found


async def test_what_is_wrong_is_said_without_what_was_given(client: Client) -> None:
    for tool, arguments, said in WRONG:
        told = await refused(client, tool, **arguments)
        assert told == f"Error executing tool {tool}: The request is not valid. {said}"
        assert SECRET not in told


async def test_an_argument_that_is_none_is_refused_by_its_name(client: Client) -> None:
    for tool, arguments, said in UNKNOWN:
        told = await refused(client, tool, **arguments)
        assert said in told
        assert SECRET not in told
        assert len(told) < 300
    assert (await call(client, "list_runs"))["runs"] == []


async def test_only_so_many_faults_are_written_out(client: Client) -> None:
    told = await refused(client, "start_run", steps=["x"] * 1_000)
    assert told.count("Must be an object.") == 100


async def test_every_tool_says_that_it_takes_no_other_arguments(client: Client) -> None:
    for tool in (await client.list_tools()).tools:
        assert tool.input_schema["additionalProperties"] is False, tool.name
