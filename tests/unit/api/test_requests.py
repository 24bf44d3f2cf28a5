"""Bad input: every limit, every fault, all at once."""

import base64
import json
from typing import Any
from uuid import uuid4

import pytest
from tests.support.deployment import PROCESSES, Deployment, Json, body, deployed

PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\n%s\n-----END OPENSSH PRIVATE KEY-----\n"


def ssh_key(length: int) -> str:
    """Base64 of something that looks like a private key, that many characters long."""
    raw = length * 3 // 4
    padding = "A" * (raw - len((PEM % "").encode()))
    encoded = base64.b64encode((PEM % padding).encode()).decode()
    assert len(encoded) == length
    return encoded


def branch(length: int) -> str:
    """A branch name that long whose parts each fit a file system."""
    name = "/".join(["b" * 99] * (length // 100 + 1))[:length]
    return name.rstrip("/") + "b" * (length - len(name.rstrip("/")))


def url(length: int) -> str:
    start = "https://git.example/"
    return start + "r" * (length - len(start))


async def faults(here: Deployment, content: Json | bytes, path: str = PROCESSES, method: str = "POST") -> Json:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    answer = await here.http.request(
        method, path, headers={**here.admin.headers, "Content-Type": "application/json"}, content=raw
    )
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["title"] == "Bad Request"
    assert problem["status"] == 400
    assert problem["code"] == "invalid_input"
    assert problem["type"] == "about:blank"
    assert not await here.store.queue_depth()
    errors: Json = problem["errors"]
    return errors


@pytest.mark.anyio
async def test_every_row_of_the_table_one_past_its_limit_is_named_in_one_answer(here: Deployment) -> None:
    errors = await faults(
        here,
        {
            "gitUrl": url(10_001),
            "gitSshKeyBase64": "A" * 10_001,
            "gitHttpCredentials": "p" * 501,
            "branchSource": branch(501),
            "branchWork": branch(501) + "x",
            "steps": [{"step": "s"}] * 21,
            "codeGuidelines": "g" * 10_001,
            "fileIds": [str(uuid4()) for _ in range(101)],
            "generateDiffOnCompletion": "yes",
            "claudeAuthentication": {"source": "ClientLicense", "apiKey": "k"},
            "engine": "Gemini",
        },
    )
    unknown = {f"fileIds[{at}]": ["Is not the id of a file of yours."] for at in range(101)}
    assert errors == {
        "gitUrl": ["Must be at most 10,000 characters."],
        "gitSshKeyBase64": ["Must be at most 10,000 characters.", "Give this or gitHttpCredentials, not both."],
        "gitHttpCredentials": ["Must be at most 500 characters.", "Give this or gitSshKeyBase64, not both."],
        "branchSource": ["Must be at most 500 characters."],
        "branchWork": ["Must be at most 500 characters."],
        "steps": ["Must have 1 to 20 entries, not 21."],
        "codeGuidelines": ["Must be at most 10,000 characters."],
        "fileIds": ["Must have at most 100 entries, not 101."],
        "generateDiffOnCompletion": ["Must be true or false."],
        "claudeAuthentication.apiKey": ["Does not go with the source ClientLicense."],
        "claudeAuthentication.oAuthAccessToken": ["Is required with the source ClientLicense."],
        "engine": ["Must be 'Claude', 'Kimi' or 'Dummy'."],
        **unknown,
    }


@pytest.mark.anyio
async def test_everything_empty_is_named_in_one_answer(here: Deployment) -> None:
    errors = await faults(
        here,
        {
            "gitUrl": "",
            "gitSshKeyBase64": "",
            "branchSource": "",
            "branchWork": "",
            "steps": [],
            "codeGuidelines": "",
        },
    )
    assert errors == {
        "gitUrl": ["Must not be empty."],
        "gitSshKeyBase64": ["Must not be empty."],
        "branchSource": ["Must not be empty."],
        "branchWork": ["Must not be empty."],
        "steps": ["Must have 1 to 20 entries, not 0."],
        "codeGuidelines": ["Must not be empty."],
    }


@pytest.mark.anyio
async def test_what_is_required_is_named(here: Deployment) -> None:
    required = ["Is required."]
    expected = dict.fromkeys(("gitUrl", "branchSource", "branchWork", "steps"), required)
    assert await faults(here, {}) == expected
    assert await faults(here, body(steps=[{}, {"step": " \n"}])) == {
        "steps[0].step": required,
        "steps[1].step": ["Must not be blank."],
    }


@pytest.mark.anyio
@pytest.mark.parametrize(
    "fields",
    [
        {"gitUrl": url(10_000)},
        {"gitSshKeyBase64": ssh_key(10_000)},
        {"gitHttpCredentials": "p" * 500},
        {"gitHttpCredentials": "p"},
        {"branchSource": branch(500)},
        {"branchWork": branch(500)},
        {"steps": [{"step": "s"}] * 20},
        {"codeGuidelines": "g" * 10_000},
        {"codeGuidelines": "\U0001f9f5" * 10_000},  # characters, not bytes or UTF-16 units
        {"steps": [{"step": "s" * 100_000}]},
        {"gitUrl": "git@git.example:acme/shop.git"},
        {"gitUrl": "ssh://git@git.example:2222/acme/shop.git"},
        {"engine": "Kimi", "claudeAuthentication": {"source": "ClientApiKey", "apiKey": "key-of-kimi"}},
        {"engine": "Dummy", "claudeAuthentication": None},
        {"claudeAuthentication": {"source": "Default"}},
        {"claudeAuthentication": {"source": "ClientLicense", "oAuthAccessToken": "sk-ant-oat01-x", "apiKey": None}},
        {
            "gitSshKeyBase64": None,
            "gitHttpCredentials": None,
            "codeGuidelines": None,
            "fileIds": None,
            "generateDiffOnCompletion": None,
            "engine": None,
        },
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_what_is_at_the_limit_is_taken(here: Deployment, fields: Json) -> None:
    process = await here.start(**fields)
    for name in ("branchSource", "branchWork", "codeGuidelines"):
        assert process[name] == body(**fields).get(name)
    assert len(process["steps"]) == len(body(**fields)["steps"])


REFUSED: list[tuple[Json, Json]] = [
    ({"branchWork": "-x"}, {"branchWork": "does not begin with '-'"}),
    ({"branchSource": "a..b"}, {"branchSource": "'..'"}),
    ({"branchWork": "a b"}, {"branchWork": "no space"}),
    ({"branchWork": "main"}, {"branchWork": "Must differ from branchSource."}),
    ({"gitUrl": "ext::sh -c id"}, {"gitUrl": "refused"}),
    ({"gitUrl": "--upload-pack=id"}, {"gitUrl": "does not begin with '-'"}),
    ({"gitUrl": "ftp://git.example/a"}, {"gitUrl": "not supported"}),
    ({"gitUrl": "file:///srv/a.git"}, {"gitUrl": "not allowed here"}),
    ({"gitUrl": "/srv/a.git"}, {"gitUrl": "not allowed here"}),
    ({"gitUrl": "https://a:b@git.example/r", "gitHttpCredentials": "t"}, {"gitUrl": "give them once"}),
    ({"gitSshKeyBase64": "LS0tLS0="}, {"gitSshKeyBase64": "not a private key"}),
    ({"gitSshKeyBase64": "no base64!"}, {"gitSshKeyBase64": "not base64"}),
    (
        {"gitSshKeyBase64": base64.b64encode(b"ssh-ed25519 AAAA me").decode()},
        {"gitSshKeyBase64": "Is a public key"},
    ),
    ({"gitHttpCredentials": "user:pass\nword"}, {"gitHttpCredentials": "control characters"}),
    ({"steps": [{"step": "a\0b"}]}, {"steps[0].step": "null character"}),
    ({"codeGuidelines": "half a \ud83d pair"}, {"codeGuidelines": "surrogate"}),
    ({"steps": [{"step": "x", "isCommitable": False}]}, {"steps[0].isCommitable": "did you mean isCommitableStep?"}),
    ({"steps": [{"step": "x", "isCommitableStep": "false"}]}, {"steps[0].isCommitableStep": "true or false"}),
    ({"steps": [{"step": "x", "isCommitableStep": 0}]}, {"steps[0].isCommitableStep": "true or false"}),
    ({"steps": ["x"]}, {"steps[0]": "Must be an object."}),
    ({"steps": {"step": "x"}}, {"steps": "Must be an array."}),
    ({"gitURL": "x"}, {"gitURL": "did you mean gitUrl?"}),
    ({"unheardOf": 1}, {"unheardOf": "Is not a known field."}),
    ({"gitUrl": 5}, {"gitUrl": "Must be a string."}),
    ({"gitUrl": None}, {"gitUrl": "Must be a string."}),
    ({"fileIds": ["x"]}, {"fileIds[0]": "Must be a UUID."}),
    ({"fileIds": [5]}, {"fileIds[0]": "Must be a UUID."}),
    ({"engine": "claude"}, {"engine": "Must be"}),
    ({"claudeAuthentication": "key"}, {"claudeAuthentication": "Must be an object."}),
    ({"claudeAuthentication": {}}, {"claudeAuthentication.source": "Is required."}),
    ({"claudeAuthentication": {"source": "Mine"}}, {"claudeAuthentication.source": "Must be"}),
    ({"claudeAuthentication": {"source": "ClientApiKey"}}, {"claudeAuthentication.apiKey": "Is required"}),
    (
        {"claudeAuthentication": {"source": "ClientApiKey", "apiKey": "a b"}},
        {"claudeAuthentication.apiKey": "no space"},
    ),
    (
        {"claudeAuthentication": {"source": "ClientApiKey", "apiKey": "a", "oAuthScopes": ["user:inference"]}},
        {"claudeAuthentication.oAuthScopes": "Does not go with"},
    ),
    (
        {"claudeAuthentication": {"source": "Default", "apiKey": "a"}},
        {"claudeAuthentication.apiKey": "Does not go with"},
    ),
    (
        {"claudeAuthentication": {"source": "ClientLicense", "oAuthAccessToken": "a", "oAuthExpiresAt": 1_700_000_000}},
        {"claudeAuthentication.oAuthExpiresAt": "ISO 8601"},
    ),
    (
        {"engine": "Kimi", "claudeAuthentication": {"source": "ClientLicense", "oAuthAccessToken": "a"}},
        {"claudeAuthentication.source": "does not work with the engine Kimi"},
    ),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("fields", "expected"), REFUSED, ids=[json.dumps(fields)[:60] for fields, _ in REFUSED])
async def test_each_fault_is_named_by_its_path(here: Deployment, fields: Json, expected: dict[str, str]) -> None:
    errors = await faults(here, body(**fields))
    assert set(errors) == set(expected)
    for path, said in expected.items():
        assert any(said in sentence for sentence in errors[path]), errors


@pytest.mark.anyio
async def test_all_those_faults_in_one_request_are_named_at_once(here: Deployment) -> None:
    file_id = str(uuid4())
    errors = await faults(
        here,
        {
            "gitUrl": "https://u:p@git.example/r",
            "gitHttpCredentials": "t",
            "gitSshKeyBase64": "!",
            "branchSource": "same",
            "branchWork": "same",
            "steps": [{"step": "\ud800", "isCommitable": True}, {"step": "\0"}, 7],
            "fileIds": ["x", file_id, file_id],
            "engine": "Kimi",
            "claudeAuthentication": {"source": "ClientLicense", "oAuthScopes": [1]},
            "surprise": {},
        },
    )
    assert set(errors) == {
        "gitUrl",
        "gitHttpCredentials",
        "gitSshKeyBase64",
        "branchWork",
        "steps[0].step",
        "steps[0].isCommitable",
        "steps[1].step",
        "steps[2]",
        "fileIds[0]",
        "fileIds[1]",
        "fileIds[2]",
        "claudeAuthentication.source",
        "claudeAuthentication.oAuthAccessToken",
        "claudeAuthentication.oAuthScopes[0]",
        "surprise",
    }
    assert errors["gitSshKeyBase64"] == [
        "Is not base64 of a private key.",
        "Give this or gitHttpCredentials, not both.",
    ]
    assert errors["fileIds[2]"] == ["Is the same as fileIds[1].", "Is not the id of a file of yours."]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "Is not JSON: Expecting value at line 1 column 1."),
        (b'{"gitUrl": }', "Is not JSON"),
        (b"[]", "Must be a JSON object."),
        (b'"text"', "Must be a JSON object."),
        (b"\xff\xfe", "UTF-8"),
        (b"[" * 50_000, "nested too deeply"),
        (b'{"a": 1' + b"0" * 5_000 + b"}", "too long"),
    ],
    ids=["empty", "broken", "array", "text", "bytes", "deep", "number"],
)
async def test_what_is_no_json_object_is_said_so(here: Deployment, content: bytes, said: str) -> None:
    errors = await faults(here, content)
    assert list(errors) == ["$"]
    assert said in errors["$"][0]


@pytest.mark.anyio
async def test_a_flood_of_faults_is_cut(here: Deployment) -> None:
    errors = await faults(here, body(steps=[{"step": ""}] * 5_000))
    assert errors["steps"] == ["Must have 1 to 20 entries, not 5,000."]
    assert len(errors) <= 201


@pytest.mark.anyio
async def test_other_content_types_are_refused(here: Deployment) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = await here.http.post(
            PROCESSES, headers={**here.admin.headers, "Content-Type": media_type}, content=json.dumps(body()).encode()
        )
        assert answer.status_code == 415
        assert answer.json()["code"] == "unsupported_media_type"
    for media_type in ("application/json; charset=utf-8", "application/vnd.acme+json"):
        answer = await here.http.post(
            PROCESSES, headers={**here.admin.headers, "Content-Type": media_type}, content=json.dumps(body()).encode()
        )
        assert answer.status_code == 200


@pytest.mark.anyio
async def test_a_body_past_the_limit_is_413_however_it_arrives(tmp_path: Any) -> None:
    async with deployed(tmp_path, max_request_bytes=1024) as here:
        headers = {**here.admin.headers, "Content-Type": "application/json"}
        large = json.dumps(body(codeGuidelines="g" * 1024)).encode()

        async def pieces() -> Any:
            for at in range(0, len(large), 100):
                yield large[at : at + 100]

        for content in (large, pieces()):
            answer = await here.http.post(PROCESSES, headers=headers, content=content)
            assert answer.status_code == 413, answer.text
            assert "1,024 bytes" in answer.json()["detail"]
            assert answer.json()["code"] == "too_large"


@pytest.mark.anyio
async def test_local_repositories_are_taken_where_the_setting_allows_them(tmp_path: Any) -> None:
    async with deployed(tmp_path, allow_local_repositories=True) as here:
        assert (await here.start(gitUrl="file:///srv/a.git"))["status"] == "New"
        assert (await here.start(gitUrl="/srv/a.git"))["status"] == "New"


@pytest.mark.anyio
async def test_faults_of_updates(here: Deployment) -> None:
    process = await here.start()
    await here.claim()  # `faults` sees that nothing New was made
    by_id = f"{PROCESSES}/by-id/{process['id']}"
    both = {"gitHttpCredentials": "t", "gitSshKeyBase64": ssh_key(1000)}
    assert set(await faults(here, both, f"{by_id}/credentials", "PUT")) == set(both)
    assert set(await faults(here, {}, f"{by_id}/credentials", "PUT")) == {"$"}
    assert set(await faults(here, {"gitHttpCredentials": None}, f"{by_id}/credentials", "PUT")) == {"$"}
    assert set(await faults(here, {"token": "t"}, f"{by_id}/credentials", "PUT")) == {"token"}
    claude = f"{by_id}/claude-authentication"
    assert await faults(here, {}, claude, "PUT") == {"claudeAuthentication": ["Is required."]}
    assert set(
        await faults(here, {"claudeAuthentication": {"source": "ClientApiKey", "apikey": "k"}}, claude, "PUT")
    ) == {
        "claudeAuthentication.apikey",
        "claudeAuthentication.apiKey",
    }


@pytest.mark.anyio
async def test_a_kimi_process_takes_no_license_later_either(here: Deployment) -> None:
    process = await here.start(engine="Kimi")
    await here.claim()
    update = {"claudeAuthentication": {"source": "ClientLicense", "oAuthAccessToken": "t"}}
    path = f"{PROCESSES}/by-id/{process['id']}/claude-authentication"
    assert set(await faults(here, update, path, "PUT")) == {"claudeAuthentication"}
