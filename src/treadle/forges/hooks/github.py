"""GitHub's deliveries.

Sources: docs.github.com, "Validating webhook deliveries" (`X-Hub-Signature-256`: `sha256=` and the HMAC of the body),
"Webhook events and payloads" (check_run, check_suite, status, workflow_run, workflow_job, issues, issue_comment,
pull_request, pull_request_review, pull_request_review_comment, ping; `head_branch` of a check suite is null for a
fork's branch), "Best practices for using webhooks" (`X-GitHub-Delivery` is the same when it is sent again).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import parse_qs

from treadle.domain.deliveries import (
    CommentPosted,
    Delivery,
    Event,
    Ignored,
    Issue,
    IssueAssigned,
    IssueLabelled,
    Person,
    Ping,
    ReviewRequested,
    Subject,
)
from treadle.domain.errors import InvalidInput
from treadle.domain.repository import ForgeKind
from treadle.forges.answers import Link
from treadle.forges.hooks.github_checks import CheckRunTold, CheckSuiteTold, JobTold, RunTold, StatusTold
from treadle.forges.hooks.github_frame import NOBODY, Frame, Repository, User
from treadle.forges.hooks.shapes import Name, Number, Sha, Shape, Text, Told, read
from treadle.forges.hooks.signatures import is_signed


class _Issue(Shape):
    number: Number
    title: Text
    body: Text = ""
    html_url: Link
    user: User | None = None
    pull_request: Shape | None = None  # there when it is one

    @property
    def author(self) -> Person:
        return self.user.person if self.user else NOBODY


class _Label(Shape):
    name: Name


class _IssueTold(Frame):
    issue: _Issue
    label: _Label | None = None
    assignee: User | None = None

    def events(self) -> list[Event]:
        found = self.issue
        issue = Issue(found.number, found.title, found.body, found.html_url, found.author)
        if self.action == "labeled" and self.label:
            return [IssueLabelled(issue, self.label.name)]
        if self.action == "assigned" and self.assignee:
            return [IssueAssigned(issue, self.assignee.person)]
        return []


class _Comment(Shape):
    id: int
    body: Text = ""
    html_url: Link
    user: User | None = None
    path: Text = ""
    line: Number | None = None
    original_line: Number | None = None

    def posted(self, subject: Subject, on: _Issue) -> CommentPosted:
        return CommentPosted(
            subject,
            on.number,
            on.title,
            on.body,
            str(self.id),
            self.body,
            self.html_url,
            self.user.person if self.user else NOBODY,
            self.path or None,
            self.line or self.original_line,
        )


class _CommentTold(Frame):
    issue: _Issue
    comment: _Comment

    def events(self) -> list[Event]:
        subject = Subject.PULL_REQUEST if self.issue.pull_request is not None else Subject.ISSUE
        return [self.comment.posted(subject, self.issue)] if self.action == "created" else []


class _Head(Shape):
    ref: Name
    sha: Sha
    repo: Repository | None = None


class _Base(Shape):
    ref: Name


class _Pull(_Issue):
    head: _Head
    base: _Base


class _PullTold(Frame):
    pull_request: _Pull
    requested_reviewer: User | None = None

    def events(self) -> list[Event]:
        if self.action != "review_requested":
            return []
        if self.requested_reviewer is None:
            return [Ignored("A team is asked for the review.")]
        pull = self.pull_request
        return [
            ReviewRequested(
                pull.number,
                pull.title,
                pull.body,
                pull.html_url,
                pull.author,
                self.requested_reviewer.person,
                pull.head.ref,
                pull.base.ref,
                pull.head.sha,
                is_from_fork=pull.head.repo is None or pull.head.repo.id != self.repository.id,
            )
        ]


class _ReviewCommentTold(Frame):
    pull_request: _Issue
    comment: _Comment

    def events(self) -> list[Event]:
        return [self.comment.posted(Subject.PULL_REQUEST, self.pull_request)] if self.action == "created" else []


class _ReviewTold(Frame):
    pull_request: _Issue
    review: _Comment

    def events(self) -> list[Event]:
        is_said = self.action == "submitted" and self.review.body.strip()
        return [self.review.posted(Subject.PULL_REQUEST, self.pull_request)] if is_said else []


class _PingTold(Frame):
    repository: Repository = Repository(id=0, full_name="-")  # an organization's hook has none

    def events(self) -> list[Event]:
        return [Ping()]

    def place(self) -> tuple[str, str]:
        return super().place() if self.repository.id else ("", "")


_SHAPES: Mapping[str, type[Told]] = {
    "check_run": CheckRunTold,
    "check_suite": CheckSuiteTold,
    "status": StatusTold,
    "workflow_job": JobTold,
    "workflow_run": RunTold,
    "issues": _IssueTold,
    "issue_comment": _CommentTold,
    "pull_request": _PullTold,
    "pull_request_review": _ReviewTold,
    "pull_request_review_comment": _ReviewCommentTold,
    "ping": _PingTold,
}


class GitHubHook:
    """ports.hooks.Hook."""

    kind = ForgeKind.GITHUB

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> bool:  # noqa: ARG002 - its signature carries no time
        scheme, _, given = headers.get("x-hub-signature-256", "").partition("=")
        return scheme == "sha256" and is_signed(given, body, secrets)

    def read(self, headers: Mapping[str, str], body: bytes) -> Delivery:
        if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):  # which GitHub offers first
            try:
                form = parse_qs(body.decode("ascii", errors="replace"), max_num_fields=10)
            except ValueError:
                raise InvalidInput({"payload": ["more fields than one"]}, "This is no delivery of github.") from None
            body = form.get("payload", [""])[0].encode()
        return read(self.kind, _SHAPES, headers.get("x-github-event"), headers.get("x-github-delivery"), body)
