"""Plans through the API: checked, started, and read out of repositories."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
from tests.support.deployment import PROCESSES, Deployment, Json, deployed
from tests.support.git_server import GitServer

from treadle.domain.credentials import GitCredentials
from treadle.domain.identity import Principal
from treadle.domain.plan import Plan
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName
from treadle.services import repository_plans
from treadle.services.plan_runs import PlanTarget
from treadle.services.plan_schema import plan_schema
from treadle.services.plan_texts import PlanReading, read_plan_text
from treadle.services.repository_plans import MAX_PLAN_BYTES, MAX_REPOSITORY_PLANS
from treadle.workspace import remote_files

pytestmark = pytest.mark.anyio

PLAN = """
name: Tidy up
branch: tidy/${{ what }}
engine: Dummy
variables: {what: all}
validate: [make test]
maxCostUsd: 2
pullRequest: true
steps:
  - Tidy ${{ what }} of ${{ repository.name }}
  - {analysis: Look, structured: true}
"""


@pytest.fixture
async def here(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path, allow_private_hosts=True) as found:
        yield found


@pytest.fixture
async def shop(here: Deployment) -> Repository:
    return await here.services.repositories.add(
        here.admin.organization, name="acme/shop", url="https://git.example/acme/shop.git", default_branch="trunk"
    )


@pytest.fixture
def git() -> Iterator[GitServer]:
    with GitServer(username="ada", password="correct horse") as server:
        yield server


async def planned(here: Deployment, git: GitServer, files: dict[str, str]) -> Repository:
    """A registered repository that holds those."""
    git.create("acme/demo", {"README.md": "# Demo\n", **files})
    return await here.services.repositories.add(
        here.admin.organization,
        name="acme/demo",
        url=git.url("acme/demo"),
        default_branch="main",
        git=GitCredentials(http="ada:correct horse"),
    )


async def post(here: Deployment, path: str, sent: Json, *, status: int = 200, key: str | None = None) -> Json:
    headers = {**here.admin.headers, **({"Idempotency-Key": key} if key else {})}
    answer = await here.http.post(path, headers=headers, json=sent)
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


async def plans_of(here: Deployment, repository: Repository, status: int = 200, **query: str) -> Json:
    answer = await here.http.get(f"/repositories/by-id/{repository.id}/plans", headers=here.admin.headers, params=query)
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


async def runs(here: Deployment) -> list[Json]:
    found: list[Json] = (await here.http.get(PROCESSES, headers=here.admin.headers)).json()
    return found


async def test_the_schema_is_served_without_a_key(here: Deployment) -> None:
    answer = await here.http.get("/schemas/plan.json")
    assert answer.status_code == httpx2.codes.OK
    assert answer.json() == plan_schema()


async def test_a_plan_is_checked_and_nothing_starts(here: Deployment) -> None:
    found = await post(here, "/plans/check", {"plan": PLAN})
    assert (found["isValid"], found["faults"]) == (True, [])
    assert Plan.from_json(found["plan"]).name == "Tidy up"
    assert await post(here, "/plans/check", {"plan": found["plan"]}) == found
    found = await post(here, "/plans/check", {"plan": "steps:\n  - ok\n  - 3\nbranche: x\n"})
    assert [(fault["path"], fault["line"]) for fault in found["faults"]] == [("steps[1]", 3), ("branche", 4)]
    assert (found["isValid"], found["plan"]) == (False, None)
    assert (await post(here, "/plans/check", {"plan": 3}, status=400))["errors"].keys() == {"plan"}
    assert await runs(here) == []


async def test_a_key_that_is_there_twice_is_not_taken_for_the_last(here: Deployment, shop: Repository) -> None:
    twice = "steps:\n  - {step: a, structured: true, step: b}\nengine: dummy\n'steps': [x]\n"
    found = await post(here, "/plans/check", {"plan": twice})
    assert [(fault["path"], fault["line"], fault["message"]) for fault in found["faults"]] == [
        ("steps[0].step", 2, "is there more than once, at lines 2, 2"),
        ("steps", 4, "is there more than once, at lines 1, 4"),
    ]
    sent: Json = {"plan": twice, "repositoryId": shop.id}
    assert (await post(here, "/plans/start", sent, status=400))["errors"].keys() == {"steps[0].step", "steps"}
    body = f'{{"plan": {{"steps": ["a"], "steps": ["b"]}}, "repositoryId": {shop.id}}}'
    headers = {**here.admin.headers, "Content-Type": "application/json"}
    for path in ("/plans/check", "/plans/start", "/batches", "/schedules"):
        answer = await here.http.post(path, headers=headers, content=body)
        assert (answer.status_code, answer.json()["errors"].keys()) == (400, {"steps"}), path
        assert "more than once" in answer.text
    assert await runs(here) == []


async def test_a_plan_becomes_a_run(here: Deployment, shop: Repository) -> None:
    started = await post(
        here, "/plans/start", {"plan": PLAN, "repositoryId": shop.id, "variables": {"what": "tests"}, "maxCostUsd": 1}
    )
    assert started["branchWork"] == "tidy/tests"
    run, _ = await here.claim()
    assert run.uuid == UUID(started["id"])
    assert (run.repository_id, run.git_url, run.branch_source) == (shop.id, shop.url, "trunk")
    assert [step.text for step in run.steps] == ["Tidy tests of acme/shop", "Look"]
    assert [(step.is_commitable, step.is_structured) for step in run.steps] == [(True, False), (False, True)]
    assert (run.engine, run.max_cost_usd, run.opens_pull_request) == (EngineName.DUMMY, 1, True)
    assert run.validation is not None
    assert run.validation.commands == ("make test",)


async def test_what_is_asked_beside_the_plan_counts(here: Deployment, shop: Repository) -> None:
    sent = {
        "plan": {"steps": ["Do it"], "source": "main", "branch": "b"},
        "repositoryId": shop.id,
        "branchSource": "other",
        "branchWork": "mine",
        "pullRequest": False,
    }
    found = await post(here, "/plans/start", sent)
    assert (found["branchSource"], found["branchWork"]) == ("other", "mine")
    found = await post(here, "/plans/start", {"plan": {"steps": ["Do it"]}, "url": shop.url})
    assert (found["repositoryId"], found["branchSource"]) == (shop.id, "trunk")
    assert found["branchWork"] == f"treadle/{found['number']}-do-it"


async def test_every_fault_is_named_and_nothing_starts(here: Deployment, shop: Repository) -> None:
    sent: Json = {"plan": PLAN, "variables": {"what": "a b", "who": "x"}, "url": shop.url}
    assert (await post(here, "/plans/start", sent, status=400))["errors"].keys() == {"variables.who"}
    sent = {"plan": PLAN, "variables": {"what": "a b"}, "branchWork": "x y", "url": "ftp://nowhere"}
    found = await post(here, "/plans/start", sent, status=400)
    assert found["errors"].keys() == {"branch", "branchWork", "url"}
    sent = {"plan": {"steps": ["x"]}, "repositoryPlan": "y", "planBranch": 3, "variables": {"a.b": "x"}, "odd": 1}
    assert (await post(here, "/plans/start", sent, status=400))["errors"].keys() == {"odd"}
    del sent["odd"]
    found = await post(here, "/plans/start", sent, status=400)
    assert found["errors"].keys() == {"repositoryPlan", "planBranch", "repositoryId", "variables"}
    found = await post(here, "/plans/start", {"plan": "steps: [x]\nbranch: a b\n", "url": shop.url}, status=400)
    assert "(line 2)" in found["errors"]["branch"][0]
    assert (await post(here, "/plans/start", {"plan": "steps: [x]"}, status=400))["errors"].keys() == {"repo"}
    assert await runs(here) == []


async def test_the_same_key_makes_one_run(here: Deployment, shop: Repository) -> None:
    sent = {"plan": PLAN, "repositoryId": shop.id}
    first = await post(here, "/plans/start", sent, key="k")
    assert await post(here, "/plans/start", sent, key="k") == first
    await post(here, "/plans/start", {**sent, "maxCostUsd": 1}, status=409, key="k")
    assert len(await runs(here)) == 1


async def test_the_same_uuid_makes_one_run(here: Deployment, shop: Repository) -> None:
    """As batches, schedules and triggers start them."""
    principal = await principal_of(here)
    plan, uuid = Plan.from_json({"steps": ["${{ trigger.title }}"]}), UUID(int=7)
    target = PlanTarget(shop.id, branch_words="Mend the build")
    starts = here.services.plan_runs.start
    first = await starts(principal, plan, target, variables={"trigger.title": "Mend it"}, uuid=uuid)
    again = await starts(principal, plan, target, variables={"trigger.title": "Mend it"}, uuid=uuid)
    assert (first.id, first.uuid) == (again.id, uuid)
    assert first.branch_work == f"treadle/{first.id}-mend-the-build"
    assert first.steps[0].text == "Mend it"
    assert len(await runs(here)) == 1


async def test_a_plan_can_be_checked_against_its_target(here: Deployment, shop: Repository) -> None:
    principal, check = await principal_of(here), here.services.plan_runs.check
    plan = Plan.from_json({"steps": ["${{ a }}"], "variables": {"a": None}, "branch": "trunk"})
    assert (await check(principal, plan, PlanTarget(shop.id))).keys() == {"branch"}
    assert (await check(principal, plan, PlanTarget(branch_work="x"))).keys() == {"repo"}
    found = await check(principal, plan, PlanTarget(shop.id, branch_work="w"), variables={"b": "x"})
    assert found.keys() == {"variables.a", "variables.b"}
    assert await runs(here) == []


async def test_a_repository_that_is_not_the_callers_is_unknown(here: Deployment) -> None:
    await post(here, "/plans/start", {"plan": PLAN, "repositoryId": 99}, status=404)
    other = await here.services.identity.add_organization("Other")
    theirs = await here.services.repositories.add(
        other, name="their/own", url="https://git.example/their/own.git", default_branch="main"
    )
    await post(here, "/plans/start", {"plan": PLAN, "repositoryId": theirs.id}, status=404)
    await plans_of(here, theirs, status=404)


async def test_a_repository_s_own_plans_are_listed_and_started(here: Deployment, git: GitServer) -> None:
    repository = await planned(
        here,
        git,
        {
            ".treadle/plans/tidy.yaml": PLAN,
            ".treadle/plans/broken.yml": "steps:\n  - 3\n",
            ".treadle/plans/notes.md": "no plan",
            ".treadle/plans/deeper/one.yaml": "steps: [x]",
            "elsewhere.yaml": "steps: [x]",
        },
    )
    found = await plans_of(here, repository)
    assert found["commit"] == git.log("acme/demo")[0].sha
    assert [(each["name"], each["isValid"], each["title"]) for each in found["plans"]] == [
        ("broken", False, None),
        ("tidy", True, "Tidy up"),
    ]
    assert found["plans"][0]["faults"][0]["line"] == 2
    started = await post(
        here, "/plans/start", {"repositoryPlan": "tidy", "repositoryId": repository.id, "variables": {"what": "docs"}}
    )
    assert started["branchWork"] == "tidy/docs"
    sent = {"repositoryPlan": "broken", "repositoryId": repository.id}
    assert (await post(here, "/plans/start", sent, status=400))["errors"].keys() == {"steps[0]"}
    assert "tidy" in (await post(here, "/plans/start", {**sent, "repositoryPlan": "x"}, status=404))["detail"]


async def test_another_branch_may_have_other_plans(here: Deployment, git: GitServer) -> None:
    repository = await planned(here, git, {})
    assert (await plans_of(here, repository))["plans"] == []
    git.commit("acme/demo", {".treadle/plans/new.yaml": "steps: [x]"}, branch="next")
    assert [each["name"] for each in (await plans_of(here, repository, branch="next"))["plans"]] == ["new"]
    await plans_of(here, repository, status=404, branch="nowhere")
    assert (await plans_of(here, repository, status=400, branch="-x"))["errors"].keys() == {"branch"}
    sent = {"repositoryPlan": "new", "repositoryId": repository.id, "planBranch": "next", "branchWork": "w"}
    assert (await post(here, "/plans/start", sent))["branchSource"] == "main"


async def test_a_hostile_repository_s_plans_are_bounded(here: Deployment, git: GitServer) -> None:
    repository = await planned(
        here,
        git,
        {
            ".treadle/plans/big.yaml": "steps: [x]" + "#" * MAX_PLAN_BYTES,
            ".treadle/plans/bytes.yaml": "placeholder",
            **{f".treadle/plans/m{at:03}.yaml": f"steps: [x{at}]" for at in range(MAX_REPOSITORY_PLANS + 3)},
        },
    )
    git.commit("acme/demo", {".treadle/plans/bytes.yaml": b"steps: [\xff]"})
    link_to(git, "acme/demo", ".treadle/plans/a-link.yaml", "/etc/passwd")
    found = await plans_of(here, repository)
    assert (len(found["plans"]), found["more"]) == (MAX_REPOSITORY_PLANS, 5)
    plans = {each["name"]: each for each in found["plans"]}
    assert "a-link" not in plans
    assert "more than" in plans["big"]["faults"][0]["message"]
    assert "UTF-8" in plans["bytes"]["faults"][0]["message"]
    assert plans["m000"]["isValid"]


async def test_one_is_read_without_the_others_and_a_list_as_far_as_there_is_room(
    here: Deployment, git: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = "steps: [x]\n#" + "y" * 99
    files = {f".treadle/plans/{name}.yaml": plan for name in "abcd"}
    repository = await planned(here, git, files)
    monkeypatch.setattr(repository_plans, "MAX_LISTED_PLANS_BYTES", 2 * len(plan))
    listed = (await plans_of(here, repository))["plans"]
    assert [each["isValid"] for each in listed] == [True, True, False, False]
    assert "is not read" in listed[2]["faults"][0]["message"]
    read = list[str]()

    def reading(text: str, *, allow_local: bool) -> PlanReading:
        read.append(text)
        return read_plan_text(text, allow_local=allow_local)

    monkeypatch.setattr(repository_plans, "read_plan_text", reading)
    found = await here.services.repository_plans.get(await principal_of(here), repository.id, "d")
    assert (found.steps[0].text, read) == ("x", [plan])


@pytest.mark.parametrize("is_partial", [True, False])
async def test_a_host_that_sends_all_files_is_bounded(
    here: Deployment, git: GitServer, monkeypatch: pytest.MonkeyPatch, is_partial: bool
) -> None:
    """Where it takes partial clones, nothing but the plans is sent."""
    monkeypatch.setattr(remote_files, "MAX_LOOK_BYTES", 64 << 10)
    repository = await planned(here, git, {".treadle/plans/tidy.yaml": PLAN, "blob": os.urandom(100_000).hex()})
    if is_partial:
        assert [plan["isValid"] for plan in (await plans_of(here, repository))["plans"]] == [True]
    else:
        pass_over_filters(git, "acme/demo")
        said = (await plans_of(here, repository, status=409))["detail"]
        assert "sends more than 65,536 bytes" in said


async def test_a_folder_that_is_a_link_holds_nothing(here: Deployment, git: GitServer) -> None:
    repository = await planned(here, git, {"real/x.yaml": "steps: [x]"})
    link_to(git, "acme/demo", ".treadle/plans", "../real")
    assert (await plans_of(here, repository))["plans"] == []


async def test_a_host_that_refuses_is_said(here: Deployment, git: GitServer) -> None:
    repository = await planned(here, git, {".treadle/plans/tidy.yaml": PLAN})
    git.password = "another"
    found = await plans_of(here, repository, status=409)
    assert "cannot be read" in found["detail"]
    assert "correct horse" not in found["detail"]


async def test_private_hosts_are_looked_at_only_where_they_are_allowed(tmp_path: Path, git: GitServer) -> None:
    async with deployed(tmp_path / "walled", allow_private_hosts=False) as here:
        repository = await planned(here, git, {".treadle/plans/tidy.yaml": PLAN})
        await plans_of(here, repository, status=409)
    assert git.requests == []


async def principal_of(here: Deployment) -> Principal:
    return await here.services.identity.authenticate(here.admin.key)


def pass_over_filters(git: GitServer, repository: str) -> None:
    subprocess.run(["git", "-C", git.path(repository), "config", "uploadpack.allowFilter", "false"], check=True)


def link_to(git: GitServer, repository: str, path: str, target: str) -> None:
    """Commits a symbolic link."""
    bare = git.path(repository)

    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_INDEX_FILE": str(bare / "link-index")}
    environment |= {f"GIT_{role}_NAME": "ada" for role in ("AUTHOR", "COMMITTER")}
    environment |= {f"GIT_{role}_EMAIL": "ada@example.com" for role in ("AUTHOR", "COMMITTER")}

    def run(*arguments: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            ["git", "-C", str(bare), *arguments], input=stdin, env=environment, check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    run("read-tree", "main")
    blob = run("hash-object", "-w", "--stdin", stdin=target.encode())
    run("update-index", "--add", "--cacheinfo", f"120000,{blob},{path}")
    tree = run("write-tree")
    run("update-ref", "refs/heads/main", run("commit-tree", tree, "-p", "main", "-m", "Link"))
