"""Deliveries that a forge server really sends, signed as its forge signs them, and checks that it runs on commits.

hooks = ForgeHooks(forge, "http://127.0.0.1:8000/api/…", secret)
sent = hooks.labelled("acme/demo", issue, "treadle")
hooks.again(sent)  # the same delivery
hooks.check("acme/demo", "work", lambda read: None if "fixed" in read("a.py") else "a.py is broken")
"""

import hashlib
import hmac
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import httpx2

from tests.support.forge_payloads import Payloads, Told
from tests.support.forge_server import ForgeServer
from tests.support.forge_state import Project, Pull
from tests.support.forge_talk_state import ME, SOMEBODY, Account, Check, CheckRun, Comment, Issue
from treadle.domain.repository import ForgeKind

#: Longest time for an answer to a delivery, in seconds; forges give ten.
PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class Sent:
    """A delivery and what it was answered with."""

    id: str
    headers: Mapping[str, str]
    body: bytes
    status: int = 0
    answer: str = ""


def signed(kind: ForgeKind, event: str, id_: str, body: bytes, secret: str) -> dict[str, str]:
    """The headers of a delivery."""
    code = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    common = {"content-type": "application/json"}
    match kind:
        case ForgeKind.GITHUB:
            said = {"x-github-event": event, "x-github-delivery": id_, "x-hub-signature-256": f"sha256={code}"}
        case ForgeKind.GITLAB:
            said = {
                "x-gitlab-event": event,
                "idempotency-key": id_,
                "x-gitlab-event-uuid": "u",
                "x-gitlab-token": secret,
            }
        case ForgeKind.GITEA:
            said = {"x-gitea-event": event, "x-gitea-delivery": id_, "x-gitea-signature": code}
    return common | said


@dataclass
class ForgeHooks:
    """A webhook of a forge server's. Each method sends one delivery and waits for the answer."""

    forge: ForgeServer
    url: str
    secret: str
    sent: list[Sent] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def ping(self, name: str) -> Sent:
        return self._send(self._payloads(name).ping(SOMEBODY))

    def labelled(self, name: str, issue: Issue, label: str, *, sender: Account = SOMEBODY) -> Sent:
        if label not in issue.labels:
            issue.labels.append(label)
        return self._send(self._payloads(name).labelled(issue, label, sender))

    def assigned(self, name: str, issue: Issue, assignee: Account = ME, *, sender: Account = SOMEBODY) -> Sent:
        if assignee not in issue.assignees:
            issue.assignees.append(assignee)
        return self._send(self._payloads(name).assigned(issue, assignee, sender))

    def commented(self, name: str, comment: Comment) -> Sent:
        """Of a comment that is there, such as one of `Project.say`, or of our own."""
        return self._send(self._payloads(name).commented(comment))

    def review_requested(self, name: str, pull: Pull, reviewer: Account = ME, *, sender: Account = SOMEBODY) -> Sent:
        return self._send(self._payloads(name).review_requested(pull, reviewer, sender))

    def checked(self, name: str, run: CheckRun) -> Sent:
        """Of a check that is over."""
        return self._send(self._payloads(name).check(run, SOMEBODY))

    def check(self, name: str, branch: str, check: Check, *, called: str = "tests") -> Sent:
        """Runs a check on a branch as it is in the real repository, keeps its log, and tells how it ended."""
        return self.checked(name, run_check(self._project(name), branch, check, called=called))

    def again(self, sent: Sent) -> Sent:
        """The same delivery, byte for byte."""
        return self._post(sent)

    def forged(self, sent: Sent, id_: str = "forged") -> Sent:
        """The same, signed with another secret."""
        event = next(value for name, value in sent.headers.items() if name.endswith("-event"))
        return self._post(Sent(id_, signed(self.forge.kind, event, id_, sent.body, "another secret"), sent.body))

    def _project(self, name: str) -> Project:
        return self.forge.projects[name]

    def _payloads(self, name: str) -> Payloads:
        return Payloads(self.forge.kind, self.forge.state.site, self._project(name))

    def _send(self, told: Told) -> Sent:
        event, payload = told
        id_, body = f"00000000-0000-4000-8000-{next(self._numbers):012}", json.dumps(payload).encode()
        return self._post(Sent(id_, signed(self.forge.kind, event, id_, body, self.secret), body))

    def _post(self, sent: Sent) -> Sent:
        answer = httpx2.post(
            self.url, content=sent.body, headers=dict(sent.headers), timeout=PATIENCE_SECONDS, trust_env=False
        )
        done = Sent(sent.id, sent.headers, sent.body, answer.status_code, answer.text)
        self.sent.append(done)
        return done


def run_check(project: Project, branch: str, check: Check, *, called: str = "tests") -> CheckRun:
    """Evaluates a check on the commit that a branch is at, in the real repository beside the forge."""
    repositories = project.repositories
    assert repositories is not None, "the forge has no real repositories beside it"
    sha = project.sha_of(branch)
    said = check(lambda path: repositories.git(project.name, "cat-file", "blob", f"{sha}:{path}"))
    run = CheckRun(project.next_id(), called, branch, sha, is_passed=said is None, log=said or "All is well.\n")
    project.runs.append(run)
    names = project.checks.setdefault(branch, [])
    if called not in names:
        names.append(called)
    return run
