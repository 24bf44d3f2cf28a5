"""The agent-run API without a network: its answers, and a log that grows while it is read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.support.scripted_api import Answer, ScriptedApi, ok

RUN_ID = 42
ORGANIZATION = 7

#: What a finished run's are called.
ENDED = "COMPLETE"


def run_json(status: str = "RUNNING", **changes: Any) -> dict[str, Any]:
    return {
        "id": RUN_ID,
        "organization_id": ORGANIZATION,
        "status": status,
        "created_at": "2026-01-02T03:04:05.678900Z",
        "web_url": f"http://treadle.test/runs/{RUN_ID}",
        "result": "All done.\nReally.",
        "summary": "All done.",
        "source_type": "API",
        "github_pull_requests": [
            {
                "id": 3,
                "title": "Log it",
                "url": "https://github.test/o/r/pull/9",
                "created_at": "2026-01-02T03:04:06Z",
                "head_branch_name": "treadle/42-log-it",
                "number": 9,
                "state": "closed",
                "merged": True,
            }
        ],
        "metadata": {"ticket": "A-1"},
        **changes,
    }


def log_json(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "agent_run_id": RUN_ID,
        "created_at": "2026-01-02T03:04:06Z",
        "message_type": "PLAN_EVALUATION",
        "thought": str(number),
        "tool_name": None,
        "tool_input": None,
        "tool_output": None,
        "observation": None,
        **changes,
    }


def page_json(*items: object, total: int | None = None) -> dict[str, Any]:
    return {"items": items, "total": len(items) if total is None else total, "page": 1, "size": 100, "pages": 1}


def organizations_json(*ids: int) -> dict[str, Any]:
    return page_json(*({"id": one, "name": f"Organization {one}", "settings": {}} for one in ids))


@dataclass
class GrowingLog(ScriptedApi):
    """A run whose log has `length` entries, and which `meanwhile` changes before each look at it (the number of the
    look, from 1). Anything else is answered from `answers`, then from `later`."""

    length: int = 0
    status: str = "RUNNING"
    meanwhile: Callable[["GrowingLog", int], None] = field(default=lambda _log, _look: None)
    looks: int = 0
    #: What `meanwhile` wants answered to requests that are no looks.
    later: list[Answer] = field(default_factory=list)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if not request.url.path.endswith("/logs") or self.answers:
            self.answers += self.later
            self.later.clear()
            return super().answer(request)
        self.requests.append(request)
        self.looks += 1
        self.meanwhile(self, self.looks)
        skip, limit = int(request.url.params["skip"]), int(request.url.params["limit"])
        order = range(1, self.length + 1)
        if request.url.params.get("reverse") == "true":
            order = order[::-1]
        entries = [log_json(number) for number in order[skip : skip + limit]]
        return ok({**run_json(self.status), "logs": entries, "total_logs": self.length})
