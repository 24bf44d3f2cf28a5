"""`treadle admin keys` and `treadle admin repo secret`, on a database of their own."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from treadle.cli.main import app
from treadle.domain.errors import ConfigurationError
from treadle.services.sealing import Resealed, Sealing
from treadle.vault import SealingKey

runner = CliRunner()
Admin = Callable[..., Any]
VALUE = "hunter2-very-secret"


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    for name in [name for name in os.environ if name.startswith("TREADLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TREADLE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TREADLE_BOOTSTRAP_API_KEY", "trd_0123456789abcdef")
    monkeypatch.setenv("TREADLE_LOG_LEVEL", "error")
    monkeypatch.setattr("treadle.services.sealing.SETTLE_SECONDS", 0)
    monkeypatch.setattr("treadle.services.key_rotation.SETTLE_SECONDS", 0)

    def run(*arguments: str | Path, code: int = 0) -> Any:
        done = runner.invoke(app, ["admin", *map(str, arguments)])
        assert done.exit_code == code, (done.output, done.exception)
        assert VALUE not in done.output
        if code:
            return done.output
        return json.loads(done.stdout) if "--json" in arguments else done.output

    return run


@pytest.fixture
def shop(admin: Admin) -> str:
    admin("repo", "add", "--name", "acme/shop", "--url", "https://git.example/acme/shop.git", "--no-check")
    return "acme/shop"


def test_a_secret_is_set_from_a_variable_or_a_file(
    admin: Admin, shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", VALUE)
    admin("repo", "secret", "set", shop, "TOKEN")
    admin("repo", "secret", "set", shop, "OTHER", "--value-env", "TOKEN")
    (tmp_path / "value").write_text(f"{VALUE}\n")
    found = admin("repo", "secret", "set", shop, "FROM_FILE", "--value-file", tmp_path / "value", "--json")
    assert [each["name"] for each in found] == ["FROM_FILE", "OTHER", "TOKEN"]
    admin("repo", "secret", "remove", shop, "OTHER")
    assert "no such secret" in admin("repo", "secret", "remove", shop, "OTHER", code=1)
    assert [each["name"] for each in admin("repo", "secret", "list", shop, "--json")] == ["FROM_FILE", "TOKEN"]


def test_a_secret_without_a_value_or_with_a_reserved_name_is_refused(
    admin: Admin, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", VALUE)
    assert "NO_SUCH" in admin("repo", "secret", "set", shop, "NO_SUCH", code=2)
    assert "not both" in admin("repo", "secret", "set", shop, "A", "--value-env", "B", "--value-file", "C", code=2)
    assert "reserved" in admin("repo", "secret", "set", shop, "GIT_DIR", "--value-env", "TOKEN", code=2)
    assert admin("repo", "secret", "list", shop, "--json") == []


def test_keys_are_rotated_and_retired(admin: Admin, shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", VALUE)
    admin("repo", "secret", "set", shop, "TOKEN")
    path = tmp_path / "data" / "secret.key"
    [old] = admin("keys", "list", "--json")
    assert old == {"key": old["key"], "seals": True, "loaded": True, "texts": 1}
    secret = path.read_text().strip()
    results = tmp_path / "data" / "blobs" / "setup" / "00000000-0000-0000-0000-000000000001"
    results.mkdir(parents=True)
    (results / f"{'a' * 64}.{old['key']}.sealed").write_bytes(b"of the old key")
    (results / f"{'b' * 64}.tar").write_bytes(b"of a version that did not seal")
    done = admin("keys", "rotate", "--json")
    assert done["setupResultsRemoved"] == 2
    assert [each for each in results.parent.rglob("*") if each.is_file()] == []
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{'a' * 64}.{done['key']}.sealed").write_bytes(b"of the new key")
    assert (done["isNew"], done["resealed"], done["unopened"], done["others"]) == (True, 1, 0, [old["key"]])
    assert [each["texts"] for each in admin("keys", "list", "--json")] == [1, 0]
    said = admin("keys", "rotate", "--no-new-key", "--retire")
    assert f"Retired: {old['key']}" in said
    assert [each.name for each in results.iterdir()] == [f"{'a' * 64}.{done['key']}.sealed"]
    assert secret not in said
    assert [each["key"] for each in admin("keys", "list", "--json")] == [done["key"]]
    assert secret not in path.read_text()


def test_a_new_key_is_noted_though_the_rotation_breaks_off(
    admin: Admin, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", VALUE)
    admin("repo", "secret", "set", shop, "TOKEN")

    async def breaks_off(_: Sealing) -> Resealed:
        raise ConfigurationError("Broken off.")

    with monkeypatch.context() as broken:
        broken.setattr(Sealing, "seal_anew", breaks_off)
        admin("keys", "rotate", code=2)
    done = admin("keys", "rotate", "--json")
    assert not done["isNew"]
    (made,) = admin("audit", "--action", "service.key_made", "--json")
    assert made["detail"] == {"key": done["key"]}
    assert len(admin("audit", "--action", "service.keys_rotated", "--json")) == 1


def test_keys_of_the_environment_are_told_how(
    admin: Admin, shop: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TOKEN", VALUE)
    admin("repo", "secret", "set", shop, "TOKEN")
    old = (tmp_path / "data" / "secret.key").read_text().strip()
    new = SealingKey(b"n" * 32)
    monkeypatch.setenv("TREADLE_SECRET_KEY", f"{new.text},{old}")
    said = admin("keys", "rotate")
    assert "1 text" in said
    assert "every process has to open the new key" in said
    assert new.text not in said
    assert "TREADLE_SECRET_KEY" in admin("keys", "rotate", "--retire", code=2)
    monkeypatch.setenv("TREADLE_SECRET_KEY", new.text)
    assert [each["texts"] for each in admin("keys", "list", "--json")] == [1]


def test_texts_of_a_lost_key_are_named_and_the_command_fails(
    admin: Admin, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", VALUE)
    admin("repo", "secret", "set", shop, "TOKEN")
    monkeypatch.setenv("TREADLE_SECRET_KEY", SealingKey(b"n" * 32).text)
    said = admin("keys", "rotate", code=1)
    assert "env/TOKEN" in said
    assert [(each["loaded"], each["texts"]) for each in admin("keys", "list", "--json")] == [(True, 0), (False, 1)]
