"""The small forge's deliveries, as they arrive at a receiver."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.support.forge_hooks import ForgeHooks
from tests.support.forge_server import ForgeServer
from tests.support.forge_talk_state import SOMEBODY
from tests.support.repositories import BareRepositories

from treadle.domain.deliveries import CheckFailed, CheckPassed, CommentPosted, IssueAssigned, IssueLabelled
from treadle.domain.repository import ForgeKind
from treadle.forges.hooks import HOOKS

NAME, SECRET = "acme/demo", "canary-of-a-hook"
NOW = datetime(2031, 1, 1, tzinfo=UTC)


@dataclass
class Receiver:
    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(202)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        found.url = f"http://127.0.0.1:{server.server_port}/hook"
        yield found
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", list(ForgeKind), ids=lambda kind: kind.value)
def test_a_failing_check_is_mended(kind: ForgeKind, receiver: Receiver, tmp_path: Path) -> None:
    repositories, hook = BareRepositories(tmp_path), HOOKS[kind]
    repositories.create(NAME, {"a.py": "broken\n"})
    with ForgeServer(kind, repositories) as forge:
        project = forge.add(NAME)
        hooks = ForgeHooks(forge, receiver.url, SECRET)

        def check(read: object) -> str | None:
            assert callable(read)
            return "a.py is broken" if "broken" in read("a.py") else None

        sent = hooks.check(NAME, "main", check)
        assert (sent.status, sent.answer) == (202, "ok")
        hooks.again(sent)
        hooks.forged(sent)
        sha = repositories.commit(NAME, {"a.py": "mended\n"})
        hooks.check(NAME, "main", check)
        issue = project.raise_issue("It breaks")
        hooks.labelled(NAME, issue, "treadle")
        hooks.assigned(NAME, issue)
        hooks.commented(NAME, project.say(issue.number, "@treadle go", author=SOMEBODY))
        project.open("Add a test", "main", base="main")
        hooks.review_requested(NAME, project.pulls[0])
    verified = [hook.verify(headers, body, [SECRET], NOW) for headers, body in receiver.got]
    assert verified == [True, True, False, True, True, True, True, True]
    told = [hook.read(headers, body) for headers, body in receiver.got]
    assert told[0] == told[1]
    assert len({one.id for one in told}) == 7
    failed, passed = told[0].events[0], told[3].events[0]
    assert isinstance(failed, CheckFailed)
    assert isinstance(passed, CheckPassed)
    assert (passed.check.sha, passed.check.branch) == (sha, "main")
    assert [run.log for run in project.runs] == ["a.py is broken", "All is well.\n"]
    assert [type(one.events[0]) for one in told[4:7]] == [IssueLabelled, IssueAssigned, CommentPosted]
