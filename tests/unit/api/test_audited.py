"""Whatever changes something leaves an entry in the audit log: every mutating route of the API and of the page."""

import base64
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.routing import Route
from tests.support.deployment import Deployment, Json, body
from tests.support.pages import Person
from tests.unit.api.codegen.calls import BESIDES, BETA, CHECKS, SESSION, SPECIFIED, filled
from tests.unit.api.codegen.scene import ORG, Scene, scene

from treadle.domain.batch import BatchStatus, ItemStatus
from treadle.domain.identity import Role
from treadle.ports.script_runs import ScriptFilter
from treadle.ports.triggers import Arrival
from treadle.ports.trust import AuditEntry
from treadle.services.audit_actions import Action
from treadle.services.passwords import Cost, Passwords
from treadle.web.door import COOKIE

pytestmark = pytest.mark.anyio

PROCESS = "/code-generation/processes/by-id/{id}"

#: Routes that change something and leave no entry of their own; each with its reason.
EXEMPT: Mapping[str, str] = {
    f"POST {SESSION}": "a CLI elsewhere says what it does: the session and its lines are kept themselves",
    f"POST {SESSION}/{{session_id}}/status": "as above",
    f"POST {SESSION}/{{session_id}}/log": "as above",
    "POST /hooks/{uuid}": "what follows is noted where it follows: a run that is started, one that is resumed",
    "POST /mcp": "each of its tools is noted by the use case behind it, with the door mcp",
    "POST /repositories/{id:int}/check": "only looks, and keeps what the forge says",
    "POST /plans/check": "only reads what it is sent",
    "POST /scripts/check": "as above",
}

Step = tuple[str, Action, Callable[[], Awaitable[httpx2.Response]]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that cost nothing to make."""
    plain = Passwords.__init__
    monkeypatch.setattr(Passwords, "__init__", lambda self, **given: plain(self, cost=Cost(n=16, r=1, p=1), **given))


class Walk:
    """Somebody who uses every route once."""

    def __init__(self, there: Scene) -> None:
        self.there = there
        self.here: Deployment = there.here
        self.seen = set[str]()
        self.last = 0

    async def news(self) -> list[AuditEntry]:
        """What the log has got since the last look, oldest first."""
        found = await self.here.store.audit(None, limit=1000)
        fresh = [entry for entry in reversed(found) if entry.id > self.last]
        self.last = max(self.last, *(entry.id for entry in found))
        return fresh

    async def step(self, route: str, action: Action, answer: Awaitable[httpx2.Response], door: str = "api") -> Json:
        """Raises AssertionError unless the call leaves such an entry, of the admin, by that door."""
        await self.news()
        got = await answer
        assert got.status_code < 400, (route, got.status_code, got.text[:2000])
        noted = [entry for entry in await self.news() if entry.action == action]
        assert noted, f"{route} leaves no {action}"
        assert {entry.door for entry in noted} == {door}, route
        assert {entry.address for entry in noted} == {"127.0.0.1"}, route
        assert {entry.actor for entry in noted} <= {self.here.admin.user.email, "ada@example.com"}, (route, noted)
        assert all(entry.organization_id for entry in noted), route
        self.seen.add(route)
        found: Json = got.json() if "json" in got.headers.get("content-type", "") else {}
        return found


async def test_every_route_that_changes_something_is_noted(tmp_path: Path) -> None:
    async with scene(tmp_path, allow_local_repositories=True, allow_private_hosts=True) as there:
        walk = Walk(there)
        await _code_generation(walk)
        await _agent_runs(walk)
        await _native(walk)
        await _batches(walk)
        await _scripts(walk)
        await _page(walk)
        routes = {
            f"{method} {route.path}"
            for route in there.here.app.router.routes
            if isinstance(route, Route)
            for method in route.methods or ()
            if method not in {"GET", "HEAD"}
        }
        assert routes - walk.seen - EXEMPT.keys() == set(), "leave an entry, or say why not"
        assert EXEMPT.keys() <= routes
        assert walk.seen <= routes


async def _code_generation(walk: Walk) -> None:
    here, headers = walk.here, walk.here.admin.headers
    http = here.http
    made = await walk.step(
        "POST /code-generation/processes",
        Action.RUN_CREATED,
        http.post("/code-generation/processes", headers=headers, json=body(branchWork="a")),
    )
    planned = {"plan": {"steps": ["Write it"]}, "url": "https://git.example/acme/shop.git"}
    await walk.step("POST /plans/start", Action.RUN_CREATED, http.post("/plans/start", headers=headers, json=planned))
    at = PROCESS.format(id=made["id"])
    git, claude = {"gitHttpCredentials": "user:word"}, {"claudeAuthentication": {"source": "Default"}}
    changed = Action.RUN_CREDENTIALS_CHANGED
    await walk.step(f"PUT {PROCESS}/credentials", changed, http.put(f"{at}/credentials", headers=headers, json=git))
    await walk.step(
        f"PUT {PROCESS}/claude-authentication",
        changed,
        http.put(f"{at}/claude-authentication", headers=headers, json=claude),
    )
    await walk.step(f"PUT {PROCESS}/kill", Action.RUN_KILLED, http.put(f"{at}/kill", headers=headers))
    sent = {"file": ("notes.txt", b"Words", "text/plain")}
    file = await walk.step("POST /files", Action.FILE_UPLOADED, http.post("/files", headers=headers, files=sent))
    await walk.step(
        "DELETE /files/by-id/{id}",
        Action.FILE_DELETED,
        http.delete(f"/files/by-id/{file['id']}", headers=headers),
    )
    await walk.step("POST /auth/token", Action.TOKEN_ISSUED, http.post("/auth/token", headers=headers))


#: What each call of `calls` is noted as.
AGENT_ACTIONS: Mapping[str, Action] = {
    f"POST {ORG}/agent/run": Action.RUN_CREATED,
    f"POST {ORG}/agent/run/resume": Action.RUN_RESUMED,
    f"POST {BETA}/resume": Action.RUN_RESUMED,
    f"POST {ORG}/agent/run/ban": Action.BRANCH_BANNED,
    f"POST {ORG}/agent/run/remove-from-pr": Action.BRANCH_BANNED,
    f"POST {BETA}/stop": Action.BRANCH_BANNED,
    f"POST {ORG}/agent/run/unban": Action.BRANCH_UNBANNED,
    f"PUT {CHECKS}": Action.REPOSITORY_CHECKS_CHANGED,
    f"PATCH {ORG}/prs/{{pr_id}}": Action.PULL_REQUEST_CHANGED,
    f"PATCH {ORG}/repos/{{repo_id}}/prs/{{pr_id}}": Action.PULL_REQUEST_CHANGED,
    f"POST {ORG}/setup-commands/generate": Action.RUN_CREATED,
    f"POST {ORG}/sandbox/{{sandbox_id}}/analyze-logs": Action.RUN_CREATED,
    "POST /v1/oauth/tokens/revoke": Action.OAUTH_TOKEN_REVOKED,
    "POST /v1/slack-connect/generate-token": Action.CONNECT_TOKEN_ISSUED,
}


async def _agent_runs(walk: Walk) -> None:
    there = walk.there
    for call, action in AGENT_ACTIONS.items():
        method, path = call.split(" ")
        given = {**SPECIFIED, **BESIDES}[call]
        await walk.step(call, action, there.send(method, path, **filled(given, there.ids)))


async def _native(walk: Walk) -> None:
    headers, http = walk.here.admin.headers, walk.here.http
    at = f"/repositories/by-id/{walk.there.ids['repo_id']}"
    template = "/repositories/by-id/{id}"
    secret = {"values": {"PACKAGES": "word"}}
    calls: list[tuple[str, Action, str, Json | None]] = [
        (f"PUT {template}/secrets", Action.REPOSITORY_SECRET_SET, f"{at}/secrets", secret),
        (f"DELETE {template}/secrets/{{name}}", Action.REPOSITORY_SECRET_REMOVED, f"{at}/secrets/PACKAGES", None),
        ("PUT /budget", Action.ORGANIZATION_CHANGED, "/budget", {"monthlyCostUsd": 5}),
        (f"PUT {template}/network", Action.REPOSITORY_CHANGED, f"{at}/network", {"network": "model"}),
        (
            f"PUT {template}/validation",
            Action.REPOSITORY_CHANGED,
            f"{at}/validation",
            {"validate": ["make test"]},
        ),
        (
            f"PUT {template}/secret-scanning",
            Action.REPOSITORY_CHANGED,
            f"{at}/secret-scanning",
            {"scansSecrets": False},
        ),
    ]
    for route, action, path, sent in calls:
        await walk.step(route, action, http.request(route.split(" ")[0], path, headers=headers, json=sent))
    await _schedules(walk)
    await _webhooks(walk)
    await _triggers(walk)


async def _schedules(walk: Walk) -> None:
    headers, http = walk.here.admin.headers, walk.here.http
    plan = {"plan": {"repo": "https://git.example/acme/shop.git", "source": "main", "steps": ["Tidy up"]}}
    wanted = {"name": "tidy", "cron": "@daily", "plan": plan}
    made = await walk.step(
        "POST /schedules", Action.SCHEDULE_ADDED, http.post("/schedules", json=wanted, headers=headers)
    )
    one, at = "/schedules/{id}", f"/schedules/{made['id']}"
    off = http.patch(at, json={"isEnabled": False}, headers=headers)
    await walk.step(f"PATCH {one}", Action.SCHEDULE_CHANGED, off)
    await walk.step(f"POST {one}/fire", Action.SCHEDULE_FIRED, http.post(f"{at}/fire", headers=headers))
    await walk.step(f"DELETE {one}", Action.SCHEDULE_REMOVED, http.delete(at, headers=headers))


async def _triggers(walk: Walk) -> None:
    headers, http = walk.here.admin.headers, walk.here.http
    plan = {"repo": "https://git.example/acme/shop.git", "source": "main", "steps": ["Tidy up"]}
    wanted = {"name": "tidy", "kind": "url", "plan": plan}
    made = await walk.step(
        "POST /triggers", Action.TRIGGER_CREATED, http.post("/triggers", json=wanted, headers=headers)
    )
    hook, one, at = made["hook"], "/triggers/{id}", f"/triggers/{made['id']}"
    bearer = {"Authorization": f"Bearer {hook['secret']}"}
    assert (await http.post(f"/hooks/{hook['id']}", json={"a": 1}, headers=bearer)).status_code == 202
    await walk.step(f"PATCH {one}", Action.TRIGGER_CHANGED, http.patch(at, json={"name": "off"}, headers=headers))
    [told] = (await http.get(f"{at}/deliveries", headers=headers)).json()["deliveries"]
    again = http.post(f"{at}/deliveries/{told['id']}/redeliver", headers=headers)
    await walk.step(f"POST {one}/deliveries/{{delivery}}/redeliver", Action.DELIVERY_REPEATED, again)
    rotated = http.post(f"/hooks/{hook['id']}/rotate", headers=headers)
    await walk.step("POST /hooks/{id}/rotate", Action.HOOK_ROTATED, rotated)
    await walk.step(f"DELETE {one}", Action.TRIGGER_REMOVED, http.delete(at, headers=headers))
    other = await walk.step("POST /hooks", Action.HOOK_CREATED, http.post("/hooks", json={}, headers=headers))
    await walk.step("DELETE /hooks/{id}", Action.HOOK_REMOVED, http.delete(f"/hooks/{other['id']}", headers=headers))


async def _scripts(walk: Walk) -> None:
    headers, http = walk.here.admin.headers, walk.here.http
    source = {"source": "x = 1"}
    sent = {"name": "night", **source}
    await walk.step("POST /scripts", Action.SCRIPT_SAVED, http.post("/scripts", json=sent, headers=headers))
    start = http.post("/scripts/night/runs", json={}, headers=headers)
    made = await walk.step("POST /scripts/{id}/runs", Action.SCRIPT_STARTED, start)
    kill = http.post(f"/script-runs/{made['id']}/kill", headers=headers)
    await walk.step("POST /script-runs/{id}/kill", Action.SCRIPT_KILLED, kill)
    await walk.step("POST /script-runs", Action.SCRIPT_STARTED, http.post("/script-runs", json=source, headers=headers))
    await walk.step("DELETE /scripts/{id}", Action.SCRIPT_REMOVED, http.delete("/scripts/night", headers=headers))


async def _batches(walk: Walk) -> None:
    http, headers = walk.here.http, walk.here.admin.headers
    sent = {"plan": {"source": "main", "steps": ["Do it"]}, "targets": ["https://git.example/acme/one.git"]}
    made = await walk.step("POST /batches", Action.BATCH_STARTED, http.post("/batches", headers=headers, json=sent))
    at = f"/batches/{made['id']}"
    change = http.patch(at, headers=headers, json={"concurrency": 2})
    await walk.step("PATCH /batches/{id}", Action.BATCH_CHANGED, change)
    await walk.step("POST /batches/{id}/kill", Action.BATCH_KILLED, http.post(f"{at}/kill", headers=headers))
    now = walk.here.clock.now()
    await walk.here.store.end_waiting(made["id"], ItemStatus.KILLED, None, now)
    await walk.here.store.end_batch(made["id"], BatchStatus.KILLED, None, now)
    await walk.step("POST /batches/{id}/retry", Action.BATCH_RETRIED, http.post(f"{at}/retry", headers=headers))


async def _page(walk: Walk) -> None:
    here, ids = walk.here, walk.there.ids
    transport = httpx2.ASGITransport(app=here.app, raise_app_exceptions=False)
    person = Person(httpx2.AsyncClient(transport=transport, base_url="http://treadle.test"))

    async def post(route: str, action: Action, /, path: str = "", **fields: str) -> None:
        await walk.step(f"POST {route}", action, person.post(path or route, **fields), door="page")

    await post("/sign-in", Action.SIGNED_IN, by="key", key=here.admin.key)
    await post("/settings/account/name", Action.USER_CHANGED, name="Ada")
    await post("/settings/organization", Action.ORGANIZATION_CHANGED, name="Works")
    await post("/settings/budgets", Action.ORGANIZATION_CHANGED, monthly_cost="7", max_cost="1")
    await post("/settings/rules", Action.ORGANIZATION_CHANGED, rules="Be kind.")
    await post("/settings/my-rules", Action.USER_CHANGED, rules="Be brief.")
    await post("/settings/members", Action.MEMBER_ADDED, email="bob@example.com", role="MEMBER")
    bob = await here.services.identity.find_user("bob@example.com")
    role, remove = "/settings/members/{id:int}/role", "/settings/members/{id:int}/remove"
    await post(role, Action.MEMBER_CHANGED, path=f"/settings/members/{bob.id}/role", role="MANAGER")
    out = "/settings/members/{id:int}/sign-out"
    await post(out, Action.TOKENS_REVOKED, path=f"/settings/members/{bob.id}/sign-out")
    await post(remove, Action.MEMBER_REMOVED, path=f"/settings/members/{bob.id}/remove")
    await post("/settings/keys", Action.KEY_CREATED, name="CI", days="30")
    key = max(each.id for each in await here.services.identity.keys(1))
    await post("/settings/keys/{id:int}/revoke", Action.KEY_REVOKED, path=f"/settings/keys/{key}/revoke")
    await _repositories(walk, post)
    await _automation(walk, post)
    await _doors(walk, post)
    await _runs(walk, post, ids["agent_run_id"])
    await _account(walk, person)


Post = Callable[..., Awaitable[None]]


async def _repositories(walk: Walk, post: Post) -> None:
    here = walk.here
    root = here.settings.data_dir / "shop.git"
    _bare_repository(root)
    await post("/repositories", Action.REPOSITORY_ADDED, name="acme/local", url=str(root), credentials="none")
    added = await here.services.repositories.named(1, "acme/local")
    at, template = f"/repositories/{added.id}", "/repositories/{id:int}"
    forms: list[tuple[str, Action, dict[str, str]]] = [
        ("address", Action.REPOSITORY_CHANGED, {"url": str(root), "branch": "main", "credentials": "keep"}),
        ("setup", Action.REPOSITORY_SETUP_CHANGED, {"commands": "make"}),
        ("generate", Action.RUN_CREATED, {"prompt": ""}),
        ("rules", Action.REPOSITORY_CHANGED, {"rules": "No tabs."}),
        ("checks", Action.REPOSITORY_CHECKS_CHANGED, {"retry_count": "1"}),
        ("network", Action.REPOSITORY_CHANGED, {"network": "full"}),
        ("validation", Action.REPOSITORY_CHANGED, {"validate": "make test"}),
        ("secret-scanning", Action.REPOSITORY_CHANGED, {}),
        ("secrets", Action.REPOSITORY_SECRET_SET, {"name": "PACKAGES", "value": "word"}),
        ("secrets/remove", Action.REPOSITORY_SECRET_REMOVED, {"name": "PACKAGES"}),
        ("default", Action.ORGANIZATION_CHANGED, {}),
        ("remove", Action.REPOSITORY_REMOVED, {"name": "acme/local"}),
    ]
    for name, action, fields in forms:
        await post(f"{template}/{name}", action, path=f"{at}/{name}", **fields)
    shop = f"/repositories/{walk.there.ids['repo_id']}/executions/{walk.there.ids['sandbox_id']}/analyze"
    await post(f"{template}/executions/{{execution:int}}/analyze", Action.RUN_CREATED, path=shop)


async def _doors(walk: Walk, post: Post) -> None:
    """Triggers, webhooks and scripts."""
    here, store = walk.here, walk.here.store
    at, one = "/automation/triggers", "/automation/triggers/{trigger}"
    plan = "repo: https://git.example/acme/shop.git\nsource: main\nsteps: [Mend it]"
    await post(at, Action.TRIGGER_CREATED, kind="url", name="CI", plan=plan)
    made = (await store.triggers(1))[-1]
    (hook,) = [each for each in await store.hooks(1) if each.id == made.hook_id]
    now = here.clock.now()
    delivery, _ = await store.add_delivery(hook.id, Arrival("1", None, "call", {}, b"{}"), now)
    again = f"{at}/{made.uuid}/deliveries/{delivery}/redeliver"
    await post(one, Action.TRIGGER_CHANGED, path=f"{at}/{made.uuid}", name="CI", plan=plan)
    await post(f"{one}/switch", Action.TRIGGER_CHANGED, path=f"{at}/{made.uuid}/switch")
    await post(f"{one}/deliveries/{{delivery:int}}/redeliver", Action.DELIVERY_REPEATED, path=again)
    hooks = f"/automation/hooks/{hook.uuid}"
    await post("/automation/hooks/{hook}/rotate", Action.HOOK_ROTATED, path=f"{hooks}/rotate")
    await post(f"{one}/remove", Action.TRIGGER_REMOVED, path=f"{at}/{made.uuid}/remove")
    await post(at, Action.HOOK_CREATED, kind="url", name="CI", plan=plan)
    (hook,) = await store.hooks(1)
    await post("/automation/hooks/{hook}/remove", Action.HOOK_REMOVED, path=f"/automation/hooks/{hook.uuid}/remove")
    at, one = "/automation/webhooks", "/automation/webhooks/{id:int}"
    await post(at, Action.WEBHOOK_ADDED, kind="webhook", name="told", target="https://127.0.0.1/hook")
    (webhook,) = await store.webhooks(1)
    await here.start(here.admin)
    [message, *_] = await store.messages_due(webhook.id, here.clock.now(), busy=(), limit=1)
    await store.end_try(message, now, None)
    resend = f"{at}/{webhook.id}/messages/{message.id}/resend"
    await post(f"{one}/messages/{{message:int}}/resend", Action.WEBHOOK_RESENT, path=resend)
    await post(f"{one}/resend-dead", Action.WEBHOOK_RESENT, path=f"{at}/{webhook.id}/resend-dead")
    await post(f"{one}/test", Action.WEBHOOK_TESTED, path=f"{at}/{webhook.id}/test")
    await post(f"{one}/rotate", Action.WEBHOOK_ROTATED, path=f"{at}/{webhook.id}/rotate")
    await post(one, Action.WEBHOOK_CHANGED, path=f"{at}/{webhook.id}", name="told again")
    await post(f"{one}/switch", Action.WEBHOOK_CHANGED, path=f"{at}/{webhook.id}/switch")
    await post(f"{one}/remove", Action.WEBHOOK_REMOVED, path=f"{at}/{webhook.id}/remove")
    await _page_scripts(walk, post)


async def _page_scripts(walk: Walk, post: Post) -> None:
    at, one, run = "/automation/scripts", "/automation/scripts/{id:int}", "/automation/script-runs/{id:int}"
    await post(at, Action.SCRIPT_SAVED, name="by-hand", source="x = 1")
    script = await walk.here.store.script("by-hand", ScriptFilter(1))
    await post(one, Action.SCRIPT_SAVED, path=f"{at}/{script.id}", source="x = 2")
    await post(f"{one}/start", Action.SCRIPT_STARTED, path=f"{at}/{script.id}/start")
    (made, *_) = await walk.here.store.script_runs(ScriptFilter(1), script_id=script.id, limit=1)
    await post(f"{run}/kill", Action.SCRIPT_KILLED, path=f"/automation/script-runs/{made.id}/kill")
    await post(f"{one}/remove", Action.SCRIPT_REMOVED, path=f"{at}/{script.id}/remove")


async def _automation(walk: Walk, post: Post) -> None:
    """Batches and schedules."""
    plan, url = "steps: [Write it]", "https://git.example/acme/shop.git"
    at, one = "/automation/batches", "/automation/batches/{id:int}"
    await post(at, Action.BATCH_STARTED, plan=plan, urls=url, action="start", token="0123456789abcdef")
    batch = (await walk.here.services.batches.list(await _admin(walk.here), limit=1))[0]
    await post(f"{one}/concurrency", Action.BATCH_CHANGED, path=f"{at}/{batch.id}/concurrency", concurrency="2")
    await post(f"{one}/kill", Action.BATCH_KILLED, path=f"{at}/{batch.id}/kill")
    now = walk.here.clock.now()
    await walk.here.store.end_waiting(batch.id, ItemStatus.KILLED, None, now)
    await walk.here.store.end_batch(batch.id, BatchStatus.KILLED, None, now)
    await post(f"{one}/retry", Action.BATCH_RETRIED, path=f"{at}/{batch.id}/retry")
    at, one = "/automation/schedules", "/automation/schedules/{id:int}"
    wanted = {"name": "Nightly", "cron": "@daily", "plan": plan, "url": url}
    await post(at, Action.SCHEDULE_ADDED, **wanted)
    there = await walk.here.services.schedules.list(await _admin(walk.here))
    made = next(each for each in there if each.name == "Nightly")
    await post(one, Action.SCHEDULE_CHANGED, path=f"{at}/{made.id}", **wanted)
    await post(f"{one}/switch", Action.SCHEDULE_CHANGED, path=f"{at}/{made.id}/switch")
    await post(f"{one}/fire", Action.SCHEDULE_FIRED, path=f"{at}/{made.id}/fire")
    await post(f"{one}/remove", Action.SCHEDULE_REMOVED, path=f"{at}/{made.id}/remove")


def _bare_repository(root: Path) -> None:
    import subprocess

    seed = root.parent / "seed"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "-q", "-b", "main", str(seed)], check=True)
    subprocess.run([*git, "-C", str(seed), "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    subprocess.run([*git, "clone", "-q", "--bare", str(seed), str(root)], check=True)


async def _runs(walk: Walk, post: Post, run_id: int) -> None:
    here = walk.here
    await post(
        "/runs/new",
        Action.RUN_CREATED,
        token="0123456789abcdef",
        action="start",
        repository=str(walk.there.ids["repo_id"]),
        source="main",
        work="by-hand",
        engine="Dummy",
        **{"step-0": "Do it", "commit-0": "1"},
    )
    at, template = f"/runs/{run_id}", "/runs/{id:int}"
    await post(f"{template}/again", Action.RUN_CREATED, path=f"{at}/again")
    await post(f"{template}/resume", Action.RUN_RESUMED, path=f"{at}/resume", prompt="More")
    await post(f"{template}/ban", Action.BRANCH_BANNED, path=f"{at}/ban")
    await post(f"{template}/unban", Action.BRANCH_UNBANNED, path=f"{at}/unban")
    await post(f"{template}/share", Action.SHARE_CREATED, path=f"{at}/share", days="1")
    run = await here.store.get_run_by_id(run_id)
    (link, *_) = await here.store.share_links(run.id, here.clock.now())
    await post(f"{template}/share/{{link:int}}", Action.SHARE_REVOKED, path=f"{at}/share/{link.id}")
    made = await here.start(branchWork="to-kill")
    run_ids = [run.id for run in await here.services.runs.list(await _admin(here), limit=1)]
    assert made
    await post(f"{template}/kill", Action.RUN_KILLED, path=f"/runs/{run_ids[0]}/kill")


async def _admin(here: Deployment) -> Any:
    return await here.services.identity.authenticate(here.admin.key)


async def _account(walk: Walk, admin: Person) -> None:
    """Somebody with a password, at two browsers, and a member of two organizations."""
    here = walk.here
    await here.services.identity.add_user("ada@example.com", 1, Role.ADMIN)
    await here.services.identity.add_user("ada@example.com", walk.there.other.id, Role.ADMIN)
    await here.services.sessions.reset_password("ada@example.com", "correct horse battery")
    people = [Person(httpx2.AsyncClient(transport=admin.http._transport, base_url="http://treadle.test")) for _ in "ab"]
    for person in people:
        sent = {"by": "password", "email": "ada@example.com", "password": "correct horse battery"}
        assert (await person.send("/sign-in", sent)).status_code == httpx2.codes.SEE_OTHER
    one, two = people
    account = "/settings/account"

    async def post(route: str, action: Action, /, path: str = "", **fields: str) -> None:
        await walk.step(f"POST {route}", action, one.post(path or route, **fields), door="page")

    session = await here.services.sessions.principal(two.http.cookies[COOKIE])
    assert session is not None
    revoke = f"{account}/sessions/{session.id}/revoke"
    await post(f"{account}/sessions/{{id:int}}/revoke", Action.SESSION_REVOKED, path=revoke)
    await post(f"{account}/organization", Action.SESSION_SWITCHED, organization=str(walk.there.other.id))
    words = {"old": "correct horse battery", "new": "another good word", "again": "another good word"}
    await post(f"{account}/password", Action.PASSWORD_SET, **words)
    await post(f"{account}/sign-out-everywhere", Action.SESSION_REVOKED)
    await walk.step("POST /sign-out", Action.SIGNED_OUT, admin.post("/sign-out"), door="page")


async def test_secrets_are_in_no_entry(tmp_path: Path) -> None:
    async with scene(tmp_path, allow_local_repositories=True, allow_private_hosts=True) as there:
        here, word = there.here, "hush-" + base64.b64encode(b"not to be told").decode()
        await here.start(gitHttpCredentials=f"user:{word}", gitUrl="https://git.example/acme/other.git")
        organization = here.admin.organization
        await here.services.repositories.add(
            organization, name="acme/x", url=f"https://user:{word}@git.example/acme/x.git"
        )
        await here.http.put(
            f"/repositories/by-id/{there.ids['repo_id']}/secrets",
            headers=here.admin.headers,
            json={"values": {"PACKAGES": word}},
        )
        _, key = await here.services.identity.create_key(here.admin.user.email, 1, name="CI")
        token = (await here.http.post("/auth/token", headers=here.admin.headers)).json()["accessToken"]
        await here.services.sessions.reset_password(here.admin.user.email, word)
        written = repr(await here.store.audit(None, limit=1000))
        for secret in (word, key, token, here.admin.key):
            assert secret not in written


async def _webhooks(walk: Walk) -> None:
    headers, http, store = walk.here.admin.headers, walk.here.http, walk.here.store
    wanted = {"name": "told", "target": "https://127.0.0.1/hook"}
    made = await walk.step("POST /webhooks", Action.WEBHOOK_ADDED, http.post("/webhooks", json=wanted, headers=headers))
    one, at = "/webhooks/{id}", f"/webhooks/{made['id']}"
    await walk.step(f"POST {one}/test", Action.WEBHOOK_TESTED, http.post(f"{at}/test", headers=headers))
    await walk.step(f"POST {one}/rotate", Action.WEBHOOK_ROTATED, http.post(f"{at}/rotate", headers=headers))
    await walk.here.start(walk.here.admin)
    [message, *_] = await store.messages_due(made["id"], walk.here.clock.now(), busy=(), limit=1)
    await store.end_try(message, walk.here.clock.now(), None)
    again = http.post(f"{at}/messages/{message.id}/resend", headers=headers)
    await walk.step(f"POST {one}/messages/{{message}}/resend", Action.WEBHOOK_RESENT, again)
    dead = http.post(f"{at}/resend-dead", headers=headers)
    await walk.step(f"POST {one}/resend-dead", Action.WEBHOOK_RESENT, dead)
    off = http.patch(at, json={"isEnabled": False}, headers=headers)
    await walk.step(f"PATCH {one}", Action.WEBHOOK_CHANGED, off)
    await walk.step(f"DELETE {one}", Action.WEBHOOK_REMOVED, http.delete(at, headers=headers))
