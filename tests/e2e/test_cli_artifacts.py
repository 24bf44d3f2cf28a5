"""`treadle artifacts` against `treadle serve`."""

from pathlib import Path

from tests.support.cli import Cli
from tests.support.repositories import BareRepositories
from tests.support.service import Service

NAME = "partial-work-step-1.patch"


def test_lists_and_downloads(tmp_path: Path) -> None:
    repositories = BareRepositories(tmp_path)
    repositories.create("words", {"README.md": "# Words\n"})
    script = 'dummy: [{"write": ["half.txt", "half\\n"]}, {"fail": 400}]'
    with Service(tmp_path / "served", RETRY_SECONDS="0.05") as service:
        cli = Cli(tmp_path, URL=service.url, API_KEY=service.key)
        common = ("start", "--repo", str(repositories.path("words")), "--branch", "work", "--engine", "dummy")
        run_id = cli.run(*common, "--step", script).stdout.strip()
        cli.run("watch", run_id, code=1)
        (row,) = (row for row in cli.run("artifacts", run_id[:8]).rows if row[0] == NAME)
        (found,) = (each for each in cli.run("artifacts", run_id, "--json").json if each["name"] == NAME)
        assert row == [NAME, "text/x-diff", str(found["size"]), found["dateCreated"]]

        assert cli.run("artifacts", run_id, NAME).stdout == f"{NAME}\n"
        patch = (tmp_path / NAME).read_text()
        assert "+half\n" in patch
        assert len(patch) == found["size"]
        assert "is here already" in cli.run("artifacts", run_id, NAME, code=1).stderr
        assert cli.run("artifacts", run_id, NAME, "-o", "-").stdout == patch
        cli.run("artifacts", run_id, NAME, "--output", "elsewhere.patch")
        assert (tmp_path / "elsewhere.patch").read_text() == patch

        assert "no such artifact" in cli.run("artifacts", run_id, "none", code=1).stderr
        cli.run("artifacts", run_id, "--output", "x", code=2)
        cli.run("artifacts", run_id, NAME, "--json", code=2)
