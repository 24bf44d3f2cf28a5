"""A client of the agent-run API, as a script would write it: for a service or a cluster.

door = AgentDoor(service)
run = door.wait(door.create("Add tests", repo_id=1)["id"], "COMPLETE")
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

import httpx2

from tests.support.service import PATIENCE_SECONDS, Json

ENDED = {"COMPLETE", "FAILED", "STOPPED"}


class Asked(Protocol):
    """What sends requests, with a key."""

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response: ...


class AgentDoor:
    """Of one organization."""

    def __init__(self, asked: Asked, organization: int = 1) -> None:
        self._asked = asked
        self._base = f"/v1/organizations/{organization}"

    def call(self, method: str, path: str, **options: Any) -> Json:
        answer = self._asked.request(method, self._base + path, **options)
        assert answer.status_code == httpx2.codes.OK, (answer.status_code, answer.text)
        found: Json = answer.json()
        return found

    def create(self, prompt: str, **fields: object) -> Json:
        return self.call("POST", "/agent/run", json={"prompt": prompt, **fields})

    def resume(self, run_id: int, prompt: str, **fields: object) -> Json:
        return self.call("POST", "/agent/run/resume", json={"agent_run_id": run_id, "prompt": prompt, **fields})

    def get(self, run_id: int) -> Json:
        return self.call("GET", f"/agent/run/{run_id}")

    def wait_until(self, run_id: int, wanted: Callable[[Json], bool], seconds: float = PATIENCE_SECONDS) -> Json:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            run = self.get(run_id)
            if wanted(run):
                return run
            time.sleep(0.6)  # the standard rate is two a second
        raise AssertionError(f"the run is still {self.get(run_id)}")

    def wait(self, run_id: int, status: str | None = None, seconds: float = PATIENCE_SECONDS) -> Json:
        """The run once it has ended; fails unless as `status`, when that is given."""
        run = self.wait_until(run_id, lambda found: found["status"] in ENDED, seconds)
        assert status is None or run["status"] == status, (run, self.logs(run_id))
        return run

    def page(self, run_id: int, *, skip: int = 0, limit: int = 100, reverse: bool = False) -> Json:
        query = f"skip={skip}&limit={limit}&reverse={'true' if reverse else 'false'}"
        answer = self._asked.request("GET", f"/v1/alpha{self._base[3:]}/agent/run/{run_id}/logs?{query}")
        assert answer.status_code == httpx2.codes.OK, (answer.status_code, answer.text)
        found: Json = answer.json()
        return found

    def logs(self, run_id: int, *, limit: int = 100, reverse: bool = False) -> list[Json]:
        """All there are now, page by page."""
        found: list[Json] = []
        while True:
            page = self.page(run_id, skip=len(found), limit=limit, reverse=reverse)
            found += page["logs"]
            if not page["logs"] or len(found) >= page["total_logs"]:
                return found
