"""Processes: made, shown, listed, changed, killed; and nobody sees another's."""

import json
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from tests.support.deployment import PROCESSES, Deployment, Json, Member, body, deployed
from tests.unit.api.golden import check_json
from tests.unit.api.test_requests import ssh_key

from treadle.domain.credentials import ClaudeSource, GitCredentials
from treadle.domain.events import Draft, EventType
from treadle.domain.identity import Principal, Role
from treadle.domain.run import Artifact, StructuredOutput, Usage
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.ports import StepUpdate
from treadle.services.credentials import SECRETS_TABLE, decode, row

DIFF = b'{"files":[{"filename":"a \\"diff\\":null.txt","changes":[]}]}'


async def secrets(here: Deployment, process: Json) -> dict[str, str]:
    """A process's secrets, opened."""
    uuid = UUID(process["id"])
    run = await here.store.get_run_by_id((await here.services.runs.get(await principal(here), uuid)).id)
    return {
        name: here.vault.open(sealed, organization=run.organization_uuid, table=SECRETS_TABLE, row=row(uuid, name))
        for name, sealed in (await here.store.run_secrets(run.id)).items()
    }


async def principal(here: Deployment, who: Member | None = None) -> Principal:
    return await here.services.identity.authenticate((who or here.admin).key)


@pytest.mark.anyio
async def test_a_new_process_is_answered_whole(here: Deployment) -> None:
    answer = await here.http.post(
        PROCESSES,
        headers=here.admin.headers,
        json=body(
            steps=[
                {"step": "Look around", "isCommitableStep": False, "isStructuredOutput": True},
                {"step": "Grüße schreiben"},
            ],
            codeGuidelines="Be brief.",
            generateDiffOnCompletion=True,
            gitHttpCredentials="user:password",
            claudeAuthentication={"source": "ClientApiKey", "apiKey": "sk-ant-api03-x"},
        ),
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    check_json("process_new", answer.content)
    shown = await here.http.get(f"{PROCESSES}/by-id/{answer.json()['id']}", headers=here.admin.headers)
    assert shown.content == answer.content


@pytest.mark.anyio
async def test_a_finished_process_is_answered_whole_with_its_diff(here: Deployment) -> None:
    process = await here.start(
        steps=[{"step": "One", "isStructuredOutput": True}, {"step": "Two"}, {"step": "Three"}],
        generateDiffOnCompletion=True,
    )
    await play(here)
    answer = await here.http.get(f"{PROCESSES}/by-id/{process['id']}", headers=here.admin.headers)
    check_json("process_failed", answer.content)
    assert DIFF in answer.content
    listed = await here.http.get(PROCESSES, headers=here.admin.headers)
    check_json("process_list", listed.content)
    (entry,) = listed.json()
    assert entry["diff"] is None
    assert [step["output"] for step in entry["steps"]] == [None, None, None]
    assert [step["structuredOutput"] for step in entry["steps"]] == [None, None, None]


async def play(here: Deployment) -> None:
    """A run as a worker writes it: the first step succeeds, the second fails."""
    run, fence = await here.claim()
    here.clock.advance(1.5)
    now = here.clock.now
    await here.store.record(
        fence, [Draft(EventType.STEP_STARTED, {}, 1)], now(), step=StepUpdate(1, StepStatus.RUNNING, Phase.ANALYSIS)
    )
    here.clock.advance(2)
    answer = StructuredOutput(
        "Did it", "Thought", was_successful=True, did_generate_code=True, is_additional_work_required_to_continue=False
    )
    done = StepUpdate(
        1,
        StepStatus.SUCCESS,
        Phase.VALIDATION,
        output="Did it",
        structured_output=answer,
        commit_sha="0123456789abcdef0123456789abcdef01234567",
        usage=Usage(1200, 340, 0.0125, 1875),
    )
    await here.store.record(fence, [Draft(EventType.STEP_FINISHED, {}, 1)], now(), step=done)
    await here.blobs.put("runs/1/diff.json", DIFF)
    artifact = Artifact(run.id, "diff.json", "application/json", len(DIFF), "runs/1/diff.json", now())
    await here.store.add_artifact(fence, artifact)
    await here.store.record(
        fence, [], now(), step=StepUpdate(2, StepStatus.RUNNING, Phase.IMPLEMENTATION), has_diff=True
    )
    here.clock.advance(0.25)
    await here.finish(fence, RunStatus.FAILED, "The engine gave up: “limit”.")


@pytest.mark.anyio
async def test_the_diff_is_left_out_unless_it_was_asked_for(here: Deployment) -> None:
    process = await here.start(steps=[{"step": "One"}, {"step": "Two"}])
    await play(here)
    assert (await here.get(process))["diff"] is None


@pytest.mark.anyio
async def test_a_diff_too_large_for_memory_is_streamed_into_its_place(here: Deployment) -> None:
    process = await here.start(generateDiffOnCompletion=True, codeGuidelines='say "diff":null')
    run, fence = await here.claim()
    large = b'{"files":[' + b",".join(b'{"filename":"%d"}' % n for n in range(40_000)) + b"]}"
    await here.blobs.put("runs/1/diff.json", large)
    artifact = Artifact(run.id, "diff.json", "application/json", len(large), "runs/1/diff.json", here.clock.now())
    await here.store.add_artifact(fence, artifact)
    await here.store.record(fence, [], here.clock.now(), has_diff=True)
    await here.finish(fence)
    answer = await here.http.get(f"{PROCESSES}/by-id/{process['id']}", headers=here.admin.headers)
    assert int(answer.headers["content-length"]) == len(answer.content)
    found = answer.json()
    assert len(found["diff"]["files"]) == 40_000
    assert found["codeGuidelines"] == 'say "diff":null'
    assert {**found, "diff": None} == {
        **process,
        "diff": None,
        **{name: found[name] for name in ("status", "dateUpdated", "dateStarted", "dateCompleted", "dateRunnerPing")},
    }


# ---- what is kept


@pytest.mark.anyio
async def test_credentials_are_sealed_and_announced_work_can_open_them(here: Deployment) -> None:
    process = await here.start(
        gitHttpCredentials="user:päss",
        claudeAuthentication={
            "source": "ClientLicense",
            "oAuthAccessToken": "sk-ant-oat01-a",
            "oAuthRefreshToken": "sk-ant-ort01-b",
            "oAuthExpiresAt": "2026-10-01T12:00:00+02:00",
            "oAuthScopes": ["user:inference"],
            "oAuthSubscriptionType": "max",
        },
    )
    opened = await secrets(here, process)
    assert opened["git_http"] == "user:päss"
    claude = decode(opened["claude"])
    assert claude.source is ClaudeSource.CLIENT_LICENSE
    assert claude.license is not None
    assert claude.license.refresh_token == "sk-ant-ort01-b"
    assert claude.license.expires_at is not None
    assert claude.license.expires_at.isoformat() == "2026-10-01T12:00:00+02:00"
    assert claude.license.scopes == ("user:inference",)
    hint = await here.queue.take(1)
    assert hint is not None
    assert hint.run_id == 1


@pytest.mark.anyio
async def test_credentials_in_the_address_become_credentials(here: Deployment) -> None:
    process = await here.start(gitUrl="https://user:p%40ss@git.example/acme/shop.git")
    assert process["gitUrl"] == "https://git.example/acme/shop.git"
    assert await secrets(here, process) == {"git_http": "user:p@ss"}


@pytest.mark.anyio
async def test_a_registered_repository_lends_its_credentials(here: Deployment) -> None:
    await here.services.repositories.add(
        here.admin.organization,
        name="acme/shop",
        url="https://git.example/acme/shop.git",
        git=GitCredentials(http="registered:token"),
    )
    lent = await here.start(gitUrl="https://GIT.example/acme/shop")
    assert await secrets(here, lent) == {"git_http": "registered:token"}
    own = await here.start(gitHttpCredentials="mine")
    assert await secrets(here, own) == {"git_http": "mine"}
    run = await here.services.runs.get(await principal(here), UUID(own["id"]))
    assert run.repository_id == 1
    other = await here.services.identity.add_organization("Other")
    stranger = await here.member("s@example.com", Role.ADMIN, organization=other)
    foreign = await here.start(stranger)
    run = await here.services.runs.get(await principal(here, stranger), UUID(foreign["id"]))
    assert run.repository_id is None
    assert not await here.store.run_secrets(run.id)


# ---- idempotency


@pytest.mark.anyio
async def test_a_repeat_with_the_same_key_answers_the_same_process(here: Deployment) -> None:
    headers = {**here.admin.headers, "Idempotency-Key": "one"}
    first = await here.http.post(PROCESSES, headers=headers, json=body(gitHttpCredentials="a", engine=None))
    written_otherwise = json.dumps(dict(reversed(body(gitHttpCredentials="a").items())), indent=3).encode()
    again = await here.http.post(
        PROCESSES, headers={**headers, "Content-Type": "application/json"}, content=written_otherwise
    )
    assert again.status_code == 200
    assert again.json() == first.json()
    assert len((await here.http.get(PROCESSES, headers=here.admin.headers)).json()) == 1


@pytest.mark.anyio
async def test_the_same_key_with_another_body_is_a_conflict(here: Deployment) -> None:
    headers = {**here.admin.headers, "Idempotency-Key": "one"}
    await here.http.post(PROCESSES, headers=headers, json=body(gitHttpCredentials="a"))
    for other in (body(gitHttpCredentials="b"), body(steps=[{"step": "Write the tests", "isCommitableStep": False}])):
        answer = await here.http.post(PROCESSES, headers=headers, json=other)
        assert answer.status_code == 409
        assert answer.json()["code"] == "idempotency_mismatch"


@pytest.mark.anyio
async def test_a_key_is_one_users_and_forgotten_after_a_day(here: Deployment) -> None:
    user = await here.member("user@example.com")
    headers = {"Idempotency-Key": "one"}
    first = await here.http.post(PROCESSES, headers={**here.admin.headers, **headers}, json=body())
    others = await here.http.post(PROCESSES, headers={**user.headers, **headers}, json=body())
    here.clock.advance(24 * 3600 + 1)
    later = await here.http.post(PROCESSES, headers={**here.admin.headers, **headers}, json=body(codeGuidelines="x"))
    assert len({answer.json()["id"] for answer in (first, others, later)}) == 3


@pytest.mark.anyio
@pytest.mark.parametrize("key", ["", "k" * 256, "ümlaut"], ids=["empty", "long", "no-ascii"])
async def test_a_bad_key_is_a_fault(here: Deployment, key: str) -> None:
    headers = [(b"x-api-key", here.admin.key.encode()), (b"idempotency-key", key.encode("latin-1"))]
    answer = await here.http.post(PROCESSES, headers=headers, json=body(branchWork="main"))
    assert answer.status_code == 400
    assert set(answer.json()["errors"]) == {"Idempotency-Key", "branchWork"}


# ---- who sees what


@pytest.mark.anyio
async def test_an_admin_sees_the_tenants_processes_others_their_own(here: Deployment) -> None:
    user = await here.member("user@example.com")
    manager = await here.member("manager@example.com", Role.MANAGER)
    organization = await here.services.identity.add_organization("Other")
    stranger = await here.member("stranger@example.com", Role.ADMIN, organization=organization)
    people = {"admin": here.admin, "user": user, "manager": manager, "stranger": stranger}
    made = {name: await here.start(who) for name, who in people.items()}
    sees = {
        "admin": {"admin", "user", "manager"},
        "user": {"user"},
        "manager": {"manager"},
        "stranger": {"stranger"},
    }
    for name, who in people.items():
        for path in (PROCESSES, f"{PROCESSES}/alive"):
            listed = (await here.http.get(path, headers=who.headers)).json()
            assert {process["id"] for process in listed} == {made[each]["id"] for each in sees[name]}
        for each, process in made.items():
            expected = 200 if each in sees[name] else 404
            answer = await here.http.get(f"{PROCESSES}/by-id/{process['id']}", headers=who.headers)
            assert answer.status_code == expected, (name, each)


@pytest.mark.anyio
async def test_a_foreign_id_is_answered_like_an_unknown_one(here: Deployment) -> None:
    organization = await here.services.identity.add_organization("Other")
    stranger = await here.member("stranger@example.com", Role.ADMIN, organization=organization)
    process = await here.start(gitHttpCredentials="keep")
    update: Json = {"gitHttpCredentials": "t"}
    claude: Json = {"claudeAuthentication": None}
    for method, suffix, content in (
        ("GET", "", None),
        ("GET", "/events", None),
        ("GET", "/diff", None),
        ("PUT", "/kill", None),
        ("PUT", "/credentials", update),
        ("PUT", "/claude-authentication", claude),
    ):
        answers = []
        for id_ in (process["id"], str(uuid4()), "no-uuid"):
            path = f"{PROCESSES}/by-id/{id_}{suffix}"
            answer = await here.http.request(method, path, headers=stranger.headers, json=content)
            assert answer.status_code == 404
            problem = answer.json()
            assert problem["code"] == "not_found"
            answers.append({**problem, "detail": problem["detail"].replace(id_, "ID")})
        assert answers[0] == answers[1]
    assert await secrets(here, process) == {"git_http": "keep"}
    assert (await here.get(process))["status"] == "New"


# ---- lists


@pytest.mark.anyio
async def test_lists_are_newest_first_and_paged(here: Deployment) -> None:
    made = [(await here.start())["id"] for _ in range(5)]

    async def listed(query: str) -> list[str]:
        answer = await here.http.get(f"{PROCESSES}{query}", headers=here.admin.headers)
        assert answer.status_code == 200, answer.text
        return [process["id"] for process in answer.json()]

    assert await listed("") == made[::-1]
    assert await listed("?limit=2") == made[:2:-1]
    assert await listed("?skip=3&limit=2") == made[1::-1]
    assert await listed("?skip=5") == []
    _, fence = await here.claim()
    await here.finish(fence)
    await here.claim()
    assert await listed("?status=Success") == [made[0]]
    assert await listed("?status=Success,Running") == [made[1], made[0]]
    assert await listed("?status=Success&status=Running") == [made[1], made[0]]
    assert await listed("/alive") == made[:0:-1]


@pytest.mark.anyio
async def test_bad_queries_name_every_fault(here: Deployment) -> None:
    answer = await here.http.get(f"{PROCESSES}?skip=-1&limit=1001&status=Done", headers=here.admin.headers)
    assert answer.status_code == 400
    assert set(answer.json()["errors"]) == {"skip", "limit", "status"}
    for limit in ("0", "x", "²", "9" * 30):
        answer = await here.http.get(f"{PROCESSES}?limit={limit}", headers=here.admin.headers)
        assert set(answer.json()["errors"]) == {"limit"}


@pytest.mark.anyio
async def test_alive_lists_all_of_them_beyond_a_page(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.services.runs.PAGE", 2)
    made = [(await here.start())["id"] for _ in range(5)]
    alive = (await here.http.get(f"{PROCESSES}/alive", headers=here.admin.headers)).json()
    assert [process["id"] for process in alive] == made[::-1]


# ---- updates


@pytest.mark.anyio
async def test_credentials_are_replaced(here: Deployment) -> None:
    process = await here.start(gitHttpCredentials="old")
    path = f"{PROCESSES}/by-id/{process['id']}/credentials"
    answer = await here.http.put(path, headers=here.admin.headers, json={"gitHttpCredentials": "new"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert await secrets(here, process) == {"git_http": "new"}
    key = ssh_key(1000)
    await here.http.put(path, headers=here.admin.headers, json={"gitSshKeyBase64": key, "gitHttpCredentials": None})
    opened = await secrets(here, process)
    assert list(opened) == ["git_ssh"]
    assert opened["git_ssh"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert opened["git_ssh"].endswith("-----END OPENSSH PRIVATE KEY-----\n")


@pytest.mark.anyio
async def test_claude_authentication_is_replaced_and_taken_back(here: Deployment) -> None:
    process = await here.start(gitHttpCredentials="keep")
    path = f"{PROCESSES}/by-id/{process['id']}/claude-authentication"
    run = await here.services.runs.get(await principal(here), UUID(process["id"]))
    async with here.controls.subscribe(run.id) as worker, here.signals.subscribe(run.id) as reader:
        new = {"claudeAuthentication": {"source": "ClientApiKey", "apiKey": "sk-ant-api03-new"}}
        assert (await here.http.put(path, headers=here.admin.headers, json=new)).status_code == 204
        assert await worker.wait(1)
        assert await reader.wait(1)
    assert decode((await secrets(here, process))["claude"]).api_key == "sk-ant-api03-new"
    answer = await here.http.put(path, headers=here.admin.headers, json={"claudeAuthentication": None})
    assert answer.status_code == 204
    assert await secrets(here, process) == {"git_http": "keep"}
    events = await here.store.events(run.id)
    assert [event.type for event in events][1:] == [EventType.RUN_CREDENTIALS_UPDATED] * 2


@pytest.mark.anyio
async def test_a_finished_process_takes_no_update_and_no_kill(here: Deployment) -> None:
    process = await here.start()
    _, fence = await here.claim()
    await here.finish(fence)
    updates: list[tuple[str, Json | None]] = [
        ("credentials", {"gitHttpCredentials": "t"}),
        ("claude-authentication", {"claudeAuthentication": None}),
        ("kill", None),
    ]
    for suffix, content in updates:
        path = f"{PROCESSES}/by-id/{process['id']}/{suffix}"
        answer = await here.http.put(path, headers=here.admin.headers, json=content)
        assert answer.status_code == 409
        assert answer.json()["code"] == "already_finished"


@pytest.mark.anyio
async def test_kill_ends_a_new_process_and_wakes_the_worker_of_a_running_one(here: Deployment) -> None:
    waiting, running = await here.start(), await here.start()
    path = f"{PROCESSES}/by-id/{waiting['id']}/kill"
    assert (await here.http.put(path, headers=here.admin.headers)).status_code == 204
    killed = await here.get(waiting)
    assert killed["status"] == "Killed"
    assert killed["dateCompleted"] is not None
    run, fence = await here.claim()
    path = f"{PROCESSES}/by-id/{running['id']}/kill"
    async with here.controls.subscribe(run.id) as worker:
        for _ in range(2):
            assert (await here.http.put(path, headers=here.admin.headers)).status_code == 204
        assert await worker.wait(1)
    assert (await here.get(running))["status"] == "Running"
    assert (await here.store.ping(fence, here.clock.now())).is_kill_requested


@pytest.mark.anyio
async def test_a_store_that_is_away_is_503_and_the_log_knows_why(tmp_path: Path) -> None:
    async with deployed(tmp_path) as here:
        await here.http.get(PROCESSES, headers=here.admin.headers)  # the key is known from now on
        await here.store.close()
        answer = await here.http.get(PROCESSES, headers=here.admin.headers)
    assert answer.status_code == 503
    assert answer.json()["code"] == "unavailable"
    assert answer.json()["instance"].startswith("urn:uuid:")
