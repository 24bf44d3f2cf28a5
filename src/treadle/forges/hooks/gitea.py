"""Gitea's and Forgejo's deliveries.

Sources: docs.gitea.com, "Webhooks" (`X-Gitea-Signature`: the HMAC of the body, which must be JSON), and in
go-gitea/gitea `modules/structs/hook.go` (the bodies), `modules/webhook/type.go` (which event has which name in
`X-Gitea-Event`); forgejo.org, "Webhooks" (`X-Forgejo-…` beside them; `action_run_failure`, `action_run_recover`,
`action_run_success`). A body that tells of a label or an assignee does not say which is new, so it tells of all.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from treadle.domain.deliveries import (
    Check,
    CheckKind,
    CommentPosted,
    Delivery,
    Event,
    Issue,
    IssueAssigned,
    IssueLabelled,
    Person,
    ReviewRequested,
    Subject,
)
from treadle.domain.repository import ForgeKind
from treadle.forges.answers import Link
from treadle.forges.hooks.shapes import (
    MAX_SAID,
    MaybeLink,
    Name,
    Number,
    Sha,
    Shape,
    Text,
    Told,
    check_of,
    outcome,
    read,
)
from treadle.forges.hooks.signatures import is_signed

APP = "actions"

_HEADS = "refs/heads/"
_LABELLING = frozenset({"opened", "label_updated"})
_ASSIGNING = frozenset({"opened", "assigned"})


class _User(Shape):
    id: int
    login: Name

    @property
    def person(self) -> Person:
        return Person(self.login, str(self.id), self.id < 0)  # of the server's own: ghost, actions


class _Repository(Shape):
    id: int
    full_name: Name
    html_url: MaybeLink = None


class _Told(Told):
    action: Text = ""
    repository: _Repository
    sender: _User | None = None

    def place(self) -> tuple[str, str]:
        return self.repository.full_name, str(self.repository.id)

    def by(self) -> Person | None:
        return self.sender.person if self.sender else None


class _StatusTold(_Told):
    """Which branch it is of is not told."""

    id: int
    sha: Sha
    state: Text
    context: Name
    description: Text = ""
    target_url: MaybeLink = None

    def events(self) -> list[Event]:
        said = self.description[:MAX_SAID]
        check = Check(CheckKind.STATUS, str(self.id), self.context, None, None, self.sha, self.target_url, said)
        return [outcome(check, self.state)]


class _Run(Shape):
    """A workflow's run, or a job of one."""

    id: int
    name: Text = ""
    display_title: Text = ""
    path: Text = ""
    head_sha: Sha
    head_branch: Text = ""
    html_url: MaybeLink = None
    conclusion: Text = ""
    head_repository: _Repository | None = None


class _JobTold(_Told):
    workflow_job: _Run

    def events(self) -> list[Event]:
        return [_check(CheckKind.JOB, self.workflow_job, self.repository)] if self.action == "completed" else []


class _RunTold(_Told):
    workflow_run: _Run

    def events(self) -> list[Event]:
        return [_check(CheckKind.PIPELINE, self.workflow_run, self.repository)] if self.action == "completed" else []


def _check(kind: CheckKind, run: _Run, repository: _Repository) -> Event:
    is_ours = run.head_repository is None or run.head_repository.id == repository.id
    return check_of(
        kind,
        run.id,
        run.name or run.path.partition("@")[0] or run.display_title or "workflow",
        app=APP,
        branch=run.head_branch.removeprefix(_HEADS) if is_ours else None,
        sha=run.head_sha,
        url=run.html_url,
        conclusion=run.conclusion,
    )


class _ActionRun(Shape):
    id: int
    workflow_id: Text = ""
    title: Text = ""
    prettyref: Text = ""
    commit_sha: Sha
    is_fork_pull_request: bool = False
    html_url: MaybeLink = None
    status: Text = ""
    repository: _Repository
    trigger_user: _User | None = None


class _ActionRunTold(Told):
    """Forgejo's."""

    run: _ActionRun

    def place(self) -> tuple[str, str]:
        return self.run.repository.full_name, str(self.run.repository.id)

    def by(self) -> Person | None:
        return self.run.trigger_user.person if self.run.trigger_user else None

    def events(self) -> list[Event]:
        run = self.run
        return [
            check_of(
                CheckKind.PIPELINE,
                run.id,
                run.workflow_id or run.title or "workflow",
                app=APP,
                branch=None if run.is_fork_pull_request else run.prettyref.removeprefix(_HEADS),
                sha=run.commit_sha,
                url=run.html_url,
                conclusion=run.status,
            )
        ]


class _Label(Shape):
    name: Name


class _Issue(Shape):
    number: Number
    title: Text = ""
    body: Text = ""
    html_url: Link
    user: _User | None = None
    labels: list[_Label] | None = None
    assignees: list[_User] | None = None

    @property
    def author(self) -> Person:
        return self.user.person if self.user else Person("Ghost", "-1", is_bot=True)


class _IssueTold(_Told):
    issue: _Issue

    def events(self) -> list[Event]:
        found = self.issue
        issue = Issue(found.number, found.title, found.body, found.html_url, found.author)
        labels = found.labels or [] if self.action in _LABELLING else []
        assignees = found.assignees or [] if self.action in _ASSIGNING else []
        return [
            *(IssueLabelled(issue, label.name) for label in labels),
            *(IssueAssigned(issue, assignee.person) for assignee in assignees),
        ]


class _Comment(Shape):
    id: int
    body: Text = ""
    html_url: Link
    user: _User | None = None


class _CommentTold(_Told):
    issue: _Issue
    comment: _Comment
    is_pull: bool = False

    def events(self) -> list[Event]:
        if self.action != "created":
            return []
        said, on = self.comment, self.issue
        author = said.user.person if said.user else Person("Ghost", "-1", is_bot=True)
        subject = Subject.PULL_REQUEST if self.is_pull else Subject.ISSUE
        return [
            CommentPosted(subject, on.number, on.title, on.body, str(said.id), said.body, said.html_url, author),
        ]


class _Branch(Shape):
    label: Text = ""  # the branch's name, also when it is gone
    ref: Text = ""
    sha: Sha
    repo_id: int | None = None


class _Base(Shape):
    ref: Name
    repo_id: int | None = None


class _Pull(_Issue):
    head: _Branch
    base: _Base


class _Review(Shape):
    content: Text = ""


class _PullTold(_Told):
    pull_request: _Pull
    requested_reviewer: _User | None = None
    review: _Review | None = None

    def events(self) -> list[Event]:
        pull = self.pull_request
        if self.action == "review_requested" and self.requested_reviewer is not None:
            return [
                ReviewRequested(
                    pull.number,
                    pull.title,
                    pull.body,
                    pull.html_url,
                    pull.author,
                    self.requested_reviewer.person,
                    pull.head.label or pull.head.ref,
                    pull.base.ref,
                    pull.head.sha,
                    is_from_fork=pull.head.repo_id != pull.base.repo_id,
                )
            ]
        if self.action == "reviewed" and self.review is not None and self.review.content.strip() and self.sender:
            said = self.review.content
            id_ = f"review-{hashlib.sha256(f'{pull.number} {self.sender.id} {said}'.encode()).hexdigest()[:16]}"
            author = self.sender.person
            return [
                CommentPosted(
                    Subject.PULL_REQUEST, pull.number, pull.title, pull.body, id_, said, pull.html_url, author
                )
            ]
        return []


_SHAPES: Mapping[str, type[Told]] = {
    "status": _StatusTold,
    "workflow_job": _JobTold,
    "workflow_run": _RunTold,
    "action_run_failure": _ActionRunTold,
    "action_run_recover": _ActionRunTold,
    "action_run_success": _ActionRunTold,
    "issues": _IssueTold,
    "issue_assign": _IssueTold,
    "issue_label": _IssueTold,
    "issue_comment": _CommentTold,
    "pull_request": _PullTold,
    "pull_request_review_request": _PullTold,
    "pull_request_approved": _PullTold,
    "pull_request_rejected": _PullTold,
    "pull_request_comment": _PullTold,
}


class GiteaHook:
    """ports.hooks.Hook."""

    kind = ForgeKind.GITEA

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> bool:  # noqa: ARG002 - its signature carries no time
        """Forgejo's own signature, where there is one, decides alone."""
        return is_signed(headers.get("x-forgejo-signature", headers.get("x-gitea-signature")), body, secrets)

    def read(self, headers: Mapping[str, str], body: bytes) -> Delivery:
        event = headers.get("x-forgejo-event", headers.get("x-gitea-event"))
        return read(self.kind, _SHAPES, event, headers.get("x-forgejo-delivery", headers.get("x-gitea-delivery")), body)
