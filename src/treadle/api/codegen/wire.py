"""What the agent-run API answers: words, shapes and numbers of its specification."""

from collections.abc import Mapping, Sequence

from treadle.api.json_bytes import date_text
from treadle.domain.events import JsonObject
from treadle.domain.identity import LocalSession, OAuthProvider, Organization, Role, User
from treadle.domain.repository import PullRequest, PullRequestState, Repository
from treadle.domain.run import Run, RunSource
from treadle.domain.states import RunStatus
from treadle.services.agent_log import LogEntry
from treadle.services.integrations import Integration

STATUSES: Mapping[RunStatus, str] = {
    RunStatus.NEW: "PENDING",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.SUCCESS: "COMPLETE",
    RunStatus.FAILED: "FAILED",
    RunStatus.KILLED: "STOPPED",
}


def page(items: Sequence[JsonObject], total: int, *, skip: int, limit: int) -> JsonObject:
    """A part of a list; `page` counts from 1."""
    return {"items": items, "total": total, **_place(total, skip=skip, limit=limit)}


def agent_run(run: Run, pulls: Sequence[PullRequest], origin: str) -> JsonObject:
    """`origin`: the service's address as the caller sees it."""
    return {
        **_head(run, origin),
        "summary": _first_line(_result(run)),
        "source_type": run.source,
        "github_pull_requests": [pull_request(each) for each in pulls],
    }


def agent_run_with_logs(
    run: Run, entries: Sequence[LogEntry], total: int, origin: str, *, skip: int, limit: int
) -> JsonObject:
    return _with_logs(_head(run, origin), entries, total, skip=skip, limit=limit)


def local_run(session: LocalSession, origin: str) -> JsonObject:
    """A session elsewhere as an agent run."""
    return {
        **_local_head(session, origin),
        "summary": None,
        "source_type": RunSource.LOCAL,
        "github_pull_requests": [],
    }


def local_run_with_logs(
    session: LocalSession, entries: Sequence[LogEntry], total: int, origin: str, *, skip: int, limit: int
) -> JsonObject:
    return _with_logs(_local_head(session, origin), entries, total, skip=skip, limit=limit)


def run_url(run_id: int, origin: str) -> str:
    """The run's page."""
    return f"{origin}/runs/{run_id}"


def pull_request(pull: PullRequest) -> JsonObject:
    """`state` and `merged` are GitHub's, which some clients look for beside the specified fields."""
    is_merged = pull.state is PullRequestState.MERGED
    return {
        "id": pull.id,
        "title": pull.title,
        "url": pull.url,
        "created_at": date_text(pull.date_created),
        "head_branch_name": pull.head_branch,
        "number": pull.number,
        "state": PullRequestState.CLOSED if is_merged else pull.state,
        "merged": is_merged,
    }


def edited(pull: PullRequest) -> JsonObject:
    return {
        "success": True,
        "url": pull.url,
        "number": pull.number,
        "title": pull.title,
        "state": pull.state,
        "error": None,
    }


def not_edited(reason: str) -> JsonObject:
    return {"success": False, "url": None, "number": None, "title": None, "state": None, "error": reason}


def user(member: User, role: Role | None) -> JsonObject:
    """What is not known of somebody at GitHub is an empty text: the specification knows no null there."""
    return {
        "id": member.id,
        "email": member.email,
        "github_user_id": member.github_user_id or "",
        "github_username": member.github_username or "",
        "avatar_url": member.avatar_url,
        "full_name": member.name,
        "role": role,
        "is_admin": role is Role.ADMIN,
    }


def organization(found: Organization) -> JsonObject:
    return {
        "id": found.id,
        "name": found.name,
        "settings": {
            "enable_pr_creation": found.is_pr_creation_enabled,
            "enable_rules_detection": found.is_rules_detection_enabled,
        },
    }


def repository(found: Repository) -> JsonObject:
    return {
        "id": found.id,
        "name": found.name.rpartition("/")[2],
        "full_name": found.name,
        "description": found.description,
        "github_id": found.forge_id or "",
        "organization_id": found.organization_id,
        "visibility": found.visibility,
        "archived": found.is_archived,
        "setup_status": found.setup_status,
        "language": found.language,
    }


def check_suite_settings(found: Repository) -> JsonObject:
    settings = found.check_suite_settings
    return {
        "check_retry_count": settings.retry_count,
        "ignored_checks": settings.ignored_checks,
        "check_retry_counts": settings.retry_counts,
        "custom_prompts": settings.custom_prompts,
        "high_priority_apps": settings.high_priority_apps,
        "available_check_suite_names": found.check_names,
    }


def oauth_provider(found: OAuthProvider) -> JsonObject:
    return {
        "id": found.id,
        "name": found.name,
        "issuer": found.issuer,
        "authorization_endpoint": found.authorization_endpoint,
        "token_endpoint": found.token_endpoint,
        "default_scopes": found.default_scopes,
        "is_mcp": found.is_mcp,
        "meta": found.meta,
    }


def integrations(found: Organization, connected: Sequence[Integration]) -> JsonObject:
    return {
        "organization_id": found.id,
        "organization_name": found.name,
        "integrations": [
            {
                "integration_type": each.type,
                "active": each.is_active,
                "token_id": each.token_id,
                "installation_id": each.installation_id,
                "metadata": each.metadata,
            }
            for each in connected
        ],
        "total_active_integrations": sum(each.is_active for each in connected),
    }


def _head(run: Run, origin: str) -> JsonObject:
    return {
        "id": run.id,
        "organization_id": run.organization_id,
        "status": STATUSES[run.status],
        "created_at": date_text(run.date_created),
        "web_url": run_url(run.id, origin),
        "result": _result(run),
        "metadata": run.metadata,
        "cost_usd": run.usage.cost_usd,
        "max_cost_usd": run.max_cost_usd,
        "network": run.network.json() if run.network is not None else None,
        "validate": run.validation.json() if run.validation is not None else None,
    }


def _local_head(session: LocalSession, origin: str) -> JsonObject:
    return {
        "id": session.id,
        "organization_id": session.organization_id,
        "status": session.status,
        "created_at": date_text(session.date_created),
        "web_url": run_url(session.id, origin),
        "result": None,
        "metadata": {"session_id": session.session_id},
        "cost_usd": None,
        "max_cost_usd": None,
        "network": None,
        "validate": None,
    }


def _with_logs(head: JsonObject, entries: Sequence[LogEntry], total: int, *, skip: int, limit: int) -> JsonObject:
    shown = [
        {
            "agent_run_id": head["id"],
            "created_at": date_text(entry.date),
            "message_type": entry.message_type,
            "thought": entry.thought,
            "tool_name": entry.tool_name,
            "tool_input": entry.tool_input,
            "tool_output": entry.tool_output,
            "observation": entry.observation,
        }
        for entry in entries
    ]
    return {**head, "logs": shown, "total_logs": total, **_place(total, skip=skip, limit=limit)}


def _place(total: int, *, skip: int, limit: int) -> JsonObject:
    return {"page": skip // limit + 1, "size": limit, "pages": -(-total // limit)}


def _result(run: Run) -> str | None:
    """The last answer; of a run that failed before there was one, what broke."""
    return run.result if run.result is not None else run.failure_details


def _first_line(text: str | None) -> str | None:
    return next((line.strip() for line in (text or "").splitlines() if line.strip()), None)
