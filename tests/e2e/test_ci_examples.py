"""The jobs for CI in `examples/`, and the one for curl: their very commands, against a real service."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.cli import TREADLE, Cli
from tests.support.git_server import GitServer
from tests.support.service import Service
from tests.unit.docs.pages import ROOT, blocks, page

PLAN = """
name: Upkeep
engine: Dummy
variables: {what: {description: What to look after, required: true}}
steps:
  - "dummy: [{\\"write\\": [\\"done.txt\\", \\"${{ what }}\\\\n\\"]}]"
"""
BROKEN = """
engine: Dummy
variables: {what: {required: true}}
steps: ['dummy: [{"exit": 3}]']
"""


@pytest.fixture
def service(tmp_path: Path, git: GitServer) -> Iterator[Service]:
    git.create("acme/shop", {".treadle/plans/upkeep.yaml": PLAN, ".treadle/plans/broken.yaml": BROKEN})
    with Service(tmp_path / "data", RETRY_SECONDS="0.05") as running:
        admin = Cli(tmp_path / "admin")
        admin.environment.update(running.environment())
        (tmp_path / "token").write_text("ada:correct horse")
        admin.run(
            *("admin", "repo", "add", "--name", "acme/shop", "--url", git.url("acme/shop")),
            *("--http-credentials-file", tmp_path / "token"),
        )
        yield running


def shell(folder: Path, lines: str, environment: Mapping[str, str], *, code: int = 0) -> str:
    """Runs them as a CI runner does: one shell, which the first failure ends."""
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", lines],
        cwd=folder,
        env={**os.environ, **environment, "PATH": f"{TREADLE.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, (lines, done.returncode, done.stdout, done.stderr)
    return done.stdout


def secrets(service: Service) -> dict[str, str]:
    return {"TREADLE_URL": service.url, "TREADLE_API_KEY": service.key}


@pytest.mark.parametrize(("plan", "code"), [("upkeep", 0), ("broken", 1)])
def test_github_actions(service: Service, tmp_path: Path, plan: str, code: int) -> None:
    workflow = yaml.safe_load((ROOT / "examples/github-actions.yml").read_text())
    steps: Mapping[str, dict[str, Any]] = {
        step["name"]: step for step in workflow["jobs"]["run"]["steps"] if "name" in step
    }
    assert steps["Install"]["run"] == "pip install treadle"
    kept = tmp_path / "env"
    environment = secrets(service) | {"GITHUB_REPOSITORY": "acme/shop", "GITHUB_ENV": str(kept)}
    assert set(steps["Start"]["env"]) == {"PLAN", "WHAT"}
    shell(tmp_path, steps["Start"]["run"], environment | {"PLAN": plan, "WHAT": "$(touch evil) things"})
    environment |= dict(line.split("=", 1) for line in kept.read_text().splitlines())
    shell(tmp_path, steps["Wait"]["run"], environment, code=code)
    shell(tmp_path, steps["Diff"]["run"], environment)
    patch = (tmp_path / "treadle.patch").read_text()
    assert ("+$(touch evil) things" in patch) is (code == 0)
    assert not (tmp_path / "evil").exists()


def test_a_cancelled_job_ends_its_run(service: Service, tmp_path: Path) -> None:
    job = yaml.safe_load((ROOT / "examples/gitlab-ci.yml").read_text())["treadle"]
    start: Sequence[str] = job["script"][:3]
    environment = secrets(service) | {"CI_PROJECT_PATH": "acme/shop", "PLAN": "upkeep", "WHAT": "x"}
    service.stop()
    service.arguments = ("--no-worker",)
    service.launch()
    environment["TREADLE_URL"] = service.url
    shell(tmp_path, "\n".join(start), environment)
    shell(tmp_path, "\n".join(job["after_script"]), environment | {"CI_JOB_STATUS": "canceled"})
    run = (tmp_path / "run.id").read_text().strip()
    assert service.get(run)["status"] == "Killed"


def test_gitlab_ci(service: Service, tmp_path: Path) -> None:
    job = yaml.safe_load((ROOT / "examples/gitlab-ci.yml").read_text())["treadle"]
    environment = secrets(service) | {"CI_PROJECT_PATH": "acme/shop", "PLAN": "upkeep", "WHAT": "cats"}
    shell(tmp_path, "\n".join(job["script"]), environment)
    shell(tmp_path, "\n".join(job["after_script"]), environment | {"CI_JOB_STATUS": "success"})
    assert "+cats" in (tmp_path / "treadle.patch").read_text()


def test_curl(service: Service, tmp_path: Path) -> None:
    (block,) = [block for block in blocks(page("how-to/ci.md")) if block.language == "sh"]
    shell(tmp_path, block.code.replace("sleep 5", "sleep 0.2"), secrets(service))
    (process,) = service.request("GET", "/code-generation/processes").json()
    assert process["status"] == "Success"
