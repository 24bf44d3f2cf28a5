"""GitLab's deliveries.

Sources: docs.gitlab.com, "Webhooks" (`X-Gitlab-Token` is the secret itself; a signing token, `whsec_…`, signs as
Standard Webhooks do; `Idempotency-Key` stays the same when it is sent again, while `X-Gitlab-Event-UUID` is shared by
what one event sets off), "Webhook events" (pipeline, build, note, issue, merge_request), "Project access tokens" (the
names of their bot users).
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import Field

from treadle.domain.deliveries import (
    CommentPosted,
    Delivery,
    Event,
    Issue,
    IssueAssigned,
    IssueLabelled,
    ReviewRequested,
    Subject,
)
from treadle.domain.repository import ForgeKind
from treadle.forges.answers import Link
from treadle.forges.hooks.gitlab_checks import BuildTold, PipelineTold
from treadle.forges.hooks.gitlab_frame import Frame, User
from treadle.forges.hooks.shapes import Name, Number, Sha, Shape, Text, Told, read
from treadle.forges.hooks.signatures import STANDARD, is_standard, is_token


class _Label(Shape):
    title: Name


class _Labels(Shape):
    previous: list[_Label] = Field(default_factory=list)
    current: list[_Label] = Field(default_factory=list)


class _Users(Shape):
    previous: list[User] = Field(default_factory=list)
    current: list[User] = Field(default_factory=list)

    def new(self) -> list[User]:
        known = {user.id for user in self.previous}
        return [user for user in self.current if user.id not in known]


class _IssueChanges(Shape):
    labels: _Labels | None = None
    assignees: _Users | None = None


class _Noted(Shape):
    """What a note is on."""

    iid: Number
    title: Text = ""
    description: Text = ""


class _Issue(_Noted):
    action: Text = ""
    url: Link
    author_id: int | None = None


class _IssueTold(Frame):
    object_attributes: _Issue
    labels: list[_Label] = Field(default_factory=list)
    assignees: list[User] = Field(default_factory=list)
    changes: _IssueChanges = Field(default_factory=_IssueChanges)

    def events(self) -> list[Event]:
        found = self.object_attributes
        issue = Issue(found.iid, found.title, found.description, found.url, self.author(found.author_id))
        labels, assignees = list[_Label](), list[User]()
        if found.action == "open":
            labels, assignees = self.labels, self.assignees
        elif found.action == "update":
            if (change := self.changes.labels) is not None:
                known = {label.title for label in change.previous}
                labels = [label for label in change.current if label.title not in known]
            assignees = self.changes.assignees.new() if self.changes.assignees else []
        return [
            *(IssueLabelled(issue, label.title) for label in labels),
            *(IssueAssigned(issue, assignee.person) for assignee in assignees),
        ]


class _Position(Shape):
    new_path: Text = ""
    new_line: Number | None = None


class _Note(Shape):
    id: int
    note: Text = ""
    noteable_type: Text = ""
    author_id: int | None = None
    system: bool = False
    action: Text = "create"  # not said by older servers, which tell of new ones only
    url: Link
    position: _Position | None = None


class _NoteTold(Frame):
    object_attributes: _Note
    issue: _Noted | None = None
    merge_request: _Noted | None = None

    def events(self) -> list[Event]:
        note = self.object_attributes
        on = self.merge_request if note.noteable_type == "MergeRequest" else self.issue
        if on is None or note.system or note.action != "create":
            return []
        return [
            CommentPosted(
                Subject.ISSUE if on is self.issue else Subject.PULL_REQUEST,
                on.iid,
                on.title,
                on.description,
                str(note.id),
                note.note,
                note.url,
                self.author(note.author_id),
                (note.position.new_path or None) if note.position else None,
                note.position.new_line if note.position else None,
            )
        ]


class _Commit(Shape):
    id: Sha


class _Merge(_Issue):
    source_branch: Name
    target_branch: Name
    source_project_id: int | None = None
    target_project_id: int | None = None
    last_commit: _Commit


class _Reviewer(User):
    re_requested: bool = False


class _Reviewers(Shape):
    previous: list[_Reviewer] = Field(default_factory=list)
    current: list[_Reviewer] = Field(default_factory=list)


class _MergeChanges(Shape):
    reviewers: _Reviewers | None = None


class _MergeTold(Frame):
    object_attributes: _Merge
    reviewers: list[_Reviewer] = Field(default_factory=list)
    changes: _MergeChanges = Field(default_factory=_MergeChanges)

    def _asked(self) -> list[_Reviewer]:
        if self.object_attributes.action == "open":
            return self.reviewers
        if (change := self.changes.reviewers) is None:
            return []
        known = {reviewer.id for reviewer in change.previous}
        return [reviewer for reviewer in change.current if reviewer.re_requested or reviewer.id not in known]

    def events(self) -> list[Event]:
        merge = self.object_attributes
        return [
            ReviewRequested(
                merge.iid,
                merge.title,
                merge.description,
                merge.url,
                self.author(merge.author_id),
                reviewer.person,
                merge.source_branch,
                merge.target_branch,
                merge.last_commit.id,
                is_from_fork=merge.source_project_id != merge.target_project_id,
            )
            for reviewer in self._asked()
        ]


_SHAPES: Mapping[str, type[Told]] = {
    "Pipeline Hook": PipelineTold,
    "Job Hook": BuildTold,
    "Issue Hook": _IssueTold,
    "Confidential Issue Hook": _IssueTold,
    "Note Hook": _NoteTold,
    "Confidential Note Hook": _NoteTold,
    "Merge Request Hook": _MergeTold,
}


class GitLabHook:
    """ports.hooks.Hook."""

    kind = ForgeKind.GITLAB

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> bool:
        """A signature, where there is one and a secret of its kind, decides alone."""
        if "webhook-signature" in headers and any(secret.startswith(STANDARD) for secret in secrets):
            return is_standard(headers, body, secrets, now)
        return is_token(headers.get("x-gitlab-token"), secrets)

    def read(self, headers: Mapping[str, str], body: bytes) -> Delivery:
        id_ = headers.get("idempotency-key") or headers.get("webhook-id")
        if not id_:  # before 17.4; the same body is the same event
            id_ = f"sha256:{hashlib.sha256(body).hexdigest()}"
        return read(self.kind, _SHAPES, headers.get("x-gitlab-event"), id_, body)
