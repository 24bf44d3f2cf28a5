"""Rate limits of the agent-run API, asked of two API processes in turn: exactly so many pass, at every edge."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import psycopg
import pytest
from tests.support.cluster import Cluster, database_of
from tests.support.postgres import PostgresServer
from tests.support.service import Json

pytestmark = pytest.mark.postgres

BASE = "/v1/organizations/1"

#: A request of each group, as its limit is by default: method, path, body, limit.
GROUPS: dict[str, tuple[str, str, Json | None, int]] = {
    "standard": ("GET", f"{BASE}/users", None, 60),
    "create": ("POST", f"{BASE}/agent/run", {"prompt": "Add tests"}, 10),
    "setup": ("POST", f"{BASE}/setup-commands/generate", {"repo_id": 1}, 5),
    "analysis": ("POST", f"{BASE}/sandbox/1/analyze-logs", None, 5),
    "logs": ("GET", f"/v1/alpha{BASE[3:]}/agent/run/1/logs", None, 60),
    "pulls": ("PATCH", f"{BASE}/prs/1", {"state": "closed"}, 30),
    "rules": ("GET", f"{BASE}/cli/rules", None, 30),
}


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Cluster]:
    """Two API processes on one database, and nobody to do the work. `cli/rules` has another rate than by default; of
    the others as many may pass, but in so long a time that no machine is too slow to ask for more."""
    folder = tmp_path_factory.mktemp("apis")
    settings = {f"RATE_LIMIT_{name.upper()}": f"{group[-1]}/1800" for name, group in GROUPS.items()}
    settings["RATE_LIMIT_RULES"] = "20/2"
    with Cluster(folder, database=database_of(postgres_server), apis=2, workers=0, settings=settings) as cluster:
        yield cluster


@pytest.fixture
def apis(processes: Cluster) -> Cluster:
    """Nobody has asked them for anything yet, whichever test came before."""
    with psycopg.connect(processes.database_url) as connection:
        connection.execute("DELETE FROM rates")
    return processes


def ask(cluster: Cluster, group: str, door: int) -> httpx2.Response:
    method, path, body, _ = GROUPS[group]
    url = cluster.apis[door % 2].url
    headers = {"Authorization": f"Bearer {cluster.key}"}
    return httpx2.request(method, url + path, headers=headers, json=body, timeout=30)


@pytest.mark.parametrize("group", [name for name in GROUPS if name != "rules"])
def test_exactly_so_many_pass_through_both(apis: Cluster, group: str) -> None:
    limit = GROUPS[group][-1]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: ask(apis, group, number), range(limit + 6)))
    refused = [answer for answer in answers if answer.status_code == httpx2.codes.TOO_MANY_REQUESTS]
    assert len(refused) == 6
    for answer in refused:
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json()["status_code"] == httpx2.codes.TOO_MANY_REQUESTS
        assert "Rate limit exceeded" in answer.json()["message"]
    assert all("RateLimit" in answer.headers for answer in answers if answer not in refused)


def test_never_more_in_any_two_seconds(apis: Cluster) -> None:
    limit, seconds, until = 20, 2.0, time.monotonic() + 180
    passed: list[tuple[float, float]] = []
    for number in itertools.count():
        sent = time.monotonic()
        if len(passed) >= 3 * limit or sent > until:
            break
        answer = ask(apis, "rules", number)
        if answer.status_code == httpx2.codes.OK:
            passed.append((sent, time.monotonic()))
    for (sent, _), (_, received) in zip(passed, passed[limit:], strict=False):
        assert received - sent >= seconds, "21 passed in less than two seconds"
    assert len(passed) >= 3 * limit, "and as many as may pass do"


def test_another_key_has_a_budget_of_its_own(apis: Cluster) -> None:
    while ask(apis, "standard", 0).status_code == httpx2.codes.OK:
        pass
    issued = httpx2.post(f"{apis.apis[0].url}/auth/token", headers={"X-Api-Key": apis.key}, timeout=30)
    token = issued.json()["accessToken"]
    answer = httpx2.get(f"{apis.apis[1].url}{BASE}/users", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert answer.status_code == httpx2.codes.OK
