"""What forges send by webhook: who signed it, and what it tells, on each of them."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue
from tests.support.forge_hooks import signed
from tests.support.forge_payloads import Payloads, Told
from tests.support.forge_state import Project, Pull
from tests.support.forge_talk_state import ME, SOMEBODY, Account, CheckRun, Comment, Issue

from treadle.domain.deliveries import (
    Check,
    CheckFailed,
    CheckKind,
    CheckPassed,
    CommentPosted,
    Delivery,
    Ignored,
    IssueAssigned,
    IssueLabelled,
    Person,
    Ping,
    ReviewRequested,
    Subject,
)
from treadle.domain.errors import InvalidInput
from treadle.domain.repository import ForgeKind
from treadle.forges.hooks import HOOKS
from treadle.forges.hooks.signatures import SIGNATURE_SECONDS

NOW = datetime(2031, 4, 5, 6, 7, 8, tzinfo=UTC)
SHA = "a" * 40
SECRET = "canary-of-a-hook"
KINDS = pytest.mark.parametrize("kind", list(ForgeKind), ids=lambda kind: kind.value)
US, THEM = Person(ME.login, str(ME.id)), Person(SOMEBODY.login, str(SOMEBODY.id))


def told(kind: ForgeKind, event: str, payload: JsonValue, id_: str = "delivery-1") -> Delivery:
    body = json.dumps(payload).encode()
    return HOOKS[kind].read(signed(kind, event, id_, body, SECRET), body)


def from_project(kind: ForgeKind) -> tuple[Project, Payloads]:
    project = Project(101, "acme/demo")
    project.issues.append(Issue(4, "It breaks", "Badly.", labels=["treadle"], assignees=[ME]))
    project.pulls.append(Pull(5, "Add a test", "It runs.", "work", "main", NOW, author=SOMEBODY, sha=SHA))
    return project, Payloads(kind, "https://forge.example", project)


def read(kind: ForgeKind, said: Told) -> Delivery:
    return told(kind, *said)


# ---- signatures ------------------------------------------------------------------------------------------------------


@KINDS
def test_a_secret_signs(kind: ForgeKind) -> None:
    body = b'{"a": 1}'
    headers = signed(kind, "x", "1", body, SECRET)
    verify = HOOKS[kind].verify
    assert verify(headers, body, [SECRET], NOW)
    assert verify(headers, body, ["an older one", SECRET], NOW)
    assert not verify(headers, body, ["another"], NOW)
    assert not verify(headers, body, [], NOW)
    assert not verify(headers, body, [""], NOW)
    assert not verify({}, body, [SECRET], NOW)
    assert not verify(dict.fromkeys(headers, ""), body, ["", SECRET], NOW)
    assert not verify(dict.fromkeys(headers, "ünicode\udcff"), body, [SECRET], NOW)


@pytest.mark.parametrize("kind", [ForgeKind.GITHUB, ForgeKind.GITEA])
def test_it_is_the_body_as_it_arrived_that_is_signed(kind: ForgeKind) -> None:
    headers = signed(kind, "x", "1", b'{"a":1}', SECRET)
    assert not HOOKS[kind].verify(headers, b'{"a": 1}', [SECRET], NOW)


def test_an_empty_secret_signs_nothing() -> None:
    for kind in ForgeKind:
        assert not HOOKS[kind].verify(signed(kind, "x", "1", b"{}", ""), b"{}", [""], NOW)


def test_github_signs_with_no_weaker_hash() -> None:
    code = hmac.new(SECRET.encode(), b"{}", hashlib.sha1).hexdigest()
    stronger = hmac.new(SECRET.encode(), b"{}", hashlib.sha256).hexdigest()
    for headers in (
        {"x-hub-signature": f"sha1={code}"},
        {"x-hub-signature-256": f"sha1={code}"},
        {"x-hub-signature-256": f"sha1={stronger}"},
    ):
        assert not HOOKS[ForgeKind.GITHUB].verify(headers, b"{}", [SECRET], NOW)


def test_forgejos_own_signature_decides() -> None:
    good = signed(ForgeKind.GITEA, "x", "1", b"{}", SECRET)["x-gitea-signature"]
    verify = HOOKS[ForgeKind.GITEA].verify
    assert verify({"x-forgejo-signature": good}, b"{}", [SECRET], NOW)
    assert not verify({"x-forgejo-signature": "0" * 64, "x-gitea-signature": good}, b"{}", [SECRET], NOW)


def standard(secret: bytes, body: bytes, at: float, *, id_: str = "id-1") -> dict[str, str]:
    stamp = str(int(at))
    code = base64.b64encode(hmac.new(secret, f"{id_}.{stamp}.".encode() + body, hashlib.sha256).digest()).decode()
    return {"webhook-id": id_, "webhook-timestamp": stamp, "webhook-signature": f"v1,AAAA v1,{code}"}


def test_gitlabs_signing_token() -> None:
    key = b"k" * 32
    secret, at = "whsec_" + base64.b64encode(key).decode(), NOW.timestamp()
    verify = HOOKS[ForgeKind.GITLAB].verify
    good = standard(key, b"{}", at)
    assert verify(good, b"{}", ["other", secret], NOW)
    assert not verify(good, b"{ }", [secret], NOW)
    assert not verify({**good, "webhook-id": "id-2"}, b"{}", [secret], NOW)
    assert not verify(good, b"{}", ["whsec_not base64!", "whsec_"], NOW)
    for off in (-SIGNATURE_SECONDS - 1, SIGNATURE_SECONDS + 1):
        assert not verify(standard(key, b"{}", at + off), b"{}", [secret], NOW)
    for stamp in ("", "x", "-1", "9" * 400, "\u0661", "\u00b2"):
        assert not verify({**good, "webhook-timestamp": stamp}, b"{}", [secret], NOW)
    # A good token beside a bad signature.
    assert not verify({**good, "webhook-signature": "v1,AAAA", "x-gitlab-token": secret}, b"{}", [secret], NOW)


# ---- what they tell --------------------------------------------------------------------------------------------------


@KINDS
def test_of_which_delivery_and_repository(kind: ForgeKind) -> None:
    project, payloads = from_project(kind)
    event, payload = payloads.labelled(project.issues[0], "treadle", SOMEBODY)
    body = json.dumps(payload).encode()
    found = HOOKS[kind].read(signed(kind, event, "delivery-1", body, SECRET), body)
    assert (found.id, found.kind, found.repository_name, found.repository_id) == (
        "delivery-1",
        kind,
        "acme/demo",
        "101",
    )
    assert found.sender == THEM
    assert found.digest == hashlib.sha256(body).hexdigest()


@KINDS
@pytest.mark.parametrize("is_passed", [False, True])
def test_a_check(kind: ForgeKind, *, is_passed: bool) -> None:
    _, payloads = from_project(kind)
    found = read(kind, payloads.check(CheckRun(7, "tests", "work", SHA, is_passed=is_passed), SOMEBODY))
    (event,) = found.events
    assert isinstance(event, CheckPassed if is_passed else CheckFailed)
    check = event.check
    assert (check.kind, check.id, check.name, check.branch, check.sha) == (CheckKind.JOB, "7", "tests", "work", SHA)
    assert check.url is not None
    assert not check.is_summary


@KINDS
def test_an_issue_is_labelled(kind: ForgeKind) -> None:
    project, payloads = from_project(kind)
    (event,) = read(kind, payloads.labelled(project.issues[0], "treadle", SOMEBODY)).events
    assert isinstance(event, IssueLabelled)
    assert (event.label, event.issue.number, event.issue.title, event.issue.body) == (
        "treadle",
        4,
        "It breaks",
        "Badly.",
    )
    assert event.issue.author == THEM
    assert event.issue.url.startswith("https://forge.example/acme/demo/")


@KINDS
def test_an_issue_is_assigned(kind: ForgeKind) -> None:
    project, payloads = from_project(kind)
    (event,) = read(kind, payloads.assigned(project.issues[0], ME, SOMEBODY)).events
    assert isinstance(event, IssueAssigned)
    assert (event.assignee, event.issue.number) == (US, 4)


@KINDS
@pytest.mark.parametrize(("number", "subject"), [(4, Subject.ISSUE), (5, Subject.PULL_REQUEST)])
def test_a_comment(kind: ForgeKind, number: int, subject: Subject) -> None:
    _, payloads = from_project(kind)
    comment = Comment(900, number, "@treadle go", SOMEBODY, is_on_pull=subject is Subject.PULL_REQUEST)
    (event,) = read(kind, payloads.commented(comment)).events
    assert isinstance(event, CommentPosted)
    assert (event.subject, event.number, event.comment_id, event.body) == (subject, number, "900", "@treadle go")
    assert event.author == THEM
    assert event.title == ("It breaks" if subject is Subject.ISSUE else "Add a test")
    assert (event.path, event.line) == (None, None)


@pytest.mark.parametrize("kind", [ForgeKind.GITHUB, ForgeKind.GITLAB])
def test_a_comment_beside_a_line(kind: ForgeKind) -> None:
    _, payloads = from_project(kind)
    comment = Comment(900, 5, "@treadle go", SOMEBODY, is_on_pull=True, path="a.py", line=3)
    (event,) = read(kind, payloads.commented(comment)).events
    assert isinstance(event, CommentPosted)
    assert (event.subject, event.path, event.line) == (Subject.PULL_REQUEST, "a.py", 3)


@KINDS
@pytest.mark.parametrize("is_from_fork", [False, True])
def test_a_review_is_asked_for(kind: ForgeKind, *, is_from_fork: bool) -> None:
    project, payloads = from_project(kind)
    project.pulls[0].is_from_fork = is_from_fork
    (event,) = read(kind, payloads.review_requested(project.pulls[0], ME, SOMEBODY)).events
    assert isinstance(event, ReviewRequested)
    assert (event.number, event.title, event.body, event.reviewer) == (5, "Add a test", "It runs.", US)
    assert (event.head_branch, event.base_branch, event.head_sha) == ("work", "main", SHA)
    assert event.is_from_fork is is_from_fork


def test_a_ping() -> None:
    _, payloads = from_project(ForgeKind.GITHUB)
    assert read(ForgeKind.GITHUB, payloads.ping(SOMEBODY)).events == (Ping(),)
    found = told(ForgeKind.GITHUB, "ping", {"zen": "Of an organization."})
    assert (found.events, found.repository_name) == ((Ping(),), "")


@KINDS
def test_what_nothing_follows_from(kind: ForgeKind) -> None:
    for event in ("star", "x" * 5_000, "bell\a"):
        (ignored,) = told(kind, event, {"anything": True}).events
        assert isinstance(ignored, Ignored)
        assert ignored.reason.isprintable()


# ---- each forge's own ------------------------------------------------------------------------------------------------

GITHUB_FRAME: dict[str, JsonValue] = {"repository": {"id": 101, "full_name": "acme/demo"}, "action": "completed"}


def only_check(delivery: Delivery) -> Check:
    (event,) = delivery.events
    assert isinstance(event, CheckFailed | CheckPassed)
    return event.check


def test_github_a_job_is_its_check_run_on_a_branch_that_is_not_believed() -> None:
    """That of a stranger's fork may have the name of a run's branch."""
    _, payloads = from_project(ForgeKind.GITHUB)
    one = only_check(
        read(ForgeKind.GITHUB, payloads.check(CheckRun(7, "tests", "work", SHA, is_passed=False), SOMEBODY))
    )
    job: JsonValue = {"id": 7, "name": "tests", "head_sha": SHA, "head_branch": "work", "conclusion": "failure"}
    other = only_check(told(ForgeKind.GITHUB, "workflow_job", {**GITHUB_FRAME, "workflow_job": job}))
    assert other == replace(one, url=None, branch=None)


def test_github_a_form_of_many_fields_is_no_delivery() -> None:
    headers = {
        "content-type": "application/x-www-form-urlencoded", "x-github-event": "ping", "x-github-delivery": "1",
    }  # fmt: skip
    with pytest.raises(InvalidInput):
        HOOKS[ForgeKind.GITHUB].read(headers, b"&".join([b"a=1"] * 11))


def test_github_a_suite_and_a_workflow_are_summaries() -> None:
    said: JsonValue = {"id": 8, "head_sha": SHA, "head_branch": "work", "conclusion": "failure", "app": {"slug": "ci"}}
    suite = only_check(told(ForgeKind.GITHUB, "check_suite", {**GITHUB_FRAME, "check_suite": said}))
    assert (suite.kind, suite.name, suite.is_summary) == (CheckKind.SUITE, "ci", True)
    assert isinstance(said, dict)
    run: JsonValue = {**said, "name": "CI", "head_repository": {"id": 101, "full_name": "acme/demo"}}
    found = only_check(told(ForgeKind.GITHUB, "workflow_run", {**GITHUB_FRAME, "workflow_run": run}))
    assert (found.kind, found.name, found.is_summary) == (CheckKind.PIPELINE, "CI", True)


@pytest.mark.parametrize("head", [None, {"id": 999, "full_name": "somebody/demo"}])
def test_github_a_forks_branch_of_the_same_name_is_none_of_ours(head: JsonValue) -> None:
    run: JsonValue = {"id": 8, "head_sha": SHA, "head_branch": "work", "conclusion": "failure", "head_repository": head}
    (event,) = told(ForgeKind.GITHUB, "workflow_run", {**GITHUB_FRAME, "workflow_run": run}).events
    assert isinstance(event, Ignored)
    check: JsonValue = {
        "id": 7,
        "name": "t",
        "head_sha": SHA,
        "conclusion": "failure",
        "check_suite": {"head_branch": None},
    }
    (event,) = told(ForgeKind.GITHUB, "check_run", {**GITHUB_FRAME, "check_run": check}).events
    assert isinstance(event, Ignored)


def test_github_a_status_is_of_each_branch_that_is_at_the_commit() -> None:
    said: JsonValue = {
        **GITHUB_FRAME,
        "id": 1,
        "sha": SHA,
        "context": "ci/other",
        "state": "error",
        "target_url": "javascript:alert(1)",
        "branches": [{"name": "work"}, {"name": "other"}],
    }
    events = told(ForgeKind.GITHUB, "status", said).events
    assert [event.check.branch for event in events if isinstance(event, CheckFailed)] == ["work", "other"]
    assert all(event.check.url is None for event in events if isinstance(event, CheckFailed))


@pytest.mark.parametrize("conclusion", ["cancelled", "skipped", "stale", "action_required", None])
def test_github_neither_passed_nor_failed(conclusion: str | None) -> None:
    check: JsonValue = {
        "id": 7,
        "name": "t",
        "head_sha": SHA,
        "conclusion": conclusion,
        "check_suite": {"head_branch": "work"},
    }
    (event,) = told(ForgeKind.GITHUB, "check_run", {**GITHUB_FRAME, "check_run": check}).events
    assert isinstance(event, Ignored)


def test_github_a_form() -> None:
    _, payloads = from_project(ForgeKind.GITHUB)
    event, payload = payloads.ping(SOMEBODY)
    body = urlencode({"payload": json.dumps(payload)}).encode()
    headers = {
        **signed(ForgeKind.GITHUB, event, "1", body, SECRET),
        "content-type": "application/x-www-form-urlencoded",
    }
    assert HOOKS[ForgeKind.GITHUB].verify(headers, body, [SECRET], NOW)
    assert HOOKS[ForgeKind.GITHUB].read(headers, body).events == (Ping(),)


def test_github_bots() -> None:
    _, payloads = from_project(ForgeKind.GITHUB)
    comment = Comment(900, 4, "Hello", Account(9, "robot[bot]", is_bot=True))
    found = read(ForgeKind.GITHUB, payloads.commented(comment))
    assert found.sender == Person("robot[bot]", "9", is_bot=True)


def test_github_edits_and_removals_are_nothing_new() -> None:
    _, payloads = from_project(ForgeKind.GITHUB)
    event, payload = payloads.commented(Comment(900, 4, "@treadle go", SOMEBODY))
    for action in ("edited", "deleted"):
        (found,) = told(ForgeKind.GITHUB, event, {**payload, "action": action}).events
        assert isinstance(found, Ignored)


GITLAB_FRAME: dict[str, JsonValue] = {
    "user": {"id": 42, "username": "somebody"},
    "project": {"id": 101, "path_with_namespace": "acme/tools/demo"},
}


def pipeline(merge: JsonValue = None, **attributes: JsonValue) -> Delivery:
    said: JsonValue = {"id": 31, "ref": "work", "tag": False, "sha": SHA, "status": "failed", **attributes}
    builds: JsonValue = [
        {"id": 1, "name": "unit", "status": "failed", "allow_failure": False},
        {"id": 2, "name": "slow", "status": "failed", "allow_failure": True},
    ]
    payload = {**GITLAB_FRAME, "object_attributes": said, "merge_request": merge, "builds": builds}
    return told(ForgeKind.GITLAB, "Pipeline Hook", payload)


def test_gitlab_a_pipeline() -> None:
    found = pipeline()
    assert found.repository_name == "acme/tools/demo"
    check = only_check(found)
    assert (check.kind, check.id, check.branch, check.said) == (CheckKind.PIPELINE, "31", "work", "Failed: unit")
    merge: JsonValue = {"source_branch": "work", "source_project_id": 101}
    assert only_check(pipeline(merge, ref="refs/merge-requests/1/head")).branch == "work"


@pytest.mark.parametrize("delivery", [
    lambda: pipeline({"source_branch": "work", "source_project_id": 999}),
    lambda: pipeline(tag=True),
    lambda: pipeline(status="running"),
])  # fmt: skip
def test_gitlab_pipelines_of_no_branch_of_ours(delivery: object) -> None:
    assert callable(delivery)
    assert isinstance(delivery().events[0], Ignored)


def test_gitlab_a_job_that_may_fail_and_one_of_an_older_server() -> None:
    _, payloads = from_project(ForgeKind.GITLAB)
    event, payload = payloads.check(CheckRun(7, "tests", "work", SHA, is_passed=False), SOMEBODY)
    assert isinstance(told(ForgeKind.GITLAB, event, {**payload, "build_allow_failure": True}).events[0], Ignored)
    del payload["project"]
    assert told(ForgeKind.GITLAB, event, payload).repository_name == "acme/demo"


def test_gitlab_what_was_there_before_is_nothing_new() -> None:
    said: JsonValue = {"iid": 4, "title": "t", "action": "update", "url": "https://forge.example/1", "author_id": 3}
    current: JsonValue = [{"title": "old"}, {"title": "new"}]
    changes: JsonValue = {"labels": {"previous": [{"title": "old"}], "current": current}}
    payload: JsonValue = {**GITLAB_FRAME, "object_attributes": said, "labels": current, "changes": changes}
    (event,) = told(ForgeKind.GITLAB, "Issue Hook", payload).events
    assert isinstance(event, IssueLabelled)
    assert (event.label, event.issue.author) == ("new", Person("", "3"))
    assert isinstance(said, dict)
    payload = {**GITLAB_FRAME, "object_attributes": {**said, "action": "open"}, "labels": current}
    events = told(ForgeKind.GITLAB, "Issue Hook", payload).events
    assert [event.label for event in events if isinstance(event, IssueLabelled)] == ["old", "new"]


def test_gitlab_bots_and_the_systems_own_notes() -> None:
    _, payloads = from_project(ForgeKind.GITLAB)
    event, payload = payloads.commented(Comment(900, 4, "Hello", Account(9, "project_101_bot_0f3a")))
    assert told(ForgeKind.GITLAB, event, payload).sender == Person("project_101_bot_0f3a", "9", is_bot=True)
    note = payload["object_attributes"]
    assert isinstance(note, dict)
    for more in ({"system": True}, {"action": "update"}, {"noteable_type": "Snippet"}):
        changed: JsonValue = {**payload, "object_attributes": {**note, **more}, "issue": payload["issue"]}
        if "noteable_type" in more and isinstance(changed, dict):
            changed["issue"] = None
        assert isinstance(told(ForgeKind.GITLAB, event, changed).events[0], Ignored)


def test_gitlab_a_delivery_without_an_id_is_known_by_its_body() -> None:
    body = json.dumps({**GITLAB_FRAME}).encode()
    hook = HOOKS[ForgeKind.GITLAB]
    one = hook.read({"x-gitlab-event": "Push Hook", "x-gitlab-event-uuid": "shared"}, body)
    other = hook.read({"x-gitlab-event": "Push Hook", "x-gitlab-event-uuid": "shared"}, body + b" ")
    assert one.id == hook.read({"x-gitlab-event": "Push Hook"}, body).id != other.id


def test_gitea_a_status_names_no_branch() -> None:
    _, payloads = from_project(ForgeKind.GITEA)
    run = CheckRun(7, "ci/other", "work", SHA, is_passed=False, log="3 tests failed", is_status=True)
    check = only_check(read(ForgeKind.GITEA, payloads.check(run, SOMEBODY)))
    assert (check.kind, check.branch, check.sha, check.said) == (CheckKind.STATUS, None, SHA, "3 tests failed")


@pytest.mark.parametrize("is_fork", [False, True])
def test_forgejo_a_workflows_run(*, is_fork: bool) -> None:
    run: JsonValue = {
        "id": 3,
        "workflow_id": "ci.yml",
        "prettyref": "work",
        "commit_sha": SHA,
        "is_fork_pull_request": is_fork,
        "html_url": "https://forge.example/runs/3",
        "status": "failure",
        "repository": {"id": 101, "full_name": "acme/demo"},
        "trigger_user": {"id": 42, "login": "somebody"},
    }
    body = json.dumps({"action": "failure", "run": run}).encode()
    found = HOOKS[ForgeKind.GITEA].read({"x-forgejo-event": "action_run_failure", "x-forgejo-delivery": "1"}, body)
    assert (found.repository_name, found.sender) == ("acme/demo", THEM)
    assert isinstance(found.events[0], Ignored if is_fork else CheckFailed)


def test_gitea_a_review_with_words() -> None:
    project, payloads = from_project(ForgeKind.GITEA)
    _, payload = payloads.review_requested(project.pulls[0], ME, SOMEBODY)
    said: JsonValue = {**payload, "action": "reviewed", "review": {"type": "x", "content": "@treadle go"}}
    (event,) = told(ForgeKind.GITEA, "pull_request_comment", said).events
    assert isinstance(event, CommentPosted)
    assert (event.number, event.body, event.author) == (5, "@treadle go", THEM)


# ---- nonsense --------------------------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"repository": {"id": "x"}}'])
def test_what_no_forge_sends(kind: ForgeKind, body: bytes) -> None:
    event = {ForgeKind.GITHUB: "issues", ForgeKind.GITLAB: "Issue Hook", ForgeKind.GITEA: "issues"}[kind]
    with pytest.raises(InvalidInput):
        HOOKS[kind].read(signed(kind, event, "1", body, SECRET), body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "Is no JSON."),
        (b'{"action": ' + b"[" * 100_000, "Is nested too deeply."),
        (b"[]", "Is not what github sends."),
        (b"{}", "repository: Is required."),
        (b'{"repository": {"id": "a-secret", "full_name": "x"}}', "repository.id: Is not what github sends."),
    ],
)
def test_what_no_forge_sends_is_told_without_a_parser_s_words(body: bytes, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        HOOKS[ForgeKind.GITHUB].read(signed(ForgeKind.GITHUB, "issues", "1", body, SECRET), body)
    faults = caught.value.faults["payload"]
    assert faults[0] == said
    assert not [each for each in faults if "nput" in each or "a-secret" in each]


@KINDS
@pytest.mark.parametrize("id_", ["", "x" * 201, "line\nbreak", "ünicode"])
def test_ids_that_are_none(kind: ForgeKind, id_: str) -> None:
    headers = signed(kind, "push", id_, b"{}", SECRET)
    if kind is ForgeKind.GITLAB and not id_:  # its body is one
        assert HOOKS[kind].read(headers, b"{}").id
        return
    with pytest.raises(InvalidInput):
        HOOKS[kind].read(headers, b"{}")


def test_no_nul_reaches_a_database() -> None:
    _, payloads = from_project(ForgeKind.GITHUB)
    (event,) = read(ForgeKind.GITHUB, payloads.commented(Comment(900, 4, "a\0b", SOMEBODY))).events
    assert isinstance(event, CommentPosted)
    assert event.body == "ab"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)

EVENTS = {
    ForgeKind.GITHUB: ["check_run", "check_suite", "status", "workflow_job", "workflow_run", "issues", "issue_comment",
                       "pull_request", "pull_request_review", "pull_request_review_comment", "ping"],
    ForgeKind.GITLAB: ["Pipeline Hook", "Job Hook", "Issue Hook", "Note Hook", "Merge Request Hook"],
    ForgeKind.GITEA: ["status", "workflow_job", "action_run_failure", "issues", "issue_comment", "pull_request"],
}  # fmt: skip


def good_ones(kind: ForgeKind) -> list[Told]:
    project, payloads = from_project(kind)
    return [
        payloads.check(CheckRun(7, "tests", "work", SHA, is_passed=False), SOMEBODY),
        payloads.labelled(project.issues[0], "treadle", SOMEBODY),
        payloads.assigned(project.issues[0], ME, SOMEBODY),
        payloads.commented(Comment(900, 4, "@treadle go", SOMEBODY)),
        payloads.review_requested(project.pulls[0], ME, SOMEBODY),
    ]


def paths_in(value: JsonValue, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, one in inner for path in paths_in(one, (*at, key)))]


def put(value: JsonValue, path: tuple[str | int, ...], new: JsonValue) -> JsonValue:
    if not path:
        return new
    key, *rest = path
    if isinstance(value, dict):
        return {**value, str(key): put(value[str(key)], tuple(rest), new)}
    assert isinstance(value, list)
    assert isinstance(key, int)
    return [put(one, tuple(rest), new) if number == key else one for number, one in enumerate(value)]


@KINDS
@given(data=st.data())
def test_malformed_bodies_are_an_error_of_the_domain(kind: ForgeKind, data: st.DataObject) -> None:
    """A good one, one of whose values is anything; or anything."""
    event, payload = data.draw(st.sampled_from(good_ones(kind)))
    path = data.draw(st.sampled_from(paths_in(payload)))
    body = json.dumps(put(payload, path, data.draw(JSON))).encode()
    for one, said in ((event, body), (data.draw(st.sampled_from(EVENTS[kind])), data.draw(st.binary(max_size=50)))):
        try:
            found = HOOKS[kind].read(signed(kind, one, "1", b"", SECRET), said)
        except InvalidInput:
            continue
        assert found.events
