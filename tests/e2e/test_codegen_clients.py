"""The client that Codegen published, unchanged but for the address, and what its CLI and TUI send."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from codegen_api_client.api.agents_api import AgentsApi
from codegen_api_client.api.organizations_api import OrganizationsApi
from codegen_api_client.api.users_api import UsersApi
from codegen_api_client.api_client import ApiClient
from codegen_api_client.configuration import Configuration
from codegen_api_client.exceptions import (
    ApiException,
    ForbiddenException,
    NotFoundException,
    UnauthorizedException,
    UnprocessableEntityException,
)
from codegen_api_client.models.agent_run_response import AgentRunResponse
from codegen_api_client.models.create_agent_run_input import CreateAgentRunInput
from tests.e2e.test_resume import register
from tests.support.git_server import GitServer
from tests.support.service import PATIENCE_SECONDS, Json, Service

ENDED = {"COMPLETE", "FAILED", "STOPPED"}

#: The client can name neither engine nor model; so the system's key is the one that selects the Dummy engine.
DUMMY = {"CLAUDE_API_KEY": "000-dummy"}

SAY = 'dummy: [{"write": ["hello.txt", "Hello\\n"]}, {"say": "All done.\\nThere is a file."}]'


@pytest.fixture
def service(tmp_path: Path, git: GitServer) -> Iterator[Service]:
    with Service(tmp_path / "data", **DUMMY) as running:
        register(git, running.environment())
        yield running


def configured(service: Service) -> ApiClient:
    return ApiClient(Configuration(host=service.url))


def wait(agents: AgentsApi, run: AgentRunResponse, authorization: str) -> AgentRunResponse:
    """As its documentation shows it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while run.status not in ENDED and time.monotonic() < deadline:
        time.sleep(0.6)  # the standard rate is two a second
        run = agents.get_agent_run_v1_organizations_org_id_agent_run_agent_run_id_get(
            org_id=1, agent_run_id=run.id, authorization=authorization
        )
    return run


def test_the_published_client_creates_polls_and_reads_the_result(service: Service, git: GitServer) -> None:
    authorization = f"Bearer {service.key}"
    with configured(service) as client:
        agents = AgentsApi(client)
        run = agents.create_agent_run_v1_organizations_org_id_agent_run_post(
            org_id=1, create_agent_run_input=CreateAgentRunInput(prompt=SAY), authorization=authorization
        )
        assert (type(run.id), run.organization_id, run.status) == (int, 1, "PENDING")
        run = wait(agents, run, authorization)
        assert (run.status, run.result) == ("COMPLETE", "All done.\nThere is a file.")
        assert run.web_url == f"{service.url}/runs/{run.id}"
        [branch] = set(git.branches("acme/demo")) - {"main"}
        assert branch.startswith(f"treadle/{run.id}-")
        assert git.show("acme/demo", branch, "hello.txt") == b"Hello\n"


def test_the_published_client_knows_organizations_and_users(service: Service) -> None:
    authorization = f"Bearer {service.key}"
    with configured(service) as client:
        organizations = OrganizationsApi(client).get_organizations_v1_organizations_get(authorization=authorization)
        assert [(each.id, each.name, each.settings.enable_pr_creation) for each in organizations.items] == [
            (1, "Default", True)
        ]
        users = UsersApi(client)
        page = users.get_users_v1_organizations_org_id_users_get(org_id="1", authorization=authorization)
        assert (page.total, page.page, page.size, page.pages) == (1, 1, 100, 1)
        user = users.get_user_v1_organizations_org_id_users_user_id_get("1", "1", authorization=authorization)
        assert user == page.items[0]
        assert (user.email, user.github_user_id) == ("admin@localhost", "")


def test_the_published_client_knows_our_refusals(service: Service) -> None:
    authorization = f"Bearer {service.key}"
    with configured(service) as client:
        agents = AgentsApi(client)
        get = agents.get_agent_run_v1_organizations_org_id_agent_run_agent_run_id_get
        with pytest.raises(NotFoundException) as missing:
            get(org_id=1, agent_run_id=99, authorization=authorization)
        assert '"message":"Agent run not found."' in str(missing.value.body)
        with pytest.raises(ForbiddenException):
            get(org_id=2, agent_run_id=1, authorization=authorization)
        with pytest.raises(UnauthorizedException):
            get(org_id=1, agent_run_id=1, authorization="Bearer nothing")
        with pytest.raises(UnauthorizedException):
            get(org_id=1, agent_run_id=1)
        create = agents.create_agent_run_v1_organizations_org_id_agent_run_post
        seen = list[ApiException]()
        while not seen or seen[-1].status == 422:
            with pytest.raises(ApiException) as refused:
                create(org_id=1, create_agent_run_input=CreateAgentRunInput(prompt=" "), authorization=authorization)
            seen.append(refused.value)
        assert isinstance(seen[0], UnprocessableEntityException)
        assert seen[0].data is not None
        assert seen[0].data.detail[0].msg == "Must not be blank."
        assert seen[-1].status == 429
        assert "Rate limit exceeded" in str(seen[-1].body)


def test_what_the_cli_and_its_screens_send(service: Service) -> None:
    """With its header and its timeout, an address with a slash at its end, and 200 as the only success it knows."""
    session = "8f14e45f-ceea-467f-a8d5-1c4d7c6d2f10"
    with httpx2.Client(headers={"Authorization": f"Bearer {service.key}"}, timeout=30) as http:

        def ask(method: str, path: str, **options: Any) -> Json:
            answer = http.request(method, f"{service.url}/{path}", **options)
            assert answer.status_code == httpx2.codes.OK, answer.text
            found: Json = answer.json()
            return found

        me, organizations = ask("GET", "/v1/users/me"), ask("GET", "/v1/organizations")
        organization = f"v1/organizations/{organizations['items'][0]['id']}"
        assert [each["name"] for each in ask("GET", f"{organization}/repositories")["items"]] == ["demo"]
        run = ask("POST", f"{organization}/agent/run", json={"prompt": SAY})
        listed = ask("GET", f"{organization}/agent/runs?source_type=API&limit=10&user_id={me['id']}")
        assert [each["id"] for each in listed["items"]] == [run["id"]]
        assert [pull["url"] for each in listed["items"] for pull in each["github_pull_requests"]] == []
        local = ask("POST", f"{organization}/claude_code/session", json={"session_id": session})
        assert ask("GET", f"{organization}/cli/rules") == {"organization_rules": None, "user_custom_prompt": None}
        for status in ("ACTIVE", "COMPLETE", "ACTIVE", "ERROR"):
            ask("POST", f"{organization}/claude_code/session/{session}/status", json={"status": status})
        line = {"type": "user", "uuid": "1", "sessionId": session, "message": {"role": "user", "content": "Hi"}}
        ask("POST", f"{organization}/claude_code/session/{session}/log", json={"log": line})
        shown = ask("GET", f"{organization}/agent/run/{local['agent_run_id']}/logs")
        assert (shown["status"], shown["total_logs"]) == ("ERROR", 1)
        assert ask("GET", f"{organization}/integrations")["organization_name"] == "Default"
