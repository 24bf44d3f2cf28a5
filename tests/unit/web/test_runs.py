"""The list of runs: its filters, its rows, what its live changes hold."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams
from tests.support.deployment import Deployment, Member, deployed

from treadle.domain.identity import Role
from treadle.domain.run import RunSource
from treadle.domain.states import RunStatus
from treadle.services.sessions import Visitor
from treadle.web.door import COOKIE
from treadle.web.pages.runs import board
from treadle.web.pages.runs.board import Board, Scope
from treadle.web.pages.runs.filters import Filters
from treadle.web.pages.runs.handlers import RunsPage
from treadle.web.pages.runs.rows import Names, row_of, short_address
from treadle.web.render import Renderer
from treadle.web.site import Site

pytestmark = pytest.mark.anyio


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path) as deployment:
        yield deployment


async def cookie(here: Deployment, who: Member | None = None) -> dict[str, str]:
    signed_in = await here.services.sessions.sign_in_with_key((who or here.admin).key, Visitor("127.0.0.1", "test"))
    return {"Cookie": f"{COOKIE}={signed_in.token}"}


FILTERS = st.builds(
    Filters,
    statuses=st.frozensets(st.sampled_from(RunStatus)),
    repository=st.none() | st.integers(0, 10**9),
    user=st.none() | st.integers(0, 10**9),
    source=st.none() | st.sampled_from(RunSource),
    text=st.text(max_size=50).map(str.strip),
)


@given(FILTERS)
def test_filters_are_what_their_url_says(filters: Filters) -> None:
    assert Filters.of(QueryParams(parse_qsl(filters.query(), keep_blank_values=True))) == filters


def test_what_a_url_says_without_meaning_is_left_out() -> None:
    query = QueryParams("status=Nothing&repository=x&user=-1&source=nobody&q=%20%20")
    assert Filters.of(query) == Filters()


async def test_a_page_shows_runs_with_their_reasons(here: Deployment) -> None:
    await here.start()
    await here.start()
    answer = await here.http.get("/runs", headers=await cookie(here))
    assert answer.status_code == 200
    assert answer.text.count('class="run-row"') == 2
    assert "another run has its work branch" in answer.text
    assert "acme/shop" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


async def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(here: Deployment) -> None:
    answer = await here.http.get("/runs?status=Failed")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=/runs%3Fstatus%3DFailed"


async def test_a_member_sees_its_own_whatever_the_url_says(here: Deployment) -> None:
    member = await here.member("member@example.org", Role.MEMBER)
    manager = await here.member("manager@example.org", Role.MANAGER)
    await here.start()
    for who, rows in ((member, 0), (manager, 1), (here.admin, 1)):
        answer = await here.http.get(f"/runs?user={here.admin.user.id}", headers=await cookie(here, who))
        assert answer.text.count('class="run-row"') == rows, who.user.email


async def test_more_continues_where_the_page_ended(here: Deployment) -> None:
    for number in range(53):
        await here.start(branchWork=f"work-{number}")
    headers = await cookie(here)
    page = await here.http.get("/runs", headers=headers)
    assert page.text.count('class="run-row"') == 50
    more = await here.http.get("/runs/more?before=4", headers=headers)
    assert [f'id="run-{number}"' in more.text for number in (4, 3, 2, 1)] == [False, True, True, True]
    assert "data-more" not in more.text


async def test_a_row_says_what_a_run_waits_for(here: Deployment) -> None:
    await here.start()
    run = await here.store.get_run_by_id(1)
    names = Names({}, {}, running=2, slots=2)
    now = here.clock.now()
    assert row_of(run, names, now).waits_for == "the organization runs 2 at once"
    assert row_of(run, replace(names, slots=None), now).waits_for == "the next free worker"
    assert row_of(replace(run, status=RunStatus.RUNNING), names, now).waits_for is None
    assert row_of(run, names, now).who == "somebody who left"


async def test_a_row_is_called_what_its_page_is(here: Deployment) -> None:
    await here.start()
    run = await here.store.get_run_by_id(1)
    later = replace(run.steps[0], position=2, text="Another")
    assert row_of(replace(run, steps=(*run.steps, later)), Names({}, {}, 0, None), here.clock.now()).title == (
        run.steps[0].text
    )


@pytest.mark.parametrize(
    ("url", "short"),
    [
        ("https://git.example/acme/shop.git", "acme/shop"),
        ("git@git.example:group/sub/shop.git", "sub/shop"),
        ("/srv/git/shop", "git/shop"),
        ("", ""),
    ],
)
def test_an_address_is_short(url: str, short: str) -> None:
    assert short_address(url) == short


async def of_runs(queue: "asyncio.Queue[board.Change | None]") -> board.Change:
    """The next change that tells of runs: a look counts after it has read them, so that it may know one by number."""
    while True:
        change = await asyncio.wait_for(queue.get(), 60)
        assert change is not None
        if change.runs:
            return change


async def test_the_board_tells_each_change_once_to_all(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "LOOK_SECONDS", 0.01)
    site = Site(here.services, here.settings, Renderer(here.clock), None)  # type: ignore[arg-type]  # no door is needed
    lists = Board(site)
    scope = Scope(here.admin.organization.id, None)
    async with lists.watch(scope) as one, lists.watch(scope) as other:
        assert (await one.get()) is not None  # the counts
        assert (await other.get()) is not None
        await here.start()
        for queue in (one, other):
            change = await of_runs(queue)
            assert [run.id for run in change.runs] == [1]
            assert change.counts[RunStatus.NEW] == 1
        await asyncio.sleep(0.1)
        assert one.empty()
        run, fence = await here.claim()
        change = await of_runs(one)
        assert [(found.id, found.status) for found in change.runs] == [(run.id, RunStatus.RUNNING)]
        assert fence.lease == 1
    async with lists.watch(scope) as again:
        assert await asyncio.wait_for(again.get(), 60) is not None


async def test_a_page_that_was_away_is_told_of_what_changed_meanwhile(here: Deployment) -> None:
    lists = Board(Site(here.services, here.settings, Renderer(here.clock), None))  # type: ignore[arg-type]  # no door
    scope = Scope(here.admin.organization.id, None)
    await here.start()
    here.clock.advance(60)
    left = here.clock.now()
    assert [run.id for change in await lists.missed(scope, left) for run in change.runs] == []
    await here.start(branchWork="other")
    here.clock.advance(3600)
    (change,) = await lists.missed(scope, left)
    assert [run.id for run in change.runs] == [2]
    assert change.counts[RunStatus.NEW] == 2
    assert change.date == here.clock.now()


async def test_a_change_is_made_html_once_for_all_who_watch(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    await here.start()
    made = list[str]()
    real = Renderer.fragment

    def fragment(self: Renderer, template: str, block: str, **values: object) -> str:
        made.append(block)
        return real(self, template, block, **values)

    monkeypatch.setattr(Renderer, "fragment", fragment)
    site = Site(here.services, here.settings, Renderer(here.clock), None)  # type: ignore[arg-type]  # no door is needed
    page = RunsPage(site, Board(site))
    change = board.Change(here.clock.now(), [await here.store.get_run_by_id(1)], {RunStatus.NEW: 1})
    signed_in = await here.services.sessions.sign_in_with_key(here.admin.key, Visitor("127.0.0.1", "test"))
    who = signed_in.principal
    shown = [await page._shown(change, filters, who) for filters in (Filters(), Filters(), Filters(text="x"))]
    assert made == ["changes", "changes"]
    assert shown[0] == shown[1] != shown[2]
    assert 'href="/runs/1"' in shown[0].html
