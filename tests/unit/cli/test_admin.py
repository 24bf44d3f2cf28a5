"""What an operator administers, through the command line, on a database of its own."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.forge_server import ForgeServer
from tests.support.repositories import BareRepositories
from typer.testing import CliRunner

from treadle.cli.main import app
from treadle.domain.permissions import Permission
from treadle.domain.repository import ForgeKind

runner = CliRunner()

#: Runs `treadle admin …` with `code` for its exit code: what it printed, as JSON if it is any.
Admin = Callable[..., Any]


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    for name in [name for name in os.environ if name.startswith("TREADLE_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "DATA_DIR": str(tmp_path / "data"),
        "BOOTSTRAP_API_KEY": "trd_0123456789abcdef",
        "ALLOW_LOCAL_REPOSITORIES": "1",
        "ALLOW_PRIVATE_HOSTS": "1",
        "LOG_LEVEL": "error",
    }.items():
        monkeypatch.setenv(f"TREADLE_{name}", value)

    def run(*arguments: str | Path, code: int = 0) -> Any:
        done = runner.invoke(app, ["admin", *map(str, arguments)])
        assert done.exit_code == code, (done.output, done.exception)
        if code:
            return done.output
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return run


@pytest.fixture
def bare(tmp_path: Path) -> BareRepositories:
    found = BareRepositories(tmp_path)
    found.create("shop", {"README.md": "# Shop\n"}, branch="trunk")
    return found


@pytest.fixture
def forge() -> Iterator[ForgeServer]:
    with ForgeServer(ForgeKind.GITLAB) as server:
        server.add("acme/shop").branches.add("trunk")
        yield server


def test_what_is_set_for_an_organization(admin: Admin, bare: BareRepositories, tmp_path: Path) -> None:
    admin("repo", "add", "--name", "a/one", "--url", bare.path("shop"))
    admin("repo", "add", "--name", "a/two", "--url", "https://git.example/two", "--no-check")
    found = admin("org", "show", "1", "--json")
    assert (found["prCreation"], found["rulesDetection"], found["repository"]) == (True, True, "a/one")
    found = admin(
        *("org", "set", "1", "--name", "Shop", "--no-pr-creation", "--no-rules-detection"),
        *("--engine", "kimi", "--model", "k2", "--repo", "a/two", "--json"),
    )
    assert (found["name"], found["prCreation"], found["rulesDetection"]) == ("Shop", False, False)
    assert (found["engine"], found["model"], found["repository"]) == ("Kimi", "k2", "a/two")
    found = admin("org", "set", "1", "--pr-creation", "--engine", "", "--model", "", "--repo", "", "--json")
    assert (found["prCreation"], found["rulesDetection"]) == (True, False)
    assert (found["engine"], found["model"], found["repository"]) == (None, None, None)
    assert admin("repo", "default", "a/two", "--json")["repository"] == "a/two"
    assert "repository\ta/two\n" in admin("org", "show", "1")

    (tmp_path / "rules.md").write_text("# Rules\n\nTest it.\n")
    assert admin("org", "rules", "1") == ""
    assert admin("org", "rules", "1", "--file", tmp_path / "rules.md") == "# Rules\n\nTest it.\n"
    assert admin("org", "rules", "1", "--json") == {"rules": "# Rules\n\nTest it."}
    admin("org", "rules", "1", "--clear")
    assert admin("org", "rules", "1", "--json") == {"rules": None}

    limited = admin("org", "limit", "1", "--monthly", "100", "--runs", "2", "--json")
    assert (limited["monthly"], limited["slots"]) == (100, 2)
    limited = admin("org", "limit", "1", "--no-monthly", "--json")
    assert (limited["monthly"], limited["slots"]) == (None, 2)


def test_an_organization_has_budgets_and_a_bill(admin: Admin) -> None:
    found = admin("org", "set", "1", "--max-cost", "0.5", "--monthly-cost", "100", "--json")
    assert (found["maxCostUsd"], found["monthlyCostUsd"]) == (0.5, 100)
    found = admin("org", "set", "1", "--max-cost", "", "--json")
    assert (found["maxCostUsd"], found["monthlyCostUsd"]) == (None, 100)
    for odd in ("much", "nan", "-1", "0.00001"):
        assert "cost" in admin("org", "set", "1", "--monthly-cost", odd, code=2)
    bill = admin("usage", "--by", "month", "--first", "2026-10-31", "--last", "2026-11-01", "--json")
    assert [row["key"] for row in bill["rows"]] == ["2026-10", "2026-11"]
    assert (bill["total"]["runs"], bill["total"]["costUsd"]) == (0, 0.0)
    assert admin("usage", "--by", "run") == "total\t-\t0\t0\t0\t0\t0\t$0.00\n"
    assert "There is no organization" in admin("usage", "--org", "77", code=1)


def test_a_repository_has_policies(admin: Admin, bare: BareRepositories) -> None:
    admin("repo", "add", "--name", "a/shop", "--url", f"{bare.root}/shop.git")

    def update(*options: str) -> None:
        admin("repo", "update", "a/shop", *options, "--json")

    def policies() -> tuple[object, object]:
        found = admin("repo", "show", "a/shop", "--json")
        return found["network"], found["scansSecrets"]

    assert policies() == (None, True)
    update("--network", "allow:pkg.test,*.example.net")
    assert policies() == ("allow:pkg.test,*.example.net", True)
    update("--no-scan-secrets")
    assert policies() == ("allow:pkg.test,*.example.net", False)
    update("--network", "", "--scan-secrets")
    assert policies() == (None, True)
    assert "--network" in admin("repo", "update", "a/shop", "--network", "some", code=2)


def test_users_have_roles_rules_and_names_at_github(admin: Admin) -> None:
    admin("user", "add", "ada@example.com", "--role", "member")
    assert admin("user", "role", "ada@example.com", "--role", "manager", "--json")["role"] == "MANAGER"
    assert [found["role"] for found in admin("user", "list", "--json")] == ["ADMIN", "MANAGER"]
    found = admin("user", "set", "ada@example.com", "--github-id", "7", "--github-username", "ada", "--json")
    assert (found["githubId"], found["githubUsername"], found["avatarUrl"]) == ("7", "ada", None)
    assert admin("user", "set", "ada@example.com", "--github-id", "", "--json")["githubId"] is None
    assert admin("user", "rules", "ada@example.com", "--text", "Be brief.") == "Be brief.\n"
    assert admin("user", "rules", "ada@example.com", "--json") == {"rules": "Be brief."}
    admin("org", "add", "Second")
    assert "not a member" in admin("user", "role", "ada@example.com", "--org", "2", "--role", "admin", code=1)


def test_keys_are_tokens_too_and_may_count_everywhere(admin: Admin) -> None:
    made = admin("token", "create", "--user", "admin@localhost", "--all-organizations", "--json")
    assert made["allOrganizations"] is True
    assert made["key"].startswith("trd_")
    admin("key", "create", "--user", "admin@localhost")
    assert [key["allOrganizations"] for key in admin("token", "list", "--json")] == [False, True, False]
    admin("token", "revoke", str(made["id"]))
    assert [key["revoked"] is None for key in admin("key", "list", "--json")] == [True, False, True]


def test_a_repository_with_a_forge(
    admin: Admin, bare: BareRepositories, forge: ForgeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TREADLE_FORGE_TOKEN", forge.token)
    at = ("--forge", "gitlab", "--forge-api-url", forge.api_url)
    added = admin("repo", "add", "--name", "acme/shop", "--url", bare.path("shop"), *at, "--json")
    assert (added["branch"], added["forge"]) == ("trunk", "gitlab")
    found = admin("repo", "show", "acme/shop", "--json")
    assert (found["forgeApiUrl"], found["description"], found["default"]) == (forge.api_url, "A sample", True)
    checked = admin("repo", "check", "acme/shop", "--json")
    assert [(each["part"], each["level"]) for each in checked] == [("git", "OK"), ("forge", "OK"), ("checks", "OK")]

    forge.projects["acme/shop"].may_push = False
    said = admin("repo", "check", "acme/shop", code=1)
    assert "forge\tProblem\tThe forge's token may read acme/shop but not push to it" in said
    (tmp_path / "token").write_text("another\n")
    admin("repo", "update", "acme/shop", "--forge-token-file", tmp_path / "token", code=1)
    forge.projects["acme/shop"].may_push = True
    assert "forge\tOK" in admin("repo", "check", "acme/shop"), "the token that there was is still there"
    assert admin("repo", "update", "acme/shop", "--no-forge", "--json")["forge"] is None
    assert admin("repo", "update", "acme/shop", "--archived", "--language", "Go", "--json")["forge"] is None
    found = admin("repo", "show", "acme/shop", "--json")
    assert (found["archived"], found["language"], found["forgeId"]) == (True, "Go", None)


def test_the_forge_is_known_by_the_host(admin: Admin) -> None:
    for name, url, options, expected in (
        ("a/known", "git@github.com:acme/shop.git", (), "https://api.github.com"),
        ("a/own", "https://git.example:8443/acme/shop.git", ("--forge", "gitea"), "https://git.example:8443/api/v1"),
        ("a/ssh", "ssh://git@git.example/acme/shop.git", ("--forge", "gitlab"), "https://git.example/api/v4"),
        ("a/none", "https://git.example/acme/shop.git", (), None),
    ):
        admin("repo", "add", "--no-check", "--name", name, "--url", url, *options)
        assert admin("repo", "show", name, "--json")["forgeApiUrl"] == expected


def test_rules_and_setup_commands_of_a_repository(admin: Admin, tmp_path: Path) -> None:
    admin("repo", "add", "--no-check", "--name", "a/b", "--url", "https://git.example/b")
    assert admin("repo", "rules", "a/b", "--text", "Ours.") == "Ours.\n"
    assert admin("repo", "rules", "a/b", "--json") == {"rules": "Ours."}
    (tmp_path / "setup.sh").write_text("npm ci\nnpm test\n")
    assert admin("repo", "setup", "set", "a/b", "--file", tmp_path / "setup.sh") == "npm ci\nnpm test\n"
    assert admin("repo", "setup", "show", "a/b", "--json") == {"commands": "npm ci\nnpm test"}
    assert admin("repo", "show", "a/b", "--json")["setup"] == "READY"
    assert admin("repo", "setup", "list", "a/b", "--json") == []
    admin("repo", "setup", "clear", "a/b")
    assert admin("repo", "setup", "show", "a/b") == ""
    admin("repo", "setup", "log", "9", code=1)


def test_providers_and_tokens_of_them(admin: Admin, tmp_path: Path) -> None:
    at = ("--issuer", "https://i.example", "--authorization-endpoint", "https://i.example/a")
    made = admin("mcp", "add", "linear", *at, "--token-endpoint", "https://i.example/t", "--scope", "read", "--json")
    assert (made["mcp"], made["scopes"]) == (True, "read")
    assert [found["name"] for found in admin("mcp", "list", "--json")] == ["linear"]
    (tmp_path / "token").write_text("secret\n")
    put = ("oauth", "put", "--provider", "linear", "--user", "admin@localhost")
    assert admin(*put, "--token-file", tmp_path / "token") == ""
    assert "--token-env" in admin(*put, code=2)
    admin("mcp", "remove", "linear")
    assert "linear" in admin("mcp", "remove", "linear", code=1)
    assert "expired" in admin("connect", "unknown", "--provider", "slack", "--account", "U1", code=1)


def test_roles_are_said(admin: Admin) -> None:
    rows = admin("roles", "--json")
    assert [row["permission"] for row in rows] == [permission.value for permission in Permission]
    assert all(row["MEMBER"] <= row["MANAGER"] <= row["ADMIN"] for row in rows)
    assert f"{Permission.READ.value}\tyes\tyes\tyes\n" in admin("roles")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("org", "show", "9"), 1, "There is no organization 9."),
        (("org", "set", "1"), 2, "nothing is to change"),
        (("org", "set", "1", "--engine", "gpt"), 2, "--engine"),
        (("org", "set", "1", "--repo", "a/none"), 1, "no repository a/none"),
        (("org", "limit", "1", "--monthly", "1", "--no-monthly"), 2, "--monthly"),
        (("org", "rules", "1", "--text", "x", "--clear"), 2, "one of --file, --text and --clear"),
        (("org", "rules", "1", "--text", " "), 2, "--clear takes away"),
        (("user", "set", "admin@localhost"), 2, "nothing is to change"),
        (("user", "role", "no@example.com", "--role", "admin"), 1, "no@example.com"),
        (("user", "set", "admin@localhost", "--avatar-url", "x"), 2, "avatar_url"),
        (("repo", "add", "--name", "a/b", "--url", "https://127.0.0.1:1/b.git"), 1, "127.0.0.1 cannot be reached"),
        (("repo", "add", "--name", "a/b", "--url", "/nowhere"), 1, "There is no repository at /nowhere"),
        (("repo", "add", "--name", "a/b", "--url", "/nowhere"), 1, "with --no-check it is"),
        (("repo", "add", "--name", "a/b", "--url", "/x", "--forge", "gitea"), 2, "--forge-api-url"),
        (("repo", "add", "--name", "a/b", "--url", "/x", "--forge-api-url", "https://f"), 2, "--forge"),
        (("repo", "add", "--name", "a/b", "--url", "ext::sh", "--forge", "gitea"), 2, "url"),
        (("repo", "default", "a/none"), 1, "no repository a/none"),
        (("repo", "check", "a/none"), 1, "no repository a/none"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_kept(admin: Admin, arguments: tuple[str, ...], code: int, said: str) -> None:
    assert said in admin(*arguments, code=code)
    assert admin("repo", "list", "--json") == []
    assert admin("org", "list", "--json")[0]["name"] == "Default"


def test_a_password_comes_from_anywhere_but_the_command_line(
    admin: Admin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin("user", "add", "ada@example.org", "--role", "member")
    (tmp_path / "password").write_text("correct horse battery\n")
    admin("user", "password", "ada@example.org", "--password-file", tmp_path / "password")
    monkeypatch.setenv("NEW_PASSWORD", "staple battery horse")
    admin("user", "password", "ada@example.org", "--password-env", "NEW_PASSWORD")
    done = runner.invoke(app, ["admin", "user", "password", "ada@example.org"], input="a third long password\n")
    assert done.exit_code == 0
    assert "ada@example.org has a password now" in done.output
    assert "third" not in done.output
    assert "12 to 200" in admin("user", "password", "ada@example.org", code=2)  # standard input is empty
    admin("user", "password", "ada@example.org", "--remove")
    assert "not both" in admin(
        *("user", "password", "ada@example.org", "--remove", "--password-env", "NEW_PASSWORD"), code=2
    )
    assert "There is no user" in admin(
        *("user", "password", "nobody@example.org", "--password-env", "NEW_PASSWORD"), code=1
    )
