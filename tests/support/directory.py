"""What a store keeps around runs, to test with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from sqlalchemy import Update

from tests.support.executors import LostAnswers
from tests.support.stores import NOW, World, a_draft
from treadle.domain.repository import PullRequest, PullRequestState, Repository
from treadle.domain.run import Run
from treadle.ports import Fence
from treadle.store.prepared import Prepared
from treadle.store.sql import SqlStore

#: What neither database takes as it is, and what comes back.
ODD = "a\0b \ud800 ☃"
PLAIN = "a\ufffdb \ufffd ☃"


def a_repository(organization_id: int, name: str = "group/project") -> Repository:
    return Repository(0, uuid4(), organization_id, name, f"https://git.example.org/{name}.git", "trunk", NOW)


def a_pull_request(run: Run, repository_id: int, number: int = 7, *, title: str = "Add tests") -> PullRequest:
    return PullRequest(
        id=0,
        organization_id=run.organization_id,
        repository_id=repository_id,
        run_id=run.id,
        number=number,
        title=title,
        url=f"https://forge.example.org/group/project/pulls/{number}",
        state=PullRequestState.OPEN,
        head_branch=run.branch_work,
        date_created=NOW,
    )


async def working(world: World, repository_id: int | None = None, *, branch: str | None = None) -> tuple[Run, Fence]:
    """A run in the hands of a worker."""
    return await world.claimed(a_draft(repository_id=repository_id, branch=branch))


async def rewrite(world: World, statement: Update) -> None:
    """Writes what no method of the store would."""
    await world.store._executor.write(lambda session: session.run(Prepared(statement)))


def losing(store: SqlStore, *, was_saved: bool) -> SqlStore:
    """The same store, whose writes lose their answers. Closed by whoever has the other."""
    return SqlStore(LostAnswers(store._executor, is_done=was_saved))


@asynccontextmanager
async def another_process(world: World) -> AsyncIterator[SqlStore]:
    """The same database through connections of its own."""
    store = await SqlStore.open(world.url)
    try:
        yield store
    finally:
        await store.close()
