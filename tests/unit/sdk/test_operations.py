"""Each operation: what it sends, and what it makes of the answer."""

import base64
import io
import json
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from tests.support.scripted_api import (
    FILE_ID,
    PROCESS_ID,
    Answer,
    AnyClient,
    Pieces,
    ScriptedApi,
    file_json,
    ok,
    process_json,
)

from treadle.sdk import ClaudeAuthentication, Engine, ProcessStatus, Step, UnexpectedAnswerError

pytestmark = pytest.mark.anyio

BASE = "/code-generation/processes"
KEY_TEXT = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


def start(sdk: AnyClient, **parameters: Any) -> Any:
    given = {"git_url": "u", "branch_source": "main", "branch_work": "work", "steps": ["Do it"], **parameters}
    return sdk.client.processes.start(**given)


def uploaded(request: httpx2.Request) -> tuple[str | None, str, bytes]:
    """(file name, content type, bytes) of the part named `file`."""
    head = b"Content-Type: %b\n\n" % request.headers["content-type"].encode()
    message = message_from_bytes(head + request.content, policy=policy.HTTP)
    [part] = message.iter_parts()
    assert part["content-disposition"].params["name"] == "file"
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return part.get_filename(), part.get_content_type(), content


async def test_start_sends_what_is_asked_for(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok(process_json("New")))
    process = await sdk.result(
        start(
            sdk,
            git_url="https://git.test/o/r.git",
            steps=["First", Step("Second", commitable=False, structured=True), {"step": "Third", "odd": 1}],
            git_http_credentials="user:password",
            code_guidelines="Be brief.",
            file_ids=[UUID(FILE_ID), FILE_ID],
            generate_diff_on_completion=True,
            engine=Engine.KIMI,
            claude_authentication=ClaudeAuthentication.api_key("sk-1"),
            idempotency_key="my-key",
        )
    )
    assert process.status is ProcessStatus.NEW
    assert api.paths == [f"POST {BASE}"]
    assert api.only.headers["idempotency-key"] == "my-key"
    assert api.only.headers["x-api-key"] == "key-1"
    assert api.sent_json() == {
        "gitUrl": "https://git.test/o/r.git",
        "branchSource": "main",
        "branchWork": "work",
        "steps": [
            {"step": "First", "isCommitableStep": True, "isStructuredOutput": False},
            {"step": "Second", "isCommitableStep": False, "isStructuredOutput": True},
            {"step": "Third", "odd": 1},
        ],
        "gitHttpCredentials": "user:password",
        "codeGuidelines": "Be brief.",
        "fileIds": [FILE_ID, FILE_ID],
        "generateDiffOnCompletion": True,
        "engine": "Kimi",
        "claudeAuthentication": {"source": "ClientApiKey", "apiKey": "sk-1"},
    }


async def test_start_leaves_out_what_was_not_given_and_makes_a_key(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok(process_json()), ok(process_json())]
    await sdk.result(start(sdk))
    await sdk.result(start(sdk))
    keys = [request.headers["idempotency-key"] for request in api.requests]
    assert all(len(key) == 32 for key in keys)
    assert keys[0] != keys[1]
    assert set(json.loads(api.requests[0].content)) == {
        "gitUrl",
        "branchSource",
        "branchWork",
        "steps",
        "fileIds",
        "generateDiffOnCompletion",
        "engine",
    }


async def test_an_ssh_key_is_encoded_from_bytes_text_and_file(sdk: AnyClient, api: ScriptedApi, tmp_path: Path) -> None:
    path = tmp_path / "id"
    path.write_text(KEY_TEXT)
    for key in (KEY_TEXT, KEY_TEXT.encode(), path):
        api.answers.append(ok(process_json()))
        await sdk.result(start(sdk, git_ssh_key=key))
        assert base64.b64decode(json.loads(api.requests[-1].content)["gitSshKeyBase64"]).decode() == KEY_TEXT


async def test_mistakes_of_the_caller_are_named_before_anything_is_sent(sdk: AnyClient, api: ScriptedApi) -> None:
    with pytest.raises(ValueError, match="private key"):
        await sdk.result(start(sdk, git_ssh_key="/home/me/.ssh/id_rsa"))
    with pytest.raises(TypeError, match="a list of steps"):
        await sdk.result(start(sdk, steps="Do it"))
    with pytest.raises(ValueError, match="time zone"):
        ClaudeAuthentication.license("a", expires_at=datetime(2026, 1, 1))  # noqa: DTZ001  # that is the mistake
    assert api.requests == []


def test_a_license_is_written_as_the_api_takes_it() -> None:
    license_ = ClaudeAuthentication.license(
        "sk-ant-oat01-a",
        "sk-ant-ort01-r",
        expires_at=datetime(2024, 1, 16, 12, 30, tzinfo=timezone(timedelta(hours=2))),
        scopes=("user:inference", "user:profile"),
        subscription_type="max",
    )
    assert license_.to_json() == {
        "source": "ClientLicense",
        "oAuthAccessToken": "sk-ant-oat01-a",
        "oAuthRefreshToken": "sk-ant-ort01-r",
        "oAuthExpiresAt": "2024-01-16T10:30:00Z",
        "oAuthScopes": ["user:inference", "user:profile"],
        "oAuthSubscriptionType": "max",
    }
    assert "sk-ant" not in repr(license_)
    assert ClaudeAuthentication.default().to_json() == {"source": "Default"}
    assert ClaudeAuthentication.dummy().to_json() == {"source": "ClientApiKey", "apiKey": "000-dummy"}
    assert ClaudeAuthentication.license("a").to_json() == {"source": "ClientLicense", "oAuthAccessToken": "a"}


async def test_get_reads_everything(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok(process_json()))
    process = await sdk.result(sdk.client.processes.get(UUID(PROCESS_ID)))
    assert api.paths == [f"GET {BASE}/by-id/{PROCESS_ID}"]
    assert process.id == UUID(PROCESS_ID)
    assert process.date_created == datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
    assert process.date_completed is None
    assert process.file_ids == (UUID(FILE_ID),)
    assert process.running_step is process.steps[0]
    assert process.steps[0].structured_output.was_successful
    assert process.usage.cost_usd == 0.5
    assert not process.is_finished


async def test_an_id_cannot_leave_its_path(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok(process_json()))
    await sdk.result(sdk.client.processes.get("../alive?x=/"))
    assert api.only.url.raw_path == f"{BASE}/by-id/..%2Falive%3Fx%3D%2F".encode()


async def test_list_filters_and_pages(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok([process_json(), process_json("New")]), ok([]), ok([])]
    found = await sdk.result(sdk.client.processes.list(status=ProcessStatus.FAILED, skip=5, limit=10))
    assert [process.status for process in found] == ["Running", "New"]
    assert dict(api.requests[0].url.params) == {"status": "Failed", "skip": "5", "limit": "10"}
    assert await sdk.result(sdk.client.processes.list()) == []
    assert api.requests[1].url.query == b""
    await sdk.result(sdk.client.processes.list(status=["New", ProcessStatus.RUNNING]))
    assert api.requests[2].url.query == b"status=New&status=Running"


async def test_iterate_goes_through_the_pages_and_repeats_none(sdk: AnyClient, api: ScriptedApi) -> None:
    ids = [str(UUID(int=number)) for number in range(150)]
    # One was started between the two requests, so that the second page begins with what ended the first.
    api.answers += [
        ok([process_json(id=one) for one in ids[:100]]),
        ok([process_json(id=one) for one in ids[99:]]),
    ]
    found = await sdk.collect(sdk.client.processes.iterate(status="Success"))
    assert [str(process.id) for process in found] == ids
    assert [dict(request.url.params) for request in api.requests] == [
        {"status": "Success", "limit": "100"},
        {"status": "Success", "skip": "100", "limit": "100"},
    ]


async def test_iterate_fetches_no_more_than_is_looked_at(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok([process_json(id=str(UUID(int=number))) for number in range(100)]))
    assert len(await sdk.first(sdk.client.processes.iterate(), 3)) == 3
    assert len(api.requests) == 1


async def test_alive(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok([process_json()]))
    assert len(await sdk.result(sdk.client.processes.alive())) == 1
    assert api.paths == [f"GET {BASE}/alive"]


async def test_updates_and_kill(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [httpx2.Response(204)] * 4
    processes = sdk.client.processes
    await sdk.result(processes.update_credentials(PROCESS_ID, git_http_credentials="new"))
    await sdk.result(processes.update_credentials(PROCESS_ID, git_ssh_key=KEY_TEXT))
    await sdk.result(processes.update_claude_authentication(PROCESS_ID, ClaudeAuthentication.api_key("sk-2")))
    assert await sdk.result(processes.kill(PROCESS_ID)) is None
    assert api.paths == [
        f"PUT {BASE}/by-id/{PROCESS_ID}/credentials",
        f"PUT {BASE}/by-id/{PROCESS_ID}/credentials",
        f"PUT {BASE}/by-id/{PROCESS_ID}/claude-authentication",
        f"PUT {BASE}/by-id/{PROCESS_ID}/kill",
    ]
    sent = [json.loads(request.content) if request.content else None for request in api.requests]
    assert sent[0] == {"gitHttpCredentials": "new"}
    assert [*(sent[1] or {})] == ["gitSshKeyBase64"]
    assert sent[2] == {"claudeAuthentication": {"source": "ClientApiKey", "apiKey": "sk-2"}}
    assert sent[3] is None


async def test_artifacts(sdk: AnyClient, api: ScriptedApi) -> None:
    kept = {"name": "a b?.patch", "contentType": "text/x-diff", "size": 3, "dateCreated": "2026-10-01T09:41:13.480Z"}
    api.answers += [ok([kept, {"name": "bare"}]), httpx2.Response(200, content=b"\xff\x00\n")]
    first, bare = await sdk.result(sdk.client.processes.artifacts(PROCESS_ID))
    assert (first.name, first.content_type, first.size) == ("a b?.patch", "text/x-diff", 3)
    assert first.date_created == datetime(2026, 10, 1, 9, 41, 13, 480_000, UTC)
    assert (bare.content_type, bare.size, bare.date_created) == ("application/octet-stream", 0, None)
    assert await sdk.result(sdk.client.processes.artifact(PROCESS_ID, first.name)) == b"\xff\x00\n"
    path = f"{BASE}/by-id/{PROCESS_ID}/artifacts"
    assert [request.url.raw_path.decode() for request in api.requests] == [path, f"{path}/a%20b%3F.patch/content"]


async def test_diff_and_patch(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [
        ok({"files": [{"filename": "a", "isNew": True, "changes": []}]}),
        httpx2.Response(200, content=b"\xff"),
    ]
    diff = await sdk.result(sdk.client.processes.diff(PROCESS_ID))
    assert [file.filename for file in diff.files] == ["a"]
    assert await sdk.result(sdk.client.processes.patch(PROCESS_ID)) == b"\xff"
    assert [request.headers["accept"] for request in api.requests] == ["application/json", "text/x-diff"]
    assert {request.url.path for request in api.requests} == {f"{BASE}/by-id/{PROCESS_ID}/diff"}


async def test_files_go_up_from_bytes_paths_and_open_files(sdk: AnyClient, api: ScriptedApi, tmp_path: Path) -> None:
    path = tmp_path / "spec ü.md"
    path.write_bytes(b"# spec")
    api.answers += [ok(file_json())] * 5
    files = sdk.client.files
    assert (await sdk.result(files.upload(path))).id == UUID(FILE_ID)
    await sdk.result(files.upload(str(path), name="other.bin"))
    await sdk.result(files.upload(b"\x00\xff", name="raw", content_type="image/png"))
    with path.open("rb") as opened:
        opened.seek(2)
        await sdk.result(files.upload(opened))
        assert not opened.closed
    await sdk.result(files.upload(io.BytesIO(b"x")))
    assert [uploaded(request)[1:] for request in api.requests] == [
        ("text/markdown", b"# spec"),
        ("application/octet-stream", b"# spec"),
        ("image/png", b"\x00\xff"),
        ("text/markdown", b"spec"),
        ("application/octet-stream", b"x"),
    ]
    assert [uploaded(request)[0] for request in api.requests[1:3]] == ["other.bin", "raw"]
    assert "idempotency-key" not in api.requests[0].headers


async def test_files_are_listed_read_and_deleted(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok([file_json()]), ok(file_json()), httpx2.Response(200, stream=Pieces(b"a", b"b"))]
    api.answers += [httpx2.Response(204)]
    files = sdk.client.files
    [file] = await sdk.result(files.list(limit=1))
    assert file == await sdk.result(files.get(FILE_ID))
    assert (file.name, file.content_type, file.size) == ("spec.md", "text/markdown", 3)
    assert await sdk.result(files.download(file.id)) == b"ab"
    await sdk.result(files.delete(file.id))
    assert api.paths == [
        "GET /files",
        f"GET /files/by-id/{FILE_ID}",
        f"GET /files/by-id/{FILE_ID}/content",
        f"DELETE /files/by-id/{FILE_ID}",
    ]


async def test_a_token(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok({"accessToken": "eyJ.a.b", "tokenType": "Bearer", "dateExpires": "2026-01-03T00:00:00Z"}))
    token = await sdk.result(sdk.client.auth.token())
    assert (token.access_token, token.date_expires) == ("eyJ.a.b", datetime(2026, 1, 3, tzinfo=UTC))
    assert api.paths == ["POST /auth/token"]
    assert "eyJ" not in repr(token)


@pytest.mark.parametrize(
    "answer",
    [
        partial(httpx2.Response, 200, text="<html>hello</html>"),
        partial(httpx2.Response, 200, content=b"\xff\xfe"),
        partial(ok, []),
        partial(ok, {"id": "no uuid"}),
        partial(ok, process_json(status=7)),
        partial(ok, process_json(dateCreated="yesterday")),
        partial(ok, process_json(steps="none")),
        partial(ok, process_json(fileIds=["x"])),
        partial(ok, process_json(generateDiffOnCompletion="yes")),
        partial(ok, process_json(usage={"inputTokens": "many"})),
    ],
)
async def test_another_servers_answer_is_said_to_be_one(sdk: AnyClient, api: ScriptedApi, answer: Answer) -> None:
    api.answers.append(answer)
    with pytest.raises(UnexpectedAnswerError, match=r"http://treadle\.test"):
        await sdk.result(sdk.client.processes.get(PROCESS_ID))
