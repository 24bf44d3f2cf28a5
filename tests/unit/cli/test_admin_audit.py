"""`treadle admin audit`; and every command of `treadle admin` that changes something is in it."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.repositories import BareRepositories
from tests.unit.cli.test_admin import Admin, admin, bare
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from treadle import factory
from treadle.cli.main import app
from treadle.services.audit_actions import Action
from treadle.settings import Settings

__all__ = ["admin", "bare"]

#: Commands that change nothing.
READ = frozenset(
    {"roles", "audit", "usage", "org list", "org show", "user list", "key list", "token list", "repo list", "repo show",
     "repo check", "repo setup show", "repo setup list", "repo setup log", "repo secret list", "keys list", "mcp list"}
)  # fmt: skip

#: The others, in an order in which each can be done; by what each is noted as. `#` is the newest key, `@` a token.
CHANGES: Mapping[str, tuple[Action, tuple[str, ...]]] = {
    "org add": (Action.ORGANIZATION_CREATED, ("Other",)),
    "org set": (Action.ORGANIZATION_CHANGED, ("1", "--name", "Shop")),
    "org limit": (Action.ORGANIZATION_CHANGED, ("1", "--runs", "3")),
    "org rules": (Action.ORGANIZATION_CHANGED, ("1", "--text", "Be kind.")),
    "user add": (Action.MEMBER_ADDED, ("ada@example.org", "--role", "member")),
    "user role": (Action.MEMBER_CHANGED, ("ada@example.org", "--role", "manager")),
    "user set": (Action.USER_CHANGED, ("ada@example.org", "--name", "Ada")),
    "user rules": (Action.USER_CHANGED, ("ada@example.org", "--text", "Be brief.")),
    "user password": (Action.PASSWORD_SET, ("ada@example.org", "--password-env", "WORD")),
    "user sessions revoke": (Action.SESSION_REVOKED, ("ada@example.org",)),
    "key create": (Action.KEY_CREATED, ("--user", "ada@example.org")),
    "key revoke": (Action.KEY_REVOKED, ("#",)),
    "token create": (Action.KEY_CREATED, ("--user", "ada@example.org")),
    "token revoke": (Action.TOKENS_REVOKED, ("--user", "ada@example.org")),
    "user remove": (Action.MEMBER_REMOVED, ("ada@example.org",)),
    "repo add": (Action.REPOSITORY_ADDED, ("--name", "a/one", "--url", "{shop}")),
    "repo update": (Action.REPOSITORY_CHANGED, ("a/one", "--description", "A shop")),
    "repo default": (Action.ORGANIZATION_CHANGED, ("a/one",)),
    "repo rules": (Action.REPOSITORY_CHANGED, ("a/one", "--text", "No tabs.")),
    "repo setup set": (Action.REPOSITORY_SETUP_CHANGED, ("a/one", "--file", "{script}")),
    "repo setup clear": (Action.REPOSITORY_SETUP_CHANGED, ("a/one",)),
    "repo secret set": (Action.REPOSITORY_SECRET_SET, ("a/one", "PACKAGES", "--value-env", "WORD")),
    "repo secret remove": (Action.REPOSITORY_SECRET_REMOVED, ("a/one", "PACKAGES")),
    "repo remove": (Action.REPOSITORY_REMOVED, ("a/one",)),
    "mcp add": (
        Action.PROVIDER_ADDED,
        ("notes", "--issuer", "https://n.example", "--authorization-endpoint", "https://n.example/a",
         "--token-endpoint", "https://n.example/t"),
    ),
    "oauth put": (
        Action.OAUTH_TOKEN_SET, ("--provider", "notes", "--user", "admin@localhost", "--token-env", "WORD")
    ),
    "mcp remove": (Action.PROVIDER_REMOVED, ("notes",)),
    "connect": (Action.CONNECTED, ("@", "--provider", "slack", "--account", "U1")),
    "keys rotate": (Action.KEYS_ROTATED, ()),
}  # fmt: skip


def commands(group: TyperGroup, path: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}".strip()


def test_every_command_that_changes_something_is_noted(
    admin: Admin, bare: BareRepositories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    group = root.commands["admin"]
    assert isinstance(group, TyperGroup)
    assert set(commands(group)) == READ | CHANGES.keys()
    monkeypatch.setenv("WORD", "a word not to be told")
    (tmp_path / "setup.sh").write_text("true\n")
    admin("repo", "add", "--name", "a/two", "--url", "https://git.example/two", "--no-check")
    for command, (action, arguments) in CHANGES.items():
        before = newest(admin)
        places = {"#": str(newest_key(admin)), "@": connect_token() if "@" in arguments else ""}
        given = [
            places.get(each, each).format(shop=bare.path("shop"), script=tmp_path / "setup.sh") for each in arguments
        ]
        admin(*command.split(" "), *given)
        noted = [entry for entry in admin("audit", "--json") if entry["id"] > before and entry["action"] == action]
        assert noted, f"treadle admin {command} leaves no {action}"
        assert {(entry["door"], entry["actor"], entry["userId"]) for entry in noted} == {("cli", "operator", None)}
    assert "not to be told" not in str(admin("audit", "--json", "--limit", "1000"))


def newest(admin: Admin) -> int:
    found: list[dict[str, Any]] = admin("audit", "--json", "--limit", "1")
    return int(found[0]["id"])


def newest_key(admin: Admin) -> int:
    return max(int(each["id"]) for each in admin("key", "list", "--json"))


def connect_token() -> str:
    """As the API gives one."""

    async def ask() -> str:
        import os

        async with factory.assemble(Settings.load(os.environ), tells_others=False) as parts:
            principal = await parts.services.identity.authenticate("trd_0123456789abcdef")
            token, _ = await parts.services.connections.connect_token(principal)
            return token

    return asyncio.run(ask())


def test_prune_is_noted(admin: Admin) -> None:
    admin("org", "list")
    done = CliRunner().invoke(app, ["prune", "--events-days", "1", "--dry-run"])
    assert done.exit_code == 0, done.output
    assert admin("audit", "--action", "service.pruned", "--json") == []
    done = CliRunner().invoke(app, ["prune", "--events-days", "1"])
    assert done.exit_code == 0, done.output
    (entry,) = admin("audit", "--action", "service.pruned", "--json")
    assert (entry["door"], entry["actor"]) == ("cli", "operator")
    assert entry["detail"] == {"events": 0, "artifacts": 0, "automation": 0}


def test_the_log_is_listed_by_what_is_asked_for(admin: Admin) -> None:
    admin("org", "add", "Other")
    admin("user", "add", "ada@example.org", "--org", "2", "--role", "admin")
    assert [each["action"] for each in admin("audit", "--json")] == [
        "member.added",
        "organization.created",
        "service.begun",
    ]
    assert [each["action"] for each in admin("audit", "--org", "1", "--json")] == ["service.begun"]
    assert [each["action"] for each in admin("audit", "--action", "organization.", "--json")] == [
        "organization.created"
    ]
    (last,) = admin("audit", "--limit", "1", "--json")
    assert [each["action"] for each in admin("audit", "--before", str(last["id"]), "--limit", "1", "--json")] == [
        "organization.created"
    ]
    assert admin("audit", "--since", "2999-01-01", "--json") == []
    assert admin("audit", "--action", "webhook.", "--json") == []
    assert "Is no action" in admin("audit", "--action", "nope.x", code=2)
    assert len(admin("audit", "--since", "2001-01-01T00:00:00+02:00", "--json")) == 3
    assert "must be a date" in admin("audit", "--since", "yesterday", code=2)
    rows = [line.split("\t") for line in admin("audit").splitlines()]
    assert [(row[2], row[3], row[4]) for row in rows] == [
        ("2", "operator", "member.added"),
        ("2", "operator", "organization.created"),
        ("1", "operator", "service.begun"),
    ]


def test_a_key_or_a_user_is_named(admin: Admin) -> None:
    admin("token", "revoke", code=2)
    admin("token", "revoke", "1", "--user", "admin@localhost", code=2)
    admin("token", "revoke", "1")
    assert admin("key", "list", "--json")[0]["revoked"] is not None
    assert "no user" in admin("token", "revoke", "--user", "nobody@example.org", code=1).lower()
    assert "no user" in admin("user", "sessions", "revoke", "nobody@example.org", code=1).lower()
