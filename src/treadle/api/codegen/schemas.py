"""What the agent-run API answers, as shapes for the documentation, called as its specification calls them. `wire.py`
writes the answers; tests hold them to the specification itself."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from treadle.domain.run import RunSource


class _Shape(BaseModel):
    model_config = ConfigDict(extra="allow")


class GithubPullRequestResponse(_Shape):
    """`id` is Treadle's, `number` the forge's."""

    id: int
    title: str | None
    url: str | None
    created_at: str
    head_branch_name: str | None
    number: int
    state: str = Field(examples=["open"])
    merged: bool


class _RunHead(_Shape):
    id: int
    organization_id: int
    status: str = Field(
        description="PENDING, RUNNING, COMPLETE, FAILED or STOPPED; of a local session what its CLI says."
    )
    created_at: str
    web_url: str
    result: str | None = Field(description="The last answer; of a run that failed before there was one, what broke.")
    metadata: dict[str, Any] | None
    cost_usd: float | None = Field(description="What the model has cost so far; of a local session nothing is known.")
    max_cost_usd: float | None
    network: str | dict[str, list[str]] | None = Field(
        description="null: as the repository says when the run begins, else the service."
    )
    validation: dict[str, list[str] | int] | None = Field(
        alias="validate", description="Commands that must pass before a commit. null: as the repository says."
    )


class AgentRunResponse(_RunHead):
    """An agent run. `summary` is the first line of its result."""

    summary: str | None
    source_type: RunSource
    github_pull_requests: list[GithubPullRequestResponse]


class AgentRunLogResponse(_Shape):
    """One entry. An ACTION has the tool's name, input and output; the others a thought or an observation."""

    agent_run_id: int
    created_at: str
    message_type: str = Field(examples=["ACTION"])
    thought: str | None
    tool_name: str | None
    tool_input: dict[str, Any] | None
    tool_output: dict[str, Any] | None
    observation: dict[str, Any] | str | None


class _Page(_Shape):
    """`page` counts from 1; `size` is the limit."""

    total: int
    page: int
    size: int
    pages: int


class AgentRunWithLogsResponse(_RunHead):
    """An agent run, and a page of its log."""

    logs: list[AgentRunLogResponse]
    total_logs: int
    page: int
    size: int
    pages: int


class AgentRunPage(_Page):
    items: list[AgentRunResponse]


class UserResponse(_Shape):
    """What is not known of somebody at GitHub is an empty text."""

    id: int
    email: str | None
    github_user_id: str
    github_username: str
    avatar_url: str | None
    full_name: str | None
    role: str | None = Field(examples=["MEMBER"])
    is_admin: bool | None


class UserPage(_Page):
    items: list[UserResponse]


class OrganizationSettings(_Shape):
    enable_pr_creation: bool
    enable_rules_detection: bool


class OrganizationResponse(_Shape):
    id: int
    name: str
    settings: OrganizationSettings


class OrganizationPage(_Page):
    items: list[OrganizationResponse]


class RepoResponse(_Shape):
    """`setup_status`: NONE, GENERATING, READY or FAILED."""

    id: int
    name: str
    full_name: str
    description: str | None
    github_id: str
    organization_id: int
    visibility: str | None
    archived: bool | None
    setup_status: str
    language: str | None


class RepoPage(_Page):
    items: list[RepoResponse]


class CheckSuiteSettingsResponse(_Shape):
    check_retry_count: int
    ignored_checks: list[str]
    check_retry_counts: dict[str, int]
    custom_prompts: dict[str, str]
    high_priority_apps: list[str]
    available_check_suite_names: list[str]


class EditPRResponse(_Shape):
    """`error` says why `success` is false."""

    success: bool
    url: str | None
    number: int | None
    title: str | None
    state: str | None
    error: str | None


class IntegrationStatus(_Shape):
    integration_type: str
    active: bool
    token_id: int | None
    installation_id: int | None
    metadata: dict[str, Any] | None


class OrganizationIntegrationsResponse(_Shape):
    organization_id: int
    organization_name: str
    integrations: list[IntegrationStatus]
    total_active_integrations: int


class SetupCommandsResponse(_Shape):
    agent_run_id: int
    status: str
    url: str


class AnalyzeLogsResponse(_Shape):
    agent_run_id: int
    status: str
    message: str


# The parts of the specification that it calls by name and whose fields are few.
class CLIRulesResponse(_Shape):
    organization_rules: str | None
    user_custom_prompt: str | None


class OAuthProviderResponse(_Shape):
    id: int
    name: str
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    default_scopes: list[str] | None
    is_mcp: bool
    meta: dict[str, Any] | None


class GenerateTokenResponse(_Shape):
    token: str
    message: str
    expires_in_minutes: int


class MessageResponse(_Shape):
    message: str


class LocalSessionResponse(_Shape):
    """`agent_run_id` is what the session is shown under among the agent runs."""

    agent_run_id: int
    session_id: str
    status: str


class ErrorResponse(_Shape):
    """`detail` is `message` again, for clients that look there."""

    message: str
    status_code: int
    detail: str


class UnauthenticatedResponse(_Shape):
    detail: str


class ValidationError(_Shape):
    loc: list[str | int]
    msg: str
    type: str


class HTTPValidationError(_Shape):
    detail: list[ValidationError]
