"""A worker dies by kill -9 while the vendor holds back its answer to a license's refresh token, which works once. Its
claim outlives it: until that ends, nobody shows the token again. Then it is shown once more, for all runs that have it.

What becomes of the license is the vendor's to say: SECURITY.md, "A license whose renewal breaks off".
"""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from tests.e2e.test_claude_cli import license_of
from tests.support.claude_accounts import ClaudeAccounts
from tests.support.clis import require_claude
from tests.support.cluster import Cluster, database_of
from tests.support.cluster_runs import REPOSITORY, wait_until
from tests.support.git_server import GitServer
from tests.support.model_script import Fail, ModelRequest, Turn, say
from tests.support.model_server import ModelServer
from tests.support.postgres import PostgresServer
from tests.support.service import Json, step

pytestmark = [pytest.mark.postgres, pytest.mark.claude, pytest.mark.bubblewrap]

OLD_ACCESS, OLD_REFRESH = "sk-ant-oat01-old-access", "sk-ant-ort01-old-refresh"

#: How often the living worker is seen to ask for the dead one's claim.
LOOKS = 5


@pytest.fixture
def git() -> Iterator[GitServer]:
    with GitServer() as server:
        server.create(REPOSITORY, {"README.md": "# Demo\n"})
        yield server


@pytest.fixture
def accounts() -> Iterator[ClaudeAccounts]:
    with ClaudeAccounts() as found:
        yield found


@pytest.fixture
def model(accounts: ClaudeAccounts) -> Iterator[ModelServer]:
    """Knows the newest access token alone."""

    def script(request: ModelRequest) -> Turn:
        newest = accounts.issued[-1][0] if accounts.issued else None
        return say("All good.") if request.credential == f"Bearer {newest}" else Fail(401, "OAuth token has expired")

    with ModelServer(script) as server:
        yield server


@pytest.fixture
def cluster(
    tmp_path: Path, postgres_server: PostgresServer, model: ModelServer, accounts: ClaudeAccounts
) -> Iterator[Cluster]:
    settings = {
        "CLAUDE_CLI": str(require_claude()),
        "CLAUDE_BASE_URL": model.url,
        "CLAUDE_TOKEN_URL": accounts.url,
        "SANDBOX": "bubblewrap",
        "SLOTS": "1",
        "RETRY_SECONDS": "0.1",
    }
    with Cluster(tmp_path, database=database_of(postgres_server), settings=settings) as made:
        yield made


def start(cluster: Cluster, git: GitServer, branch: str) -> str:
    return cluster.start(
        gitUrl=git.url(REPOSITORY),
        branchSource="main",
        branchWork=branch,
        engine="Claude",
        claudeAuthentication=license_of(OLD_ACCESS, OLD_REFRESH, expires_in=timedelta(hours=1)),
        steps=[step("Say it", commitable=False)],
    )


def looks(cluster: Cluster) -> int:
    """How often somebody has looked into the table of claims, soon after."""
    with closing(psycopg.connect(cluster.database_url)) as connection:
        row = connection.execute(
            "SELECT seq_scan + COALESCE(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'license_renewals'"
        ).fetchone()
    return int(row[0]) if row is not None else 0


def end_claim(cluster: Cluster) -> None:
    """Its minute is over; there is one, without anything that follows."""
    with psycopg.connect(cluster.database_url) as connection:
        ended = connection.execute("UPDATE license_renewals SET date_ends = 0 WHERE follows IS NULL")
    assert ended.rowcount == 1


def die_while_renewing(cluster: Cluster, git: GitServer, accounts: ClaudeAccounts) -> tuple[list[str], threading.Event]:
    """Two runs with one license, on a worker each; the one that shows the token dies. The runs, and what lets the
    answer to it go."""
    accounts.may_answer.clear()
    first = start(cluster, git, "first")
    wait_until(lambda: len(accounts.asked) == 1, cluster, "nobody renews the license")
    second = start(cluster, git, "second")
    wait_until(lambda: cluster.get(second)["status"] == "Running", cluster, "the second run does not begin")
    dying = cluster.worker_of(first)
    assert cluster.worker_of(second) is not dying
    dying.kill9()
    enough = looks(cluster) + LOOKS
    wait_until(
        lambda: looks(cluster) >= enough or len(accounts.asked) > 1, cluster, "the other worker asks for nothing"
    )
    assert len(accounts.asked) == 1, "the claim outlives the worker"
    return [first, second], accounts.may_answer


def check_said(cluster: Cluster, runs: list[Json], accounts: ClaudeAccounts) -> None:
    """The tokens are nowhere in what is written of the runs."""
    said = cluster.logs() + json.dumps([[run, cluster.events(run["id"])] for run in runs])
    tokens = [OLD_ACCESS, OLD_REFRESH, *(token for pair in accounts.issued for token in pair)]
    assert not [token for token in tokens if token in said]


def test_a_vendor_that_never_answered_renews_it_for_both_runs(
    cluster: Cluster, git: GitServer, accounts: ClaudeAccounts, model: ModelServer
) -> None:
    """Whatever became of the first request: the token is not used up."""
    ids, _held = die_while_renewing(cluster, git, accounts)
    accounts.may_answer = threading.Event()  # for those that come from now on
    accounts.may_answer.set()
    end_claim(cluster)
    runs = [cluster.wait(each, "Success") for each in ids]
    assert [asked["refresh_token"] for asked in accounts.asked] == [OLD_REFRESH] * 2, "the dead one's, and one for both"
    assert accounts.refreshes == [OLD_REFRESH]
    assert model.turns[-1].credential == f"Bearer {accounts.issued[0][0]}"
    check_said(cluster, runs, accounts)


def test_a_license_that_the_vendor_has_renewed_for_the_dead_is_lost_and_no_run_hangs(
    cluster: Cluster, git: GitServer, accounts: ClaudeAccounts
) -> None:
    ids, held = die_while_renewing(cluster, git, accounts)
    held.set()
    wait_until(lambda: accounts.refreshes == [OLD_REFRESH], cluster, "the vendor has not answered")
    end_claim(cluster)
    runs = [cluster.wait(each, "Failed") for each in ids]
    assert all("auth" in run["failureDetails"].lower() for run in runs), [run["failureDetails"] for run in runs]
    assert len(accounts.asked) <= 1 + len(runs), "each run shows it once at most"
    check_said(cluster, runs, accounts)
