"""The three forges' answers for what is said and checked: comments, reviews, logs, accounts."""

import re
from collections.abc import Callable, Sequence

from pydantic import JsonValue

from tests.support.forge_state import FIRST, ForgeRequest, ForgeState, Project, Pull, Reply
from tests.support.forge_talk_state import Account, CheckRun, Comment, Review, shown_lines

Json = dict[str, JsonValue]

DATE = FIRST.strftime("%Y-%m-%dT%H:%M:%SZ")


def sha_of(project: Project, pull: Pull) -> str:
    return project.head_of(pull) if project.has_branch(pull.head) else pull.sha


def github_account(account: Account) -> Json:
    return {"login": account.login, "id": account.id, "type": "Bot" if account.is_bot else "User"}


def gitlab_account(account: Account) -> Json:
    return {"id": account.id, "username": account.login, "name": account.login, "bot": account.is_bot}


def gitea_account(account: Account) -> Json:
    return {"id": account.id, "login": account.login, "full_name": account.login, "username": account.login}


def github_user(state: ForgeState) -> Reply:
    if state.is_app:
        return Reply(403, {"message": "Resource not accessible by integration"})
    return Reply(200, github_account(state.me))


def github_viewer(state: ForgeState, request: ForgeRequest) -> Reply | None:
    if "viewer" not in request.text("query"):
        return None
    return Reply(200, {"data": {"viewer": {"login": state.me.login, "databaseId": state.me.id}}})


def github(state: ForgeState, project: Project, rest: str, request: ForgeRequest) -> Reply | None:  # noqa: PLR0911 - one for each path
    page = f"{state.site}/{project.name}"
    if who := re.fullmatch(r"collaborators/([^/]+)/permission", rest):
        return _permission(project, who[1], github_account)
    if on := re.fullmatch(r"issues/(\d+)/comments", rest):
        return _github_comments(state, project, int(on[1]), request, page)
    if on := re.fullmatch(r"pulls/(\d+)/(reviews|files)", rest):
        pull = project.find(int(on[1]))
        if pull is None:
            return None
        if on[2] == "files":
            return Reply(200, request.paged(_github_files(project.diff_of(pull))))
        if request.method == "GET":
            return request.page_of([_review(one, page) for one in _reviews(project, pull)], state.site)
        return _make_review(project, pull, request, page, "line")
    if log := re.fullmatch(r"actions/jobs/(\d+)/logs", rest):
        run = _run(project, int(log[1]))
        return Reply(302, {}, {"Location": f"{state.logs_site}/logs/{run.id}?sig=once"}) if run else None
    if output := re.fullmatch(r"check-runs/(\d+)(/annotations)?", rest):
        run = _run(project, int(output[1]))
        return _github_output(run, is_annotations=output[2] is not None) if run else None
    if jobs := re.fullmatch(r"actions/runs/(\d+)/jobs|check-suites/(\d+)/check-runs", rest):
        runs = [_github_run(run) for run in project.runs if not run.is_status]
        return Reply(200, {"total_count": len(runs), "jobs" if jobs[1] else "check_runs": request.paged(runs)})
    return None


def _github_run(run: CheckRun) -> Json:
    conclusion = "success" if run.is_passed else "failure"
    return {"id": run.id, "name": run.name, "conclusion": conclusion, "app": {"slug": "github-actions"}}


def _github_output(run: CheckRun, *, is_annotations: bool) -> Reply:
    if is_annotations:
        return Reply(200, [{"path": "a.py", "start_line": 3, "message": "is not right"}])
    return Reply(200, {**_github_run(run), "output": {"title": "It failed", "summary": run.log, "text": None}})


def _github_comments(
    state: ForgeState, project: Project, number: int, request: ForgeRequest, page: str
) -> Reply | None:
    if project.issue(number) is None and project.find(number) is None:
        return None
    if request.method == "POST":
        return Reply(201, _comment(_say(project, number, request), github_account, page))
    found = [_comment(one, github_account, page) for one in project.comments if one.number == number]
    return request.page_of(found, state.site)


def _github_files(diff: str) -> Sequence[JsonValue]:
    found: list[JsonValue] = []
    for part in re.split(r"(?m)^diff --git .*\n", diff)[1:]:
        name = re.search(r"(?m)^\+\+\+ b/(.*)$", part)
        hunk = re.search(r"(?m)^@@", part)
        if name and hunk:
            found.append({"filename": name[1], "status": "modified", "patch": part[hunk.start() :].rstrip("\n")})
    return found


def gitlab(state: ForgeState, project: Project, rest: str, request: ForgeRequest) -> Reply | None:  # noqa: PLR0911 - one for each path
    page = f"{state.site}/{project.name}/-"
    if on := re.fullmatch(r"(issues|merge_requests)/(\d+)/(notes|discussions|diffs)", rest):
        number, is_on_pull = int(on[2]), on[1] == "merge_requests"
        pull = project.find(number) if is_on_pull else None
        if (pull if is_on_pull else project.issue(number)) is None:
            return None
        if on[3] == "diffs" and pull is not None:
            return Reply(200, request.paged(_gitlab_files(project.diff_of(pull))))
        if on[3] == "discussions" and pull is not None:
            return _gitlab_thread(project, pull, request)
        if request.method == "POST":
            return Reply(201, _note(_say(project, number, request, is_on_pull=is_on_pull)))
        found = [one for one in project.comments if (one.number, one.is_on_pull) == (number, is_on_pull)]
        notes: list[JsonValue] = [{**_note(Comment(1, number, "changed the description")), "system": True}]
        notes += map(_note, found)
        return Reply(200, request.paged(notes if request.query.get("sort") == "asc" else notes[::-1]))
    if who := re.fullmatch(r"members/all/(\d+)", rest):
        return _member(project, int(who[1]))
    if (one := re.fullmatch(r"issues/(\d+)", rest)) and (issue := project.issue(int(one[1]))):
        return Reply(200, {"iid": issue.number, "title": issue.title, "web_url": f"{page}/issues/{issue.number}"})
    if log := re.fullmatch(r"jobs/(\d+)/trace", rest):
        run = _run(project, int(log[1]))
        return Reply(200, None, text=run.log) if run else None
    if re.fullmatch(r"pipelines/(\d+)/jobs", rest) and request.query.get("scope[]") == "failed":
        jobs: list[JsonValue] = [{"id": run.id, "name": run.name} for run in project.runs if not run.is_passed]
        return Reply(200, request.paged(jobs))
    return None


def _gitlab_files(diff: str) -> Sequence[JsonValue]:
    found: list[JsonValue] = []
    for part in re.split(r"(?m)^diff --git .*\n", diff)[1:]:
        new, old = re.search(r"(?m)^\+\+\+ b/(.*)$", part), re.search(r"(?m)^--- a/(.*)$", part)
        hunk = re.search(r"(?m)^@@", part)
        if new and hunk:
            found.append({"new_path": new[1], "old_path": (old or new)[1], "diff": part[hunk.start() :]})
    return found


def _gitlab_thread(project: Project, pull: Pull, request: ForgeRequest) -> Reply:
    position = request.body.get("position") if isinstance(request.body, dict) else None
    assert isinstance(position, dict)
    path, line = str(position.get("new_path")), position.get("new_line")
    lines = shown_lines(project.diff_of(pull)).get(path, {})
    is_right = (
        isinstance(line, int)
        and line in lines
        and lines[line] == position.get("old_line")
        and position.get("head_sha") == sha_of(project, pull)
        and position.get("old_path")
    )
    if not is_right:
        return Reply(400, {"message": '400 Bad request - Note {:line_code=>["can\'t be blank"]}'})
    said = _say(project, pull.number, request, is_on_pull=True)
    said.path, said.line = path, line if isinstance(line, int) else None
    return Reply(201, {"id": f"thread-{said.id}", "notes": [_note(said)]})


def _note(comment: Comment) -> Json:
    return {
        "id": comment.id,
        "body": comment.body,
        "author": gitlab_account(comment.author),
        "system": False,
        "created_at": DATE,
    }


def gitea(state: ForgeState, project: Project, rest: str, request: ForgeRequest) -> Reply | None:  # noqa: PLR0911 - one for each path
    page = f"{state.site}/{project.name}"
    if who := re.fullmatch(r"collaborators/([^/]+)/permission", rest):
        return _permission(project, who[1], gitea_account)
    if on := re.fullmatch(r"issues/(\d+)/comments", rest):
        number = int(on[1])
        if project.issue(number) is None and project.find(number) is None:
            return None
        if request.method == "POST":
            return Reply(201, _comment(_say(project, number, request), gitea_account, page))
        said: list[JsonValue] = [_comment(one, gitea_account, page) for one in project.comments if one.number == number]
        return Reply(200, said, {"X-Total-Count": str(len(said))})
    if (on := re.fullmatch(r"pulls/(\d+)(\.diff|/reviews)", rest)) and (pull := project.find(int(on[1]))):
        if on[2] == ".diff":
            return Reply(200, None, text=project.diff_of(pull))
        if request.method == "GET":
            reviews: list[JsonValue] = [_review(one, page) for one in _reviews(project, pull)]
            return Reply(200, request.paged(reviews, most=50), {"X-Total-Count": str(len(reviews))})
        return _make_review(project, pull, request, page, "new_position")
    if log := re.fullmatch(r"actions/jobs/(\d+)/logs", rest):
        run = _run(project, int(log[1]))
        return Reply(200, None, text=run.log) if run else None
    if re.fullmatch(r"actions/runs/(\d+)/jobs", rest):
        jobs: list[JsonValue] = [
            {"id": run.id, "name": run.name, "conclusion": "success" if run.is_passed else "failure"}
            for run in project.runs
            if not run.is_status
        ]
        return Reply(200, {"total_count": len(jobs), "jobs": jobs})
    return None


def log(state: ForgeState, path: str) -> Reply | None:
    """At the other name of the host, without a token."""
    found = re.fullmatch(r"/logs/(\d+)", path)
    runs = (run for project in state.projects.values() for run in project.runs)
    run = next((run for run in runs if found and run.id == int(found[1])), None)
    return Reply(200, None, text=run.log) if run else None


def _permission(project: Project, login: str, account: Callable[[Account], Json]) -> Reply | None:
    found = project.writers.get(login) or project.readers.get(login)
    permission = "write" if login in project.writers else "read"
    return Reply(200, {"permission": permission, "user": account(found)}) if found else None


def _member(project: Project, id_: int) -> Reply | None:
    for level, accounts in ((30, project.writers), (20, project.readers)):
        if any(account.id == id_ for account in accounts.values()):
            return Reply(200, {"id": id_, "access_level": level, "state": "active"})
    return None


def _run(project: Project, id_: int) -> CheckRun | None:
    return next((run for run in project.runs if run.id == id_), None)


def _say(project: Project, number: int, request: ForgeRequest, *, is_on_pull: bool | None = None) -> Comment:
    is_pull = is_on_pull if is_on_pull is not None else project.find(number) is not None
    said = Comment(project.next_id(), number, request.text("body"), is_on_pull=is_pull)
    project.comments.append(said)
    return said


def _comment(comment: Comment, account: Callable[[Account], Json], page: str) -> Json:
    where = "pull" if comment.is_on_pull else "issues"
    return {
        "id": comment.id,
        "html_url": f"{page}/{where}/{comment.number}#issuecomment-{comment.id}",
        "body": comment.body,
        "user": account(comment.author),
        "created_at": DATE,
    }


def _reviews(project: Project, pull: Pull) -> list[Review]:
    return [review for review in project.reviews if review.number == pull.number]


def _review(review: Review, page: str) -> Json:
    url = f"{page}/pull/{review.number}#pullrequestreview-{review.id}"
    return {"id": review.id, "html_url": url, "body": review.body, "state": "COMMENTED"}


def _make_review(project: Project, pull: Pull, request: ForgeRequest, page: str, line: str) -> Reply:
    assert isinstance(request.body, dict)
    assert request.body.get("event") == "COMMENT"
    said, lines = request.body.get("comments") or [], shown_lines(project.diff_of(pull))
    assert isinstance(said, list)
    review = Review(project.next_id(), pull.number, request.text("body"), request.text("commit_id") or None)
    for one in said:
        assert isinstance(one, dict)
        path, number = str(one["path"]), one[line]
        assert isinstance(number, int)
        if number not in lines.get(path, {}):
            errors: JsonValue = ["Pull request review thread line must be part of the diff"]
            return Reply(422, {"message": "Unprocessable Entity", "errors": errors})
        review.comments.append(Comment(project.next_id(), pull.number, str(one["body"]), path=path, line=number))
    project.reviews.append(review)
    return Reply(200 if line == "line" else 201, _review(review, page))
