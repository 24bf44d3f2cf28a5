"""The pull request at the end of a run: told once, and never the run's failure."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from tests.support.deployment import START, Deployment, deployed
from tests.support.forge_server import ForgeServer, Meet
from tests.support.forge_state import Project

from treadle.domain.errors import LeaseLost, SealBroken, SealKeyMissing, TreadleError, Unavailable
from treadle.domain.events import EventType, JsonObject
from treadle.domain.repository import ForgeKind, PullRequest, Repository
from treadle.domain.run import EngineName, FollowUp, Run, RunDraft, StepDraft
from treadle.domain.states import StepStatus
from treadle.forges import build
from treadle.ports import Fence, StepUpdate
from treadle.redaction import Redactor
from treadle.runner import publishing
from treadle.runner.patience import Hold, now_on_this_machine
from treadle.runner.publishing import open_pull_request
from treadle.services.progress import Progress
from treadle.services.pull_requests import Opened, PullRequests

pytestmark = pytest.mark.anyio

NAME = "acme/demo"
WORK = "treadle/1-add-a-test"


class Tokens:
    def __init__(self, token: str) -> None:
        self.token = token
        self.error: TreadleError | None = None

    async def forge_token(self, _repository: Repository, _organization_uuid: UUID) -> str | None:
        if self.error is not None:
            raise self.error
        return self.token


@dataclass
class Bench:
    here: Deployment
    forge: ForgeServer
    project: Project
    tokens: Tokens
    service: PullRequests

    @asynccontextmanager
    async def progress(self, fence: Fence) -> AsyncIterator[Progress]:
        redactor = Redactor(["canary-secret"])
        store, signals = self.here.store, self.here.signals
        async with Progress.open(store, signals, self.here.clock, fence, redactor) as progress:
            yield progress

    async def publish(self, run: Run, *, service: PullRequests | None = None) -> None:
        """As the worker that has the run."""
        async with self.progress(Fence(run.id, run.lease)) as progress:
            hold = Hold(30, now_on_this_machine())
            await open_pull_request(run, service or self.service, progress, hold, clean=progress.clean)

    async def claim(self, run_id: int) -> Run:
        run = await self.here.store.claim("worker", self.here.clock.now(), run_id=run_id)
        assert run is not None
        return run

    async def done(self, run: Run, position: int = 1) -> None:
        """A step of it, with a commit."""
        for update in (
            StepUpdate(position, StepStatus.RUNNING),
            StepUpdate(position, StepStatus.SUCCESS, output="Done with canary-secret.", commit_sha="a" * 40),
        ):
            await self.here.store.record(Fence(run.id, run.lease), [], self.here.clock.now(), step=update)

    async def told(self, run: Run) -> list[tuple[EventType, JsonObject]]:
        wanted = {EventType.PULL_REQUEST_OPENED, EventType.PULL_REQUEST_FAILED}
        events = await self.here.store.events(run.id)
        return [(event.type, event.data) for event in events if event.type in wanted]

    async def reasons(self, run: Run) -> list[str]:
        told = await self.told(run)
        assert {type_ for type_, _ in told} <= {EventType.PULL_REQUEST_FAILED}
        return [str(data["reason"]) for _, data in told]


@pytest.fixture
def forge() -> Iterator[ForgeServer]:
    with ForgeServer(ForgeKind.GITHUB) as server:
        yield server


@pytest.fixture
async def bench(tmp_path: Path, forge: ForgeServer) -> AsyncIterator[Bench]:
    project = forge.add(NAME)
    project.branches.add(WORK)
    async with deployed(tmp_path, allow_private_hosts=True) as here:
        tokens = Tokens(forge.token)
        service = PullRequests(
            here.store, tokens, build(here.settings, here.clock), here.clock, audit=here.services.audit, public_url=None
        )
        yield Bench(here, forge, project, tokens, service)


@pytest.fixture
async def run(bench: Bench) -> Run:
    """One that has done its step, in a worker's hands."""
    here, admin = bench.here, bench.here.admin
    repository = Repository(
        id=0,
        uuid=uuid4(),
        organization_id=admin.organization.id,
        name=NAME,
        url=f"{bench.forge.state.site}/{NAME}.git",
        default_branch="main",
        date_created=START,
        forge=bench.forge.access,
    )
    added = await here.store.add_repository(repository, {})
    principal = await here.store.principal_by_uuids(admin.organization.uuid, admin.user.uuid)
    assert principal is not None
    draft = RunDraft(
        git_url=added.url,
        branch_source="main",
        branch_work=WORK,
        steps=(StepDraft("Add a test for canary-secret"),),
        engine=EngineName.DUMMY,
        repository_id=added.id,
        opens_pull_request=True,
    )
    made, _ = await here.store.create_run(
        draft, principal, uuid=uuid4(), step_ids=[uuid4()], secrets={}, now=here.clock.now()
    )
    claimed = await bench.claim(made.id)
    await bench.done(claimed)
    return claimed


async def test_opens_and_tells(bench: Bench, run: Run) -> None:
    await bench.publish(run)
    (pull,) = bench.project.pulls
    assert (pull.title, pull.body) == (
        "Add a test for ***",
        f"Done with ***.\n\n---\nMade by Treadle, run {run.id}.\n",
    )
    kept = (await bench.service.of([run.id]))[run.id][0]
    data = {"id": kept.id, "number": 1, "url": kept.url, "title": "Add a test for ***"}
    assert await bench.told(run) == [(EventType.PULL_REQUEST_OPENED, data)]


async def test_tells_once(bench: Bench, run: Run) -> None:
    await bench.publish(run)
    await bench.publish(run)
    assert len(await bench.told(run)) == 1
    await bench.here.finish(Fence(run.id, run.lease))
    await bench.here.store.resume_run(
        run.id, FollowUp("More"), step_id=uuid4(), secrets={}, now=bench.here.clock.now(), most_steps=9
    )
    again = await bench.claim(run.id)
    await bench.done(again, 2)
    await bench.publish(again)
    assert len(await bench.told(run)) == 1
    assert len(bench.project.pulls) == 1


async def test_a_worker_dies_between_opening_and_keeping(bench: Bench, run: Run) -> None:
    await bench.here.store.release(Fence(run.id, run.lease), bench.here.clock.now())
    with pytest.raises(LeaseLost):
        await bench.publish(run)
    assert len(bench.project.pulls) == 1
    assert await bench.told(run) == []
    await bench.publish(await bench.claim(run.id))
    assert len(bench.project.pulls) == 1
    assert [data["number"] for _, data in await bench.told(run)] == [1]


async def test_a_worker_dies_between_keeping_and_telling(bench: Bench, run: Run) -> None:
    assert await bench.service.open(run.id, Fence(run.id, run.lease), clean=str)
    await bench.here.store.release(Fence(run.id, run.lease), bench.here.clock.now())
    await bench.publish(await bench.claim(run.id))
    assert len(bench.project.pulls) == 1
    assert [data["number"] for _, data in await bench.told(run)] == [1]


async def test_a_forge_that_refuses_is_told_of(bench: Bench, run: Run) -> None:
    bench.forge.meet(Meet.STATUS, status=403, body={"message": f"No, {bench.forge.token}."}, times=9)
    await bench.publish(run)
    (reason,) = await bench.reasons(run)
    assert "does not allow this to the repository's token: No, ***." in reason
    assert bench.forge.token not in reason


async def test_nothing_is_told_where_nothing_is_wanted(bench: Bench, run: Run) -> None:
    bench.tokens.token = ""
    await bench.publish(run)
    assert await bench.told(run) == []


async def test_a_seal_that_is_broken(bench: Bench, run: Run) -> None:
    bench.tokens.error = SealBroken("It does not open.")
    await bench.publish(run)
    assert await bench.reasons(run) == ["It does not open."]


@pytest.mark.parametrize("error", [SealKeyMissing("Another key."), Unavailable("away")])
async def test_what_an_operator_has_to_mend_waits_for_that(
    bench: Bench, run: Run, error: TreadleError, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.tokens.error = error
    monkeypatch.setattr("treadle.runner.patience.PAUSE_SECONDS", 100)  # the lease does not last so long
    with pytest.raises(type(error)):
        await bench.publish(run)
    assert await bench.told(run) == []


async def test_an_outage_of_the_store_is_waited_out(bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.runner.patience.PAUSE_SECONDS", 0.01)
    calls = 0

    class Frail(PullRequests):
        async def open(self, *arguments: object, **named: object) -> Opened | None:
            nonlocal calls
            calls += 1
            found = await super().open(*arguments, **named)  # type: ignore[arg-type]  # passed on as they came
            if calls < 3:
                raise Unavailable("away")  # after it was done
            return found

    service = Frail(
        bench.here.store,
        bench.tokens,
        build(bench.here.settings, bench.here.clock),
        bench.here.clock,
        audit=bench.here.services.audit,
        public_url=None,
    )
    await bench.publish(run, service=service)
    assert calls == 3
    assert len(bench.project.pulls) == 1
    assert len(await bench.told(run)) == 1


async def test_it_takes_no_longer_than_it_may(bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "OPEN_SECONDS", 0.2)
    bench.forge.meet(Meet.SLOW, times=9)
    await bench.publish(run)
    assert await bench.reasons(run) == ["The forge took more than 0.2 s."]


async def test_cancellation_passes_through(bench: Bench, run: Run) -> None:
    bench.forge.meet(Meet.SLOW, times=9)
    work = asyncio.ensure_future(bench.publish(run))
    assert await asyncio.to_thread(bench.forge.arrived.wait, 60)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert await bench.told(run) == []


async def test_a_long_log_is_not_searched_to_its_end(bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.services.pull_requests.MAX_SEARCHED", 0)
    opened = await bench.service.open(run.id, Fence(run.id, run.lease), clean=str)
    assert opened is not None
    pull: PullRequest = opened.pull_request
    assert await bench.service.is_told(run.id, pull.id)
