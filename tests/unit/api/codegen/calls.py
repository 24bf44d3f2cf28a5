"""A valid call of every operation of the specification, and of the addresses that clients use besides."""

from collections.abc import Mapping
from typing import Any

from tests.unit.api.codegen.scene import ORG

from treadle.domain.permissions import Permission

CHECKS = f"{ORG}/repos/check-suite-settings"
SESSION = f"{ORG}/claude_code/session"
BETA = "/v1/beta/organizations/{org_id}/agent/run"

#: By method and template; `{…}` in bodies and queries stand for ids too.
SPECIFIED: Mapping[str, dict[str, Any]] = {
    f"GET {ORG}/users": {},
    f"GET {ORG}/users/{{user_id}}": {},
    "GET /v1/users/me": {},
    f"POST {ORG}/agent/run": {
        "json": {"prompt": "Do it", "images": None, "metadata": {"a": [1]}, "repo_id": "repo_id"}
    },
    f"GET {ORG}/agent/run/{{agent_run_id}}": {},
    f"GET {ORG}/agent/runs": {"params": {"source_type": "API", "user_id": "user_id", "limit": "10"}},
    f"POST {ORG}/agent/run/resume": {"json": {"agent_run_id": "agent_run_id", "prompt": "More"}},
    f"POST {ORG}/agent/run/ban": {"json": {"agent_run_id": "agent_run_id", "before_card_order_id": "a0"}},
    f"POST {ORG}/agent/run/unban": {"json": {"agent_run_id": "agent_run_id"}},
    f"POST {ORG}/agent/run/remove-from-pr": {"json": {"agent_run_id": "agent_run_id"}},
    f"GET {ORG}/repos": {},
    f"GET {CHECKS}": {"params": {"repo_id": "repo_id"}},
    f"PUT {CHECKS}": {"params": {"repo_id": "repo_id"}, "json": {"check_retry_count": 4, "ignored_checks": ["lint"]}},
    f"PATCH {ORG}/prs/{{pr_id}}": {"json": {"state": "closed"}},
    f"PATCH {ORG}/repos/{{repo_id}}/prs/{{pr_id}}": {"json": {"state": "open"}},
    f"GET {ORG}/integrations": {},
    f"POST {ORG}/setup-commands/generate": {"json": {"repo_id": "repo_id", "prompt": "Use make"}},
    "GET /v1/organizations": {},
    "GET /v1/mcp-providers": {},
    "GET /v1/oauth/tokens/status": {"params": {"org_id": "org_id"}},
    "POST /v1/oauth/tokens/revoke": {"params": {"org_id": "org_id", "provider": "notes"}},
    f"POST {ORG}/sandbox/{{sandbox_id}}/analyze-logs": {},
    f"GET {ORG}/cli/rules": {},
    "POST /v1/slack-connect/generate-token": {"json": {"org_id": "org_id"}},
    "GET /v1/alpha/organizations/{org_id}/agent/run/{agent_run_id}/logs": {"params": {"reverse": "true"}},
}

#: Of the second kind: not in the specification.
BESIDES: Mapping[str, dict[str, Any]] = {
    f"GET {ORG}/agent/run/{{agent_run_id}}/logs": {},
    f"GET {ORG}/repositories": {"params": {"page": "1", "size": "10"}},
    f"POST {BETA}/resume": {"json": {"agent_run_id": "agent_run_id", "prompt": "More"}},
    f"POST {BETA}/stop": {"json": {"agent_run_id": "agent_run_id"}},
    f"POST {SESSION}": {"json": {"session_id": "0c0e8a52"}},
}

#: What each takes; None: being somebody in the organization, or anybody who is known.
NEEDS: Mapping[str, Permission | None] = {
    **dict.fromkeys((*SPECIFIED, *BESIDES), Permission.READ),
    **{
        call: Permission.RUN
        for call in (*SPECIFIED, *BESIDES)
        if "/agent/" in call or "/sandbox/" in call or "claude_code" in call
    },
    f"POST {ORG}/setup-commands/generate": Permission.SET_UP,
    f"PUT {CHECKS}": Permission.SETTINGS,
    "GET /v1/users/me": None,
    "GET /v1/organizations": None,
    "GET /v1/mcp-providers": None,
}


def filled(given: dict[str, Any], ids: Mapping[str, int]) -> dict[str, Any]:
    """The call with ids in the places of their names."""
    return {
        part: {name: ids[value] if isinstance(value, str) and value in ids else value for name, value in fields.items()}
        for part, fields in given.items()
    }
