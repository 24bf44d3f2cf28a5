"""Agent runs as clients see them: pages, logs, results, repeats, limits, addresses."""

import asyncio
import base64
from pathlib import Path

import httpx2
import pytest
from tests.support.deployment import PROCESSES, Json
from tests.unit.api.codegen.scene import ORG, Scene, scene

from treadle.api.codegen.requests import MAX_IMAGES_BYTES, MAX_METADATA_BYTES, MAX_METADATA_DEPTH
from treadle.domain.states import RunStatus
from treadle.services.check_suites import MAX_CHECKS

PNG = b"\x89PNG\r\n\x1a\n" + b"picture"
IMAGE = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
RUNS = f"{ORG}/agent/runs"
RUN = f"{ORG}/agent/run"
OWN = f"{RUN}/{{agent_run_id}}"


@pytest.mark.anyio
async def test_a_run_that_ended_well(there: Scene) -> None:
    found = await there.json("GET", OWN, "MEMBER")
    assert found == {
        "id": there.ids["agent_run_id"],
        "organization_id": 1,
        "status": "COMPLETE",
        "created_at": "2026-10-01T09:30:00.125Z",
        "web_url": f"http://treadle.test/runs/{there.ids['agent_run_id']}",
        "result": None,
        "summary": None,
        "metadata": {"ticket": 7},
        "cost_usd": 0.0,
        "max_cost_usd": None,
        "network": None,
        "validate": None,
        "source_type": "API",
        "github_pull_requests": [
            {
                "id": there.ids["pr_id"],
                "number": 1,
                "title": "Do it",
                "url": "https://forge.example/acme/shop/pull/1",
                "created_at": "2026-10-01T09:30:00.125Z",
                "head_branch_name": f"treadle/{there.ids['agent_run_id']}-do-it",
                "state": "open",
                "merged": False,
            }
        ],
    }
    listed = await there.json("GET", RUNS, "MEMBER")
    assert listed == {"items": [found], "total": 1, "page": 1, "size": 100, "pages": 1}


@pytest.mark.anyio
async def test_the_result_and_what_stands_for_it_where_a_run_failed(there: Scene) -> None:
    created = await there.create(model="dummy")
    _, fence = await there.here.claim()
    assert (await there.json("GET", f"{RUN}/{created['id']}"))["status"] == "RUNNING"
    await there.here.finish(fence, RunStatus.FAILED, "\nThe branch is gone.\nMake it anew.")
    found = await there.json("GET", f"{RUN}/{created['id']}")
    assert (created["status"], found["status"]) == ("PENDING", "FAILED")
    assert (found["result"], found["summary"]) == ("\nThe branch is gone.\nMake it anew.", "The branch is gone.")


@pytest.mark.anyio
async def test_the_log_in_pages_and_backwards(there: Scene) -> None:
    whole = await there.json("GET", f"{OWN}/logs")
    kinds = ["USER_MESSAGE", "PLAN_EVALUATION", "ACTION", "FINAL_ANSWER"]
    assert [entry["message_type"] for entry in whole["logs"]] == kinds
    assert whole["logs"][2] == {
        "agent_run_id": there.ids["agent_run_id"],
        "created_at": "2026-10-01T09:30:00.125Z",
        "message_type": "ACTION",
        "thought": None,
        "tool_name": "Bash",
        "tool_input": {"command": "ls"},
        "tool_output": {"output": "a\n", "is_error": False},
        "observation": None,
    }
    assert {name: whole[name] for name in ("total_logs", "page", "size", "pages")} == {
        "total_logs": 4,
        "page": 1,
        "size": 100,
        "pages": 1,
    }
    alpha = "/v1/alpha/organizations/{org_id}/agent/run/{agent_run_id}/logs"
    for path in (f"{OWN}/logs", alpha):
        for reverse in ("false", "true"):
            pages = [
                await there.json("GET", path, params={"skip": skip, "limit": "3", "reverse": reverse})
                for skip in ("0", "3", "6")
            ]
            entries = [entry for page in pages for entry in page["logs"]]
            assert entries == (whole["logs"][::-1] if reverse == "true" else whole["logs"])
            assert [(page["page"], page["pages"], len(page["logs"])) for page in pages] == [
                (1, 2, 3),
                (2, 2, 1),
                (3, 2, 0),
            ]


@pytest.mark.anyio
async def test_lists_are_paged_newest_first(there: Scene) -> None:
    ids = [there.ids["agent_run_id"], *[(await there.create())["id"] for _ in range(4)]][::-1]
    for query in ({"skip": "2", "limit": "2"}, {"page": "2", "size": "2"}):
        page = await there.json("GET", RUNS, params=query)
        assert [run["id"] for run in page["items"]] == ids[2:4]
        assert (page["total"], page["page"], page["size"], page["pages"]) == (5, 2, 2, 3)
    for query in ({"page": "0", "size": "x"}, {"page": "-1", "size": "1000"}, {"page": "9" * 40, "size": ""}):
        assert (await there.json("GET", RUNS, params=query))["total"] == 5
    far = await there.json("GET", RUNS, params={"skip": "9" * 30})
    assert (far["items"], far["total"]) == ([], 5)
    for user, total in ((there.people["MEMBER"].user.id, 1), (1, 4), (-1, 0), (2**70, 0)):
        assert (await there.json("GET", RUNS, params={"user_id": str(user)}))["total"] == total
    assert (await there.json("GET", RUNS, params={"source_type": "SLACK"}))["total"] == 0


@pytest.mark.anyio
async def test_runs_of_the_other_dialect_are_the_same_runs(there: Scene) -> None:
    process = await there.here.start(gitUrl="https://git.example/acme/shop.git", engine="Dummy")
    found = (await there.json("GET", RUNS, params={"limit": "1"}))["items"][0]
    assert found["status"] == "PENDING"
    assert (await there.json("GET", f"{RUN}/{found['id']}")) == found
    resumed = await there.json("POST", f"{RUN}/resume", json={"agent_run_id": found["id"], "prompt": "More"})
    assert resumed["id"] == found["id"]
    assert [step["step"] for step in (await there.here.get(process))["steps"]] == ["Write the tests", "More"]
    await there.json("POST", f"{RUN}/ban", json={"agent_run_id": found["id"]})
    assert (await there.here.get(process))["status"] == "Killed"
    created = await there.create()
    answer = await there.here.http.get(PROCESSES, headers=there.here.admin.headers)
    shown = answer.json()[0]
    assert shown["branchWork"] == f"treadle/{created['id']}-do-it"


@pytest.mark.anyio
async def test_a_repeated_call_with_its_key(there: Scene) -> None:
    async def create(prompt: str, **body: object) -> httpx2.Response:
        return await there.send(
            "POST", RUN, json={"prompt": prompt, "images": [IMAGE], **body}, headers={"Idempotency-Key": "key"}
        )

    first = await create("Do it")
    assert (await create("Do it")).json() == first.json()
    assert (await create("Do it", unknown="ignored")).json() == first.json()
    other = await create("Do that")
    assert other.status_code == 409
    assert set(other.json()) == {"message", "status_code", "detail"}
    for key in ("", "k" * 256, "\u00e4"):
        answer = await there.send("POST", RUN, json={"prompt": "x"}, headers={"Idempotency-Key": key.encode()})
        assert answer.json()["detail"][0]["loc"] == ["header", "Idempotency-Key"]


@pytest.mark.anyio
async def test_a_repeated_resume_with_its_key(there: Scene) -> None:
    run = await there.create()

    async def resume(prompt: str, *, key: str = "key", **body: object) -> httpx2.Response:
        asked = {"agent_run_id": run["id"], "prompt": prompt, "images": [IMAGE], **body}
        return await there.send("POST", f"{RUN}/resume", json=asked, headers={"Idempotency-Key": key})

    async def prompts() -> list[str]:
        return [step.text for step in (await there.here.store.get_run_by_id(run["id"])).steps]

    first = await resume("More")
    assert (first.status_code, (await resume("More")).json()) == (200, first.json())
    assert await prompts() == ["Do it", "More"]
    assert (await resume("Else")).status_code == 409
    assert (await resume("More", images=[])).status_code == 409
    assert (await resume("More", max_cost_usd=3)).status_code == 409
    other = await there.create()
    assert (await resume("More", agent_run_id=other["id"])).status_code == 409
    assert await prompts() == ["Do it", "More"]
    assert (await resume("More", key="another")).status_code == 200
    assert await prompts() == ["Do it", "More", "More"]
    answer = await resume("More", key="k" * 256)
    assert answer.json()["detail"][0]["loc"] == ["header", "Idempotency-Key"]


@pytest.mark.anyio
async def test_a_faulty_image_is_named_by_its_place(there: Scene) -> None:
    for path, body in ((RUN, {}), (f"{RUN}/resume", {"agent_run_id": there.ids["agent_run_id"]})):
        answer = await there.send("POST", path, json={**body, "prompt": "x", "images": [IMAGE, IMAGE, "no"]})
        assert answer.status_code == 422
        assert [fault["loc"] for fault in answer.json()["detail"]] == [["body", "images", 2]]
        assert (await there.send("POST", path, json={**body, "prompt": " "})).json()["detail"][0]["loc"] == [
            "body",
            "prompt",
        ]


@pytest.mark.anyio
async def test_metadata_has_a_limit(there: Scene) -> None:
    deep: Json = {}
    for _ in range(MAX_METADATA_DEPTH):
        deep = {"a": deep}
    for metadata in ({"a": "x" * MAX_METADATA_BYTES}, deep):
        answer = await there.send("POST", RUN, json={"prompt": "x", "metadata": metadata})
        assert answer.status_code == 422, answer.text
        assert answer.json()["detail"][0]["loc"] == ["body", "metadata"]
    odd = {"a": ["\0", "\ud800", 10**40, 1e300, None, {"b": {}}], "": "\u2028"}
    found = await there.create(metadata=odd)
    assert found["metadata"] == odd
    assert (await there.json("GET", f"{RUN}/{found['id']}"))["metadata"] == odd


@pytest.mark.anyio
async def test_entries_are_counted_before_each_is_looked_at(there: Scene) -> None:
    """Millions of faulty ones fit a body, and cost a thousand times its size if each becomes a fault."""
    many = [1] * (MAX_CHECKS + 1)
    checks = f"{ORG}/repos/check-suite-settings?repo_id=1"
    resumed = {"agent_run_id": there.ids["agent_run_id"]}
    for method, path, field, body in (
        ("POST", RUN, "images", {"prompt": "x", "images": many}),
        ("POST", f"{RUN}/resume", "images", {"prompt": "x", "images": many, **resumed}),
        ("PUT", checks, "ignored_checks", {"ignored_checks": many}),
        ("PUT", checks, "high_priority_apps", {"high_priority_apps": many}),
        ("PUT", checks, "check_retry_counts", {"check_retry_counts": dict.fromkeys(map(str, range(501)), "x")}),
        ("PUT", checks, "custom_prompts", {"custom_prompts": dict.fromkeys(map(str, range(501)), 1)}),
    ):
        answer = await there.send(method, path, json=body)
        assert answer.status_code == 422
        (fault,) = answer.json()["detail"]
        assert fault["loc"] == ["body", field]
        assert fault["msg"].endswith("not 501")


@pytest.mark.anyio
async def test_a_number_that_no_answer_could_tell(there: Scene) -> None:
    answer = await there.send("POST", RUN, content=b'{"prompt": "x", "metadata": {"a": -1e999}}')
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["ctx"] == {"error": "Number out of range"}


@pytest.mark.anyio
async def test_texts_that_no_database_takes(there: Scene) -> None:
    found = await there.create(prompt="a\0b\ud800")
    assert found["status"] == "PENDING"


@pytest.mark.anyio
async def test_what_is_too_large(there: Scene) -> None:
    sizes = {RUN: MAX_IMAGES_BYTES, f"{RUN}/ban": there.here.settings.max_request_bytes}
    for path, size in sizes.items():
        answer = await there.send("POST", path, content=b" " * (size + 1))
        assert answer.status_code == 413
        assert answer.json()["message"] == f"The request is larger than {size:,} bytes."
    long = "x" * (there.here.settings.max_request_bytes + 1)
    for path, more in ((RUN, {}), (f"{RUN}/resume", {"agent_run_id": there.ids["agent_run_id"]})):
        answer = await there.send("POST", path, json={"prompt": long, **more})
        assert answer.json()["detail"][0]["loc"] == ["body", "prompt"]


@pytest.mark.anyio
async def test_the_allowance_of_a_month(there: Scene) -> None:
    organizations = there.here.services.organizations
    organization = await organizations.get(1)
    from dataclasses import replace

    await organizations.save(replace(organization, monthly_runs=1))
    assert (await there.send("POST", RUN, json={"prompt": "x"})).status_code == 200
    answer = await there.send("POST", RUN, json={"prompt": "x"})
    assert answer.status_code == 402
    assert answer.json()["message"].startswith("Alloted agent runs for the current billing plan")


@pytest.mark.anyio
async def test_no_repository(there: Scene) -> None:
    answer = await there.send("POST", f"/v1/organizations/{there.other.id}/agent/run", "outsider", json={"prompt": "x"})
    assert answer.status_code == 404
    message = "No repos found in the organization. Please add some repos and try again."
    assert answer.json() == {"message": message, "status_code": 404, "detail": message}


@pytest.mark.anyio
async def test_an_edited_pull_request(there: Scene) -> None:
    for state, shown in (("draft", "draft"), ("ready_for_review", "open"), ("closed", "closed"), ("open", "open")):
        found = await there.json("PATCH", f"{ORG}/prs/{{pr_id}}", json={"state": state})
        assert found == {
            "success": True,
            "url": "https://forge.example/acme/shop/pull/1",
            "number": 1,
            "title": "Do it",
            "state": shown,
            "error": None,
        }
    unknown = await there.json("PATCH", f"{ORG}/repos/99/prs/{{pr_id}}", json={"state": "open"})
    assert (unknown["success"], unknown["error"]) == (False, "Pull request not found.")


@pytest.mark.anyio
async def test_check_suite_settings_are_kept(there: Scene) -> None:
    path, params = f"{ORG}/repos/check-suite-settings", {"repo_id": "1"}
    change = {
        "check_retry_count": 0,
        "ignored_checks": ["lint"],
        "check_retry_counts": {"build": 2},
        "custom_prompts": {"build": "Mind the cache"},
        "high_priority_apps": ["ci"],
    }
    expected = {**change, "available_check_suite_names": ["build", "lint"]}
    assert (await there.json("PUT", path, params=params, json=change))["check_retry_count"] == 0
    await there.json("PUT", path, params=params, json=dict.fromkeys(change))
    assert await there.json("GET", path, params=params) == expected
    for method in ("GET", "PUT"):
        answer = await there.send(method, path, params={"repo_id": "99"}, json=change)
        assert (answer.status_code, answer.json()["message"]) == (404, "Repository not found.")


@pytest.mark.anyio
async def test_check_suite_settings_that_are_changed_at_the_same_time(there: Scene) -> None:
    """What one change leaves as it is, another may have changed meanwhile."""
    path, params = f"{ORG}/repos/check-suite-settings", {"repo_id": "1"}
    changes = {
        "check_retry_count": 7,
        "ignored_checks": ["a"],
        "custom_prompts": {"a": "b"},
        "high_priority_apps": ["x"],
    }
    await asyncio.gather(
        *(there.json("PUT", path, params=params, json={name: value}) for name, value in changes.items())
    )
    assert (await there.json("GET", path, params=params)).items() >= changes.items()


@pytest.mark.anyio
async def test_people_organizations_and_rules(there: Scene) -> None:
    from dataclasses import replace

    organizations = there.here.services.organizations
    await organizations.save(replace(await organizations.get(1), rules="Be brief."))
    admin, _ = await there.here.store.member(1, 1)
    await organizations.save_user(replace(admin, rules="In German.", github_user_id="12", github_username="ada"))
    me = await there.json("GET", "/v1/users/me")
    assert me == {
        "id": 1,
        "email": "admin@localhost",
        "github_user_id": "12",
        "github_username": "ada",
        "avatar_url": None,
        "full_name": "Admin",
        "role": "ADMIN",
        "is_admin": True,
    }
    assert await there.json("GET", f"{ORG}/users/{{user_id}}", "MEMBER") == me
    users = await there.json("GET", f"{ORG}/users", "MEMBER", params={"limit": "2"})
    assert (len(users["items"]), users["total"], users["pages"]) == (2, 4, 2)
    rules = await there.json("GET", f"{ORG}/cli/rules")
    assert rules == {"organization_rules": "Be brief.", "user_custom_prompt": "In German."}
    missing = await there.send("GET", f"{ORG}/users/{there.people['outsider'].user.id}")
    assert (missing.status_code, missing.json()["message"]) == (404, "User not found.")


@pytest.mark.anyio
async def test_a_token_for_an_account_elsewhere(there: Scene) -> None:
    found = await there.json("POST", "/v1/slack-connect/generate-token", json={"org_id": 1})
    assert found["expires_in_minutes"] == 10
    assert found["message"].endswith(f"Connect my account: {found['token']}")
    connected = await there.here.services.connections.redeem(found["token"], "slack", "U1")
    assert connected.user_id == 1
    integrations = await there.json("GET", f"{ORG}/integrations")
    slack = next(each for each in integrations["integrations"] if each["integration_type"] == "slack")
    assert slack["active"]
    assert integrations["total_active_integrations"] == sum(each["active"] for each in integrations["integrations"])


@pytest.mark.anyio
async def test_oauth_tokens(there: Scene) -> None:
    connections = there.here.services.connections
    principal = await there.here.services.identity.authenticate(there.here.admin.key)
    status = "/v1/oauth/tokens/status?org_id=1"
    await connections.put_token(principal, "notes", "canary-token")
    assert (await there.send("GET", status)).json() == ["notes"]
    assert (await there.send("GET", status, "MEMBER")).json() == []
    for provider in ("notes", "notes", "nobody"):
        revoked = f"/v1/oauth/tokens/revoke?org_id=1&provider={provider}"
        assert (await there.send("POST", revoked)).status_code == 200
    assert (await there.send("GET", status)).json() == []
    (provider,) = (await there.send("GET", "/v1/mcp-providers")).json()
    assert (provider["name"], provider["is_mcp"]) == ("notes", True)


@pytest.mark.anyio
async def test_sessions_elsewhere_are_among_the_agent_runs(there: Scene) -> None:
    session = f"{ORG}/claude_code/session"
    opened = await there.json("POST", session, "MEMBER", json={"session_id": "0c0e"})
    assert await there.json("POST", session, "MEMBER", json={"session_id": "0c0e"}) == opened
    lines = [
        {"type": "user", "message": {"role": "user", "content": "Do it"}},
        {"type": "assistant", "message": {"content": [{"type": "text", "text": "I do"}]}},
    ]
    for line in lines:
        await there.json("POST", f"{session}/0c0e/log", "MEMBER", json={"log": line})
    await there.json("POST", f"{session}/0c0e/status", "MEMBER", json={"status": "COMPLETE"})
    found = await there.json("GET", f"{RUN}/{opened['agent_run_id']}")
    assert (found["status"], found["source_type"], found["github_pull_requests"]) == ("COMPLETE", "LOCAL", [])
    assert (await there.json("GET", RUNS, params={"source_type": "LOCAL"}))["items"] == [found]
    assert (await there.json("GET", RUNS))["total"] == 1, "but only where they are asked for"
    log = await there.json("GET", f"{RUN}/{opened['agent_run_id']}/logs", params={"reverse": "true"})
    assert [(entry["message_type"], entry["thought"], entry["observation"]) for entry in log["logs"]] == [
        ("PLAN_EVALUATION", "I do", None),
        ("USER_MESSAGE", None, "Do it"),
    ]
    for verb, more in (("ban", {}), ("resume", {"prompt": "x"})):
        answer = await there.send("POST", f"{RUN}/{verb}", json={"agent_run_id": opened["agent_run_id"], **more})
        assert answer.status_code == 404


@pytest.mark.anyio
async def test_links_lead_to_the_public_address(tmp_path: Path) -> None:
    async with scene(tmp_path, public_url="https://treadle.example/") as there:
        found = await there.json("GET", OWN)
        assert found["web_url"] == f"https://treadle.example/runs/{found['id']}"
        setup = await there.json("POST", f"{ORG}/setup-commands/generate", json={"repo_id": 1})
        assert setup["url"] == f"https://treadle.example/runs/{setup['agent_run_id']}"


@pytest.mark.anyio
async def test_links_lead_to_where_the_caller_is_unless_that_is_no_address(there: Scene) -> None:
    for host, shown in (
        ("treadle.example:8443", "treadle.example:8443"),
        ("[::1]:80", "[::1]:80"),
        ("", "localhost"),
        ('a"b<c>', "localhost"),
        ("evil.example/runs?", "localhost"),
        ("user@evil.example", "localhost"),
        ("a b", "localhost"),
    ):
        found = await there.json("GET", OWN, headers={"Host": host})
        assert found["web_url"] == f"http://{shown}/runs/{found['id']}"


@pytest.mark.anyio
async def test_an_address_with_a_slash_too_many(there: Scene) -> None:
    answer = await there.here.http.get("http://treadle.test//v1/users/me", headers=there.here.admin.headers)
    assert (answer.status_code, answer.json()["id"]) == (200, 1)


@pytest.mark.anyio
async def test_nothing_is_there_but_what_there_is(there: Scene) -> None:
    answer = await there.send("GET", "/v1/nothing")
    assert (answer.status_code, "detail" in answer.json()) == (404, True)
    answer = await there.send("DELETE", OWN)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    for verb in ("ban", "unban", "remove-from-pr", "resume"):
        answer = await there.send("GET", f"{RUN}/{verb}")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert (await there.send("GET", f"{RUN}/resumed")).status_code == 422
