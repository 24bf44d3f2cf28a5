"""Every example of the documentation, run against a real service.

The service's own Claude key is the Dummy's, so an example that asks for Claude gets an engine without a model.
Addresses of repositories are replaced by those of a real Git server; everything else runs as it is printed.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.git_server import GitServer
from tests.support.service import Service
from tests.support.ssh_server import SshServer
from tests.unit.docs.pages import ROOT, blocks, page, rows, section

import treadle

URL = "https://git.example/acme/shop.git"
SSH_URL = "git@git.example:acme/shop.git"

#: The token that the pages print.
TOKEN = "ghp_xxxxxxxxxxxxxxxxxxxx"

DUMMY_KEY = "000-dummy"
PATIENCE_SECONDS = 120

PREAMBLE = next(blocks(page("how-to/best-practices.md"))).code
HABITS = [line.removeprefix("## ") for line in page("how-to/best-practices.md").splitlines() if line.startswith("## ")]


@dataclass(frozen=True)
class Shop:
    """A service, and a repository that it may work on."""

    service: Service
    git: GitServer
    folder: Path

    def wait(self) -> list[treadle.Process]:
        """Every process, oldest first, once all have ended."""
        with treadle.Client(self.service.url, self.service.key) as client:
            for process in client.processes.alive():
                client.processes.wait(process.id, PATIENCE_SECONDS)
            return [client.processes.get(process.id) for process in reversed(client.processes.list())]

    def python(self, *code: str, **names: object) -> dict[str, Any]:
        """Runs blocks of Python, one after another; the names that they leave."""
        found: dict[str, Any] = dict(names)
        for block in code:
            exec(compile(block.replace(URL, self.git.url("acme/shop")), "documentation", "exec"), found)
        return found

    def shell(self, code: str, **environment: str) -> str:
        """Runs a block of shell; what it wrote."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code.replace(URL, self.git.url("acme/shop"))],
            env={
                **self.service.environment(),
                "PATH": f"{Path(sys.executable).parent}:{self.service.environment()['PATH']}",
                "TREADLE_URL": self.service.url,
                "TREADLE_API_KEY": self.service.key,
                "GIT_TOKEN": TOKEN,
                **environment,
            },
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def commits(self, branch: str) -> int:
        """How many commits a branch has beyond main."""
        return len(self.git.log("acme/shop", branch)) - len(self.git.log("acme/shop"))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "spec.md").write_text("# Spec\n")
    (folder / "specification.md").write_text("# Specification\n")
    monkeypatch.chdir(folder)
    with (
        GitServer(password=TOKEN) as git,
        Service(tmp_path / "data", RETRY_SECONDS="0.1,0.1,0.1", CLAUDE_API_KEY=DUMMY_KEY) as service,
    ):
        git.create("acme/shop", {"README.md": "# Shop\n"})
        for name, value in {
            "TREADLE_URL": service.url,
            "TREADLE_API_KEY": service.key,
            "GIT_TOKEN": TOKEN,
            "ANTHROPIC_API_KEY": DUMMY_KEY,
        }.items():
            monkeypatch.setenv(name, value)
        yield Shop(service, git, folder)


def python_of(name: str) -> list[str]:
    return [block.code for block in blocks(page(name)) if block.language == "python"]


def shell_of(name: str) -> list[str]:
    return [block.code for block in blocks(page(name)) if block.language == "sh"]


# ---- the ten habits --------------------------------------------------------------------------------------------------


def clear_steps(shop: Shop, names: dict[str, Any], _said: str) -> None:
    assert shop.commits("docs/user-service") == 1
    assert names["process"].steps[0].step.startswith("Add docstrings")


def structured(_shop: Shop, names: dict[str, Any], said: str) -> None:
    assert names["answer"].was_successful
    assert said.startswith("done - ")


def commits(shop: Shop, _names: dict[str, Any], said: str) -> None:
    assert shop.commits("feature/logging") == 3
    pushed = [commit.sha for commit in shop.git.log("acme/shop", "feature/logging")[:3]]
    assert [line.split()[0] for line in said.splitlines()] == pushed[::-1]


def guidelines(shop: Shop, names: dict[str, Any], _said: str) -> None:
    prompts = [
        event["data"]["prompt"] for event in shop.service.events(str(names["process"].id)) if "prompt" in event["data"]
    ]
    assert "Follow these guidelines" in prompts[0]
    assert "No print: use logging" in prompts[0]


def monitored(shop: Shop, _names: dict[str, Any], said: str) -> None:
    assert said.startswith("step 1 Add a search\npushed ")
    assert "has no worker" not in said
    assert shop.commits("feature/search") == 1


def own_key(shop: Shop, _names: dict[str, Any], _said: str) -> None:
    assert shop.commits("feature/discounts") == 1


def context(shop: Shop, names: dict[str, Any], _said: str) -> None:
    prompts = [
        event["data"]["prompt"] for event in shop.service.events(str(names["process"].id)) if "prompt" in event["data"]
    ]
    assert "specification.md" in prompts[0].partition("Implement the checkout")[0]
    assert shop.git.files("acme/shop", "feature/checkout") == ["DUMMY.md", "README.md"]


def analysed(shop: Shop, names: dict[str, Any], said: str) -> None:
    assert shop.commits("refactor/orders") == 1
    assert said.strip() == names["process"].steps[0].output
    assert names["process"].steps[0].commit_sha is None


def failed(shop: Shop, names: dict[str, Any], said: str) -> None:
    assert said.splitlines()[0] == f"failed: {names['process'].failure_details}"
    assert "kept: partial-work-step-2.patch" in said
    assert shop.commits("feature/invoices") == 1
    assert b"reminder.py" in names["patch"]


def dummy(shop: Shop, _names: dict[str, Any], said: str) -> None:
    assert said == "DUMMY.md +1 -0\nhello.py +1 -0\n"
    assert shop.git.show("acme/shop", "test/dummy", "hello.py") == b"print('hello')\n"


CHECKS: list[Callable[[Shop, dict[str, Any], str], None]] = [
    clear_steps,
    structured,
    commits,
    guidelines,
    monitored,
    own_key,
    context,
    analysed,
    failed,
    dummy,
]

#: What the ninth habit is about does not happen by itself.
BREAKS = json.dumps('dummy: [{"write": ["reminder.py", "half"]}, {"fail": 400}]')


@pytest.mark.parametrize(("habit", "check"), list(zip(HABITS, CHECKS, strict=True)), ids=HABITS)
def test_best_practice(
    shop: Shop,
    habit: str,
    check: Callable[[Shop, dict[str, Any], str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = [
        block.code for block in blocks(section(page("how-to/best-practices.md"), habit)) if block.language == "python"
    ]
    assert code
    if check is failed:
        assert '"Add a reminder for unpaid invoices"' in code[0]
        code[0] = code[0].replace('"Add a reminder for unpaid invoices"', BREAKS)
    names = shop.python(PREAMBLE, *code)
    processes = shop.wait()
    said = capsys.readouterr().out
    check(shop, names, said)
    wanted = treadle.ProcessStatus.FAILED if check is failed else treadle.ProcessStatus.SUCCESS
    assert [process.status for process in processes] == [wanted]
    names["client"].close()


# ---- the other pages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "processes"),
    [
        ("how-to/claude-authentication.md", 3),
        ("how-to/attach-files.md", 1),
        ("how-to/analysis-and-structured-output.md", 1),
        ("../README.md", 1),
    ],
)
def test_python_of_a_page(shop: Shop, name: str, processes: int) -> None:
    names = shop.python(PREAMBLE, "from datetime import timedelta", *python_of(name))
    found = shop.wait()
    assert [process.status for process in found] == [treadle.ProcessStatus.SUCCESS] * processes, found
    names["client"].close()


def test_python_of_the_sdks_page(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.shell(shell_of("how-to/register-a-repository.md")[0])
    names = shop.python(*python_of("reference/sdk.md"))
    said = capsys.readouterr().out
    assert said.startswith("Success None\nUSER_MESSAGE Log every order\n")
    assert "\nCOMPLETE " in said
    assert names["run"].succeeded
    assert [(len(process.steps), process.succeeded) for process in shop.wait()] == [(2, True), (2, True)]


def test_credentials_are_replaced_while_a_run_goes(shop: Shop) -> None:
    with treadle.Client() as client:
        process = client.processes.start(
            git_url=shop.git.url("acme/shop"),
            git_http_credentials=TOKEN,
            branch_source="main",
            branch_work="work",
            steps=['dummy: [{"write": ["a", "1"]}, {"sleep": 600}]'],
        )
        for event in client.processes.events(process.id):
            if event.type == "tool.finished":
                break
        shop.python(PREAMBLE, *python_of("how-to/steer-a-running-run.md"), process=process)["client"].close()
        kinds = {event.data.get("kind") for event in client.processes.events(process.id, follow=False)}
        assert {"git", "claude"} <= kinds
        watching, killing, keeping = (
            block.replace("5384d13d", str(process.id)[:8]) for block in shell_of("how-to/steer-a-running-run.md")
        )
        assert "Killed" in shop.shell(killing)
        shop.shell("git init --quiet .")
        assert "partial-work-step-1.patch" in shop.shell(keeping)
        assert (shop.folder / "a").read_text() == "1"
        assert "tool.started" in shop.shell(watching.replace("treadle watch", "! treadle watch"))


def test_shell_of_private_repositories(shop: Shop) -> None:
    over_http, over_ssh, encode = shell_of("how-to/private-repositories.md")
    with SshServer() as ssh:
        (shop.folder / "deploy_key").write_bytes(ssh.private_key)
        make, _, start = over_ssh.partition("\n")
        assert make.startswith("ssh-keygen")
        shop.shell(make.replace("deploy_key", "another_key"))
        shop.shell(over_http)
        shop.wait()
        shop.shell("chmod 600 deploy_key\n" + start.replace(SSH_URL, ssh.url(shop.git.path("acme/shop"))))
        found = shop.wait()
    assert [process.status for process in found] == [treadle.ProcessStatus.SUCCESS] * 2, found
    assert shop.commits("feature/logging") == 2
    assert shop.shell(encode).strip().isascii()


def test_shell_of_attached_files(shop: Shop) -> None:
    for block in shell_of("how-to/attach-files.md"):
        shop.shell(block)
    [process] = shop.wait()
    assert process.succeeded, process.failure_details
    assert len(process.file_ids) == 1


def test_a_registered_repository_gives_its_credentials(shop: Shop) -> None:
    register, change = shell_of("how-to/register-a-repository.md")
    assert "acme/shop" in shop.shell(register)
    with treadle.Client() as client:
        client.processes.start(
            git_url=shop.git.url("acme/shop").removesuffix(".git"),
            branch_source="main",
            branch_work="work",
            steps=["Log every order"],
        )
    [process] = shop.wait()
    assert process.succeeded, process.failure_details
    shop.git.create("acme/store", {"README.md": "# Store\n"})
    shop.shell(change.replace("https://git.example/acme/store.git", shop.git.url("acme/store")))
    assert "acme/shop" not in shop.shell("treadle admin repo list")


def test_coming_from_codegen(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    prepare, curl, ours, settings = shell_of("how-to/come-from-codegen.md")
    key = shop.shell(prepare).splitlines()[-1]
    with treadle.Client(shop.service.url, key) as client:
        said = shop.shell(curl.replace("curl", "echo; curl")).splitlines()
        created, read, logs = (json.loads(line) for line in said if line)  # with spaces, once the run has begun
        assert (created["id"], created["metadata"]) == (1, {"ticket": "SHOP-17"})
        assert read["id"] == logs["id"] == 1
        assert client.agents.wait(1, PATIENCE_SECONDS).succeeded
        shop.python(*python_of("how-to/come-from-codegen.md"))
        assert capsys.readouterr().out.startswith("COMPLETE ")
        shown = shop.shell(ours)
        assert "COMPLETE: agent run 3, " in shown
        assert "acme/shop" in shown
        assert [run.status for run in client.agents.list()] == ["COMPLETE"] * 3
        assert [entry.type for entry in client.agents.logs(3)].count(treadle.AgentLogType.USER_MESSAGE) == 2
        shop.shell(settings)
        rules = client.agents.rules()
        assert (rules.organization, rules.user) == ("Write tests for what you change.", "Keep commits small.")


def test_people_and_keys(shop: Shop) -> None:
    people = next(block for block in shell_of("how-to/host-it.md") if "admin user add" in block)
    said = shop.shell(people.replace("/var/lib/treadle", str(shop.service.data)))
    assert "laptop" in said
    with treadle.Client(shop.service.url, said.splitlines()[1]) as client, pytest.raises(treadle.AuthenticationError):
        client.processes.alive()  # the last line has revoked it


def test_the_sealing_key_is_replaced(shop: Shop, tmp_path: Path) -> None:
    """The rest of the page on backups is run by `test_back_up.py`."""
    shop.python(PREAMBLE, *python_of("../README.md"))["client"].close()
    shop.wait()
    back_up, *_ = shell_of("how-to/back-up.md")
    rotate, retire, *_ = shell_of("how-to/rotate-keys.md")
    backup = tmp_path / "backup"
    shop.shell(back_up, BACKUP=str(backup))
    first = (backup / "secret.key").read_text().split()
    assert "was made and seals from now on" in shop.shell(rotate, TREADLE_DATA_DIR=str(backup))
    assert len((backup / "secret.key").read_text().split()) == 2
    assert "Retired: " in shop.shell(retire, TREADLE_DATA_DIR=str(backup))
    [second] = (backup / "secret.key").read_text().split()
    assert [second] != first
    with Service(backup) as restored, treadle.Client(restored.url, shop.service.key) as client:
        [process] = client.processes.list()
        assert client.processes.diff(process.id).files
        assert client.auth.token().access_token  # its signing key was sealed with the old one


def test_the_tutorial(tmp_path: Path) -> None:
    demonstration, prepare, serve, *rest = shell_of("tutorial/first-run.md")
    assert demonstration.strip() == "make demo"
    assert "treadle doctor" in prepare
    assert serve.strip() == "TREADLE_ALLOW_LOCAL_REPOSITORIES=1 treadle serve"
    make, first, look, install, key, claude, local = rest
    assert "pip install" in install
    assert key.startswith("export ANTHROPIC_API_KEY=")
    folder = tmp_path / "work"
    folder.mkdir()
    settings = {"ALLOW_LOCAL_REPOSITORIES": "1", "ALLOW_PRIVATE_HOSTS": "0"}
    with Service(tmp_path / "data", **settings) as service, GitServer() as git:
        shop = Shop(service, git, folder)
        shop.shell(make)
        assert "Success: 2 of 2 steps" in shop.shell(first)
        said = shop.shell(look)
        assert "Say in the README how to run it" in said
        assert "+++ b/DUMMY.md" in said
        assert "Success: 1 of 1 step" in shop.shell(claude, ANTHROPIC_API_KEY=DUMMY_KEY)
        assert "Success: 1 of 1 step" in shop.shell(local)
        assert "treadle/third" in shop.shell("git -C shop.git branch")


def test_the_readmes_curl_starts_a_run(shop: Shop) -> None:
    [curl] = [block for block in shell_of("../README.md") if "curl" in block]
    answer = json.loads(shop.shell(curl))
    assert answer["status"] == "New"
    [process] = shop.wait()
    assert process.succeeded, process.failure_details


def test_an_example_of_a_plan_is_one(shop: Shop) -> None:
    [plan] = [block.code for block in blocks(page("reference/cli.md")) if block.language == "yaml"]
    (shop.folder / "plan.yaml").write_text(plan.replace(URL, shop.git.url("acme/shop")))
    shop.shell("treadle start --plan plan.yaml --http-credentials-env GIT_TOKEN", GIT_TOKEN=TOKEN)
    [process] = shop.wait()
    assert process.succeeded, process.failure_details
    assert [step.is_commitable_step for step in process.steps] == [False, True, True]
    assert process.steps[0].is_structured_output


# ---- the reference ---------------------------------------------------------------------------------------------------


def test_events_hold_what_their_page_says(shop: Shop) -> None:
    """Of every event that these runs make: no field that its page does not name, and every one that it does."""
    documented = {
        row[0].strip("`"): {name.strip("` ") for name in row[1].split(",")} - {"-"}
        for row in rows(page("reference/events.md"))
    }
    scripts = [
        'dummy: [{"think": "hm"}, {"write": ["a", "1"]}, {"run": "git init -q nested && touch nested/x && echo said"}]',
        'dummy: [{"fail": 500, "times": 1}, {"line": 70000}]',
        'dummy: [{"say": "nothing to do"}]',
        'dummy: [{"write": ["b", "1"]}, {"exit": 9}]',
    ]
    process_id = shop.service.start(
        gitUrl=shop.git.url("acme/shop"),
        gitHttpCredentials=TOKEN,
        branchSource="main",
        branchWork="work",
        steps=[{"step": script} for script in scripts],
    )
    shop.service.wait(process_id, "Failed")
    seen = shop.service.events(process_id)
    assert {event["type"] for event in seen} > {"engine.retry", "workspace.nested_repository", "artifact.kept"}
    for event in seen:
        names = set(event["data"]) - {"clipped", "repair"}  # of long texts, and of what a validation command found
        assert names == documented[event["type"]], event


def test_the_pages_are_where_the_messages_say() -> None:
    for name in ("docs/reference/settings.md", "docs/reference/dummy.md"):
        assert (ROOT / name).is_file()
