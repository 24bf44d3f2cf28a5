"""The bill and budgets on the command line, against `treadle serve` and its worker, with the Dummy engine's figures."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cli import Cli
from tests.support.repositories import BareRepositories
from tests.support.service import Service

#: A step that says what it used: half a dollar in each of its implementation phases.
SPEND = 'dummy: Spend\n[{"usage": {"input": 10, "output": 5, "cost": 0.5}}, {"write": ["a.txt", "a"]}]'


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    bare = BareRepositories(tmp_path)
    bare.create("words", {"README.md": "# Words\n"})
    with Service(tmp_path / "data", RETRY_SECONDS="0.05") as running:
        admin = Cli(tmp_path / "admin")
        admin.environment.update(running.environment())
        admin.run("admin", "repo", "add", "--name", "acme/words", "--url", f"file://{bare.path('words')}")
        admin.run("admin", "org", "set", "1", "--engine", "Dummy")
        yield running


def test_what_runs_cost_is_on_the_bill_and_stops_the_month(service: Service, tmp_path: Path) -> None:
    cli = Cli(tmp_path / "cli", URL=service.url, API_KEY=service.key)
    run = cli.run("agent", "run", SPEND, "--max-cost", "3", "--network", "none", "--json").json
    assert (run["status"], run["max_cost_usd"], run["network"]) == ("COMPLETE", 3, "none")
    spent = run["cost_usd"]
    assert spent >= 0.5

    budget = cli.run("budget", "--json").json
    assert (budget["spentUsd"], budget["monthlyCostUsd"], budget["remainingUsd"]) == (spent, None, None)
    for by in ("day", "month", "user", "repository", "run", "step"):
        bill = cli.run("usage", "--by", by, "--json").json
        assert (bill["by"], bill["total"]["costUsd"], bill["total"]["runs"]) == (by, spent, 1)
        assert sum(row["costUsd"] for row in bill["rows"]) == spent
    assert cli.run("usage", "--by", "run").rows[-1][-1] == f"${spent:.2f}"
    head, row, total = csv.reader(io.StringIO(cli.run("usage", "--by", "step", "--csv").stdout))
    assert dict(zip(head, row, strict=True))["name"].startswith("dummy: Spend")
    assert total[0] == "total"

    cli.run("budget", "--monthly-cost", str(spent), "--max-cost", "1")
    refused = cli.run("agent", "run", SPEND, code=1)
    assert f"may cost ${spent:.2f} until" in refused.stderr
    assert cli.run("budget", "--monthly-cost", "", "--json").json["monthlyCostUsd"] is None
    operator = Cli(tmp_path / "admin")
    operator.environment.update(service.environment())
    assert operator.run("admin", "usage", "--by", "user", "--json").json["total"]["costUsd"] == spent


def test_a_run_that_used_its_budget_up_goes_on_with_a_larger_one(service: Service, tmp_path: Path) -> None:
    cli = Cli(tmp_path / "cli", URL=service.url, API_KEY=service.key)
    stopped = cli.run("agent", "run", SPEND, "--max-cost", "0.01", "--json", code=1).json
    assert stopped["status"] == "FAILED"
    assert "and its budget is $0.01" in stopped["result"]
    number = str(stopped["id"])
    assert "and its budget is $0.01" in cli.run("resume", number, SPEND, code=1).stderr
    assert "Must be more than" in cli.run("resume", number, SPEND, "--max-cost", "0.02", code=2).stderr
    resumed = cli.run("resume", number, SPEND, "--max-cost", "9", "--json").json
    assert (resumed["status"], resumed["max_cost_usd"]) == ("COMPLETE", 9)
