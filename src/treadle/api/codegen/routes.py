"""The endpoints of the agent-run API: those of its specification, and those that clients use besides."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel
from starlette.convertors import StringConvertor, register_url_convertor

from treadle.api.codegen import requests, schemas
from treadle.api.codegen.agents import AgentHandlers
from treadle.api.codegen.connections import ConnectionHandlers
from treadle.api.codegen.documents import Doc, parameter
from treadle.api.codegen.guard import Group, Guard, Guarded
from treadle.api.codegen.people import PeopleHandlers
from treadle.api.codegen.pulls import PullRequestHandlers
from treadle.api.codegen.repositories import RepositoryHandlers, SetupHandlers
from treadle.api.codegen.sessions import SessionHandlers
from treadle.api.plain_route import PlainRoute

ORG = "/v1/organizations/{org_id}"
RUN = f"{ORG}/agent/run"
LOGS = "/agent/run/{agent_run_id}/logs"
BETA = "/v1/beta/organizations/{org_id}/agent/run"
SESSION = f"{ORG}/claude_code/session"
CHECKS = f"{ORG}/repos/check-suite-settings"

#: Everything that the documentation refers to.
SHAPES: Sequence[type[BaseModel]] = (
    requests.CreateAgentRunInput,
    requests.ResumeAgentRunInput,
    requests.StopAgentRunInput,
    requests.CheckSuiteSettingsRequest,
    requests.EditPRInput,
    requests.GenerateSetupCommandsInput,
    requests.GenerateTokenRequest,
    requests.LocalSessionInput,
    requests.LocalSessionStatusInput,
    requests.LocalSessionLogInput,
    schemas.AgentRunResponse,
    schemas.AgentRunPage,
    schemas.AgentRunWithLogsResponse,
    schemas.UserResponse,
    schemas.UserPage,
    schemas.OrganizationPage,
    schemas.RepoPage,
    schemas.CheckSuiteSettingsResponse,
    schemas.EditPRResponse,
    schemas.OrganizationIntegrationsResponse,
    schemas.SetupCommandsResponse,
    schemas.AnalyzeLogsResponse,
    schemas.CLIRulesResponse,
    schemas.OAuthProviderResponse,
    schemas.GenerateTokenResponse,
    schemas.MessageResponse,
    schemas.LocalSessionResponse,
    schemas.ErrorResponse,
    schemas.UnauthenticatedResponse,
    schemas.HTTPValidationError,
)

_AGENTS, _PEOPLE, _REPOS = "Agent runs", "Organizations", "Repositories"
_CONNECTIONS, _SESSIONS = "Connections", "Local sessions"

_KEY = parameter(
    "header",
    "Idempotency-Key",
    "A repeat within 24 hours answers the same agent run and starts nothing; the same key with another body is 409.",
    {"type": "string", "minLength": 1, "maxLength": requests.MAX_IDEMPOTENCY_KEY},
    is_required=False,
)

_CREATE = Doc(
    _AGENTS,
    "Create an agent run",
    schemas.AgentRunResponse,
    "A prompt on a repository: one commit on a branch of its own, and a pull request where the organization wants it.",
    (402, 404, 409, 413),
    body=requests.CreateAgentRunInput,
    headers=(_KEY,),
)
_GET = Doc(_AGENTS, "Get an agent run", schemas.AgentRunResponse, problems=(404,))
_LIST = Doc(
    _AGENTS,
    "List agent runs",
    schemas.AgentRunPage,
    "Newest first: your own, a manager everybody's. Sessions elsewhere only with `source_type=LOCAL`.",
    query=requests.RunsQuery,
)
_RESUME = Doc(
    _AGENTS,
    "Resume an agent run",
    schemas.AgentRunResponse,
    "One more prompt in the same conversation, on the same branch; behind the one that is being worked on.",
    (402, 404, 409, 413),
    body=requests.ResumeAgentRunInput,
    headers=(_KEY,),
)
_BAN = Doc(
    _AGENTS,
    "Ban an agent run's branch",
    schemas.MessageResponse,
    "Stops what works on it, and no failed check starts anything there any more.",
    (404, 413),
    body=requests.StopAgentRunInput,
)
_UNBAN = replace(_BAN, summary="Lift the ban of an agent run's branch", description="")
_REMOVE = replace(_BAN, summary="Remove the agent from a pull request", description="The same as a ban.")
_STOP = replace(_BAN, summary="Stop an agent run", answer=schemas.AgentRunResponse, description="The same as a ban.")
_LOGS = Doc(
    _AGENTS,
    "Get an agent run's log",
    schemas.AgentRunWithLogsResponse,
    "Oldest first unless `reverse`; also while the run goes.",
    (404,),
    query=requests.LogsQuery,
)
_ORGANIZATIONS = Doc(_PEOPLE, "List your organizations", schemas.OrganizationPage, query=requests.PageQuery)
_ME = Doc(_PEOPLE, "Get yourself", schemas.UserResponse)
_USERS = Doc(_PEOPLE, "List an organization's members", schemas.UserPage, query=requests.PageQuery)
_USER = Doc(_PEOPLE, "Get a member", schemas.UserResponse, problems=(404,))
_RULES = Doc(_PEOPLE, "Get the rules", schemas.CLIRulesResponse, "The organization's and your own.")
_REPOSITORIES = Doc(_REPOS, "List an organization's repositories", schemas.RepoPage, query=requests.PageQuery)
_CHECKS = Doc(
    _REPOS,
    "Get check-suite settings",
    schemas.CheckSuiteSettingsResponse,
    "What becomes of failed checks on branches of agent runs.",
    (404,),
    query=requests.RepositoryQuery,
)
_SET_CHECKS = Doc(
    _REPOS,
    "Change check-suite settings",
    schemas.CheckSuiteSettingsResponse,
    "Takes an admin.",
    (404, 413),
    query=requests.RepositoryQuery,
    body=requests.CheckSuiteSettingsRequest,
)
_EDIT = Doc(
    _REPOS,
    "Edit a pull request",
    schemas.EditPRResponse,
    "Opens, closes, makes a draft or a finished one of it, at its forge. `success` says whether it could.",
    (413,),
    body=requests.EditPRInput,
)
_GENERATE = Doc(
    _REPOS,
    "Generate setup commands",
    schemas.SetupCommandsResponse,
    "An agent run that finds out how to set the repository up; takes a manager.",
    (402, 404, 413),
    body=requests.GenerateSetupCommandsInput,
)
_ANALYZE = Doc(
    _REPOS,
    "Analyse the log of setup commands",
    schemas.AnalyzeLogsResponse,
    "An agent run that reads it and says what went wrong.",
    (400, 402, 404),
)
_INTEGRATIONS = Doc(_CONNECTIONS, "List integrations", schemas.OrganizationIntegrationsResponse)
_PROVIDERS = Doc(
    _CONNECTIONS,
    "List MCP providers",
    {"type": "array", "items": {"$ref": "#/components/schemas/OAuthProviderResponse"}},
)
_STATUS = Doc(
    _CONNECTIONS,
    "List connected providers",
    {"type": "array", "items": {"type": "string"}},
    "Names of those that you have an active token with.",
    query=requests.OrganizationQuery,
)
_REVOKE = Doc(
    _CONNECTIONS, "Revoke OAuth tokens", schemas.MessageResponse, "All that you have.", query=requests.RevokeQuery
)
_CONNECT = Doc(
    _CONNECTIONS,
    "Generate a connect token",
    schemas.GenerateTokenResponse,
    "To be sent from the account that it is to connect with you; counts once.",
    (413,),
    body=requests.GenerateTokenRequest,
)
_OPEN = Doc(
    _SESSIONS,
    "Report a local session",
    schemas.LocalSessionResponse,
    "Again is harmless.",
    (409, 413),
    body=requests.LocalSessionInput,
)
_SET_STATUS = Doc(
    _SESSIONS,
    "Report a local session's status",
    schemas.MessageResponse,
    problems=(404, 413),
    body=requests.LocalSessionStatusInput,
)
_ADD_LOG = Doc(
    _SESSIONS,
    "Report a line of a local session",
    schemas.MessageResponse,
    problems=(404, 413),
    body=requests.LocalSessionLogInput,
)


@dataclass(frozen=True, slots=True)
class Handlers:
    agents: AgentHandlers
    people: PeopleHandlers
    repositories: RepositoryHandlers
    setup: SetupHandlers
    pulls: PullRequestHandlers
    connections: ConnectionHandlers
    sessions: SessionHandlers


class _RunConvertor(StringConvertor):
    """Anything but the words that stand in an id's place: other methods of those are not this route's."""

    regex = "(?!(?:ban|unban|remove-from-pr|resume)(?:/|$))[^/]+"


def routes(guard: Guard, handlers: Handlers) -> Sequence[PlainRoute]:
    """In the order in which they are matched: the busiest first."""
    agents, people, repositories, setup = handlers.agents, handlers.people, handlers.repositories, handlers.setup
    register_url_convertor("run", _RunConvertor())
    pulls, connections, sessions = handlers.pulls, handlers.connections, handlers.sessions
    table: Sequence[tuple[str, str, Guarded, Group | None, Doc]] = (
        ("GET", f"{RUN}/{{agent_run_id:run}}", agents.get, Group.STANDARD, _GET),
        ("POST", RUN, agents.create, Group.CREATE, _CREATE),
        ("GET", f"{ORG}/agent/runs", agents.list, Group.STANDARD, _LIST),
        ("GET", f"/v1/alpha/organizations/{{org_id}}{LOGS}", agents.logs, Group.LOGS, _LOGS),
        ("GET", f"{ORG}{LOGS}", agents.logs, Group.LOGS, _LOGS),
        ("POST", f"{RUN}/resume", agents.resume, Group.CREATE, _RESUME),
        ("POST", f"{BETA}/resume", agents.resume, Group.CREATE, _RESUME),
        ("POST", f"{RUN}/ban", agents.ban, Group.STANDARD, _BAN),
        ("POST", f"{RUN}/unban", agents.unban, Group.STANDARD, _UNBAN),
        ("POST", f"{RUN}/remove-from-pr", agents.ban, Group.STANDARD, _REMOVE),
        ("POST", f"{BETA}/stop", agents.stop, Group.STANDARD, _STOP),
        ("GET", "/v1/organizations", people.organizations, Group.STANDARD, _ORGANIZATIONS),
        ("GET", "/v1/users/me", people.me, Group.STANDARD, _ME),
        ("GET", f"{ORG}/users", people.users, Group.STANDARD, _USERS),
        ("GET", f"{ORG}/users/{{user_id}}", people.user, Group.STANDARD, _USER),
        ("GET", f"{ORG}/cli/rules", people.rules, Group.RULES, _RULES),
        ("GET", f"{ORG}/repos", repositories.list, Group.STANDARD, _REPOSITORIES),
        ("GET", f"{ORG}/repositories", repositories.list, Group.STANDARD, _REPOSITORIES),
        ("GET", CHECKS, repositories.check_suite_settings, Group.STANDARD, _CHECKS),
        ("PUT", CHECKS, repositories.update_check_suite_settings, Group.STANDARD, _SET_CHECKS),
        ("PATCH", f"{ORG}/prs/{{pr_id}}", pulls.edit, Group.PULLS, _EDIT),
        ("PATCH", f"{ORG}/repos/{{repo_id}}/prs/{{pr_id}}", pulls.edit, Group.PULLS, _EDIT),
        ("POST", f"{ORG}/setup-commands/generate", setup.generate, Group.SETUP, _GENERATE),
        ("POST", f"{ORG}/sandbox/{{sandbox_id}}/analyze-logs", setup.analyze, Group.ANALYSIS, _ANALYZE),
        ("GET", f"{ORG}/integrations", connections.integrations, Group.STANDARD, _INTEGRATIONS),
        ("GET", "/v1/mcp-providers", connections.mcp_providers, Group.STANDARD, _PROVIDERS),
        ("GET", "/v1/oauth/tokens/status", connections.status, Group.STANDARD, _STATUS),
        ("POST", "/v1/oauth/tokens/revoke", connections.revoke, Group.STANDARD, _REVOKE),
        ("POST", "/v1/slack-connect/generate-token", connections.connect_token, Group.STANDARD, _CONNECT),
        # A CLI sends each line of its session by itself; what it may not send is lost.
        ("POST", SESSION, sessions.open, None, _OPEN),
        ("POST", f"{SESSION}/{{session_id}}/status", sessions.set_status, None, _SET_STATUS),
        ("POST", f"{SESSION}/{{session_id}}/log", sessions.add_log, None, _ADD_LOG),
    )
    return [
        PlainRoute(path, guard.behind(handler, group), methods=[method], name=doc.summary, **doc.options(path))
        for method, path, handler, group, doc in table
    ]
