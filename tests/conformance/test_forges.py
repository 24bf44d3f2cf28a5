"""The contract of a forge's client, on each of them in front of a server that answers as its documentation says."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import JsonValue
from tests.support.forge_server import ForgeServer, Meet
from tests.support.forge_state import FIRST, Project
from tests.support.repositories import BareRepositories

from treadle.domain.errors import ForgeAuthenticationFailed, ForgeError
from treadle.domain.repository import ForgeAccess, ForgeKind, PullRequestState
from treadle.forges import FORGES, line, transport
from treadle.forges.line import MAX_PAUSE_SECONDS, MAX_TRIES
from treadle.forges.transport import Transport
from treadle.ports.forges import Forge, ForgePullRequest, ForgeRepository, PullRequestChange, PullRequestDraft

pytestmark = pytest.mark.anyio

NAME = "acme/demo"
WORK = "treadle/7-add-a-test"
DRAFT = PullRequestDraft("Add a test", "It runs **well**.\n", WORK, "main")
OPEN, CLOSED = PullRequestChange.OPEN, PullRequestChange.CLOSED
TO_DRAFT, READY = PullRequestChange.DRAFT, PullRequestChange.READY_FOR_REVIEW


class Patience:
    """ports.Clock: sleeps no time, and remembers how long it was to be."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2031, 1, 1, tzinfo=UTC) + timedelta(seconds=sum(self.slept))

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


@dataclass
class Bench:
    server: ForgeServer
    project: Project
    clock: Patience
    forge: Forge = field(init=False)

    def __post_init__(self) -> None:
        self.forge = self.make()

    def make(self, *, allow_private_hosts: bool = True) -> Forge:
        line = Transport(self.clock, allow_private_hosts=allow_private_hosts, environment={})
        return FORGES[self.server.kind](line)

    @property
    def repository(self) -> ForgeRepository:
        return self.server.repository(NAME)

    async def opened(self) -> ForgePullRequest:
        return await self.forge.open_pull_request(self.repository, DRAFT)

    async def change(self, change: PullRequestChange, number: int = 1) -> ForgePullRequest:
        return await self.forge.change_pull_request(self.repository, number, change)

    @property
    def titles(self) -> list[str]:
        return [pull.title for pull in self.project.pulls]


@pytest.fixture(params=list(ForgeKind), ids=lambda kind: kind.value)
def server(request: pytest.FixtureRequest) -> Iterator[ForgeServer]:
    kind: ForgeKind = request.param
    with ForgeServer(kind) as forge:
        yield forge


@pytest.fixture
def bench(server: ForgeServer) -> Bench:
    project = server.add(NAME)
    project.branches |= {WORK, "other"}
    return Bench(server, project, Patience())


# ---- repositories ----------------------------------------------------------------------------------------------------


async def test_facts_of_a_repository(bench: Bench) -> None:
    bench.project.default_branch = "trunk"
    facts = await bench.forge.facts(bench.repository)
    assert (facts.forge_id, facts.description, facts.visibility) == ("101", "A sample", "private")
    assert (facts.is_archived, facts.language, facts.default_branch, facts.may_push) == (False, "Python", "trunk", True)
    bench.project.is_private, bench.project.is_archived, bench.project.may_push = False, True, False
    bench.project.languages.clear()
    facts = await bench.forge.facts(bench.repository)
    assert (facts.visibility, facts.is_archived, facts.language, facts.may_push) == ("public", True, None, False)


async def test_a_repository_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(ForgeError, match="has no such repository") as caught:
        await bench.forge.facts(bench.server.repository("acme/elsewhere"))
    assert caught.value.hint is not None


async def test_names_within_groups(bench: Bench) -> None:
    """GitLab has them; elsewhere a name of another form is refused before anybody is asked."""
    bench.server.add("acme/tools/demo")
    nested = bench.server.repository("acme/tools/demo")
    if bench.server.kind is ForgeKind.GITLAB:
        assert (await bench.forge.facts(nested)).forge_id == "102"
        return
    for repository in (nested, replace(nested, name="demo"), replace(nested, name="../.."), replace(nested, name="a/")):
        with pytest.raises(ForgeError, match="OWNER/NAME"):
            await bench.forge.facts(repository)
    assert not bench.server.requests


# ---- opening ---------------------------------------------------------------------------------------------------------


async def test_opens_a_pull_request(bench: Bench) -> None:
    opened = await bench.opened()
    assert (opened.number, opened.title, opened.state) == (1, "Add a test", PullRequestState.OPEN)
    assert (opened.head_branch, opened.date_created) == (WORK, FIRST)
    assert opened.url.startswith(f"{bench.server.state.site}/{NAME}/")
    (pull,) = bench.project.pulls
    assert (pull.title, pull.body, pull.head, pull.base) == ("Add a test", "It runs **well**.\n", WORK, "main")


async def test_repeating_it_makes_no_second_one(bench: Bench) -> None:
    first = await bench.opened()
    second = await bench.forge.open_pull_request(bench.repository, replace(DRAFT, title="Another title"))
    assert second == first
    assert bench.titles == ["Add a test"]
    bench.project.pulls[0].base = "other"  # somebody sends it elsewhere
    assert (await bench.opened()).number == 1


async def test_a_closed_one_and_a_forks_do_not_count(bench: Bench) -> None:
    bench.project.open("Closed", WORK).state = "closed"
    bench.project.open("Merged", WORK).state = "merged"
    bench.project.open("A fork's", WORK, is_from_fork=True)
    bench.project.open("Of another branch", "other")
    assert (await bench.opened()).number == 5


async def test_one_of_many(bench: Bench) -> None:
    ours = bench.project.open("Ours", WORK)
    for number in range(250):
        bench.project.open(f"Pull {number}", f"branch-{number}")
    assert (await bench.opened()).number == ours.number
    assert len(bench.project.pulls) == 251


async def test_branches_that_are_not_there(bench: Bench) -> None:
    for draft in (replace(DRAFT, head="nowhere"), replace(DRAFT, base="nowhere")):
        with pytest.raises(ForgeError) as caught:
            await bench.forge.open_pull_request(bench.repository, draft)
        assert not isinstance(caught.value, ForgeAuthenticationFailed)
        assert "127.0.0.1" in caught.value.sentence()
    assert not bench.project.pulls


async def test_beside_a_real_repository(bench: Bench, tmp_path: Path) -> None:
    repositories = BareRepositories(tmp_path)
    repositories.create(NAME, {"README.md": "# Demo\n"})
    bench.project.repositories = repositories
    with pytest.raises(ForgeError):
        await bench.opened()
    repositories.git(NAME, "branch", WORK, "main")
    repositories.commit(NAME, {"a.py": "print(1)\n"}, branch=WORK)
    assert (await bench.opened()).number == 1


async def test_somebody_else_is_faster(bench: Bench) -> None:
    """Between the look and the creation."""
    bench.server.meet(Meet.STATUS, method="GET", status=200, body=[])
    bench.project.open("Theirs", WORK)
    opened = await bench.opened()
    assert (opened.number, opened.title) == (1, "Theirs")
    assert len(bench.server.asked("POST")) == 1


@pytest.mark.parametrize("times", [1, 2])
async def test_a_creation_whose_answer_is_lost(bench: Bench, times: int) -> None:
    bench.server.meet(Meet.LOST, method="POST", times=times)
    assert (await bench.opened()).number == 1
    assert len(bench.project.pulls) == 1
    assert len(bench.server.asked("POST")) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_creation_that_meets_passing_trouble(bench: Bench, status: int) -> None:
    bench.server.meet(Meet.STATUS, method="POST", status=status, times=2)
    assert (await bench.opened()).number == 1
    assert len(bench.server.asked("POST")) == 3


async def test_trouble_that_does_not_pass(bench: Bench) -> None:
    bench.server.meet(Meet.STATUS, method="POST", status=503, times=100)
    with pytest.raises(ForgeError, match="in trouble: it answers with HTTP 503"):
        await bench.opened()
    assert len(bench.server.asked("POST")) == MAX_TRIES


# ---- changing --------------------------------------------------------------------------------------------------------


async def test_closes_and_reopens(bench: Bench) -> None:
    await bench.opened()
    for change, state in ((CLOSED, "closed"), (CLOSED, "closed"), (OPEN, "open"), (OPEN, "open")):
        assert (await bench.change(change)).state == state
        assert bench.project.pulls[0].state == state
        assert (await bench.forge.pull_request(bench.repository, 1)).state == state


async def test_to_draft_and_back(bench: Bench) -> None:
    await bench.opened()
    for change, state in ((READY, "open"), (TO_DRAFT, "draft"), (TO_DRAFT, "draft"), (READY, "open"), (READY, "open")):
        assert (await bench.change(change)).state == state
        assert (await bench.forge.pull_request(bench.repository, 1)).state == state
    assert bench.titles == ["Add a test"]
    assert (await bench.change(TO_DRAFT)).state == "draft"
    assert (await bench.change(CLOSED)).state == "closed"
    assert (await bench.change(OPEN)).state == "draft"


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        (ForgeKind.GITLAB, "draft: Add a test"),
        (ForgeKind.GITLAB, "[Draft] Add a test"),
        (ForgeKind.GITLAB, "Draft: (Draft)Add a test"),
        (ForgeKind.GITEA, "wip: Add a test"),
        (ForgeKind.GITEA, "[WIP] WIP:  Add a test"),
    ],
)
async def test_every_spelling_of_a_draft(kind: ForgeKind, title: str) -> None:
    with ForgeServer(kind) as server:
        bench = Bench(server, server.add(NAME), Patience())
        bench.project.open(title, WORK)
        assert (await bench.forge.pull_request(bench.repository, 1)).state is PullRequestState.DRAFT
        assert (await bench.change(TO_DRAFT)).title == title
        ready = await bench.change(READY)
        assert (ready.title, ready.state) == ("Add a test", PullRequestState.OPEN)


async def test_a_merged_one_is_merged(bench: Bench) -> None:
    bench.project.open("Merged", WORK).state = "merged"
    assert (await bench.forge.pull_request(bench.repository, 1)).state is PullRequestState.MERGED
    try:
        found = await bench.change(OPEN)
    except ForgeError:
        return
    assert found.state is PullRequestState.MERGED


async def test_a_pull_request_that_is_not_there(bench: Bench) -> None:
    for change in PullRequestChange:
        with pytest.raises(ForgeError, match="no such"):
            await bench.change(change, 99)


async def test_github_says_why_it_makes_no_draft() -> None:
    with ForgeServer(ForgeKind.GITHUB) as server:
        bench = Bench(server, server.add(NAME), Patience())
        bench.project.open("Closed", WORK).state = "closed"
        with pytest.raises(ForgeError, match=r"refuses it: Pull request is closed\."):
            await bench.change(TO_DRAFT)


# ---- checks ----------------------------------------------------------------------------------------------------------


async def test_names_of_checks(bench: Bench) -> None:
    assert await bench.forge.check_names(bench.repository, WORK) == []
    bench.project.checks[WORK] = ["tests (3.12)", "lint", "lint"]
    bench.project.checks["other"] = ["nightly"]
    expected = ["lint", "tests (3.12)"]
    if bench.server.kind is not ForgeKind.GITLAB:  # whose jobs are all there is
        bench.project.statuses[WORK] = ["ci/deploy"]
        expected.insert(0, "ci/deploy")
    assert await bench.forge.check_names(bench.repository, WORK) == expected


async def test_checks_of_many_pages(bench: Bench) -> None:
    bench.project.checks[WORK] = [f"job {number:03}" for number in range(120)]
    assert list(await bench.forge.check_names(bench.repository, WORK)) == bench.project.checks[WORK]


# ---- limits, trouble and nonsense ------------------------------------------------------------------------------------


async def test_a_token_that_does_not_hold(bench: Bench) -> None:
    stranger = replace(bench.repository, token="canary-that-is-wrong")
    with pytest.raises(ForgeAuthenticationFailed) as caught:
        await bench.forge.open_pull_request(stranger, DRAFT)
    assert "canary" not in caught.value.sentence()
    assert len(bench.server.requests) == 1


@pytest.mark.parametrize("token", ["", "with space", "line\r\nX-Evil: 1", "ünicode", "\0"])
async def test_a_token_that_is_none(bench: Bench, token: str) -> None:
    with pytest.raises(ForgeAuthenticationFailed, match="holds characters"):
        await bench.forge.facts(replace(bench.repository, token=token))
    assert not bench.server.requests


async def test_what_is_not_allowed(bench: Bench) -> None:
    said = f"Resource not accessible by {bench.server.token}"
    bench.server.meet(Meet.STATUS, status=403, body={"message": said})
    with pytest.raises(ForgeAuthenticationFailed, match=r"Resource not accessible by \*\*\*\.") as caught:
        await bench.forge.facts(bench.repository)
    assert bench.server.token not in caught.value.sentence()


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"Retry-After": "7"}, 7),
        (403, {"Retry-After": "3"}, 3),
        (429, {"RateLimit-Remaining": "0", "RateLimit-Reset": "@11"}, 11),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "@4"}, 4),
        (503, {"Retry-After": "5"}, 5),
        (502, {}, 0.5),
    ],
)
async def test_waits_as_long_as_it_is_asked_to(
    bench: Bench, status: int, headers: dict[str, str], seconds: float
) -> None:
    now = round(bench.clock.now().timestamp())
    spelled = {name: str(now + int(value[1:])) if value[0] == "@" else value for name, value in headers.items()}
    bench.server.meet(Meet.STATUS, status=status, headers=spelled, body={"message": "later"})
    assert (await bench.forge.facts(bench.repository)).forge_id == "101"
    assert bench.clock.slept == [seconds]


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (429, {"Retry-After": str(MAX_PAUSE_SECONDS + 1)}, {}),
        (429, {"Retry-After": "1e400"}, {}),
        (429, {}, {}),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9999999999"}, {}),
        (403, {"x-ratelimit-remaining": "0"}, {}),
        (403, {}, {"message": "You have exceeded a secondary rate limit."}),
    ],
)
async def test_waits_no_longer_than_it_may(
    bench: Bench, status: int, headers: dict[str, str], body: dict[str, str]
) -> None:
    bench.server.meet(Meet.STATUS, status=status, headers=headers, body=dict(body))
    with pytest.raises(ForgeError, match=r"limits how often it may be asked; try again in [\d,]+ s\."):
        await bench.forge.facts(bench.repository)
    assert bench.clock.slept == []


async def test_a_limit_that_stays(bench: Bench) -> None:
    bench.server.meet(Meet.STATUS, method="POST", status=429, headers={"Retry-After": "1"}, times=100)
    with pytest.raises(ForgeError, match="limits how often"):
        await bench.opened()
    assert len(bench.server.asked("POST")) == MAX_TRIES


@pytest.mark.parametrize("what", [Meet.CLOSE, Meet.LOST])
async def test_a_connection_that_breaks_off(bench: Bench, what: Meet) -> None:
    await bench.opened()
    for change in itertools.chain(*zip([CLOSED, TO_DRAFT], [OPEN, READY], strict=True)):
        bench.server.meet(what, times=2)
        found = await bench.change(change)
        assert found == await bench.forge.pull_request(bench.repository, 1)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (Meet.GARBAGE, "not of this API"),
        (Meet.HUGE, "more than 1,048,576 bytes"),
        (Meet.PACKED, "an encoding that was not asked for"),
        (Meet.REDIRECT, "redirect, which is not followed"),
    ],
)
async def test_answers_that_are_none(bench: Bench, what: Meet, said: str) -> None:
    bench.server.meet(what)
    with pytest.raises(ForgeError, match=said):
        await bench.forge.facts(bench.repository)
    assert len(bench.server.requests) == 1


async def test_an_answer_of_another_shape(bench: Bench) -> None:
    bodies: list[JsonValue] = [[{"number": "x"}], {"number": 1}, None]
    for body in bodies:
        bench.server.meet(Meet.STATUS, status=200, body=body)
        with pytest.raises(ForgeError, match="not of this API"):
            await bench.opened()
    for status in (200, 400):
        bench.server.meet(Meet.DEEP, status=status)
        with pytest.raises(ForgeError, match=r"not of this API|refuses it \(HTTP 400\)\."):
            await bench.opened()


async def test_links_that_no_page_may_show(bench: Bench) -> None:
    repository = bench.repository
    bench.server.state.site = "javascript:alert(1)//"
    with pytest.raises(ForgeError, match="not of this API"):
        await bench.forge.open_pull_request(repository, DRAFT)


async def test_a_forge_that_does_not_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def have_patience(_: float) -> None:
        patch.setattr(line, "CALL_SECONDS", 20.0)

    bench.server.meet(Meet.SLOW, times=1)
    with monkeypatch.context() as patch:
        patch.setattr(line, "CALL_SECONDS", 0.2)
        patch.setattr(bench.clock, "sleep", have_patience)  # before the next try
        assert (await bench.forge.facts(bench.repository)).forge_id == "101"
    monkeypatch.setattr(line, "CALL_SECONDS", 0.2)
    monkeypatch.setattr(transport, "OPERATION_SECONDS", 0.5)
    bench.server.meet(Meet.SLOW, times=100)
    with pytest.raises(ForgeError, match=r"took more than 0\.5 s|did not answer in 0\.2 s"):
        await bench.forge.facts(bench.repository)


async def test_cancellation_passes_through(bench: Bench) -> None:
    bench.server.meet(Meet.SLOW, times=100)
    work = asyncio.ensure_future(bench.opened())
    assert await asyncio.to_thread(bench.server.arrived.wait, 60)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


async def test_nobody_there(bench: Bench) -> None:
    gone = replace(bench.repository, access=ForgeAccess(bench.server.kind, "http://127.0.0.1:1/api"))
    with pytest.raises(ForgeError, match="cannot be reached"):
        await bench.forge.facts(gone)
    assert len(bench.clock.slept) == MAX_TRIES - 1


# ---- hosts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "2130706433"])
async def test_private_hosts_are_refused(bench: Bench, host: str) -> None:
    access = ForgeAccess(bench.server.kind, f"https://{host}/api")
    with pytest.raises(ForgeError, match="private address"):
        await bench.make(allow_private_hosts=False).facts(replace(bench.repository, access=access))


async def test_a_token_goes_over_no_http(bench: Bench) -> None:
    with pytest.raises(ForgeError, match="anybody could read the token"):
        await bench.make(allow_private_hosts=False).facts(bench.repository)
    assert not bench.server.requests


@pytest.mark.parametrize(
    "url",
    ["", "ftp://host/api", "https://", "https://user:canary@host/api", "https://host/api?x=1", "https://[x/", "//host"],
)
async def test_addresses_that_are_none(bench: Bench, url: str) -> None:
    with pytest.raises(ForgeError, match="address of the forge's API is not valid") as caught:
        await bench.forge.facts(replace(bench.repository, access=ForgeAccess(bench.server.kind, url)))
    assert "canary" not in caught.value.sentence()
