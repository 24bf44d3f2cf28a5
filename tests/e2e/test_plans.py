"""A plan from wherever it is kept, run to its end: the same work each time."""

from pathlib import Path

import pytest
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.cli import Cli
from tests.support.git_server import GitServer
from tests.support.service import Service

PLAN = """
name: Write words
description: Appends a line.
engine: Dummy
variables: {what: words}
validate: [test -s DUMMY.md]
steps:
  - Write ${{ what }} for ${{ repository.name }}
"""


@pytest.fixture
def cli(tmp_path: Path, service: Service, git: GitServer) -> Cli:
    """With `acme/demo` registered, which holds the plan `words`, and a broken one."""
    git.commit("acme/demo", {".treadle/plans/words.yaml": PLAN, ".treadle/plans/broken.yaml": "steps: 3\n"})
    admin = Cli(tmp_path / "admin")
    admin.environment.update(service.environment())
    admin.run(
        *("admin", "repo", "add", "--name", "acme/demo", "--url", git.url("acme/demo")),
        *("--http-credentials-env", "GIT_CREDENTIALS"),
        extra={"GIT_CREDENTIALS": HTTP_CREDENTIALS},
    )
    return Cli(tmp_path, URL=service.url, API_KEY=service.key)


def test_a_repositorys_plan_is_listed_started_and_done(cli: Cli, git: GitServer) -> None:
    listed = cli.run("plan", "list", "--repository", "acme/demo")
    assert listed.rows == [["words", "1", "what", "Appends a line."]]
    assert ".treadle/plans/broken.yaml:1: steps: must be a list" in listed.stderr
    started = cli.run(
        *("start", "--repository-plan", "words", "--repo", "acme/demo", "--branch", "one", "--var", "what=lines")
    )
    assert "Success: 1 of 1 step" in cli.run("watch", started.stdout.strip()).stdout
    assert git.log("acme/demo", "one")[0].subject == "Write lines for acme/demo"


def test_the_same_file_does_the_same_here_and_there(cli: Cli, git: GitServer, tmp_path: Path) -> None:
    (tmp_path / "words.yaml").write_text(PLAN)
    assert cli.run("plan", "check", "words.yaml").stdout == "words.yaml: is valid\n"
    there = cli.run("start", "--plan", "words.yaml", "--repo", "acme/demo", "--branch", "there").stdout.strip()
    assert "Success: 1 of 1 step" in cli.run("watch", there).stdout
    cli.run(
        *("run", "--plan", "words.yaml", "--repo", git.url("acme/demo"), "--branch", "here"),
        *("--http-credentials-env", "GIT_CREDENTIALS"),
        extra={"GIT_CREDENTIALS": HTTP_CREDENTIALS},
    )
    subjects = {git.log("acme/demo", branch)[0].subject for branch in ("here", "there")}
    assert subjects == {"Write words for acme/demo"}
