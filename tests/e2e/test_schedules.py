"""Schedules on the command line, against `treadle serve`: made, fired, killed with the service, gone on with."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from tests.support.cli import Cli
from tests.support.repositories import BareRepositories
from tests.support.service import Service

PATIENCE_SECONDS = 120.0

PLAN = """
name: Words
engine: Dummy
branch: words/${{ schedule.date }}-${{ what }}
variables: {what: nothing}
steps:
  - Write of ${{ what }} for ${{ schedule.name }}
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    bare = BareRepositories(tmp_path)
    bare.create("words", {"README.md": "# Words\n"})
    with Service(tmp_path / "data") as running:
        admin = Cli(tmp_path / "admin")
        admin.environment.update(running.environment())
        admin.run("admin", "repo", "add", "--name", "acme/words", "--url", f"file://{bare.path('words')}")
        yield running


def started(cli: Cli, schedule: str) -> dict[str, Any]:
    """The latest firing that started something."""
    until = monotonic() + PATIENCE_SECONDS
    while True:
        found: list[dict[str, Any]] = cli.run("schedule", "firings", schedule, "--json").json
        done = [each for each in found if each["outcome"] == "started"]
        if done:
            return done[0]
        assert monotonic() < until, found
        sleep(0.2)


def test_a_schedule_by_the_command_line_over_a_killed_service(service: Service, tmp_path: Path) -> None:
    cli = Cli(tmp_path / "cli", URL=service.url, API_KEY=service.key)
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    made = cli.run(
        *("schedule", "add", "nightly", "--cron", "@yearly", "--time-zone", "Europe/Paris", "--plan", plan),
        *("--repo", "acme/words", "--var", "what=cats", "--missed", "skip", "--json"),
    ).json
    assert (made["target"]["repositoryId"], made["target"]["variables"]) == (1, {"what": "cats"})
    schedule = str(made["id"])
    assert cli.run("schedule", "list").rows[-1][:3] == [schedule, "nightly", "@yearly"]

    service.stop()  # nobody is there when it is asked for
    with pytest.raises(AssertionError):
        cli.run("schedule", "fire", schedule)
    service.launch()
    cli.environment["TREADLE_URL"] = service.url
    cli.run("schedule", "fire", schedule)
    service.kill9()
    service.launch()
    cli.environment["TREADLE_URL"] = service.url
    run = started(cli, schedule)["runId"]
    process = service.request("GET", "/code-generation/processes").json()
    assert [each["steps"][0]["step"] for each in process] == ["Write of cats for nightly"]
    finished = service.wait(process[0]["id"], "Success")
    assert finished["branchWork"].startswith("words/20")
    assert run == 1

    off = cli.run("schedule", "update", schedule, "--off", "--overlap", "wait", "--json").json
    assert (off["isEnabled"], off["overlap"], off["cron"]) == (False, "wait", "@yearly")
    assert "off" in cli.run("schedule", "list").stdout
    refused = cli.run("schedule", "add", "bad", "--cron", "61 * * * *", "--plan", plan, code=2)
    assert "bad minute" in refused.stderr
    assert "branch" in cli.run("schedule", "show", schedule, "--json").json["target"]["plan"]
    cli.run("schedule", "remove", schedule)
    assert "no such schedule" in cli.run("schedule", "show", schedule, code=1).stderr
