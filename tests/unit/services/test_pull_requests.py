"""Pull requests, on a real store and in front of a forge."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import pytest
from tests.support.deployment import START, Deployment, Member
from tests.support.forge_server import ForgeServer, Meet
from tests.support.forge_state import Project

from treadle.domain.errors import Conflict, ForgeError, LeaseLost, NotFound
from treadle.domain.identity import Principal, Role
from treadle.domain.repository import ForgeAccess, ForgeKind, PullRequest, PullRequestState, Repository
from treadle.domain.run import EngineName, FollowUp, Run, RunDraft, StepDraft
from treadle.domain.states import RunStatus, StepStatus
from treadle.forges import build
from treadle.ports import Fence, RunFilter, StepUpdate
from treadle.ports.forges import PullRequestChange
from treadle.services.pull_requests import MAX_BODY, MAX_TITLE, PullRequests, name_at_forge, title_of
from treadle.settings import Settings

pytestmark = pytest.mark.anyio

NAME = "acme/demo"
WORK = "treadle/1-add-a-test"


class Tokens:
    """The one token that there is."""

    def __init__(self, token: str | None, organization_uuid: UUID) -> None:
        self.token = token
        self.organization_uuid = organization_uuid

    async def forge_token(self, repository: Repository, organization_uuid: UUID) -> str | None:
        assert repository.name == NAME
        assert organization_uuid == self.organization_uuid
        return self.token


@dataclass
class Bench:
    here: Deployment
    forge: ForgeServer
    project: Project
    repository: Repository
    tokens: Tokens
    service: PullRequests

    async def principal(self, member: Member) -> Principal:
        found = await self.here.store.principal_by_uuids(member.organization.uuid, member.user.uuid)
        assert found is not None
        return found

    async def claimed(self, *, who: Member | None = None, opens: bool = True, branch: str = WORK) -> tuple[Run, Fence]:
        """A run in a worker's hands."""
        here = self.here
        draft = RunDraft(
            git_url=self.repository.url,
            branch_source="main",
            branch_work=branch,
            steps=(StepDraft("Add a test\n\nOf the parser."),),
            engine=EngineName.DUMMY,
            repository_id=self.repository.id,
            opens_pull_request=opens,
        )
        made, _ = await here.store.create_run(
            draft,
            await self.principal(who or here.admin),
            uuid=uuid4(),
            step_ids=[uuid4() for _ in draft.steps],
            secrets={},
            now=here.clock.now(),
        )
        return await self.claim(made.id)

    async def claim(self, run_id: int) -> tuple[Run, Fence]:
        run = await self.here.store.claim("worker", self.here.clock.now(), run_id=run_id)
        assert run is not None
        return run, Fence(run.id, run.lease)

    async def done(
        self, fence: Fence, *, output: str = "It is tested.", position: int = 1, commits: bool = True
    ) -> None:
        """A step of it, with a commit."""
        for update in (
            StepUpdate(position, StepStatus.RUNNING),
            StepUpdate(position, StepStatus.SUCCESS, output=output, commit_sha="a" * 40 if commits else None),
        ):
            await self.here.store.record(fence, [], self.here.clock.now(), step=update)

    async def worked(self, *, who: Member | None = None, output: str = "It is tested.") -> tuple[Run, Fence]:
        run, fence = await self.claimed(who=who)
        await self.done(fence, output=output)
        return run, fence

    async def opened(self, fence: Fence) -> PullRequest:
        opened = await self.service.open(fence.run_id, fence, clean=str)
        assert opened is not None
        return opened.pull_request

    async def resumed(self, run: Run, fence: Fence, *, commits: bool = True) -> Fence:
        """Ended, gone on with, claimed and done again."""
        await self.here.finish(fence)
        position = len(run.steps) + 1
        await self.here.store.resume_run(
            run.id, FollowUp("More"), step_id=uuid4(), secrets={}, now=self.here.clock.now(), most_steps=100
        )
        _, again = await self.claim(run.id)
        await self.done(again, position=position, commits=commits)
        return again


@pytest.fixture(params=list(ForgeKind), ids=lambda kind: kind.value)
def forge(request: pytest.FixtureRequest) -> Iterator[ForgeServer]:
    kind: ForgeKind = request.param
    with ForgeServer(kind) as server:
        yield server


@pytest.fixture
async def bench(here: Deployment, forge: ForgeServer) -> Bench:
    project = forge.add(NAME)
    project.branches.add(WORK)
    repository = await here.store.add_repository(
        Repository(
            id=0,
            uuid=uuid4(),
            organization_id=here.admin.organization.id,
            name=NAME,
            url=f"{forge.state.site}/{NAME}.git",
            default_branch="main",
            date_created=START,
            forge=forge.access,
        ),
        {},
    )
    tokens = Tokens(forge.token, here.admin.organization.uuid)
    forges = build(Settings.load({}, allow_private_hosts=True), here.clock)
    service = PullRequests(
        here.store, tokens, forges, here.clock, audit=here.services.audit, public_url="https://treadle.example/"
    )
    return Bench(here, forge, project, repository, tokens, service)


# ---- opening ---------------------------------------------------------------------------------------------------------


async def test_opens_what_a_run_has_done(bench: Bench) -> None:
    run, fence = await bench.worked(output="It is tested, with care.")
    opened = await bench.service.open(run.id, fence, clean=lambda text: text.replace("care", "***"))
    assert opened is not None
    assert opened.is_new
    (pull,) = bench.project.pulls
    assert (pull.title, pull.head, pull.base) == ("Add a test", WORK, "main")
    assert pull.body == (
        f"It is tested, with ***.\n\n---\nMade by Treadle, [run {run.id}](https://treadle.example/runs/{run.id}).\n"
    )
    found = opened.pull_request
    assert (found.number, found.title, found.state) == (1, "Add a test", PullRequestState.OPEN)
    assert (found.run_id, found.repository_id, found.head_branch) == (run.id, bench.repository.id, WORK)
    assert found.url.startswith(bench.forge.state.site)
    assert await bench.service.of([run.id]) == {run.id: [found]}


async def test_repeating_it_opens_no_second_one(bench: Bench) -> None:
    run, fence = await bench.worked()
    first = await bench.opened(fence)
    again = await bench.service.open(run.id, fence, clean=str)
    assert again is not None
    assert (again.pull_request, again.is_new) == (first, False)
    assert len(bench.project.pulls) == 1


async def test_the_next_worker_finds_what_the_last_one_opened(bench: Bench) -> None:
    """Who died between opening and keeping it."""
    run, stale = await bench.worked()
    await bench.here.store.release(stale, bench.here.clock.now())
    _, fence = await bench.claim(run.id)
    with pytest.raises(LeaseLost):
        await bench.service.open(run.id, stale, clean=str)
    assert len(bench.project.pulls) == 1
    assert not await bench.service.of([run.id])
    opened = await bench.service.open(run.id, fence, clean=str)
    assert opened is not None
    assert opened.is_new
    assert opened.pull_request.number == 1
    assert len(bench.project.pulls) == 1


async def test_a_resumed_run_keeps_its_own(bench: Bench) -> None:
    run, fence = await bench.worked()
    first = await bench.opened(fence)
    bench.project.pulls[0].title = "Another title"
    opened = await bench.service.open(run.id, await bench.resumed(run, fence), clean=str)
    assert opened is not None
    assert not opened.is_new
    assert opened.pull_request == replace(first, title="Another title")
    assert len(bench.project.pulls) == 1


async def test_one_that_was_closed_stays_closed(bench: Bench) -> None:
    run, fence = await bench.worked()
    await bench.opened(fence)
    bench.project.pulls[0].state = "closed"
    assert (await bench.opened(await bench.resumed(run, fence))).state is PullRequestState.CLOSED
    assert len(bench.project.pulls) == 1


@pytest.mark.parametrize("commits", [True, False])
async def test_after_a_merge(bench: Bench, commits: bool) -> None:
    run, fence = await bench.worked()
    await bench.opened(fence)
    bench.project.pulls[0].state = "merged"
    opened = await bench.service.open(run.id, await bench.resumed(run, fence, commits=commits), clean=str)
    assert opened is not None
    assert opened.is_new is commits
    assert len(bench.project.pulls) == 1 + commits
    states = [pull.state for pull in (await bench.service.of([run.id]))[run.id]]
    assert states == [PullRequestState.MERGED, PullRequestState.OPEN][: 1 + commits]


async def test_another_run_of_the_branch_has_it_too(bench: Bench) -> None:
    run, fence = await bench.worked()
    first = await bench.opened(fence)
    await bench.here.finish(fence)
    later, other = await bench.worked()
    opened = await bench.service.open(later.id, other, clean=str)
    assert opened is not None
    assert opened.is_new
    assert opened.pull_request == first
    found = await bench.service.of([run.id, later.id, 999])
    assert found == {run.id: [first], later.id: [first]}


async def test_where_there_is_to_be_none(bench: Bench) -> None:
    store, organization = bench.here.store, bench.here.admin.organization
    _, fence = await bench.claimed()
    assert await bench.service.open(fence.run_id, fence, clean=str) is None, "nothing is committed"
    await bench.done(fence)
    await store.update_organization(replace(organization, is_pr_creation_enabled=False))
    assert await bench.service.open(fence.run_id, fence, clean=str) is None
    await store.update_organization(organization)
    bench.tokens.token = None
    assert await bench.service.open(fence.run_id, fence, clean=str) is None
    bench.tokens.token = bench.forge.token
    _, unasked = await bench.claimed(opens=False, branch="other")
    await bench.done(unasked)
    assert await bench.service.open(unasked.run_id, unasked, clean=str) is None
    _, same = await bench.claimed(branch="main")
    await bench.done(same)
    assert await bench.service.open(same.run_id, same, clean=str) is None
    await store.update_repository(replace(bench.repository, forge=None), None, START)
    assert await bench.service.open(fence.run_id, fence, clean=str) is None
    await store.remove_repository(bench.repository.id)
    assert await bench.service.open(fence.run_id, fence, clean=str) is None
    assert not bench.forge.requests


async def test_a_forge_that_refuses(bench: Bench) -> None:
    bench.project.branches.discard(WORK)
    run, fence = await bench.worked()
    with pytest.raises(ForgeError):
        await bench.service.open(run.id, fence, clean=str)
    assert not await bench.service.of([run.id])


async def test_a_long_answer_is_cut(bench: Bench) -> None:
    _, fence = await bench.worked(output="x" * 100_000)
    await bench.opened(fence)
    body = bench.project.pulls[0].body
    assert body.startswith("x" * MAX_BODY + "…\n")
    assert len(body) < MAX_BODY + 200


# ---- editing ---------------------------------------------------------------------------------------------------------


async def test_edits(bench: Bench) -> None:
    run, fence = await bench.worked()
    found = await bench.opened(fence)
    admin = await bench.principal(bench.here.admin)
    for change, state in (
        (PullRequestChange.DRAFT, PullRequestState.DRAFT),
        (PullRequestChange.READY_FOR_REVIEW, PullRequestState.OPEN),
        (PullRequestChange.CLOSED, PullRequestState.CLOSED),
        (PullRequestChange.OPEN, PullRequestState.OPEN),
    ):
        edited = await bench.service.edit(admin, found.id, change, repository_id=bench.repository.id)
        assert edited.state is state
        assert (await bench.service.of([run.id]))[run.id] == [edited]


async def test_who_may_edit(bench: Bench) -> None:
    member = await bench.here.member("member@example.org")
    manager = await bench.here.member("manager@example.org", Role.MANAGER)
    elsewhere = await bench.here.store.add_organization("Elsewhere", uuid4(), START)
    stranger = await bench.here.member("stranger@example.org", Role.ADMIN, organization=elsewhere)
    _, fence = await bench.worked(who=member)
    found = await bench.opened(fence)
    await bench.here.finish(fence)
    for who in (member, manager, bench.here.admin):
        await bench.service.edit(await bench.principal(who), found.id, PullRequestChange.CLOSED)
    _, other = await bench.worked()
    bench.project.branches.add("other")
    others = await bench.opened(other)
    refused = [
        (member, others.id, None),  # somebody else's
        (stranger, found.id, None),
        (bench.here.admin, found.id, bench.repository.id + 1),
        (bench.here.admin, 999, None),
    ]
    seen = len(bench.forge.requests)
    for who, id_, repository_id in refused:
        with pytest.raises(NotFound, match=f"There is no pull request {id_}"):
            await bench.service.edit(
                await bench.principal(who), id_, PullRequestChange.OPEN, repository_id=repository_id
            )
    assert len(bench.forge.requests) == seen


async def test_editing_without_a_forge(bench: Bench) -> None:
    _, fence = await bench.worked()
    found = await bench.opened(fence)
    bench.tokens.token = None
    admin = await bench.principal(bench.here.admin)
    with pytest.raises(Conflict, match="no access to the forge"):
        await bench.service.edit(admin, found.id, PullRequestChange.CLOSED)
    await bench.here.store.remove_repository(bench.repository.id)
    with pytest.raises(NotFound):
        await bench.service.edit(admin, found.id, PullRequestChange.CLOSED)


async def test_an_edit_that_fails_changes_nothing(bench: Bench) -> None:
    run, fence = await bench.worked()
    found = await bench.opened(fence)
    bench.forge.meet(Meet.STATUS, status=403, times=10, body={"message": "No."})
    with pytest.raises(ForgeError):
        await bench.service.edit(await bench.principal(bench.here.admin), found.id, PullRequestChange.CLOSED)
    assert (await bench.service.of([run.id]))[run.id] == [found]


# ---- checks ----------------------------------------------------------------------------------------------------------


async def test_names_of_checks_are_kept(bench: Bench) -> None:
    bench.project.checks["main"] = ["tests", "lint"]
    assert await bench.service.check_names(bench.repository) == ["lint", "tests"]
    kept = await bench.here.store.repository(bench.repository.organization_id, bench.repository.id)
    assert kept.check_names == ("lint", "tests")
    assert await bench.service.check_names(replace(kept, forge=None)) == ("lint", "tests")


# ---- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Add a test", "Add a test"),
        ("\n\n  Add\ta   test  \nand more", "Add a test"),
        ("x" * MAX_TITLE, "x" * MAX_TITLE),
        ("x" * 100, "x" * (MAX_TITLE - 1) + "…"),
        ("word " * 20, ("word " * 14).strip() + "…"),
        ("", "Changes of run 7"),
        (" \n\t\n", "Changes of run 7"),
        ("\x07\nAdd\x1b[31m a\u202e test\x00\u2066", "Add[31m a test"),
    ],
)
async def test_titles(bench_run: Callable[[str], Run], text: str, title: str) -> None:
    assert title_of(bench_run(text), str) == title
    assert len(title) <= MAX_TITLE


async def test_no_part_of_a_secret_is_left_by_the_cut(bench_run: Callable[[str], Run]) -> None:
    title = title_of(
        bench_run("x" * (MAX_TITLE - 8) + "canary-secret"), lambda text: text.replace("canary-secret", "***")
    )
    assert title == "x" * (MAX_TITLE - 8) + "***"


@pytest.fixture
async def bench_run(here: Deployment) -> Callable[[str], Run]:
    found = await here.get(await here.start())
    run = await here.store.get_run(UUID(str(found["id"])), RunFilter(here.admin.organization.id))

    def with_text(text: str) -> Run:
        return replace(run, id=7, status=RunStatus.SUCCESS, steps=(replace(run.steps[0], text=text),))

    return with_text


@pytest.mark.parametrize(
    ("url", "api_url", "name"),
    [
        ("https://github.com/acme/demo.git", "https://api.github.com", "acme/demo"),
        ("git@github.com:acme/demo.git", "https://api.github.com", "acme/demo"),
        ("ssh://git@ghe.example/acme/demo", "https://ghe.example/api/v3", "acme/demo"),
        ("https://gitlab.example/group/sub/demo.git/", "https://gitlab.example/api/v4", "group/sub/demo"),
        ("https://host.example/gitlab/group/demo.git", "https://host.example/gitlab/api/v4/", "group/demo"),
        ("git@host.example:group/demo.git", "https://host.example/gitlab/api/v4", "group/demo"),
        ("/srv/git/demo.git", "https://gitea.example/api/v1", "here/called"),
    ],
)
def test_names_at_the_forge(url: str, api_url: str, name: str) -> None:
    access = ForgeAccess(ForgeKind.GITLAB, api_url)
    repository = Repository(1, uuid4(), 1, "here/called", url, "main", START, forge=access)
    assert name_at_forge(repository) == name
