"""The agent-run API's operations as values, as in `_calls`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx2

from treadle.sdk._agent_models import (
    AgentLog,
    AgentRun,
    AgentRunSource,
    AgentRunStatus,
    PullRequest,
    required_integer,
)
from treadle.sdk._calls import Call, Request
from treadle.sdk._errors import ConflictError
from treadle.sdk._network import Network, network_json
from treadle.sdk._organization_models import CheckSuiteSettings, Integration, Organization, Repository, Rules, User
from treadle.sdk._validation import Validation, validation_json
from treadle.sdk._wire import Fields, JsonValue

T = TypeVar("T")

ORGANIZATIONS = "/v1/organizations"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list."""

    items: Sequence[T]


@dataclass(frozen=True, slots=True)
class LogPage(Page[AgentLog]):
    """A part of a run's log of `total` entries, and the run as it is."""

    total: int
    run: AgentRun


def run(
    organization: int,
    *,
    prompt: str,
    repository: int | None,
    images: Sequence[str],
    metadata: Mapping[str, JsonValue] | None,
    model: str | None,
    agent_type: str | None,
    max_cost_usd: float | None,
    network: Network | None,
    validate: Validation | None,
    idempotency_key: str,
) -> Call[AgentRun]:
    given: dict[str, JsonValue] = {
        "repo_id": repository,
        "images": images or None,
        "metadata": metadata,
        "model": model,
        "agent_type": agent_type,
        "max_cost_usd": max_cost_usd,
        "network": network_json(network) if network is not None else None,
        "validate": validation_json(validate) if validate is not None else None,
    }
    body = {"prompt": prompt, **{name: value for name, value in given.items() if value is not None}}
    headers = {"Idempotency-Key": idempotency_key}
    return Call(Request("POST", _runs(organization), headers=headers, json=body), _run)


def get(organization: int, run_id: int) -> Call[AgentRun]:
    return Call(Request("GET", f"{_runs(organization)}/{run_id}"), _run)


def runs(
    organization: int, skip: int, limit: int, *, user: int | None, source: AgentRunSource | str | None
) -> Call[Page[AgentRun]]:
    params = _page(skip, limit)
    if user is not None:
        params += (("user_id", str(user)),)
    if source is not None:
        params += (("source_type", str(source)),)
    request = Request("GET", f"{ORGANIZATIONS}/{organization}/agent/runs", params=params)
    return Call(request, _items(lambda fields: AgentRun.read(fields.raw)))


def resume(
    organization: int,
    run_id: int,
    prompt: str,
    images: Sequence[str],
    max_cost_usd: float | None,
    idempotency_key: str,
) -> Call[AgentRun]:
    body: dict[str, JsonValue] = {"agent_run_id": run_id, "prompt": prompt}
    if images:
        body["images"] = images
    if max_cost_usd is not None:
        body["max_cost_usd"] = max_cost_usd
    headers = {"Idempotency-Key": idempotency_key}
    return Call(Request("POST", f"{_runs(organization)}/resume", headers=headers, json=body), _run)


def stop(organization: int, run_id: int, verb: str) -> Call[None]:
    """`verb` is ban, unban or remove-from-pr."""
    body: dict[str, JsonValue] = {"agent_run_id": run_id}
    return Call(Request("POST", f"{_runs(organization)}/{verb}", json=body), lambda _: None)


def logs(organization: int, run_id: int, skip: int, limit: int, *, reverse: bool) -> Call[LogPage]:
    params = _page(skip, limit) + ((("reverse", "true"),) if reverse else ())
    path = f"/v1/alpha/organizations/{organization}/agent/run/{run_id}/logs"
    return Call(Request("GET", path, params=params), _logs)


def organizations(skip: int, limit: int) -> Call[Page[Organization]]:
    return Call(Request("GET", ORGANIZATIONS, params=_page(skip, limit)), _items(Organization.read))


def repositories(organization: int, skip: int, limit: int) -> Call[Page[Repository]]:
    request = Request("GET", f"{ORGANIZATIONS}/{organization}/repos", params=_page(skip, limit))
    return Call(request, _items(Repository.read))


def users(organization: int, skip: int, limit: int) -> Call[Page[User]]:
    request = Request("GET", f"{ORGANIZATIONS}/{organization}/users", params=_page(skip, limit))
    return Call(request, _items(User.read))


def me() -> Call[User]:
    return Call(Request("GET", "/v1/users/me"), _one(User.read, "user"))


def rules(organization: int) -> Call[Rules]:
    return Call(Request("GET", f"{ORGANIZATIONS}/{organization}/cli/rules"), _one(Rules.read, "rules"))


def integrations(organization: int) -> Call[list[Integration]]:
    return Call(
        Request("GET", f"{ORGANIZATIONS}/{organization}/integrations"),
        _one(lambda fields: [Integration.read(each) for each in fields.objects("integrations")], "integrations"),
    )


def setup_commands(organization: int, repository: int, prompt: str | None) -> Call[AgentRun]:
    body: dict[str, JsonValue] = {"repo_id": repository}
    if prompt is not None:
        body["prompt"] = prompt
    request = Request("POST", f"{ORGANIZATIONS}/{organization}/setup-commands/generate", json=body)
    return Call(request, _started(organization, AgentRunSource.SETUP_COMMANDS), is_repeatable=False)


def analyze_logs(organization: int, sandbox: int) -> Call[AgentRun]:
    request = Request("POST", f"{ORGANIZATIONS}/{organization}/sandbox/{sandbox}/analyze-logs")
    return Call(request, _started(organization, None), is_repeatable=False)


def check_suite_settings(organization: int, repository: int) -> Call[CheckSuiteSettings]:
    return Call(
        Request("GET", _check_suite(organization), params=(("repo_id", str(repository)),)),
        _one(CheckSuiteSettings.read, "settings"),
    )


def update_check_suite_settings(organization: int, repository: int, body: Mapping[str, JsonValue]) -> Call[None]:
    """The answer is of no promised form."""
    params = (("repo_id", str(repository)),)
    return Call(Request("PUT", _check_suite(organization), params=params, json=body), lambda _: None)


def check_suite_changes(
    retry_count: int | None,
    ignored_checks: Sequence[str] | None,
    retry_counts: Mapping[str, int] | None,
    custom_prompts: Mapping[str, str] | None,
    high_priority_apps: Sequence[str] | None,
) -> dict[str, JsonValue]:
    """The body of an update: what is not given stays as it is."""
    given: dict[str, JsonValue] = {
        "check_retry_count": retry_count,
        "ignored_checks": ignored_checks,
        "check_retry_counts": retry_counts,
        "custom_prompts": custom_prompts,
        "high_priority_apps": high_priority_apps,
    }
    return {name: value for name, value in given.items() if value is not None}


def edit_pull_request(organization: int, pull_request_id: int, state: str) -> Call[PullRequest]:
    def read(response: httpx2.Response) -> PullRequest:
        fields = Fields(response.json(), "pull request")
        if not fields.flag("success"):
            said = fields.optional_text("error") or "The pull request was not changed."
            raise ConflictError(said, status=response.status_code, problem=fields.raw)
        return PullRequest.read(fields, pull_request_id)

    request = Request("PATCH", f"{ORGANIZATIONS}/{organization}/prs/{pull_request_id}", json={"state": str(state)})
    return Call(request, read)


def _runs(organization: int) -> str:
    return f"{ORGANIZATIONS}/{organization}/agent/run"


def _check_suite(organization: int) -> str:
    return f"{ORGANIZATIONS}/{organization}/repos/check-suite-settings"


def _page(skip: int, limit: int) -> tuple[tuple[str, str], ...]:
    return (("skip", str(skip)), ("limit", str(limit)))


def _run(response: httpx2.Response) -> AgentRun:
    return AgentRun.read(response.json())


def _one(read: Callable[[Fields], T], what: str) -> Callable[[httpx2.Response], T]:
    return lambda response: read(Fields(response.json(), what))


def _items(read: Callable[[Fields], T]) -> Callable[[httpx2.Response], Page[T]]:
    def page(response: httpx2.Response) -> Page[T]:
        fields = Fields(response.json(), "page")
        return Page([read(item) for item in fields.objects("items")])

    return page


def _logs(response: httpx2.Response) -> LogPage:
    fields = Fields(response.json(), "agent run")
    entries = [AgentLog.read(entry) for entry in fields.objects("logs")]
    return LogPage(entries, required_integer(fields, "total_logs"), AgentRun.read(fields.raw))


def _started(organization: int, source: AgentRunSource | None) -> Callable[[httpx2.Response], AgentRun]:
    """The run, as far as the answer tells of it."""

    def read(response: httpx2.Response) -> AgentRun:
        fields = Fields(response.json(), "agent run")
        return AgentRun(
            id=required_integer(fields, "agent_run_id"),
            organization_id=organization,
            status=fields.choice("status", AgentRunStatus),
            source=source,
            date_created=None,
            web_url=fields.optional_text("url"),
            result=None,
            summary=None,
            pull_requests=(),
            metadata={},
            cost_usd=None,
            max_cost_usd=None,
            network=None,
            validation=None,
            raw=fields.raw,
        )

    return read
