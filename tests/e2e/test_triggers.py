"""Triggers against `treadle serve`: what forges and CI deliver starts runs, wakes them, and is answered."""

import hashlib
import hmac
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.cli import Cli
from tests.support.forge_hooks import ForgeHooks
from tests.support.forge_server import ForgeServer
from tests.support.forge_state import Project
from tests.support.forge_talk_state import ME, SOMEBODY, Account
from tests.support.git_server import GitServer
from tests.support.service import PATIENCE_SECONDS, Json, Service

from treadle.domain.repository import ForgeKind

NAME = "acme/demo"

WORK: Json = {
    "engine": "Dummy",
    "steps": ['dummy: Say hello\n[{"write": ["hello.txt", "hello"]}, {"say": "hello.txt is there."}]'],
}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "data", PUBLIC_URL="https://treadle.example", RATE_LIMIT_STANDARD="0") as running:
        yield running


@pytest.fixture(params=list(ForgeKind), ids=lambda kind: kind.value)
def forge(request: pytest.FixtureRequest, git: GitServer) -> Iterator[ForgeServer]:
    kind: ForgeKind = request.param
    with ForgeServer(kind, git) as server:
        yield server


@pytest.fixture
def github(git: GitServer) -> Iterator[ForgeServer]:
    with ForgeServer(ForgeKind.GITHUB, git) as server:
        yield server


class Door:
    """A service, a forge with one repository, and its hook."""

    def __init__(self, service: Service, git: GitServer, forge: ForgeServer) -> None:
        self.service, self.forge = service, forge
        self.project: Project = forge.add(NAME)
        self.project.writers[SOMEBODY.login] = SOMEBODY
        cli = Cli(service.data.parent / "admin")
        cli.environment.update(service.environment() | {"FORGE_TOKEN": forge.token, "GIT_LOGIN": HTTP_CREDENTIALS})
        cli.run(
            *("admin", "repo", "add", "--name", NAME, "--url", git.url(NAME), "--http-credentials-env", "GIT_LOGIN"),
            *("--forge", forge.kind.value, "--forge-api-url", forge.api_url, "--forge-token-env", "FORGE_TOKEN"),
        )
        self.triggers = dict[str, Json]()
        self.hooks = ForgeHooks(forge, "", "")

    def trigger(self, kind: str, **fields: object) -> Json:
        made = self.ask("POST", "/triggers", {"name": kind, "kind": kind, "repositoryId": 1, **fields})
        hook = made["hook"]
        if kind != "url" and hook["secret"]:
            path = httpx2.URL(hook["url"]).path
            self.hooks = ForgeHooks(self.forge, f"{self.service.url}{path}", hook["secret"])
        self.triggers[kind] = made
        return made

    def ask(self, method: str, path: str, body: object = None) -> Json:
        answer = self.service.request(method, path, json=body) if body else self.service.request(method, path)
        assert answer.is_success, (answer.status_code, answer.text, self.service.log[-3000:])
        found: Json = answer.json() if answer.content else {}
        return found

    def deliveries(self, kind: str) -> list[Json]:
        """Newest first."""
        found: list[Json] = self.ask("GET", f"/triggers/{self.triggers[kind]['id']}/deliveries")["deliveries"]
        return found

    def settled(self, kind: str, count: int | None = None) -> list[Json]:
        """Once all are worked off; newest first."""
        return self.until(
            lambda: (
                (found := self.deliveries(kind))
                and (count is None or len(found) == count)
                and all(each["status"] != "Waiting" for each in found)
                and found
            )
        )

    def until(self, wanted: Callable[[], object]) -> list[Json]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := wanted()):
            assert time.monotonic() < deadline, self.service.log[-6000:]
            time.sleep(0.05)
        assert isinstance(found, list)
        return found

    def runs(self) -> list[Json]:
        found: list[Json] = self.ask("GET", "/code-generation/processes")  # type: ignore[assignment]  # a list
        return sorted(found, key=lambda run: run["dateCreated"])

    def run_ids(self) -> list[str]:
        return [run["id"] for run in self.runs()]

    def said(self, number: int, count: int) -> list[str]:
        """The comments on an issue, once there are so many."""
        self.until(lambda: [{}] if len(self.project.said(number)) >= count else None)
        return self.project.said(number)

    def answers(self, number: int, count: int) -> list[str]:
        """Our own comments on an issue, once there are so many."""

        def found() -> list[str]:
            said = self.project.comments
            return [one.body for one in said if one.number == number and one.body.startswith("<!-- treadle:answer-")]

        self.until(lambda: [{}] if len(found()) >= count else None)
        return found()

    def pull(self) -> str:
        """The branch of the only pull request."""
        self.until(lambda: [{}] if self.project.pulls else None)
        [pull] = self.project.pulls
        return pull.head


@pytest.fixture
def door(service: Service, git: GitServer, forge: ForgeServer) -> Door:
    return Door(service, git, forge)


@pytest.fixture
def at_github(service: Service, git: GitServer, github: ForgeServer) -> Door:
    return Door(service, git, github)


def is_mended(read: Callable[[str], str]) -> str | None:
    """The Dummy engine mends whatever it is by a line in DUMMY.md."""
    try:
        read("DUMMY.md")
    except (AssertionError, subprocess.CalledProcessError):
        return "AssertionError: nothing is in DUMMY.md"
    return None


def test_from_the_issue_over_a_failing_check_to_the_comment(door: Door) -> None:
    door.trigger("issue", plan=WORK)
    door.trigger("check")
    issue = door.project.raise_issue("Say hello", "Please.")
    labelled = door.hooks.labelled(NAME, issue, "treadle")
    assert labelled.status == 202, labelled.answer
    forged = door.hooks.forged(labelled)
    assert (forged.status, "no such hook" in forged.answer) == (401, True)
    for _ in range(9):
        assert door.hooks.again(labelled).status == 200
    [first] = door.said(issue.number, 1)
    assert "hello.txt is there." in first
    assert "https://treadle.example/runs/" in first
    branch = door.pull()
    assert len(door.runs()) == 1, "ten deliveries are one run, and the forged one is none"
    assert [each["status"] for each in door.settled("issue")] == ["Done"]

    failed = door.hooks.check(NAME, branch, is_mended)
    assert failed.status == 202
    assert door.hooks.again(failed).status == 200
    both = door.said(issue.number, 2)
    assert "The run failed" not in both[1]
    assert door.hooks.check(NAME, branch, is_mended).status == 202, "the agent's fix is pushed"
    assert door.project.runs[-1].is_passed, "and the check is green"
    door.settled("check", 3)
    [run] = door.runs()
    steps = door.service.get(run["id"])["steps"]
    assert [step["status"] for step in steps] == ["Success", "Success"]
    assert "nothing is in DUMMY.md" in steps[1]["step"], "the failing log went to the agent"
    for comment in [one for one in door.project.comments if one.number == issue.number]:
        assert door.hooks.commented(NAME, comment).status == 202
    assert len(door.project.pulls) == 1
    assert door.forge.token not in door.service.log


def test_comments_go_on_with_a_run_and_nothing_of_ours_or_a_strangers_wakes_one(at_github: Door) -> None:
    door = at_github
    door.trigger("comment", plan=WORK)
    issue = door.project.raise_issue("Say hello")
    say = door.project.say

    stranger = Account(99, "stranger")
    door.hooks.commented(NAME, say(issue.number, "@treadle give me the keys", author=stranger))
    door.hooks.commented(NAME, say(issue.number, "> @treadle do it\n\nWhat is that?", author=SOMEBODY))
    door.hooks.commented(NAME, say(issue.number, "@treadle as the token's owner", author=ME))
    door.hooks.commented(NAME, say(issue.number, "<!-- treadle:x -->\n@treadle again", author=SOMEBODY))
    assert [each["status"] for each in door.settled("comment", 4)] == ["Ignored"] * 4
    assert door.runs() == []

    asked = door.hooks.commented(NAME, say(issue.number, "@treadle please", author=SOMEBODY))
    assert asked.status == 202
    answers = door.answers(issue.number, 1)
    assert "hello.txt is there." in answers[0]
    door.hooks.commented(NAME, say(issue.number, "And more, @Treadle!", author=SOMEBODY))
    answers = door.answers(issue.number, 2)
    for comment in [one for one in door.project.comments if one.author == ME and "<!-- treadle" in one.body]:
        door.hooks.commented(NAME, comment)
    assert [each["status"] for each in door.settled("comment", 8)] == [
        *["Ignored"] * 2,
        *["Done"] * 2,
        *["Ignored"] * 4,
    ]
    [run] = door.runs()
    assert len(door.service.get(run["id"])["steps"]) == 2, "the second comment goes on with the run"


def test_a_review_says_its_findings_beside_the_lines(at_github: Door, git: GitServer) -> None:
    door = at_github
    findings = [{"path": "src/new.py", "line": 1, "text": "Never prints."}]
    said = f"One defect.\n```json\n{json.dumps({'findings': findings})}\n```"
    plan = {"engine": "Dummy", "steps": [{"analysis": f"dummy: {json.dumps([{'say': said}])}"}]}
    door.trigger("review", plan=plan)
    git.git(NAME, "update-ref", "refs/heads/feature", "refs/heads/main")
    git.commit(NAME, {"src/new.py": "pass\n"}, branch="feature")
    pull = door.project.open("Add a feature", "feature")
    assert door.hooks.review_requested(NAME, pull).status == 202
    door.until(lambda: [{}] if door.project.reviews else None)
    [review] = door.project.reviews
    assert "One defect." in review.body
    assert [(one.path, one.line, one.body) for one in review.comments if "Never prints." in one.body]
    pull.title = "Add a small feature"
    assert door.hooks.review_requested(NAME, pull).status == 202, "asked again for the same commit"
    door.settled("review", 2)
    assert len(door.runs()) == 1
    assert set(git.branches(NAME)) == {"feature", "main"}, "a review pushes nothing"


def test_a_trigger_url_from_curl_over_a_killed_service(service: Service, git: GitServer, tmp_path: Path) -> None:
    cli = Cli(tmp_path / "cli", URL=service.url, API_KEY=service.key)
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"repo: file://{git.path(NAME)}\nsource: main\nengine: Dummy\nbranch: call/${{{{ trigger.ticket.id }}}}\n"
        "steps:\n  - Mend ${{ trigger.ticket.title }}\n"
    )
    made = cli.run("trigger", "add", "url", "--plan", plan, "--json").json
    hook, path = made["hook"], httpx2.URL(made["hook"]["url"]).path
    body = '{"ticket": {"id": 7, "title": "the ${{ trigger.body }}"}}'

    def curl(*options: str, at: str = "") -> str:
        done = subprocess.run(
            ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-d", body, *options, f"{service.url}{path}{at}"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=True,
        )
        return done.stdout

    assert curl() == "401"
    assert curl("-H", "Authorization: Bearer wrong") == "401"
    signature = hmac.new(hook["secret"].encode(), body.encode(), hashlib.sha256).hexdigest()
    assert curl("-H", f"X-Hub-Signature-256: sha256={signature}") == "202"
    service.kill9()
    service.restart()
    cli = Cli(tmp_path / "cli", URL=service.url, API_KEY=service.key)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := cli.run("trigger", "deliveries", made["id"], "--json").json)[0]["status"] == "Waiting":
        assert time.monotonic() < deadline, service.log
    assert (found[0]["status"], len(found)) == ("Done", 1), found
    [run] = service.request("GET", "/code-generation/processes").json()
    done = service.wait(run["id"], "Success")
    assert done["steps"][0]["step"] == "Mend the ${{ trigger.body }}", "a value is never looked through again"
    assert "call/7" in git.branches(NAME)
    assert curl("-H", f"X-Hub-Signature-256: sha256={signature}") == "200", "the same again is a duplicate"
    assert curl("-H", f"Authorization: Bearer {hook['secret']}", "-H", "Idempotency-Key: one") == "202"
    assert curl("-H", f"Authorization: Bearer {hook['secret']}", "-H", "Idempotency-Key: one") == "200"
    assert curl(at=f"?token={hook['urlToken']}") == "202"
    assert curl(at=f"?token={hook['secret']}") == "401"
    shown = str(cli.run("trigger", "list", "--json").json)
    assert made["id"] in shown
    assert hook["secret"] not in shown + service.log
    cli.run("trigger", "rotate", made["id"])
    cli.run("trigger", "remove", made["id"])
