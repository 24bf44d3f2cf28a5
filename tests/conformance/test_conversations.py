"""The contract of what is said at a forge, on each of them in front of a server that answers as its documentation
says."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from tests.conformance.test_forges import NAME, WORK, Patience
from tests.support.forge_server import ForgeServer, Meet
from tests.support.forge_state import Project, Pull
from tests.support.forge_talk_state import ME, SOMEBODY, CheckRun, Review

from treadle.domain.deliveries import Check, CheckKind, Person, Subject
from treadle.domain.errors import ForgeAuthenticationFailed, ForgeError
from treadle.domain.repository import ForgeKind, PullRequestState
from treadle.forges.conversations import CONVERSATIONS
from treadle.forges.conversations.asking import PAGE, PAGES
from treadle.forges.conversations.texts import MAX_FINDINGS, MAX_LOG_BYTES, MAX_TEXT
from treadle.forges.transport import Transport
from treadle.ports.conversations import Conversations, Finding
from treadle.ports.forges import ForgeRepository

pytestmark = pytest.mark.anyio

ISSUE, PULL = Subject.ISSUE, Subject.PULL_REQUEST

#: Line 2 of a.py is as it was, 3 is new; "a b.py" was renamed.
DIFF = """diff --git a/a.py b/a.py
index 1..2 100644
--- a/a.py
+++ b/a.py
@@ -1,2 +1,3 @@
 one
 two
+three
"""


@dataclass
class Bench:
    server: ForgeServer
    project: Project
    clock: Patience
    forge: Conversations = field(init=False)

    def __post_init__(self) -> None:
        self.forge = self.make()

    def make(self, *, allow_private_hosts: bool = True) -> Conversations:
        line = Transport(self.clock, allow_private_hosts=allow_private_hosts, environment={})
        return CONVERSATIONS[self.server.kind](line)

    @property
    def repository(self) -> ForgeRepository:
        return self.server.repository(NAME)

    def pull(self) -> Pull:
        pull = self.project.open("Add a test", WORK, body="It runs.")
        pull.diff = DIFF
        return pull

    async def review(self, pull: Pull, *findings: Finding, sha: str | None = None) -> None:
        said = await self.forge.review(
            self.repository, pull.number, sha or pull.sha, "I looked.", findings, marker="review-1"
        )
        assert said.url.startswith(self.server.state.site)

    def bodies(self, pull: Pull) -> list[str]:
        """Of what stands beside no line."""
        if self.server.kind is not ForgeKind.GITLAB:
            return [review.body for review in self.project.reviews]
        return [one.body for one in self.project.comments if one.number == pull.number and one.path is None]

    def beside(self) -> list[tuple[str | None, int | None, str]]:
        said = [one for review in self.project.reviews for one in review.comments] or self.project.comments
        return [(one.path, one.line, one.body.rpartition("-->\n")[2]) for one in said if one.path]


@pytest.fixture(params=list(ForgeKind), ids=lambda kind: kind.value)
def server(request: pytest.FixtureRequest) -> Iterator[ForgeServer]:
    kind: ForgeKind = request.param
    with ForgeServer(kind) as forge:
        yield forge


@pytest.fixture
def bench(server: ForgeServer) -> Bench:
    project = server.add(NAME)
    project.branches |= {WORK}
    return Bench(server, project, Patience())


# ---- who we are ------------------------------------------------------------------------------------------------------


async def test_whose_the_token_is(bench: Bench) -> None:
    assert await bench.forge.identity(bench.repository) == Person(ME.login, str(ME.id))


async def test_an_app_is_no_user() -> None:
    with ForgeServer(ForgeKind.GITHUB) as server:
        bench = Bench(server, server.add(NAME), Patience())
        server.state.is_app = True
        assert await bench.forge.identity(bench.repository) == Person(ME.login, str(ME.id))


async def test_a_token_that_does_not_hold(bench: Bench) -> None:
    with pytest.raises(ForgeAuthenticationFailed) as caught:
        await bench.forge.identity(replace(bench.repository, token="canary-that-is-wrong"))
    assert "canary" not in caught.value.sentence()


async def test_who_may_write(bench: Bench) -> None:
    me, them = Person(ME.login, str(ME.id)), Person(SOMEBODY.login, str(SOMEBODY.id))
    assert await bench.forge.may_write(bench.repository, me)
    assert not await bench.forge.may_write(bench.repository, them)
    bench.project.readers[SOMEBODY.login] = SOMEBODY
    assert not await bench.forge.may_write(bench.repository, them)
    assert not await bench.forge.may_write(bench.repository, Person(ME.login, "77"))  # whose login it was once
    assert not await bench.forge.may_write(bench.repository, Person("../x", "?"))


# ---- comments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", list(Subject))
async def test_says_it_once(bench: Bench, subject: Subject) -> None:
    number = bench.pull().number if subject is PULL else bench.project.raise_issue("It breaks").number
    first = await bench.forge.comment(bench.repository, subject, number, "Done.", marker="a:1")
    second = await bench.forge.comment(bench.repository, subject, number, "Done, really.", marker="a:1")
    other = await bench.forge.comment(bench.repository, subject, number, "More.", marker="a:11")
    assert first == second != other
    assert first.url.startswith(bench.server.state.site)
    assert first.author == Person(ME.login, str(ME.id))
    said = bench.project.said(number, is_on_pull=subject is PULL)
    assert [text.rpartition("\n")[2] for text in said] == ["Done.", "More."]


@pytest.mark.parametrize("times", [1, 2])
async def test_a_comment_whose_answer_is_lost(bench: Bench, times: int) -> None:
    issue = bench.project.raise_issue("It breaks")
    bench.server.meet(Meet.LOST, method="POST", times=times)
    await bench.forge.comment(bench.repository, ISSUE, issue.number, "Done.", marker="a")
    assert len(bench.project.said(issue.number)) == 1


async def test_one_of_many_comments(bench: Bench) -> None:
    issue = bench.project.raise_issue("It breaks")
    for number in range(130):
        bench.project.say(issue.number, f"Comment {number}", author=SOMEBODY)
    await bench.forge.comment(bench.repository, ISSUE, issue.number, "Done.", marker="a")
    await bench.forge.comment(bench.repository, ISSUE, issue.number, "Done.", marker="a")
    found = await bench.forge.comments(bench.repository, ISSUE, issue.number)
    assert [comment.body for comment in found[:130]] == [f"Comment {number}" for number in range(130)]
    assert len(found) == 131
    assert found[0].author == Person(SOMEBODY.login, str(SOMEBODY.id))


@pytest.mark.parametrize("count", [PAGE - 1, PAGE, PAGE * PAGES + 30])
async def test_what_was_said_last_is_found_behind_many_comments(bench: Bench, count: int) -> None:
    """A process that ended right after it had said it says it no second time."""
    issue = bench.project.raise_issue("It breaks")
    for number in range(count):
        bench.project.say(issue.number, f"Comment {number}", author=SOMEBODY)
    first = await bench.forge.comment(bench.repository, ISSUE, issue.number, "Done.", marker="a")
    for number in range(3):
        bench.project.say(issue.number, f"Later {number}", author=SOMEBODY)
    before = len(bench.server.asked("GET"))
    assert await bench.forge.comment(bench.repository, ISSUE, issue.number, "Done.", marker="a") == first
    assert len(bench.project.said(issue.number)) == count + 4
    assert len(bench.server.asked("GET")) - before <= PAGES + 1


async def test_a_marker_that_an_agent_wrote_does_not_count(bench: Bench) -> None:
    issue = bench.project.raise_issue("It breaks")
    await bench.forge.comment(bench.repository, ISSUE, issue.number, "<!-- treadle:b -->", marker="a")
    await bench.forge.comment(bench.repository, ISSUE, issue.number, "Done.", marker="b")
    assert len(bench.project.said(issue.number)) == 2


async def test_a_comment_that_is_too_long(bench: Bench) -> None:
    issue = bench.project.raise_issue("It breaks")
    await bench.forge.comment(bench.repository, ISSUE, issue.number, "x" * (MAX_TEXT + 1), marker="a")
    (said,) = bench.project.said(issue.number)
    assert len(said) == MAX_TEXT
    assert said.endswith("…")


async def test_an_issue_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(ForgeError, match="no such"):
        await bench.forge.comment(bench.repository, ISSUE, 99, "Done.", marker="a")


# ---- reviews ---------------------------------------------------------------------------------------------------------


async def test_findings_beside_their_lines_and_in_the_body(bench: Bench) -> None:
    pull = bench.pull()
    findings = (
        Finding("a.py", 2, "As it was."),
        Finding("a.py", 3, "New."),
        Finding("a.py", 9, "Not\nshown."),
        Finding("b.py", 1, "No such file."),
    )
    for _ in range(2):
        await bench.review(pull, *findings)
    assert bench.beside() == [("a.py", 2, "As it was."), ("a.py", 3, "New.")]
    (body,) = bench.bodies(pull)
    assert "I looked.\n\n- `a.py:9`: Not\n  shown.\n- `b.py:1`: No such file.\n" in body


async def test_a_review_whose_answers_are_lost(bench: Bench) -> None:
    pull = bench.pull()
    bench.server.meet(Meet.LOST, method="POST", times=2)
    await bench.review(pull, Finding("a.py", 2, "One."), Finding("a.py", 3, "Two."))
    assert len(bench.beside()) == 2
    assert len(bench.bodies(pull)) == 1


async def test_a_review_behind_many_reviews(bench: Bench) -> None:
    pull = bench.pull()
    for number in range(PAGE * PAGES + 30):
        bench.project.reviews.append(Review(number, pull.number, f"Review {number}", None))
        bench.project.say(pull.number, f"Comment {number}", author=SOMEBODY, is_on_pull=True)
    for _ in range(2):
        await bench.review(pull, Finding("a.py", 3, "New."))
    assert len([body for body in bench.bodies(pull) if "I looked." in body]) == 1
    assert len([one for one in bench.beside() if one[0]]) == 1


async def test_a_review_that_was_broken_off_is_finished(bench: Bench) -> None:
    pull = bench.pull()
    findings = (Finding("a.py", 2, "One."), Finding("a.py", 3, "Two."))
    bench.server.meet(Meet.STATUS, method="POST", status=403, body={"message": "no"})
    with pytest.raises(ForgeError):
        await bench.review(pull, *findings)
    await bench.review(pull, *findings)
    assert len(bench.beside()) == 2


async def test_a_pull_request_that_has_moved_on(bench: Bench) -> None:
    pull = bench.pull()
    await bench.review(pull, Finding("a.py", 3, "New."), sha="d" * 40)
    assert bench.beside() == []
    assert "- `a.py:3`: New." in bench.bodies(pull)[0]


async def test_lines_that_the_forge_takes_not(bench: Bench) -> None:
    pull = bench.pull()
    bench.server.meet(Meet.STATUS, method="POST", status=422, body={"message": "Unprocessable Entity"})
    await bench.review(pull, Finding("a.py", 3, "New."))
    assert bench.beside() == []
    assert "- `a.py:3`: New." in bench.bodies(pull)[0]


async def test_more_findings_than_stand_beside_lines(bench: Bench) -> None:
    pull = bench.pull()
    await bench.review(pull, *[Finding("a.py", 3, f"Finding {number}.") for number in range(MAX_FINDINGS + 2)])
    assert len(bench.beside()) == MAX_FINDINGS
    assert f"Finding {MAX_FINDINGS + 1}." in bench.bodies(pull)[0]


async def test_a_review_without_findings(bench: Bench) -> None:
    pull = bench.pull()
    await bench.review(pull)
    assert len(bench.bodies(pull)) == 1


async def test_details_of_a_pull_request(bench: Bench) -> None:
    pull = bench.pull()
    found = await bench.forge.pull_request_details(bench.repository, pull.number)
    assert (found.title, found.body, found.state) == ("Add a test", "It runs.", PullRequestState.OPEN)
    assert (found.head_branch, found.base_branch, found.head_sha) == (WORK, "main", pull.sha)
    assert (found.author.login, found.is_from_fork) == (ME.login, False)
    pull.is_from_fork = True
    assert (await bench.forge.pull_request_details(bench.repository, pull.number)).is_from_fork


# ---- logs ------------------------------------------------------------------------------------------------------------


def failed(bench: Bench, log: str) -> Check:
    bench.project.runs.append(CheckRun(7, "tests", WORK, "a" * 40, is_passed=False, log=log))
    return Check(CheckKind.JOB, "7", "tests", "ci", WORK, "a" * 40, None, "It failed.")


async def test_the_end_of_a_log(bench: Bench) -> None:
    check = failed(bench, "old\n" * 100_000 + "\x1b[31m2031-04-05T06:07:08.123Z assert 1 == 2\x1b[0m\n")
    log = await bench.forge.check_log(bench.repository, check)
    assert log.endswith("old\nassert 1 == 2\n")
    assert log.startswith("old\n")
    assert MAX_LOG_BYTES - 10 < len(log.encode()) <= MAX_LOG_BYTES


async def test_logs_of_a_whole_pipeline(bench: Bench) -> None:
    failed(bench, "assert 1 == 2\n")
    bench.project.runs.append(CheckRun(8, "lint", WORK, "a" * 40, is_passed=True, log="fine"))
    whole = Check(CheckKind.PIPELINE, "10", "pipeline", "ci", WORK, "a" * 40, None)
    assert await bench.forge.check_log(bench.repository, whole) == "== tests ==\nassert 1 == 2\n"


async def test_what_has_no_log_says_what_it_said(bench: Bench) -> None:
    check = Check(CheckKind.STATUS, "7", "ci/other", None, WORK, "a" * 40, None, "3 tests failed")
    assert await bench.forge.check_log(bench.repository, check) == "3 tests failed"
    gone = Check(CheckKind.JOB, "99", "tests", "ci", WORK, "a" * 40, None, "It failed.")
    assert await bench.forge.check_log(bench.repository, gone) == "It failed."


async def test_a_token_in_a_log_is_hidden(bench: Bench) -> None:
    check = failed(bench, f"cloning with {bench.server.token}\n")
    assert await bench.forge.check_log(bench.repository, check) == "cloning with ***\n"


async def test_an_id_that_is_none(bench: Bench) -> None:
    check = replace(failed(bench, "no"), id="../../user")
    with pytest.raises(ForgeError, match="an id that is none"):
        await bench.forge.check_log(bench.repository, check)
    assert not bench.server.requests


async def test_a_log_that_is_too_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.forges.reading.MAX_TEXT_BYTES", 1_000)
    with pytest.raises(ForgeError, match="more than 1,000 bytes"):
        await bench.forge.check_log(bench.repository, failed(bench, "x" * 1_001))


# ---- GitHub's, which are elsewhere -----------------------------------------------------------------------------------


@pytest.fixture
def github() -> Iterator[Bench]:
    with ForgeServer(ForgeKind.GITHUB) as server:
        yield Bench(server, server.add(NAME), Patience())


async def test_a_log_elsewhere_is_read_without_the_token(github: Bench) -> None:
    assert await github.forge.check_log(github.repository, failed(github, "assert 1 == 2\n")) == "assert 1 == 2\n"
    asked, elsewhere = github.server.requests
    assert asked.headers["host"].startswith("127.0.0.1:")
    assert elsewhere.headers["host"].startswith("localhost:")
    assert "authorization" not in elsewhere.headers
    assert github.server.token not in str(elsewhere)
    assert elsewhere.query == {"sig": "once"}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("http://169.254.169.254/latest", "anybody could read"),
        ("https://169.254.169.254/latest", "private address"),
        ("https://[::ffff:10.0.0.1]/x", "private address"),
    ],
)
async def test_elsewhere_is_held_to_the_same_policy(github: Bench, target: str, said: str) -> None:
    """The forge itself is reached, as by an operator's allowance for it; what it sends us to is not."""
    transport = Transport(github.clock, allow_private_hosts=True, environment={})
    github.server.meet(Meet.STATUS, status=302, headers={"Location": target}, body={})
    check = failed(github, "no")
    async with transport.open(github.repository, {"Authorization": f"Bearer {github.server.token}"}) as line:
        transport._allow_private_hosts = False
        with pytest.raises(ForgeError, match=said):
            await line.end_of(f"repos/{NAME}/actions/jobs/{check.id}/logs", 100)


@pytest.mark.parametrize("target", ["https://[x/", "ftp://host/log", "https://user:canary@host/log", "javascript:x"])
async def test_elsewhere_that_is_no_address(github: Bench, target: str) -> None:
    github.server.meet(Meet.STATUS, status=302, headers={"Location": target}, body={})
    with pytest.raises(ForgeError, match="address of the forge's API is not valid") as caught:
        await github.forge.check_log(github.repository, failed(github, "no"))
    assert "canary" not in caught.value.sentence()


async def test_one_redirect_and_no_other(github: Bench) -> None:
    site = github.server.state.logs_site
    github.server.meet(Meet.STATUS, status=302, headers={"Location": f"{site}/logs/7"}, body={}, times=2)
    with pytest.raises(ForgeError, match="redirect, which is not followed"):
        await github.forge.check_log(github.repository, failed(github, "no"))
    assert len(github.server.requests) == 2


async def test_no_more_than_the_end_is_kept(github: Bench) -> None:
    transport = Transport(github.clock, allow_private_hosts=True, environment={})
    failed(github, "x" * 300_000 + "the end")
    headers = {"Authorization": f"Bearer {github.server.token}", "X-GitHub-Api-Version": "2022-11-28"}
    async with transport.open(github.repository, headers) as line:
        assert await line.end_of(f"repos/{NAME}/actions/jobs/7/logs", 7) == b"the end"


async def test_an_apps_own_output(github: Bench) -> None:
    check = replace(failed(github, "Two tests failed"), kind=CheckKind.CHECK)
    log = await github.forge.check_log(github.repository, check)
    assert log == "It failed\n\nTwo tests failed\n\na.py:3: is not right"
