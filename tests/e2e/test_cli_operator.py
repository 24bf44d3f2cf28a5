"""What an operator runs: the service, its administration, the check-up."""

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.cli import PATIENCE_SECONDS, Cli
from tests.support.git_server import GitServer
from tests.support.repositories import BareRepositories
from tests.support.ssh_server import SshServer

REPO = ("repo", "add", "--no-check", "--name", "a/b", "--url", "https://git.example.com/a/b.git")

_KEY = re.compile(r"trd_[\w-]{43}")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@contextmanager
def serving(cli: Cli, *arguments: str) -> Iterator[str]:
    """`treadle serve` on a free port: its address. Ends by SIGTERM, and fails unless it ends well."""
    process = cli.begin("serve", "--port", "0", "--json", *arguments)
    assert process.stdout is not None
    try:
        told = process.stdout.readline()
        assert told, process.communicate(timeout=5)
        yield json.loads(told)["url"]
    finally:
        process.terminate()
        _, log = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, log
    assert "Traceback" not in log


def test_an_empty_directory_gets_an_admin_whose_key_is_shown_once(cli: Cli) -> None:
    process = cli.begin("serve", "--port", "0")
    assert process.stdout is not None
    said = "".join(process.stdout.readline() for _ in range(7))
    url, key = re.findall(r"listens on (http://127\.0\.0\.1:\d+)\.", said)[0], _KEY.findall(said)[0]
    assert f"\n  export TREADLE_URL={url}\n  export TREADLE_API_KEY={key}\n" in said
    cli.run("list", extra={"TREADLE_URL": url, "TREADLE_API_KEY": key})
    process.terminate()
    rest, log = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert key not in rest + log
    assert (cli.data.stat().st_mode & 0o777) == 0o700
    with serving(cli) as again:
        cli.run("list", extra={"TREADLE_URL": again, "TREADLE_API_KEY": key})


def test_a_port_that_is_taken_is_said_in_a_sentence(cli: Cli) -> None:
    with serving(cli) as url:
        port = url.rpartition(":")[2]
        failed = cli.run("serve", "--port", port, "--no-worker", code=2)
    assert f"The address 127.0.0.1:{port} cannot be listened on" in failed.stderr


def test_a_setting_that_is_wrong_is_said_in_a_sentence(cli: Cli) -> None:
    for command in (("serve",), ("worker",), ("admin", "org", "list"), ("db", "current")):
        failed = cli.run(*command, extra={"TREADLE_SLOTS": "none", "TREADLE_SLOT": "1"}, code=2)
        assert "TREADLE_SLOTS: " in failed.stderr
        assert "TREADLE_SLOT is no setting" in failed.stderr


def test_workers_and_the_api_in_processes_of_their_own(cli: Cli, tmp_path: Path) -> None:
    bare = BareRepositories(tmp_path)
    bare.create("words", {"README.md": "# Words\n"})
    cli.environment |= {
        "TREADLE_BOOTSTRAP_API_KEY": "trd_0123456789abcdef",
        "TREADLE_ALLOW_LOCAL_REPOSITORIES": "1",
        "TREADLE_POLL_SECONDS": "0.1",
    }
    process = cli.begin("serve", "--port", "0", "--no-worker", "--json")
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    assert told["apiKey"] is None, "it was chosen, so it is no news"
    client = {"TREADLE_URL": told["url"], "TREADLE_API_KEY": "trd_0123456789abcdef"}
    start = ("start", "--repo", str(bare.path("words")), "--branch", "work", "--engine", "dummy", "--step", "x")
    run_id = cli.run(*start, extra=client).stdout.strip()
    worker = cli.begin("worker")
    assert worker.stdout is not None
    assert " works. " in worker.stdout.readline()
    assert "Success" in cli.run("watch", run_id, extra=client).stdout
    for each in (worker, process):
        each.send_signal(signal.SIGINT)
        each.communicate(timeout=PATIENCE_SECONDS)
        assert each.returncode == 0


# ---- administration


def test_organizations_users_and_keys(cli: Cli) -> None:
    first = cli.run("admin", "org", "list")
    assert _KEY.search(first.stderr), "the first command on an empty database shows the first admin's key"
    assert [row[2] for row in first.rows] == ["Default"]
    assert cli.run("admin", "org", "add", "Second", "--json").json["id"] == 2
    assert not cli.run("admin", "org", "list").stderr

    cli.run("admin", "user", "add", "ada@example.com", "--org", "2", "--role", "admin", "--name", "Ada")
    cli.run("admin", "user", "add", "bo@example.com", "--org", "2", "--role", "MEMBER")
    assert [(row[2], row[4]) for row in cli.run("admin", "user", "list", "--org", "2").rows] == [
        ("ada@example.com", "ADMIN"),
        ("bo@example.com", "MEMBER"),
    ]
    made = cli.run("admin", "key", "create", "--user", "bo@example.com", "--org", "2", "--expires-days", "3")
    key = made.stdout.strip()
    assert _KEY.fullmatch(key)
    (record,) = cli.run("admin", "key", "list", "--org", "2", "--json").json
    assert (record["user"], record["revoked"]) == ("bo@example.com", None)
    assert key not in json.dumps(record)
    assert record["expires"] > record["created"]

    with serving(cli) as url:
        client = {"TREADLE_URL": url, "TREADLE_API_KEY": key}
        cli.run("list", extra=client)
        cli.run("admin", "key", "revoke", str(record["id"]))
    with serving(cli) as url:
        cli.run("list", extra={**client, "TREADLE_URL": url}, code=2)
    cli.run("admin", "user", "remove", "bo@example.com", "--org", "2")
    assert len(cli.run("admin", "user", "list", "--org", "2").rows) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("org", "add", " "), 2, "name: "),
        (("user", "add", "nobody", "--role", "member"), 2, "email: "),
        (("user", "add", "a@example.com", "--role", "king"), 2, "--role"),
        (("user", "list", "--org", "9"), 1, "There is no organization 9."),
        (("key", "create", "--user", "no@example.com"), 1, "no@example.com"),
        (("repo", "add", "--name", "words", "--url", "ext::sh"), 2, "url: "),
        (
            ("repo", "add", "--name", "a/b", "--url", "https://h/p", "--http-credentials-env", "NONE"),
            2,
            "NONE is not set",
        ),
    ],
)
def test_what_is_wrong_is_said(cli: Cli, arguments: tuple[str, ...], code: int, said: str) -> None:
    failed = cli.run("admin", *arguments, code=code)
    assert said in failed.stderr
    assert not failed.stdout


def test_a_registered_repository_gives_runs_its_credentials(cli: Cli, tmp_path: Path) -> None:
    bare = BareRepositories(tmp_path)
    with SshServer() as ssh:
        url = ssh.url(bare.create("demo", {"README.md": "# Demo\n"}))
        (tmp_path / "key").write_bytes(ssh.private_key)
        cli.environment |= {
            "TREADLE_BOOTSTRAP_API_KEY": "trd_0123456789abcdef",
            "TREADLE_API_KEY": "trd_0123456789abcdef",
            "TREADLE_ALLOW_PRIVATE_HOSTS": "1",
        }
        added = cli.run("admin", "repo", "add", "--name", "acme/demo", "--url", url, "--ssh-key", "key", "--json")
        assert added.json["branch"] == "main"
        assert [row[2] for row in cli.run("admin", "repo", "list").rows] == ["acme/demo"]
        with serving(cli) as address:
            start = ("start", "--repo", url, "--branch", "work", "--engine", "dummy", "--step", "x", "--watch")
            assert "Success" in cli.run(*start, extra={"TREADLE_URL": address}).stdout
        assert [commit.subject for commit in bare.log("demo", "work")] == ["x", "Initial commit"]


def test_a_repository_is_looked_at_before_it_is_kept(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("ada:wrong-secret\n")
    (tmp_path / "right").write_text("ada:right-secret\n")
    cli.environment["TREADLE_ALLOW_PRIVATE_HOSTS"] = "1"
    with GitServer(username="ada", password="right-secret") as git:
        git.create("acme/shop", {"README.md": "# Shop\n"}, branch="trunk")
        add = ("admin", "repo", "add", "--name", "acme/shop", "--url", git.url("acme/shop"))
        bare = cli.run(*add, code=1)
        assert "asks for credentials" in bare.stderr
        assert "--http-credentials-env" in bare.stderr
        refused = cli.run(*add, "--http-credentials-file", "wrong", code=1)
        assert "did not accept the credentials" in refused.stderr
        assert "--no-check" in refused.stderr
        assert cli.run("admin", "repo", "list").rows == []
        added = cli.run(*add, "--http-credentials-file", "right", "--json")
        assert added.json["branch"] == "trunk"
        assert ["git", "OK"] in [row[:2] for row in cli.run("admin", "repo", "check", "acme/shop").rows]
        git.password = "another"
        cli.run("admin", "repo", "check", "acme/shop", code=1)
    assert "-secret" not in bare.stderr + refused.stderr + added.stdout + added.stderr


def test_a_limit_of_an_organization(cli: Cli) -> None:
    assert cli.run("admin", "org", "list", "--json").json[0]["slots"] is None
    assert cli.run("admin", "org", "limit", "1", "--runs", "2", "--json").json["slots"] == 2
    assert [row[4] for row in cli.run("admin", "org", "list").rows] == ["2"]
    assert cli.run("admin", "org", "limit", "1", "--no-limit", "--json").json["slots"] is None
    assert "no organization 9" in cli.run("admin", "org", "limit", "9", "--runs", "2", code=1).stderr
    for arguments in ((), ("--runs", "1", "--no-limit"), ("--runs", "0")):
        assert "--runs" in cli.run("admin", "org", "limit", "1", *arguments, code=2).stderr


def test_a_registered_repository_changes_and_goes(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret-token\n")
    cli.run("admin", *REPO, "--http-credentials-file", "token")
    update = ("admin", "repo", "update", "a/b", "--no-check")
    changed = cli.run(*update, "--url", "https://git.example.com/a/c", "--default-branch", "trunk", "--json")
    assert (changed.json["url"], changed.json["branch"]) == ("https://git.example.com/a/c", "trunk")
    assert "secret-token" not in changed.stdout + changed.stderr
    cli.run(*update, "--no-credentials")
    for arguments, said in (
        ((), "Nothing is to change."),
        (("--no-credentials", "--http-credentials-file", "token"), "not both"),
        (("--url", "ext::sh"), "url: "),
    ):
        assert said in cli.run(*update, *arguments, code=2).stderr
    cli.run("admin", "repo", "remove", "a/b")
    assert cli.run("admin", "repo", "list").rows == []
    assert "no repository a/b" in cli.run("admin", "repo", "remove", "a/b", code=1).stderr
    assert "no repository a/b" in cli.run(*update, "--default-branch", "x", code=1).stderr


# ---- the database and the check-up


def test_the_database_is_made_and_brought_up_to_date(cli: Cli) -> None:
    assert "none" in cli.run("db", "current", code=1).stdout
    assert not cli.data.exists(), "asking changes nothing"
    assert cli.run("db", "upgrade", "--json").json["before"] is None
    found = cli.run("db", "current", "--json").json
    assert found["current"] == found["needed"]
    assert "already" in cli.run("db", "upgrade").stdout


def test_the_doctor_looks_and_touches_nothing(cli: Cli) -> None:
    found = cli.run("doctor", "--json").json
    checks = {check["name"]: check for check in found["checks"]}
    assert found["ok"] is True
    assert {"settings", "python", "git", "ssh", "sandbox", "claude", "kimi", "keys", "data", "database"} <= set(checks)
    assert checks["database"]["found"].endswith("(made at the first start)")
    assert checks["keys"]["level"] == "Warning"
    assert not cli.data.exists()
    cli.run("admin", "org", "list")
    healthy = cli.run("doctor", extra={"TREADLE_CLAUDE_API_KEY": "sk-ant-secret"})
    assert re.search(r"^OK +keys +Claude set, Kimi not set$", healthy.stdout, re.MULTILINE)
    assert re.search(r"^OK +database +.*, schema \d+$", healthy.stdout, re.MULTILINE)
    assert "sk-ant-secret" not in healthy.stdout + healthy.stderr


def test_the_doctor_finds_what_is_wrong(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    broken = tmp_path / "bin" / "claude"
    broken.write_text("#!/bin/sh\necho 'cannot start: \033[31mno node' >&2\nexit 1\n")
    broken.chmod(0o755)
    cli.run("db", "upgrade")
    (cli.data / "treadle.db").write_bytes(b"this is no database, whatever its name says" * 100)
    failed = cli.run(
        "doctor",
        "--json",
        code=1,
        extra={"TREADLE_CLAUDE_CLI": str(broken), "PATH": str(tmp_path / "bin"), "TREADLE_SECRET_KEY": "short"},
    )
    levels = {check["name"]: check["level"] for check in failed.json["checks"]}
    assert failed.json["ok"] is False
    problems = {name for name, level in levels.items() if level == "Problem"}
    assert {"git", "claude", "database", "sealing key"} <= problems
    assert levels["ssh"] == "Warning"
    assert all(
        check["hint"] for check in failed.json["checks"] if check["level"] == "Problem" and check["name"] == "git"
    )


def test_the_doctor_reports_settings_that_do_not_load(cli: Cli) -> None:
    failed = cli.run("doctor", code=1, extra={"TREADLE_SLOTS": "none"})
    assert failed.stdout.startswith("Problem   settings")


def test_the_doctor_goes_on_past_addresses_that_it_cannot_use(cli: Cli) -> None:
    unusable = {"TREADLE_BLOB_URL": "ftp://host/treadle", "TREADLE_DATABASE_URL": "mysql://host/treadle"}
    checks = {
        check["name"]: check["level"] for check in cli.run("doctor", "--json", code=1, extra=unusable).json["checks"]
    }
    assert checks["blobs"] == checks["database"] == "Problem"
    assert checks["git"] == "OK"


def test_the_data_directory_of_somebody_else_is_a_problem(cli: Cli) -> None:
    if os.geteuid() == 0:
        cli.environment["TREADLE_DATA_DIR"] = "/proc/treadle"  # which not even root can write to
    else:
        cli.environment["TREADLE_DATA_DIR"] = "/usr/treadle"
    failed = cli.run("doctor", "--json", code=1)
    levels = {check["name"]: check["level"] for check in failed.json["checks"]}
    assert levels["data"] == "Problem"
    refused = cli.run("run", "--repo", ".", "--branch", "b", "--engine", "dummy", "--step", "x", code=2)
    assert "TREADLE_DATA_DIR names another one" in refused.stderr
