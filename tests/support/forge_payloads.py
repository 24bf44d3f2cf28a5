"""The bodies of deliveries, as each forge's documentation has them: the event's name and the payload."""

from dataclasses import dataclass

from pydantic import JsonValue

from tests.support.forge_state import Project, Pull
from tests.support.forge_talk import github_account, sha_of
from tests.support.forge_talk_state import Account, CheckRun, Comment, Issue
from treadle.domain.repository import ForgeKind

Json = dict[str, JsonValue]
Told = tuple[str, Json]

#: What ran a check at GitHub.
ACTIONS = "github-actions"


@dataclass(frozen=True)
class Payloads:
    """Of one forge and project."""

    kind: ForgeKind
    site: str
    project: Project

    @property
    def page(self) -> str:
        return f"{self.site}/{self.project.name}"

    def _github(self, sender: Account, **more: JsonValue) -> Json:
        """Gitea's have the same frame."""
        repository: Json = {"id": self.project.id, "full_name": self.project.name, "html_url": self.page}
        return {**more, "repository": repository, "sender": github_account(sender)}

    def _gitlab(self, kind: str, sender: Account, **more: JsonValue) -> Json:
        return {
            "object_kind": kind,
            "user": {"id": sender.id, "username": sender.login, "name": sender.login},
            "project": {"id": self.project.id, "path_with_namespace": self.project.name, "web_url": self.page},
            **more,
        }

    def ping(self, sender: Account) -> Told:
        if self.kind is ForgeKind.GITHUB:
            return "ping", self._github(sender, zen="Keep it logically awesome.", hook_id=1)
        return ("push", self._github(sender)) if self.kind is ForgeKind.GITEA else ("Push Hook", {})

    def check(self, run: CheckRun, sender: Account) -> Told:
        conclusion = "success" if run.is_passed else "failure"
        if self.kind is ForgeKind.GITLAB:
            return "Job Hook", self._gitlab(
                "build",
                sender,
                ref=run.branch,
                tag=False,
                sha=run.sha,
                build_id=run.id,
                build_name=run.name,
                build_status="success" if run.is_passed else "failed",
                build_failure_reason="unknown_failure" if run.is_passed else "script_failure",
                build_allow_failure=False,
                project_id=self.project.id,
                repository={"name": self.project.name, "homepage": self.page},
            )
        if run.is_status:
            return "status", self._github(
                sender,
                id=run.id,
                sha=run.sha,
                context=run.name,
                state=conclusion,
                description=run.log[:140],
                target_url="https://ci.example/1",
                branches=[{"name": run.branch}],
            )
        if self.kind is ForgeKind.GITEA:
            job: Json = {"id": run.id, "name": run.name, "head_sha": run.sha, "head_branch": run.branch}
            done: Json = {"status": "completed", "conclusion": conclusion, "html_url": f"{self.page}/actions/runs/1"}
            return "workflow_job", self._github(sender, action="completed", workflow_job={**job, **done})
        return "check_run", self._github(
            sender,
            action="completed",
            check_run={
                "id": run.id,
                "name": run.name,
                "head_sha": run.sha,
                "html_url": f"{self.page}/runs/{run.id}",
                "status": "completed",
                "conclusion": conclusion,
                "app": {"id": 15368, "slug": ACTIONS},
                "output": {"title": None, "summary": None, "text": None},
                "check_suite": {"id": 9, "head_branch": run.branch, "head_sha": run.sha},
            },
        )

    def _issue(self, issue: Issue) -> Json:
        return {
            "number": issue.number,
            "title": issue.title,
            "body": issue.body,
            "html_url": f"{self.page}/issues/{issue.number}",
            "user": github_account(issue.author),
            "labels": [{"name": label} for label in issue.labels],
            "assignees": [github_account(account) for account in issue.assignees],
        }

    def _gitlab_issue(self, issue: Issue, **more: JsonValue) -> Json:
        return {
            "id": 300 + issue.number,
            "iid": issue.number,
            "title": issue.title,
            "description": issue.body,
            "author_id": issue.author.id,
            "url": f"{self.page}/-/issues/{issue.number}",
            **more,
        }

    def labelled(self, issue: Issue, label: str, sender: Account) -> Told:
        if self.kind is ForgeKind.GITHUB:
            said: Json = {"name": label, "color": "ededed"}
            return "issues", self._github(sender, action="labeled", issue=self._issue(issue), label=said)
        if self.kind is ForgeKind.GITEA:
            return "issues", self._github(sender, action="label_updated", issue=self._issue(issue))
        current: list[JsonValue] = [{"id": 1, "title": one} for one in issue.labels]
        before: list[JsonValue] = [{"id": 1, "title": one} for one in issue.labels if one != label]
        return "Issue Hook", self._gitlab(
            "issue",
            sender,
            object_attributes=self._gitlab_issue(issue, action="update"),
            labels=current,
            changes={"labels": {"previous": before, "current": current}},
        )

    def assigned(self, issue: Issue, assignee: Account, sender: Account) -> Told:
        if self.kind is not ForgeKind.GITLAB:
            who = github_account(assignee)
            return "issues", self._github(sender, action="assigned", issue=self._issue(issue), assignee=who)
        current: list[JsonValue] = [{"id": one.id, "username": one.login} for one in issue.assignees]
        before: list[JsonValue] = [one for one in current if isinstance(one, dict) and one["id"] != assignee.id]
        return "Issue Hook", self._gitlab(
            "issue",
            sender,
            object_attributes=self._gitlab_issue(issue, action="update"),
            assignees=current,
            changes={"assignees": {"previous": before, "current": current}},
        )

    def commented(self, comment: Comment) -> Told:
        pull = self.project.find(comment.number) if comment.is_on_pull else None
        issue = self.project.issue(comment.number) if pull is None else None
        title = pull.title if pull else issue.title if issue else ""
        about = pull.body if pull else issue.body if issue else ""
        if self.kind is ForgeKind.GITLAB:
            on: Json = {"iid": comment.number, "title": title, "description": about}
            note: Json = {
                "id": comment.id,
                "note": comment.body,
                "noteable_type": "MergeRequest" if pull else "Issue",
                "author_id": comment.author.id,
                "system": False,
                "action": "create",
                "url": f"{self.page}/-/issues/{comment.number}#note_{comment.id}",
            }
            if comment.path:
                note["position"] = {"new_path": comment.path, "new_line": comment.line}
            what = "merge_request" if pull else "issue"
            return "Note Hook", self._gitlab("note", comment.author, object_attributes=note, **{what: on})
        place = "pull" if pull else "issues"
        url = f"{self.page}/{place}/{comment.number}#issuecomment-{comment.id}"
        said: Json = {"id": comment.id, "body": comment.body, "html_url": url, "user": github_account(comment.author)}
        on = {"number": comment.number, "title": title, "body": about, "html_url": f"{self.page}/{place}/1"}
        if comment.path and self.kind is ForgeKind.GITHUB:
            beside: Json = {**said, "path": comment.path, "line": comment.line}
            told = self._github(comment.author, action="created", comment=beside, pull_request=on)
            return "pull_request_review_comment", told
        if pull and self.kind is ForgeKind.GITHUB:
            on["pull_request"] = {"url": "https://api.example/pulls/1"}
        more: Json = {"is_pull": pull is not None} if self.kind is ForgeKind.GITEA else {}
        return "issue_comment", self._github(comment.author, action="created", issue=on, comment=said, **more)

    def review_requested(self, pull: Pull, reviewer: Account, sender: Account) -> Told:
        sha = sha_of(self.project, pull)
        if self.kind is ForgeKind.GITLAB:
            asked: Json = {"id": reviewer.id, "username": reviewer.login, "state": "unreviewed"}
            merge: Json = {
                "iid": pull.number,
                "title": pull.title,
                "description": pull.body,
                "action": "update",
                "author_id": pull.author.id,
                "url": f"{self.page}/-/merge_requests/{pull.number}",
                "source_branch": pull.head,
                "target_branch": pull.base,
                "source_project_id": 999 if pull.is_from_fork else self.project.id,
                "target_project_id": self.project.id,
                "last_commit": {"id": sha},
            }
            changes: Json = {"reviewers": {"previous": [], "current": [asked]}}
            told = self._gitlab("merge_request", sender, object_attributes=merge, reviewers=[asked], changes=changes)
            return "Merge Request Hook", told
        home = 999 if pull.is_from_fork else self.project.id
        head: Json = {"label": pull.head, "ref": pull.head, "sha": sha, "repo_id": home}
        shown: Json = {
            "number": pull.number,
            "title": pull.title,
            "body": pull.body,
            "html_url": f"{self.page}/pull/{pull.number}",
            "user": github_account(pull.author),
            "head": {**head, "repo": {"id": home, "full_name": self.project.name}},
            "base": {"ref": pull.base, "sha": "b" * 40, "repo_id": self.project.id},
        }
        who = github_account(reviewer)
        return "pull_request", self._github(
            sender, action="review_requested", number=pull.number, pull_request=shown, requested_reviewer=who
        )
