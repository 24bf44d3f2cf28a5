"""What holds for the API as a whole: errors outside of handlers, health, limits, documentation, secrets."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs
from tests.support.deployment import PROCESSES, Deployment, Json, body, deployed
from tests.support.executors import Away
from tests.unit.api.golden import check_json
from tests.unit.api.test_diff import keep
from tests.unit.api.test_requests import PEM

from treadle.api.app import create_app
from treadle.api.maitento import examples, schemas
from treadle.api.maitento.faults import read
from treadle.api.maitento.requests import ClaudeAuthenticationUpdateBody, CredentialsBody, ProcessBody
from treadle.services.runs import Runs
from treadle.store.sql import SqlStore

# ---- errors


@pytest.mark.anyio
async def test_what_is_not_there_is_a_problem_too(here: Deployment) -> None:
    answer = await here.http.get("/code-generation/nothing")
    check_json("problem_404", answer.content)
    assert answer.headers["content-type"] == "application/problem+json"
    answer = await here.http.delete(PROCESSES, headers=here.admin.headers)
    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "GET, POST"


@pytest.mark.anyio
async def test_the_shape_of_a_problem(here: Deployment) -> None:
    answer = await here.http.post(PROCESSES, headers=here.admin.headers, json=body(branchWork="main", extra=1))
    check_json("problem_400", answer.content)
    answer = await here.http.get(PROCESSES)
    check_json("problem_401", answer.content)


@pytest.mark.anyio
async def test_a_defect_tells_an_id_that_is_in_the_log_and_nothing_else(
    here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ValueError("internals: 10.0.0.7")

    monkeypatch.setattr(Runs, "get", broken)
    with capture_logs() as logged:
        answer = await here.http.get(f"{PROCESSES}/by-id/{'0' * 32}", headers=here.admin.headers)
    assert answer.status_code == 500
    problem = answer.json()
    assert problem["code"] == "internal"
    assert "10.0.0.7" not in answer.text
    (line,) = logged
    assert line["incident"] == problem["instance"]
    assert problem["instance"] in problem["detail"]
    assert isinstance(line["exc_info"], ValueError)


@pytest.mark.anyio
async def test_a_defect_outside_of_the_handlers_does_so_too(here: Deployment) -> None:
    async def broken(_request: object) -> None:
        raise ValueError("internals")

    here.app.add_route("/broken", broken)  # type: ignore[arg-type]  # it never gets to an answer
    with capture_logs() as logged:
        answer = await here.http.get("/broken")
    assert answer.status_code == 500
    assert answer.json()["instance"] == logged[0]["incident"]
    assert "internals" not in answer.text


# ---- health


@pytest.mark.anyio
async def test_health(here: Deployment) -> None:
    assert (await here.http.get("/healthz")).json() == {"status": "ok"}
    answer = await here.http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "checks": {"store": "ok", "blobs": "ok"}})


@pytest.mark.anyio
async def test_a_part_that_is_away_is_named(here: Deployment) -> None:
    await here.store.close()
    with capture_logs() as logged:
        answer = await here.http.get("/readyz")
    assert answer.status_code == 503
    assert logged[0]["part"] == "store"
    assert "closed" in logged[0]["reason"]
    assert answer.json()["errors"] == {"store": ["It cannot be reached."]}
    assert "closed" not in answer.text
    assert (await here.http.get("/healthz")).status_code == 200
    without = await here.http.get("/readyz?exclude=store")
    assert (without.status_code, without.json()["checks"]) == (200, {"blobs": "ok"})


@pytest.mark.anyio
async def test_what_runs_in_the_lifespan(here: Deployment) -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        seen.append(app.title)
        yield
        seen.append("end")

    app = create_app(here.services, here.settings, lifespan=lifespan)
    async with app.router.lifespan_context(app):
        assert seen == ["Treadle"]
    assert seen == ["Treadle", "end"]


# ---- limits


@pytest.mark.anyio
async def test_nobody_gets_more_than_the_rate(tmp_path: Path) -> None:
    async with deployed(tmp_path, rate_limit_code_generation="4/10") as here:
        user = await here.member("user@example.com")
        remaining = []
        for _ in range(4):
            answer = await here.http.get(PROCESSES, headers=here.admin.headers)
            assert answer.status_code == 200
            assert answer.headers["ratelimit-policy"] == '"code-generation";q=4;w=10'
            remaining.append(answer.headers["ratelimit"])
        assert remaining == [f'"code-generation";r={left};t=10' for left in (3, 2, 1, 0)]
        here.clock.advance(0.5)
        answer = await here.http.get(PROCESSES, headers=here.admin.headers)
        assert answer.status_code == 429
        assert answer.json()["code"] == "too_many_requests"
        wait = int(answer.headers["retry-after"])
        assert wait == 10  # nine and a half
        assert answer.headers["ratelimit"] == f'"code-generation";r=0;t={wait}'
        assert (await here.http.get(PROCESSES, headers=user.headers)).status_code == 200
        assert (await here.http.get(PROCESSES)).status_code == 401
        here.clock.advance(wait - 1)
        assert (await here.http.get(PROCESSES, headers=here.admin.headers)).status_code == 429
        here.clock.advance(1)
        assert (await here.http.get(PROCESSES, headers=here.admin.headers)).status_code == 200


@pytest.mark.anyio
async def test_an_edge_between_windows_admits_no_more(tmp_path: Path) -> None:
    async with deployed(tmp_path, rate_limit_code_generation="10/10") as here:
        codes = []
        for _ in range(80):  # twenty seconds, four requests in each
            codes.append((await here.http.get(PROCESSES, headers=here.admin.headers)).status_code)
            here.clock.advance(0.25)
        assert codes == ([200] * 10 + [429] * 30) * 2


@pytest.mark.anyio
async def test_a_request_that_cannot_be_counted_does_not_pass(tmp_path: Path) -> None:
    async with deployed(tmp_path, rate_limit_code_generation="10/10") as here:
        assert isinstance(here.store, SqlStore)
        assert (await here.http.get(PROCESSES, headers=here.admin.headers)).status_code == 200
        here.store._executor = Away(here.store._executor)
        answer = await here.http.get(PROCESSES, headers=here.admin.headers)
        assert answer.status_code == 503
        assert answer.json()["code"] == "unavailable"
        assert int(answer.headers["retry-after"]) >= 1
        assert "ratelimit" not in answer.headers


@pytest.mark.anyio
async def test_a_new_token_is_no_new_budget(tmp_path: Path) -> None:
    async with deployed(tmp_path, rate_limit_code_generation="2/10") as here:
        principal = await here.services.identity.authenticate(here.admin.key)
        codes = []
        for _ in range(3):
            token = await here.services.tokens.issue(principal)
            answer = await here.http.get(PROCESSES, headers={"Authorization": f"Bearer {token.text}"})
            codes.append(answer.status_code)
        assert codes == [200, 200, 429]


@pytest.mark.anyio
async def test_without_a_limit_there_are_no_headers(here: Deployment) -> None:
    answer = await here.http.get(PROCESSES, headers=here.admin.headers)
    assert "ratelimit" not in answer.headers


# ---- documentation


#: Where Treadle's own endpoints are.
NATIVE = (
    *("/usage", "/budget", "/repositories/", "/audit", "/plans/", "/schemas/", "/batches", "/schedules"),
    *("/scripts", "/script-runs", "/triggers", "/hooks", "/webhooks"),
)
BILL = {
    ("get", "/usage"),
    ("get", "/budget"),
    ("put", "/budget"),
    ("get", "/repositories/by-id/{id}/policies"),
    ("put", "/repositories/by-id/{id}/network"),
    ("put", "/repositories/by-id/{id}/secret-scanning"),
}


def references(found: object) -> set[str]:
    if isinstance(found, dict):
        own = {found["$ref"]} if isinstance(found.get("$ref"), str) else set()
        return own.union(*(references(value) for value in found.values()), set())
    if isinstance(found, list):
        return set().union(*(references(value) for value in found), set())
    return set()


@pytest.mark.anyio
async def test_every_endpoint_is_documented(here: Deployment) -> None:
    document: Json = (await here.http.get("/openapi.json")).json()
    by_id = f"{PROCESSES}/by-id/{{id}}"
    # The agent-run API's are held to their own specification.
    paths = {path: methods for path, methods in document["paths"].items() if not path.startswith("/v1/")}
    found = {(method, path) for path, methods in paths.items() for method in methods}
    assert found >= BILL
    own = {(method, path) for method, path in found if path.startswith(NATIVE)}
    assert found - own == {
        ("post", PROCESSES),
        ("get", PROCESSES),
        ("get", f"{PROCESSES}/alive"),
        ("get", by_id),
        ("put", f"{by_id}/credentials"),
        ("put", f"{by_id}/claude-authentication"),
        ("put", f"{by_id}/kill"),
        ("get", f"{by_id}/events"),
        ("get", f"{by_id}/diff"),
        ("get", f"{by_id}/artifacts"),
        ("get", f"{by_id}/artifacts/{{name}}/content"),
        ("post", "/files"),
        ("get", "/files"),
        ("get", "/files/by-id/{id}"),
        ("delete", "/files/by-id/{id}"),
        ("get", "/files/by-id/{id}/content"),
        ("post", "/auth/token"),
        ("get", "/.well-known/jwks.json"),
    }
    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}
    assert document["security"] == [{"bearer": []}, {"apiKey": []}]
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]
    names = set()
    for path, methods in paths.items():
        for operation in methods.values():
            names.add(operation["operationId"])
            is_open = path.startswith("/.well-known")
            assert (operation.get("security") == []) == is_open
            assert {"401", "403", "429"} <= set(operation["responses"]) or is_open
            for parameter in operation.get("parameters", []):
                assert parameter["description"]
            for part in path.split("{")[1:]:
                assert part.split("}")[0] in {parameter["name"] for parameter in operation["parameters"]}
            for kind in operation.get("requestBody", {}).get("content", {}).values():
                assert "schema" in kind
    assert len(names) == len(found)
    fields = document["components"]["schemas"]["ProcessBody"]["properties"]
    assert fields["steps"]["maxItems"] == 20
    assert fields["gitUrl"]["maxLength"] == 10_000


@pytest.mark.anyio
async def test_the_examples_are_true(here: Deployment) -> None:
    answer = await here.http.post(PROCESSES, headers=here.admin.headers, json=examples.PROCESS_REQUEST)
    assert answer.status_code == 200, answer.text
    process = answer.json()
    assert set(process) == set(examples.PROCESS)
    assert set(process["steps"][0]) == set(examples.PROCESS["steps"][0])
    path = f"{PROCESSES}/by-id/{process['id']}"
    for suffix, content in (
        ("credentials", examples.CREDENTIALS_REQUEST),
        ("claude-authentication", examples.CLAUDE_REQUEST),
    ):
        answer = await here.http.put(f"{path}/{suffix}", headers=here.admin.headers, json=content)
        assert answer.status_code == 204, answer.text
    for model, example in (
        (ProcessBody, examples.PROCESS_REQUEST),
        (CredentialsBody, examples.CREDENTIALS_REQUEST),
        (ClaudeAuthenticationUpdateBody, examples.CLAUDE_REQUEST),
    ):
        assert not read(model, json.dumps(example).encode()).faults


@pytest.mark.anyio
async def test_answers_have_the_documented_shapes(here: Deployment) -> None:
    process = (await here.http.post(PROCESSES, headers=here.admin.headers, json=body())).content
    _, fence = await here.claim()
    await keep(here, fence, "partial-work-step-1.patch", b"")
    await here.finish(fence)
    by_id = f"{PROCESSES}/by-id/{json.loads(process)['id']}"
    file = await here.http.post("/files", headers=here.admin.headers, files={"file": ("a", b"x")})
    token = await here.http.post("/auth/token", headers=here.admin.headers)
    keys = await here.http.get("/.well-known/jwks.json")
    events = await here.http.get(f"{by_id}/events", headers={**here.admin.headers, "Accept": "application/json"})
    diff = await here.http.get(f"{by_id}/diff", headers=here.admin.headers)
    artifacts = await here.http.get(f"{by_id}/artifacts", headers=here.admin.headers)
    assert len(artifacts.json()) == 1
    problem = await here.http.get(by_id)
    golden = Path(__file__).parents[2] / "golden" / "maitento" / "process_failed.json"
    failed: Json = json.loads(golden.read_text(encoding="utf-8"))
    shown: list[tuple[Any, Any]] = [
        (schemas.ProcessShape, json.loads(process)),
        (schemas.ProcessShape, {**failed, "diff": examples.DIFF}),
        (schemas.FileShape, file.json()),
        (schemas.TokenShape, token.json()),
        (schemas.KeysShape, keys.json()),
        (schemas.DiffShape, diff.json()),
        (schemas.ProblemShape, problem.json()),
        *((schemas.EventShape, event) for event in events.json()),
        (schemas.ProcessShape, examples.PROCESS),
        (schemas.EventShape, examples.EVENT),
        (schemas.ArtifactShape, examples.ARTIFACT),
        *((schemas.ArtifactShape, artifact) for artifact in artifacts.json()),
        (schemas.FileShape, examples.FILE),
        (schemas.TokenShape, examples.TOKEN),
        (schemas.ProblemShape, examples.INVALID),
    ]
    for shape, found in shown:
        names = {field.alias for field in shape.model_fields.values()} - {"instance"}
        assert set(found) - {"instance"} == names
        shape.model_validate(found)


# ---- secrets

MARK = "CANARY7f3a"


@pytest.mark.anyio
async def test_no_secret_comes_back_nor_lies_about_in_clear(here: Deployment, tmp_path: Path) -> None:

    pem = PEM % f"{MARK}key"
    license_ = {
        "source": "ClientLicense",
        "oAuthAccessToken": f"{MARK}access",
        "oAuthRefreshToken": f"{MARK}refresh",
    }
    requests: list[Json] = [
        body(gitHttpCredentials=f"u:{MARK}http", claudeAuthentication=license_),
        body(gitUrl=f"https://u:{MARK}url@git.example/r", generateDiffOnCompletion=True),
        body(gitSshKeyBase64=base64.b64encode(pem.encode()).decode()),
        body(claudeAuthentication={"source": "ClientApiKey", "apiKey": f"{MARK}api"}),
        # refused ones
        body(gitHttpCredentials=f"{MARK}\n", branchWork="main"),
        body(gitUrl=f"https://u:{MARK}@git.example/r", gitHttpCredentials=f"{MARK}both"),
        body(gitUrl=f"ssh://u:{MARK}@git.example/r"),
        body(gitUrl=f"https://u:{MARK}@git.example:port/r"),
        body(gitSshKeyBase64=f"{MARK}!"),
        body(claudeAuthentication={"source": "ClientApiKey", "apiKey": f"{MARK} space"}),
        body(claudeAuthentication={"source": f"{MARK}"}),
    ]
    seen: list[str] = []
    with capture_logs() as logged:
        for content in requests:
            headers = {**here.admin.headers, "Idempotency-Key": f"k{len(seen)}"}
            answer = await here.http.post(PROCESSES, headers=headers, json=content)
            seen.append(answer.text)
            if answer.status_code != 200:
                assert answer.status_code == 400, answer.text
                continue
            path = f"{PROCESSES}/by-id/{answer.json()['id']}"
            for suffix, update in (
                ("credentials", {"gitHttpCredentials": f"{MARK}new"}),
                ("claude-authentication", {"claudeAuthentication": license_}),
            ):
                update_answer = await here.http.put(f"{path}/{suffix}", headers=here.admin.headers, json=update)
                assert update_answer.status_code == 204
            for suffix, accept in (("", "*/*"), ("/events", "application/json"), ("/diff", "*/*")):
                shown = await here.http.get(path + suffix, headers={**here.admin.headers, "Accept": accept})
                seen.append(shown.text)
        seen += [(await here.http.get(path, headers=here.admin.headers)).text for path in (PROCESSES, "/openapi.json")]
    assert not [text for text in seen if MARK in text]
    assert MARK not in repr(logged)
    assert not holding(tmp_path, MARK.encode(), base64.b64encode(pem.encode())[:40])


def holding(folder: Path, *texts: bytes) -> list[Path]:
    """The files that hold one of them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if any(text in path.read_bytes() for text in texts)]
