"""Repositories' secrets: written and named, never read."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.deployment import Deployment, Json, Member, deployed

from treadle.domain.identity import Role
from treadle.domain.repository import Repository
from treadle.services.audit import Wanted
from treadle.services.environment_rules import MAX_ENVIRONMENT_BYTES, MAX_VALUE_BYTES, MAX_VARIABLES

pytestmark = pytest.mark.anyio

VALUE = "hunter2-very-secret"


@pytest.fixture
async def here(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path) as found:
        yield found


@pytest.fixture
async def shop(here: Deployment) -> Repository:
    return await here.services.repositories.add(
        here.admin.organization, name="acme/shop", url="https://git.example/acme/shop.git", default_branch="main"
    )


def path(repository: Repository | int, name: str = "") -> str:
    id_ = repository if isinstance(repository, int) else repository.id
    return f"/repositories/by-id/{id_}/secrets{f'/{name}' if name else ''}"


async def put(
    here: Deployment, repository: Repository, values: Any, *, who: Member | None = None, status: int = 200
) -> Json:
    answer = await here.http.put(
        path(repository), headers=(who or here.admin).headers, content=json.dumps({"values": values})
    )
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


async def names(here: Deployment, repository: Repository, who: Member | None = None) -> list[str]:
    answer = await here.http.get(path(repository), headers=(who or here.admin).headers)
    assert answer.status_code == httpx2.codes.OK, answer.text
    return [each["name"] for each in answer.json()["secrets"]]


async def test_secrets_are_set_named_and_removed(here: Deployment, shop: Repository) -> None:
    assert await names(here, shop) == []
    found = await put(here, shop, {"B_TOKEN": VALUE, "a": "multi\nline\nvalue"})
    assert found == {
        "secrets": [
            {"name": "B_TOKEN", "dateUpdated": "2026-10-01T09:30:00.125Z"},
            {"name": "a", "dateUpdated": "2026-10-01T09:30:00.125Z"},
        ]
    }
    here.clock.advance(60)
    assert (await put(here, shop, {"a": "other"}))["secrets"][1]["dateUpdated"] == "2026-10-01T09:31:00.125Z"
    for status in (204, 404):
        answer = await here.http.delete(path(shop, "a"), headers=here.admin.headers)
        assert answer.status_code == status
    assert await names(here, shop) == ["B_TOKEN"]


async def test_a_value_is_in_no_answer_no_entry_and_no_row(here: Deployment, shop: Repository, tmp_path: Path) -> None:
    answers = [json.dumps(await put(here, shop, {"TOKEN": VALUE}))]
    answers.append(json.dumps(await put(here, shop, {"TOKEN": VALUE, "PATH": VALUE}, status=400)))
    answers.append(json.dumps(await put(here, shop, {"TOKEN": [VALUE], "x": VALUE}, status=400)))
    bad = await here.http.put(path(shop), headers=here.admin.headers, content=f'{{"values": {VALUE}')
    assert bad.status_code == httpx2.codes.BAD_REQUEST
    await here.http.delete(path(shop, "TOKEN"), headers=here.admin.headers)
    entries, _ = await here.services.audit.list(
        (await here.services.identity.authenticate(here.admin.key)), Wanted(action="repository.")
    )
    assert entries
    answers += [bad.text, repr(entries)]
    assert VALUE not in " ".join(answers)
    raw = everything_below(tmp_path)
    assert b"secret_set" in raw
    assert VALUE.encode() not in raw


def everything_below(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


async def test_who_may(here: Deployment, shop: Repository) -> None:
    member = await here.member("member@example.org")
    manager = await here.member("manager@example.org", Role.MANAGER)
    elsewhere = await here.services.identity.add_organization("Elsewhere")
    stranger = await here.member("stranger@example.org", Role.ADMIN, organization=elsewhere)
    await put(here, shop, {"TOKEN": VALUE}, who=manager)
    await put(here, shop, {"TOKEN": VALUE}, who=member, status=403)
    await put(here, shop, {"TOKEN": VALUE}, who=stranger, status=404)
    assert await names(here, shop, member) == ["TOKEN"]
    for who, status in ((member, 403), (stranger, 404), (manager, 204)):
        answer = await here.http.delete(path(shop, "TOKEN"), headers=who.headers)
        assert answer.status_code == status
    for id_ in (path(999), "/repositories/by-id/x/secrets"):
        assert (await here.http.get(id_, headers=here.admin.headers)).status_code == httpx2.codes.NOT_FOUND
    assert (await here.http.get(path(shop))).status_code == httpx2.codes.UNAUTHORIZED


async def test_every_fault_is_told_at_once(here: Deployment, shop: Repository) -> None:
    await put(here, shop, {"KEPT": VALUE})
    told = await put(
        here,
        shop,
        {
            "KEPT": "other value",
            "1ST": VALUE,
            "PATH": VALUE,
            "SHORT": " ab ",
            "NUL": "secret\0secret",
            "LONG": "x" * (MAX_VALUE_BYTES + 1),
            "HALF": "\ud800\ud800\ud800\ud800",
            "GIT_TOKEN": "",
        },
        status=400,
    )
    assert set(told["errors"]) == {
        f"values.{name}" for name in ("1ST", "PATH", "SHORT", "NUL", "LONG", "HALF", "GIT_TOKEN")
    }
    assert len(told["errors"]["values.GIT_TOKEN"]) == 2
    assert "at least 4" in told["errors"]["values.SHORT"][0]
    assert await names(here, shop) == ["KEPT"]


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "path", "HOME", "BASH_ENV", "IFS", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "NODE_OPTIONS"),
        *(
            "PYTHONPATH",
            "GIT_SSH_COMMAND",
            "SSH_AUTH_SOCK",
            "ANTHROPIC_API_KEY",
            "CLAUDE_CONFIG_DIR",
            "KIMI_MODEL_NAME",
        ),
        *("MOONSHOT_API_KEY", "TREADLE_SECRET_KEY", "HTTPS_PROXY", "no_proxy", "LC_ALL", "XDG_CONFIG_HOME", "PS4"),
    ],
)
async def test_names_that_decide_how_programs_run_are_reserved(here: Deployment, shop: Repository, name: str) -> None:
    told = await put(here, shop, {name: VALUE}, status=400)
    assert "reserved" in told["errors"][f"values.{name}"][0]


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "NODE_AUTH_TOKEN", "DATABASE_URL", "_", "x" * 128, "PYTHON_TOKEN"])
async def test_names_of_peoples_own_are_not(here: Deployment, shop: Repository, name: str) -> None:
    await put(here, shop, {name: VALUE})
    assert await names(here, shop) == [name]


@pytest.mark.parametrize("name", ["", "A B", "A=B", "A-B", "é", "x" * 129, "A\n", "\ud800", "../git_http"])
async def test_names_of_another_form_are_refused(here: Deployment, shop: Repository, name: str) -> None:
    await put(here, shop, {name: VALUE}, status=400)
    answer = await here.http.request("DELETE", path(shop, "git_http"), headers=here.admin.headers)
    assert answer.status_code == httpx2.codes.NOT_FOUND


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"values": []}', '{"values": {}}', '{"values": {"A": 1}}', "[" * 50_000, '{"values"']
)
async def test_bodies_of_another_form_are_refused(here: Deployment, shop: Repository, body: str) -> None:
    answer = await here.http.put(path(shop), headers=here.admin.headers, content=body)
    assert answer.status_code == httpx2.codes.BAD_REQUEST, answer.text
    assert answer.json()["errors"]


async def test_unknown_fields_are_told(here: Deployment, shop: Repository) -> None:
    answer = await here.http.put(path(shop), headers=here.admin.headers, json={"values": {"A": VALUE}, "name": "x"})
    assert answer.status_code == httpx2.codes.BAD_REQUEST
    assert list(answer.json()["errors"]) == ["name"]


async def test_there_are_only_so_many(here: Deployment, shop: Repository) -> None:
    await put(here, shop, {f"A{at}": VALUE for at in range(MAX_VARIABLES)})
    told = await put(here, shop, {"ONE_MORE": VALUE}, status=400)
    assert f"{MAX_VARIABLES + 1}" in told["errors"]["values"][0]
    await put(here, shop, {"A0": "another value"})
    await put(here, shop, {f"B{at}": VALUE for at in range(MAX_VARIABLES + 1)}, status=400)


async def test_together_they_take_only_so_much(here: Deployment, shop: Repository) -> None:
    count = MAX_ENVIRONMENT_BYTES // MAX_VALUE_BYTES
    await put(here, shop, {f"A{at}": "☃" * (MAX_VALUE_BYTES // 3) for at in range(count - 1)})
    room = MAX_ENVIRONMENT_BYTES - (count - 1) * (MAX_VALUE_BYTES // 3 * 3 + 4) - 4
    await put(here, shop, {"B0": "x" * min(room, MAX_VALUE_BYTES)})
    told = await put(here, shop, {"C0": "x" * 100}, status=400)
    assert "bytes" in told["errors"]["values"][0]


async def test_the_operations_are_documented(here: Deployment) -> None:
    paths = (await here.http.get("/openapi.json")).json()["paths"]
    assert set(paths["/repositories/by-id/{id}/secrets"]) == {"get", "put"}
    assert set(paths["/repositories/by-id/{id}/secrets/{name}"]) == {"delete"}
