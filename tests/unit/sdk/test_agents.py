"""`client.agents`: what each operation sends, and what it makes of the answer."""

import base64
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.agent_api import ORGANIZATION, RUN_ID, organizations_json, page_json, run_json
from tests.support.scripted_api import AnyClient, ScriptedApi, ok, pauses

from treadle.sdk import (
    AgentRun,
    AgentRunSource,
    AgentRunStatus,
    AgentWaitTimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    PullRequestState,
    RateLimitedError,
    UnexpectedAnswerError,
)

pytestmark = pytest.mark.anyio

V1 = f"/v1/organizations/{ORGANIZATION}"
RUN = f"{V1}/agent/run"
PNG = b"\x89PNG\r\n\x1a\nrest"
BROKEN = httpx2.ReadError("Connection reset by peer")
STARTED = {"agent_run_id": RUN_ID, "status": "PENDING", "url": "http://treadle.test/runs/42", "message": "Going."}
SETTINGS: dict[str, Any] = {
    "check_retry_count": 3,
    "ignored_checks": ["lint"],
    "check_retry_counts": {"test": 1},
    "custom_prompts": {"test": "Run them."},
    "high_priority_apps": ["ci"],
    "available_check_suite_names": ["test", "lint"],
}


def refusal(status: int, body: object, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, json=body, headers=headers)


async def ask(sdk: AnyClient, method: str, *arguments: Any, **parameters: Any) -> Any:
    return await sdk.result(getattr(sdk.client.agents, method)(*arguments, organization=ORGANIZATION, **parameters))


async def test_run_sends_what_is_asked_for(sdk: AnyClient, api: ScriptedApi, tmp_path: Path) -> None:
    (tmp_path / "shot.png").write_bytes(PNG)
    (tmp_path / "drawing.svg").write_text("<svg/>")
    api.answers.append(ok(run_json("PENDING")))
    run = await ask(
        sdk,
        "run",
        "Log it",
        repository=5,
        images=[b"\xff\xd8\xff", tmp_path / "shot.png", str(tmp_path / "drawing.svg"), "data:image/gif;base64,R0lG"],
        metadata={"ticket": "A-1"},
        model="opus",
        agent_type="claude_code",
        idempotency_key="my-key",
    )
    assert run.status is AgentRunStatus.PENDING
    assert api.paths == [f"POST {RUN}"]
    assert api.only.headers["idempotency-key"] == "my-key"
    assert api.only.headers["x-api-key"] == "key-1"
    sent = api.sent_json()
    assert [uri.partition(",")[0] for uri in sent.pop("images")] == [
        "data:image/jpeg;base64",
        "data:image/png;base64",
        "data:image/svg+xml;base64",
        "data:image/gif;base64",
    ]
    assert sent == {
        "prompt": "Log it",
        "repo_id": 5,
        "metadata": {"ticket": "A-1"},
        "model": "opus",
        "agent_type": "claude_code",
    }


async def test_a_run_without_more_is_only_its_prompt(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok(run_json())] * 2
    await ask(sdk, "run", "Log it", images=[PNG])
    assert base64.b64decode(api.sent_json()["images"][0].partition(",")[2]) == PNG
    api.requests.clear()
    await ask(sdk, "run", "Log it")
    assert api.sent_json() == {"prompt": "Log it"}
    assert len(api.only.headers["idempotency-key"]) == 32


async def test_what_is_no_image_is_said_before_anything_is_sent(
    sdk: AnyClient, api: ScriptedApi, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    for image in (b"no image", tmp_path / "notes.txt"):
        with pytest.raises(ValueError, match="data URI"):
            await ask(sdk, "run", "x", images=[image])
    with pytest.raises(TypeError, match="a list of images"):
        await ask(sdk, "run", "x", images=PNG)
    with pytest.raises(FileNotFoundError):
        await ask(sdk, "resume", RUN_ID, "x", images=["none.png"])
    assert api.requests == []


async def test_the_keys_organization_is_asked_for_once(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok(organizations_json(3, 4)), ok(run_json()), ok(page_json()), ok(run_json())]
    await sdk.result(sdk.client.agents.get(1))
    await sdk.collect(sdk.client.agents.list())
    await sdk.result(sdk.client.agents.get(1, organization=9))
    assert api.paths == [
        "GET /v1/organizations",
        "GET /v1/organizations/3/agent/run/1",
        "GET /v1/organizations/3/agent/runs",
        "GET /v1/organizations/9/agent/run/1",
    ]


async def test_a_key_without_an_organization_is_told(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok(organizations_json()))
    with pytest.raises(NotFoundError, match="no organization"):
        await sdk.result(sdk.client.agents.run("x"))


async def test_a_run_is_read_whole(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok(run_json("COMPLETE", new="field")))
    run = await ask(sdk, "get", RUN_ID)
    assert (run.id, run.organization_id, run.source) == (RUN_ID, ORGANIZATION, AgentRunSource.API)
    assert (run.result, run.summary) == ("All done.\nReally.", "All done.")
    assert run.date_created == datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
    assert (run.web_url, run.metadata, run.raw["new"]) == (
        "http://treadle.test/runs/42",
        {"ticket": "A-1"},
        "field",
    )
    [pull] = run.pull_requests
    assert (pull.id, pull.title, pull.url) == (3, "Log it", "https://github.test/o/r/pull/9")
    assert (pull.branch, pull.number, pull.state) == ("treadle/42-log-it", 9, PullRequestState.MERGED)
    assert run.is_finished
    assert run.succeeded
    assert "Really" not in repr(run)


@pytest.mark.parametrize(
    ("status", "is_finished"),
    [
        *((status, False) for status in ("PENDING", "ACTIVE", "RUNNING", "EVALUATION", "PAUSED", "PONDERING")),
        *((status, True) for status in ("COMPLETE", "FAILED", "ERROR", "STOPPED", "CANCELLED", "TIMEOUT")),
        *((status, True) for status in ("MAX_ITERATIONS_REACHED", "OUT_OF_TOKENS")),
    ],
)
def test_what_a_status_means(status: str, is_finished: bool) -> None:
    run = AgentRun.read(run_json(status, source_type="CARRIER_PIGEON", github_pull_requests=None, metadata=None))
    assert (run.is_finished, run.succeeded) == (is_finished, status == "COMPLETE")
    assert run.status == status
    assert run.source == "CARRIER_PIGEON"
    assert (run.pull_requests, run.metadata) == ((), {})


async def test_an_answer_of_something_else_is_refused(sdk: AnyClient, api: ScriptedApi) -> None:
    bodies: list[object] = [{"id": 1}, {"id": "1", "organization_id": 1}, [], {**run_json(), "status": 3}]
    for body in bodies:
        api.answers.append(ok(body))
        with pytest.raises(UnexpectedAnswerError):
            await ask(sdk, "get", RUN_ID)


async def test_runs_are_listed_a_page_at_a_time(sdk: AnyClient, api: ScriptedApi) -> None:
    first = [run_json(id=number) for number in range(300, 200, -1)]
    # One was started meanwhile, and pushed the last of the first page to the second.
    api.answers += [ok(page_json(*first)), ok(page_json(first[-1], run_json(id=200)))]
    found = await sdk.collect(sdk.client.agents.list(user=4, source=AgentRunSource.API, organization=ORGANIZATION))
    assert [run.id for run in found] == list(range(300, 199, -1))
    assert [dict(request.url.params) for request in api.requests] == [
        {"skip": "0", "limit": "100", "user_id": "4", "source_type": "API"},
        {"skip": "100", "limit": "100", "user_id": "4", "source_type": "API"},
    ]


async def test_a_list_ends_at_its_limit(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok(page_json(run_json(id=2), run_json(id=1))))
    found = await sdk.collect(sdk.client.agents.list(limit=2, organization=ORGANIZATION))
    assert [run.id for run in found] == [2, 1]
    assert api.only.url.params["limit"] == "2"


async def test_resume_sends_the_prompt_under_one_key(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [refusal(429, {"message": "Slow."}, **{"Retry-After": "2"}), ok(run_json("PENDING"))]
    run = await ask(sdk, "resume", RUN_ID, "And test it", images=["data:image/png;base64,AA"])
    assert run.status == "PENDING"
    assert api.paths == [f"POST {RUN}/resume"] * 2
    assert pauses(api) == [2.5]
    api.requests = api.requests[1:]
    assert api.sent_json() == {
        "agent_run_id": RUN_ID,
        "prompt": "And test it",
        "images": ["data:image/png;base64,AA"],
    }
    api.requests.clear()
    api.answers += [BROKEN, ok(run_json()), ok(run_json()), ok(run_json())]
    await ask(sdk, "resume", RUN_ID, "And test it")
    assert len({request.headers["idempotency-key"] for request in api.requests}) == 1
    await ask(sdk, "resume", RUN_ID, "And test it")
    assert len({request.headers["idempotency-key"] for request in api.requests}) == 2
    await ask(sdk, "resume", RUN_ID, "And test it", idempotency_key="my-key")
    assert api.requests[-1].headers["idempotency-key"] == "my-key"


async def test_a_run_is_repeated_under_the_same_key(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [BROKEN, ok(run_json())]
    await ask(sdk, "run", "x")
    assert len({request.headers["idempotency-key"] for request in api.requests}) == 1


@pytest.mark.parametrize(("method", "path"), [("ban", "ban"), ("unban", "unban"), ("remove_from_pr", "remove-from-pr")])
async def test_bans(sdk: AnyClient, api: ScriptedApi, method: str, path: str) -> None:
    api.answers.append(ok({}))
    assert await ask(sdk, method, RUN_ID) is None
    assert api.paths == [f"POST {RUN}/{path}"]
    assert api.sent_json() == {"agent_run_id": RUN_ID}


async def test_wait_looks_until_the_end(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok(run_json("PENDING")), ok(run_json()), ok(run_json("FAILED"))]
    run = await ask(sdk, "wait", RUN_ID, poll=3)
    assert (run.status, run.succeeded) == (AgentRunStatus.FAILED, False)
    assert pauses(api) == [3, 3]


async def test_wait_has_an_end_of_its_own(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers, api.repeats_last = [partial(ok, run_json())], True
    with pytest.raises(AgentWaitTimeoutError, match="still RUNNING") as late:
        await ask(sdk, "wait", RUN_ID, 5, poll=2)
    assert isinstance(late.value, TimeoutError)
    assert late.value.run.id == RUN_ID
    assert api.now == 5


async def test_who_waits_gives_way_to_others_with_the_same_key(sdk: AnyClient, api: ScriptedApi) -> None:
    slow = partial(refusal, 429, {"message": "Slow."}, **{"Retry-After": "10"})
    api.answers += [*[slow] * 6, ok(run_json("COMPLETE"))]
    assert (await ask(sdk, "wait", RUN_ID)).succeeded
    api.answers, api.repeats_last = [slow], True
    with pytest.raises(RateLimitedError):
        await ask(sdk, "wait", RUN_ID, 60)
    api.answers = [partial(refusal, 429, {}, **{"Retry-After": "3600"})]
    with pytest.raises(RateLimitedError) as told:
        await ask(sdk, "wait", RUN_ID)
    assert told.value.retry_after == 3600


@pytest.mark.parametrize(
    ("method", "argument", "path", "source"),
    [
        ("setup_commands", 5, "setup-commands/generate", AgentRunSource.SETUP_COMMANDS),
        ("analyze_logs", 8, "sandbox/8/analyze-logs", None),
    ],
)
async def test_runs_of_another_purpose(
    sdk: AnyClient, api: ScriptedApi, method: str, argument: int, path: str, source: AgentRunSource | None
) -> None:
    api.answers.append(ok(STARTED))
    run = await ask(sdk, method, argument)
    assert (run.id, run.status, run.source, run.organization_id) == (RUN_ID, "PENDING", source, ORGANIZATION)
    assert run.web_url == "http://treadle.test/runs/42"
    assert api.paths == [f"POST {V1}/{path}"]
    if method == "setup_commands":
        assert api.sent_json() == {"repo_id": 5}
        api.answers.append(ok(STARTED))
        await ask(sdk, method, 5, "It needs Node")
        assert b"It needs Node" in api.requests[-1].content


async def test_who_is_who(sdk: AnyClient, api: ScriptedApi) -> None:
    user = {"id": 4, "email": "a@b.test", "github_user_id": "", "github_username": "", "role": "ADMIN"}
    repository = {
        "id": 5,
        "name": "shop",
        "full_name": "acme/shop",
        "description": None,
        "github_id": "",
        "organization_id": ORGANIZATION,
        "visibility": None,
        "archived": None,
        "setup_status": "NONE",
        "language": "Python",
    }
    api.answers += [
        ok(user),
        ok(page_json({"id": 1, "name": "One", "settings": {"enable_pr_creation": False}})),
        ok(page_json(user)),
        ok(page_json(repository)),
    ]
    agents = sdk.client.agents
    me = await sdk.result(agents.me())
    assert (me.id, me.email, me.role, me.github_username, me.name) == (4, "a@b.test", "ADMIN", None, None)
    [organization] = await sdk.collect(agents.organizations())
    assert (organization.id, organization.opens_pull_requests, organization.detects_rules) == (1, False, True)
    assert await sdk.collect(agents.users(organization=ORGANIZATION)) == [me]
    [found] = await sdk.collect(agents.repositories(organization=ORGANIZATION))
    assert (found.id, found.full_name, found.is_archived, found.setup_status) == (5, "acme/shop", False, "NONE")
    assert api.paths == ["GET /v1/users/me", "GET /v1/organizations", f"GET {V1}/users", f"GET {V1}/repos"]


async def test_rules_and_integrations(sdk: AnyClient, api: ScriptedApi) -> None:
    github = {"integration_type": "github", "active": True, "token_id": None, "installation_id": 2, "metadata": None}
    api.answers += [
        ok({"organization_rules": "Be brief.", "user_custom_prompt": None}),
        ok({"organization_id": 7, "organization_name": "O", "integrations": [github], "total_active_integrations": 1}),
    ]
    rules = await ask(sdk, "rules")
    assert (rules.organization, rules.user) == ("Be brief.", None)
    [found] = await ask(sdk, "integrations")
    assert (found.type, found.is_active, found.installation_id, found.metadata) == ("github", True, 2, {})


async def test_check_suite_settings_are_changed_in_part(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok(SETTINGS), ok({"whatever": 1}), ok({**SETTINGS, "check_retry_count": 0})]
    settings = await ask(sdk, "check_suite_settings", 5)
    assert (settings.retry_count, settings.retry_counts, settings.custom_prompts) == (
        3,
        {"test": 1},
        {"test": "Run them."},
    )
    assert (settings.ignored_checks, settings.available_checks) == (("lint",), ("test", "lint"))
    changed = await ask(sdk, "update_check_suite_settings", 5, retry_count=0, ignored_checks=[])
    assert changed.retry_count == 0
    assert api.paths[1:] == [f"{method} {V1}/repos/check-suite-settings" for method in ("PUT", "GET")]
    assert [request.url.params["repo_id"] for request in api.requests] == ["5"] * 3
    api.requests = api.requests[1:2]
    assert api.sent_json() == {"check_retry_count": 0, "ignored_checks": []}


async def test_a_pull_request_is_edited_or_not(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok({"success": True, "url": "u", "number": 9, "title": "T", "state": "closed", "error": None}))
    pull = await ask(sdk, "edit_pull_request", 3, PullRequestState.CLOSED)
    assert (pull.id, pull.number, pull.state, pull.branch) == (3, 9, PullRequestState.CLOSED, None)
    assert api.paths == [f"PATCH {V1}/prs/3"]
    assert api.sent_json() == {"state": "closed"}
    api.answers.append(ok({"success": False, "error": "It is merged."}))
    with pytest.raises(ConflictError, match="It is merged"):
        await ask(sdk, "edit_pull_request", 3, "open")


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (400, {"detail": "No logs available."}, BadRequestError, "No logs available."),
        (401, {"detail": "Not authenticated"}, AuthenticationError, "Not authenticated"),
        (402, {"message": "Used up.", "status_code": 402}, PermissionDeniedError, "Used up."),
        (403, {"message": "Not yours.", "status_code": 403}, PermissionDeniedError, "Not yours."),
        (404, {"message": "Agent run not found.", "status_code": 404}, NotFoundError, "Agent run not found."),
    ],
)
async def test_a_refusal_is_an_error_of_the_same_tree(
    sdk: AnyClient, api: ScriptedApi, status: int, body: object, kind: type[Exception], said: str
) -> None:
    api.answers.append(refusal(status, body))
    with pytest.raises(kind) as caught:
        await ask(sdk, "get", RUN_ID)
    assert caught.value.message == said  # type: ignore[attr-defined]  # every one of them has it
    assert len(api.requests) == 1


async def test_faults_are_named_by_the_path_of_their_field(sdk: AnyClient, api: ScriptedApi) -> None:
    detail = [
        {"loc": ["body", "images", 0], "msg": "is no data URI", "type": "value_error"},
        {"loc": ["body", "metadata", "a", 1, "b"], "msg": "is too deep", "type": "value_error"},
        {"loc": ["body"], "msg": "is no JSON", "type": "json_invalid"},
        {"loc": ["query", "limit"], "msg": "is too large", "type": "less_than_equal"},
        "something else",
    ]
    api.answers.append(refusal(422, {"detail": detail}))
    with pytest.raises(BadRequestError) as caught:
        await ask(sdk, "run", "x")
    assert caught.value.errors == {
        "images[0]": ["is no data URI"],
        "metadata.a[1].b": ["is too deep"],
        "body": ["is no JSON"],
        "limit": ["is too large"],
    }
    assert "images[0]: is no data URI" in str(caught.value)
