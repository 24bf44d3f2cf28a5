"""The main job through `treadle serve`: a repository and steps in; commits, a diff and a trace out."""

import base64
import json
import subprocess
from pathlib import Path

import httpx2
import pytest
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.apply_diff import apply_diff
from tests.support.git_server import GitServer, Kind
from tests.support.service import Json, Service, is_event, step
from tests.support.ssh_server import SshServer

STEPS = [
    step("Review the code", commitable=False, structured=True),
    step('dummy: [{"write": ["src/a.py", "print(1)\\n"]}, {"say": "wrote a"}]'),
    step('dummy: [{"append": ["src/app.py", "print(2)\\n"]}, {"delete": "README.md"}]', structured=True),
]


def request(git: GitServer, **fields: object) -> Json:
    return {
        "gitUrl": git.url("acme/demo"),
        "gitHttpCredentials": HTTP_CREDENTIALS,
        "branchSource": "main",
        "branchWork": "feature/work",
        "steps": STEPS,
        "engine": "Dummy",
        "generateDiffOnCompletion": True,
        **fields,
    }


def check_work(git: GitServer, process: Json) -> None:
    """A commit a commitable step, in order, each with its step's trailer; the diff gives the work branch."""
    first, second = (each for each in process["steps"] if each["isCommitableStep"])
    commits = git.log("acme/demo", "feature/work")
    assert [commit.sha for commit in commits[:2]] == [second["commitSha"], first["commitSha"]]
    for commit, done in zip(commits, (second, first), strict=False):
        assert commit.message.endswith(f"Treadle-Step: {done['id']}")
    assert git.files("acme/demo", "feature/work") == ["src/a.py", "src/app.py"]
    assert apply_diff(json.dumps(process["diff"]).encode(), tree(git, "main")) == tree(git, "feature/work")


#: Lets the engine wait for `let_go_on`.
WAIT = '{"run": "until [ -e go ]; do sleep 0.1; done; rm go"}'


def let_go_on(service: Service) -> None:
    [code] = [path / "code" for path in service.workspaces if path.is_dir()]
    (code / "go").touch()


def tree(git: GitServer, branch: str) -> dict[bytes, tuple[str, bytes | None]]:
    return {path.encode(): ("100644", git.show("acme/demo", branch, path)) for path in git.files("acme/demo", branch)}


def test_over_http_with_a_password(service: Service, git: GitServer) -> None:
    process = service.wait(service.start(**request(git)), "Success")
    check_work(git, process)
    review, first, second = process["steps"]
    assert [each["status"] for each in process["steps"]] == ["Success"] * 3
    assert review["commitSha"] is None
    assert review["structuredOutput"]["wasSuccessful"] is True
    assert first["output"] == "wrote a"
    assert first["structuredOutput"] is None
    assert second["structuredOutput"]["output"] == second["output"]
    assert process["usage"]["durationMs"] > 0
    events = service.events(process["id"])
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "run.created"
    assert events[-1]["type"] == "run.finished"
    assert service.workspaces == []


def test_over_http_with_a_bare_token(service: Service) -> None:
    with GitServer(password="token-token-token") as git:
        git.create("acme/demo", {"README.md": "# Demo\n", "src/app.py": "print('hello')\n"})
        answer = service.start(**request(git, gitHttpCredentials="token-token-token"))
        check_work(git, service.wait(answer, "Success"))


def test_over_ssh_with_a_key(service: Service, git: GitServer, ssh: SshServer) -> None:
    fields = request(
        git,
        gitUrl=ssh.url(git.path("acme/demo")),
        gitHttpCredentials=None,
        gitSshKeyBase64=base64.b64encode(ssh.private_key).decode(),
    )
    check_work(git, service.wait(service.start(**fields), "Success"))


def test_continues_a_work_branch_that_is_there(service: Service, git: GitServer) -> None:
    service.wait(service.start(**request(git)), "Success")
    again = request(git, steps=[step("Once more")])
    process = service.wait(service.start(**again), "Success")
    assert [commit.sha for commit in git.log("acme/demo", "feature/work")][:1] == [process["steps"][0]["commitSha"]]
    assert len(git.log("acme/demo", "feature/work")) == 4
    assert {file["filename"] for file in process["diff"]["files"]} == {
        "README.md",
        "DUMMY.md",
        "src/a.py",
        "src/app.py",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gitHttpCredentials": "ada:wrong"}, ("did not accept", "credentials")),
        ({"gitHttpCredentials": None}, ("credentials",)),
        ({"branchSource": "no-such-branch"}, ("no-such-branch",)),
    ],
    ids=["wrong password", "no password", "no such branch"],
)
def test_what_cannot_be_cloned_fails_at_once_and_says_why(
    service: Service, git: GitServer, change: Json, said: tuple[str, ...]
) -> None:
    process = service.wait(service.start(**request(git, **change)), "Failed")
    tried = [asked for asked in git.requests if asked.kind is Kind.UPLOAD_REFS]
    assert len(tried) <= 2, "what another try does not mend is not tried again"
    for word in said:
        assert word in process["failureDetails"].lower()
    assert "wrong" not in process["failureDetails"]
    assert service.workspaces == []


def test_a_missing_repository_and_a_wrong_key_say_so(service: Service, git: GitServer, ssh: SshServer) -> None:
    missing = service.start(**request(git, gitUrl=git.url("acme/none")))
    wrong_key = service.start(
        **request(
            git,
            gitUrl=ssh.url(git.path("acme/demo")),
            gitHttpCredentials=None,
            gitSshKeyBase64=base64.b64encode(ssh.wrong_key).decode(),
        )
    )
    assert "not found" in service.wait(missing, "Failed")["failureDetails"].lower()
    assert "key" in service.wait(wrong_key, "Failed")["failureDetails"].lower()


def test_new_credentials_count_from_the_next_git_command(service: Service, git: GitServer) -> None:
    """A token that expires while the engine works is replaced in time for the push."""
    git_id = service.start(**request(git, steps=[step(f'dummy: [{WAIT}, {{"write": ["x", "1\\n"]}}]')]))
    service.wait_for(git_id, is_event("engine.started", phase="Implementation"))
    git.password = "fresh password"
    answer = service.request(
        "PUT",
        f"/code-generation/processes/by-id/{git_id}/credentials",
        json={"gitHttpCredentials": "ada:fresh password"},
    )
    assert answer.status_code == httpx2.codes.NO_CONTENT
    let_go_on(service)
    service.wait(git_id, "Success")


def test_a_branch_that_moved_is_rebased_once(service: Service, git: GitServer) -> None:
    process_id = service.start(**request(git, steps=[step(f'dummy: [{WAIT}, {{"write": ["x", "1\\n"]}}]')]))
    service.wait_for(process_id, is_event("engine.started", phase="Implementation"))
    git.git("acme/demo", "branch", "feature/work", "main")
    git.commit("acme/demo", {"other": "by somebody\n"}, branch="feature/work")
    let_go_on(service)
    process = service.wait(process_id, "Success")
    assert next(commit.sha for commit in git.log("acme/demo", "feature/work")) == process["steps"][0]["commitSha"]
    assert set(git.files("acme/demo", "feature/work")) >= {"other", "x"}
    assert "git.rebased" in {event["type"] for event in service.events(process_id)}


def test_a_conflict_fails_and_keeps_the_work(service: Service, git: GitServer) -> None:
    process_id = service.start(**request(git, steps=[step(f'dummy: [{WAIT}, {{"write": ["src/app.py", "mine\\n"]}}]')]))
    service.wait_for(process_id, is_event("engine.started", phase="Implementation"))
    git.git("acme/demo", "branch", "feature/work", "main")
    theirs = git.commit("acme/demo", {"src/app.py": "theirs\n"}, branch="feature/work")
    let_go_on(service)
    process = service.wait(process_id, "Failed")
    assert "src/app.py" in process["failureDetails"]
    assert process["failureDetails"].endswith("is kept as the artifact partial-work-step-1.patch.")
    assert git.log("acme/demo", "feature/work")[0].sha == theirs


def test_a_step_that_changes_nothing_commits_nothing_and_says_so(service: Service, git: GitServer) -> None:
    process = service.wait(service.start(**request(git, steps=[step('dummy: [{"say": "all is well"}]')])), "Success")
    assert process["steps"][0]["commitSha"] is None
    assert "git.nothing_to_commit" in {event["type"] for event in service.events(process["id"])}


def test_an_unsuccessful_step_fails_the_run_and_keeps_its_work(
    service: Service, git: GitServer, tmp_path: Path
) -> None:
    script = (
        'dummy: [{"write": ["half.py", "x = 1\\n"]}, {"structured": {"output": "no luck", "wasSuccessful": false}}]'
    )
    process = service.wait(
        service.start(**request(git, steps=[STEPS[1], step(script, structured=True), step("never")])), "Failed"
    )
    assert [each["status"] for each in process["steps"]] == ["Success", "Failed", "NotStarted"]
    assert "no luck" in process["failureDetails"]
    assert "no luck" in process["steps"][1]["failureDetails"]
    assert git.log("acme/demo", "feature/work")[0].sha == process["steps"][0]["commitSha"]
    kept = [event["data"]["name"] for event in service.events(process["id"]) if event["type"] == "artifact.kept"]
    assert kept == ["partial-work-step-2.patch"]
    said = "The uncommitted work of step 2 is kept as the artifact partial-work-step-2.patch."
    assert process["failureDetails"].endswith(said)
    path = f"/code-generation/processes/by-id/{process['id']}/artifacts"
    (listed,) = (each for each in service.request("GET", path).json() if each["name"] == kept[0])
    patch = service.request("GET", f"{path}/{kept[0]}/content").content
    assert len(patch) == listed["size"]
    clone = tmp_path / "clone"
    for arguments in (("clone", "-q", "-b", "feature/work", git.path("acme/demo"), clone), ("-C", clone, "apply", "-")):
        subprocess.run(["git", *arguments], input=patch, check=True, timeout=60)
    assert (clone / "half.py").read_text() == "x = 1\n"


@pytest.mark.bubblewrap
def test_files_are_there_for_the_engine_to_read(service: Service, git: GitServer) -> None:
    ids = [
        service.request("POST", "/files", files={"file": ("spec.txt", content, "text/plain")}).json()["id"]
        for content in (b"first\n", b"second\n")
    ]
    script = 'dummy: [{"run": "cat /files/* > both.txt; ls /files >> both.txt; touch /files/x || true"}]'
    service.wait(service.start(**request(git, fileIds=ids, steps=[step(script)])), "Success")
    assert git.show("acme/demo", "feature/work", "both.txt") == b"second\nfirst\nspec-2.txt\nspec.txt\n"
