"""The answers of the three forges, as their documentation has them, for what Treadle asks of them."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime

from pydantic import JsonValue

from tests.support import forge_talk
from tests.support.forge_state import ForgeRequest, ForgeState, Project, Pull, Reply
from treadle.domain.repository import ForgeKind

Json = dict[str, JsonValue]

#: Where each API is below the server's address. GitHub's: as an Enterprise Server has it.
ROOTS = {ForgeKind.GITHUB: "/api/v3", ForgeKind.GITLAB: "/api/v4", ForgeKind.GITEA: "/api/v1"}


def github(state: ForgeState, request: ForgeRequest) -> Reply:  # noqa: PLR0911 - one for each path
    """docs.github.com/rest, version 2022-11-28."""
    if request.path.startswith("/logs/") and "authorization" not in request.headers:
        return forge_talk.log(state, request.path) or Reply(404, {})
    if request.headers.get("authorization") != f"Bearer {state.token}":
        return Reply(401, {"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest"})
    if request.headers.get("x-github-api-version") != "2022-11-28":
        return Reply(400, {"message": "Unsupported version"})
    if request.path == "/api/graphql" and request.method == "POST":
        return forge_talk.github_viewer(state, request) or _graphql(state, request)
    if request.path == "/api/v3/user":
        return forge_talk.github_user(state)
    match = re.fullmatch(r"/api/v3/repos/([^/]+/[^/]+)(?:/(.*))?", request.path)
    project = _project(state, match[1]) if match else None
    if match is None or project is None:
        return Reply(404, {"message": "Not Found", "status": "404"})
    rest = match[2] or ""
    shown = _github_pull(state, project)
    if not rest and request.method == "GET":
        return Reply(200, _github_repository(project))
    if rest == "pulls" and request.method == "GET":
        owner, _, branch = request.query.get("head", "").partition(":")
        is_filter = bool(branch)  # another form of it is passed over
        found = [
            pull
            for pull in project.pulls
            if _is_in(pull, request.query.get("state", "open"))
            and not (is_filter and (pull.head != branch or owner != project.name.partition("/")[0]))
        ]
        return Reply(200, request.paged([shown(pull) for pull in reversed(found)]))
    if rest == "pulls" and request.method == "POST":
        fault = _github_fault(project, request)
        return fault or Reply(201, shown(_open(project, request, "head", "base", "body")))
    if number := re.fullmatch(r"pulls/(\d+)", rest):
        return _github_one(project, int(number[1]), request, shown)
    if checks := re.fullmatch(r"commits/(.+)/(check-runs|status)", rest):
        return _github_checks(project, checks[1], checks[2], request)
    return forge_talk.github(state, project, rest, request) or Reply(404, {"message": "Not Found", "status": "404"})


def _github_one(project: Project, number: int, request: ForgeRequest, shown: Callable[[Pull], Json]) -> Reply:
    pull = project.find(number)
    if pull is None:
        return Reply(404, {"message": "Not Found", "status": "404"})
    if request.method == "PATCH":
        wanted = request.text("state")
        if wanted == "open" and pull.state == "merged":
            errors: JsonValue = [{"resource": "PullRequest", "code": "invalid", "field": "state"}]
            return Reply(422, {"message": "Validation Failed", "errors": errors})
        if wanted and pull.state != "merged":
            pull.state = wanted
        project.touch(pull)
    return Reply(200, shown(pull))


def _github_fault(project: Project, request: ForgeRequest) -> Reply | None:
    head, base = request.text("head"), request.text("base")
    error: Json | None = None
    if not project.has_branch(base) or not project.has_branch(head):
        field = "head" if project.has_branch(base) else "base"
        error = {"resource": "PullRequest", "field": field, "code": "invalid"}
    elif any(pull.base == base for pull in project.open_ones(head)):
        said = f"A pull request already exists for {project.name.partition('/')[0]}:{head}."
        error = {"resource": "PullRequest", "code": "custom", "message": said}
    elif not project.ahead(head, base):
        error = {"resource": "PullRequest", "code": "custom", "message": f"No commits between {base} and {head}"}
    return Reply(422, {"message": "Validation Failed", "errors": [error], "status": "422"}) if error else None


def _github_checks(project: Project, ref: str, what: str, request: ForgeRequest) -> Reply:
    if not project.has_branch(ref):
        return Reply(422, {"message": f"No commit found for SHA: {ref}"})
    if what == "status":
        statuses: list[JsonValue] = [{"context": name, "state": "success"} for name in project.statuses.get(ref, [])]
        return Reply(200, {"state": "success", "total_count": len(statuses), "statuses": statuses})
    runs: list[JsonValue] = [{"name": name, "status": "completed"} for name in project.checks.get(ref, [])]
    return Reply(200, {"total_count": len(runs), "check_runs": request.paged(runs)})


def _graphql(state: ForgeState, request: ForgeRequest) -> Reply:
    variables = request.body.get("variables") if isinstance(request.body, dict) else None
    id_ = variables.get("id") if isinstance(variables, dict) else None
    mutation = re.search(
        r"(convertPullRequestToDraft|markPullRequestReadyForReview)\(input: \{pullRequestId: \$id\}\)",
        request.text("query"),
    )
    found = re.fullmatch(r"PR_(\d+)_(\d+)", str(id_))
    project = next((one for one in state.projects.values() if found and one.id == int(found[1])), None)
    pull = project.find(int(found[2])) if project is not None and found else None
    if mutation is None or pull is None or project is None:
        said = f"Could not resolve to a node with the global id of '{id_}'"
        return Reply(200, {"data": None, "errors": [{"type": "NOT_FOUND", "message": said}]})
    if pull.state != "open":
        return Reply(200, {"data": None, "errors": [{"type": "UNPROCESSABLE", "message": "Pull request is closed"}]})
    pull.is_draft = mutation[1] == "convertPullRequestToDraft"
    project.touch(pull)
    return Reply(200, {"data": {mutation[1]: {"pullRequest": {"isDraft": pull.is_draft}}}})


def _github_repository(project: Project) -> Json:
    return {
        "id": project.id,
        "full_name": project.name,
        "description": project.description,
        "private": project.is_private,
        "visibility": "private" if project.is_private else "public",
        "archived": project.is_archived,
        "language": max(project.languages, key=lambda name: project.languages[name], default=None),
        "default_branch": project.default_branch,
        "permissions": {"admin": False, "push": project.may_push, "pull": True},
    }


def _github_pull(state: ForgeState, project: Project) -> Callable[[Pull], Json]:
    def shown(pull: Pull) -> Json:
        home = f"somebody/{project.name.partition('/')[2]}" if pull.is_from_fork else project.name
        return {
            "id": 7_000 + pull.number,
            "node_id": f"PR_{project.id}_{pull.number}",
            "number": pull.number,
            "title": pull.title,
            "body": pull.body,
            "html_url": f"{state.site}/{project.name}/pull/{pull.number}",
            "state": "open" if pull.state == "open" else "closed",
            "draft": pull.is_draft,
            "merged_at": _stamp(pull.date) if pull.state == "merged" else None,
            "user": forge_talk.github_account(pull.author),
            "head": {"ref": pull.head, "sha": forge_talk.sha_of(project, pull), "repo": {"full_name": home}},
            "base": {"ref": pull.base, "sha": "b" * 40, "repo": {"full_name": project.name}},
            "created_at": _stamp(pull.date),
        }

    return shown


def gitlab(state: ForgeState, request: ForgeRequest) -> Reply:  # noqa: PLR0911 - one for each path
    """docs.gitlab.com/api, v4."""
    bearer, private = request.headers.get("authorization"), request.headers.get("private-token")
    if bearer != f"Bearer {state.token}" and private != state.token:
        return Reply(401, {"message": "401 Unauthorized"})
    if request.path == "/api/v4/user":
        return Reply(200, forge_talk.gitlab_account(state.me))
    match = re.fullmatch(r"/api/v4/projects/([^/]+)(?:/(.*))?", request.raw_path)  # its path stays encoded
    project = _project(state, match[1].replace("%2F", "/")) if match and "%2F" in match[1] else None
    if match is None or project is None:
        return Reply(404, {"message": "404 Project Not Found"})
    rest = match[2] or ""
    shown = _gitlab_merge_request(state, project)
    if not rest:
        return Reply(200, _gitlab_project(project))
    if rest == "languages":
        return Reply(200, dict(project.languages))
    if rest == "merge_requests" and request.method == "GET":
        branch = request.query.get("source_branch")
        found = [
            pull
            for pull in project.pulls
            if _is_in(pull, {"opened": "open"}.get(request.query.get("state", "all"), "all"))
            and branch in {None, pull.head}
        ]
        return Reply(200, request.paged([shown(pull) for pull in reversed(found)]))
    if rest == "merge_requests" and request.method == "POST":
        fault = _gitlab_fault(project, request)
        return fault or Reply(201, shown(_open(project, request, "source_branch", "target_branch", "description")))
    if number := re.fullmatch(r"merge_requests/(\d+)", rest):
        return _gitlab_one(project, int(number[1]), request, shown)
    if rest == "pipelines":
        return _gitlab_pipelines(project, request)
    if (talk := forge_talk.gitlab(state, project, rest, request)) is not None:
        return talk
    if pipeline := re.fullmatch(r"pipelines/(\d+)/jobs", rest):
        refs = sorted(project.checks)
        jobs: list[JsonValue] = [{"name": name} for name in project.checks[refs[int(pipeline[1]) // 10 - 1]]]
        return Reply(200, request.paged(jobs))
    return Reply(404, {"error": "404 Not Found"})


def _gitlab_pipelines(project: Project, request: ForgeRequest) -> Reply:
    refs = sorted(project.checks)
    found = [(refs.index(ref) + 1) * 10 for ref in refs if request.query.get("ref") in {None, ref}]
    return Reply(200, request.paged([{"id": id_, "status": "success"} for id_ in found]))


def _gitlab_one(project: Project, number: int, request: ForgeRequest, shown: Callable[[Pull], Json]) -> Reply:
    pull = project.find(number)
    if pull is None:
        return Reply(404, {"message": "404 Not found"})
    if request.method == "PUT":
        states = {("open", "close"): "closed", ("closed", "reopen"): "open"}
        if event := request.text("state_event"):
            if (pull.state, event) not in states:
                return Reply(422, {"message": {"state": [f"cannot transition via {event}"]}})
            pull.state = states[pull.state, event]
        pull.title = request.text("title") or pull.title
        project.touch(pull)
    return Reply(200, shown(pull))


def _gitlab_fault(project: Project, request: ForgeRequest) -> Reply | None:
    head, base = request.text("source_branch"), request.text("target_branch")
    if not project.has_branch(head):
        return Reply(400, {"message": {"source_branch": ["does not exist"]}})
    if not project.has_branch(base):
        return Reply(400, {"message": {"target_branch": ["does not exist"]}})
    for pull in project.open_ones(head):
        if pull.base == base:
            said = f"Another open merge request already exists for this source branch: !{pull.number}"
            return Reply(409, {"message": [said]})
    return None


def _gitlab_project(project: Project) -> Json:
    return {
        "id": project.id,
        "path_with_namespace": project.name,
        "description": project.description,
        "visibility": "private" if project.is_private else "public",
        "archived": project.is_archived,
        "default_branch": project.default_branch,
        "permissions": {
            "project_access": None,
            "group_access": {"access_level": 40 if project.may_push else 20, "notification_level": 3},
        },
    }


def _gitlab_merge_request(state: ForgeState, project: Project) -> Callable[[Pull], Json]:
    def shown(pull: Pull) -> Json:
        return {
            "id": 9_000 + pull.number,
            "iid": pull.number,
            "project_id": project.id,
            "title": pull.title,
            "description": pull.body,
            "web_url": f"{state.site}/{project.name}/-/merge_requests/{pull.number}",
            "state": {"open": "opened"}.get(pull.state, pull.state),
            "draft": re.match(r"(?i)\s*(draft:|\[draft\]|\(draft\))", pull.title) is not None,
            "source_branch": pull.head,
            "target_branch": pull.base,
            "source_project_id": 999 if pull.is_from_fork else project.id,
            "target_project_id": project.id,
            "author": forge_talk.gitlab_account(pull.author),
            "sha": forge_talk.sha_of(project, pull),
            "diff_refs": {
                "base_sha": "b" * 40,
                "start_sha": "a" * 40,
                "head_sha": forge_talk.sha_of(project, pull),
            },
            "created_at": pull.date.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }

    return shown


def gitea(state: ForgeState, request: ForgeRequest) -> Reply:  # noqa: PLR0911 - one for each path
    """docs.gitea.com/api, v1."""
    if request.headers.get("authorization") != f"token {state.token}":
        return Reply(401, {"message": "user does not exist [uid: 0, name: ]", "url": f"{state.site}/api/swagger"})
    if request.path == "/api/v1/user":
        return Reply(200, forge_talk.gitea_account(state.me))
    match = re.fullmatch(r"/api/v1/repos/([^/]+/[^/]+)(?:/(.*))?", request.raw_path)
    project = _project(state, match[1]) if match else None
    missing: Json = {"errors": None, "message": "The target couldn't be found.", "url": f"{state.site}/api/swagger"}
    if match is None or project is None:
        return Reply(404, missing)
    rest = (match[2] or "").replace("%2F", "\0")  # a slash within a branch's name
    shown = _gitea_pull(state, project)
    if not rest:
        return Reply(200, _gitea_repository(project))
    if rest == "pulls" and request.method == "GET":
        found = [pull for pull in project.pulls if _is_in(pull, request.query.get("state", "open"))]
        if request.query.get("sort") == "recentupdate":
            found.sort(key=lambda pull: -pull.updated)
        return Reply(200, request.paged([shown(pull) for pull in found], most=50))
    if rest == "pulls" and request.method == "POST":
        fault = _gitea_fault(project, request, missing)
        return fault or Reply(201, shown(_open(project, request, "head", "base", "body")))
    if number := re.fullmatch(r"pulls/(\d+)", rest):
        return _gitea_one(project, int(number[1]), request, shown, missing)
    if (talk := forge_talk.gitea(state, project, rest, request)) is not None:
        return talk
    if between := re.fullmatch(r"pulls/([^/]+)/(.+)", rest):
        base, head = (part.replace("\0", "/") for part in between.groups())
        found = [pull for pull in project.pulls if (pull.base, pull.head) == (base, head)]
        return Reply(200, shown(found[-1])) if found else Reply(404, missing)
    if status := re.fullmatch(r"commits/([^/]+)/status", rest):
        ref = status[1].replace("\0", "/")
        if not project.has_branch(ref):
            return Reply(404, missing)
        names = [*project.checks.get(ref, []), *project.statuses.get(ref, [])]
        statuses: list[JsonValue] | None = [{"context": name, "status": "success"} for name in names] or None
        return Reply(200, {"state": "success", "total_count": len(names), "statuses": statuses})
    return Reply(404, missing)


def _gitea_one(
    project: Project, number: int, request: ForgeRequest, shown: Callable[[Pull], Json], missing: Json
) -> Reply:
    pull = project.find(number)
    if pull is None:
        return Reply(404, missing)
    if request.method != "PATCH":
        return Reply(200, shown(pull))
    if state := request.text("state"):
        if pull.state == "merged":
            return Reply(412, {"message": "cannot change state of this pull request, it was already merged"})
        pull.state = state
    pull.title = request.text("title") or pull.title
    project.touch(pull)
    return Reply(201, shown(pull))


def _gitea_fault(project: Project, request: ForgeRequest, missing: Json) -> Reply | None:
    head, base = request.text("head"), request.text("base")
    if head == base:
        said = "Invalid PullRequest: There are no changes between the head and the base"
        return Reply(422, {"message": said})
    if not project.has_branch(head) or not project.has_branch(base):
        return Reply(404, missing)
    for pull in project.open_ones(head):
        if pull.base == base:
            said = (
                f"pull request already exists for these targets [id: {900 + pull.number}, issue_id: {pull.number}, "
                f"head_repo_id: {project.id}, base_repo_id: {project.id}, head_branch: {head}, base_branch: {base}]"
            )
            return Reply(409, {"message": said})
    return None


def _gitea_repository(project: Project) -> Json:
    return {
        "id": project.id,
        "full_name": project.name,
        "description": project.description or "",
        "private": project.is_private,
        "internal": False,
        "archived": project.is_archived,
        "language": max(project.languages, key=lambda name: project.languages[name], default=""),
        "default_branch": project.default_branch,
        "permissions": {"admin": False, "push": project.may_push, "pull": True},
    }


def _gitea_pull(state: ForgeState, project: Project) -> Callable[[Pull], Json]:
    def shown(pull: Pull) -> Json:
        there = project.has_branch(pull.head)
        return {
            "id": 900 + pull.number,
            "number": pull.number,
            "title": pull.title,
            "body": pull.body,
            "html_url": f"{state.site}/{project.name}/pulls/{pull.number}",
            "state": "open" if pull.state == "open" else "closed",
            "merged": pull.state == "merged",
            "draft": re.match(r"(?i)\s*(wip:|\[wip\])", pull.title) is not None,
            "head": {
                "label": pull.head,
                "ref": pull.head if there else f"refs/pull/{pull.number}/head",
                "sha": forge_talk.sha_of(project, pull),
                "repo_id": 999 if pull.is_from_fork else project.id,
            },
            "user": forge_talk.gitea_account(pull.author),
            "base": {"label": pull.base, "ref": pull.base, "sha": "b" * 40, "repo_id": project.id},
            "created_at": _stamp(pull.date),
        }

    return shown


DIALECTS: Mapping[ForgeKind, Callable[[ForgeState, ForgeRequest], Reply]] = {
    ForgeKind.GITHUB: github,
    ForgeKind.GITLAB: gitlab,
    ForgeKind.GITEA: gitea,
}


def _project(state: ForgeState, name: str) -> Project | None:
    return next((one for one in state.projects.values() if one.name.lower() == name.lower()), None)


def _is_in(pull: Pull, wanted: str) -> bool:
    return wanted == "all" or (wanted == "open") is (pull.state == "open")


def _open(project: Project, request: ForgeRequest, head: str, base: str, body: str) -> Pull:
    return project.open(request.text("title"), request.text(head), base=request.text(base), body=request.text(body))


def _stamp(date: datetime) -> str:
    return date.strftime("%Y-%m-%dT%H:%M:%SZ")
