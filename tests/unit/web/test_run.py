"""The page of a run: who sees it, what it shows, what is done through it, and its stream."""

import asyncio
import base64
import json
import re
import shlex
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.support.deployment import Deployment, Member, deployed

from treadle.domain.batch import run_uuid
from treadle.domain.events import Draft, EventType, JsonObject
from treadle.domain.identity import Role
from treadle.domain.plan import Plan, StepSpec
from treadle.domain.run import Artifact, Run, RunPurpose, Usage
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.domain.validation import CommandResult
from treadle.ports import Fence, RunFilter, StepUpdate
from treadle.ports.trace import Mark
from treadle.server import listening
from treadle.services.batch_targets import Reach, Target
from treadle.services.batches import BatchRequest
from treadle.services.budgets import BudgetChange
from treadle.services.plan_runs import PlanTarget
from treadle.services.sessions import Visitor
from treadle.web.door import COOKIE, csrf_of
from treadle.web.pages.run import channels
from treadle.web.pages.run.copies import copies, is_agent_run, quoted
from treadle.web.pages.run.shown import show
from treadle.web.pages.run.stages import State, stages
from treadle.web.pages.run.window import PAGE_EVENTS, bounds
from treadle.web.render import Renderer
from treadle.web.site import Site

pytestmark = pytest.mark.anyio

PATIENCE = 30.0
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path) as deployment:
        yield deployment


class Browser:
    """Somebody who is signed in."""

    def __init__(self, here: Deployment, token: str) -> None:
        self._http = here.http
        self.token = token
        self.headers = {"Cookie": f"{COOKIE}={token}"}

    async def get(self, path: str) -> httpx2.Response:
        return await self._http.get(path, headers=self.headers)

    async def post(self, path: str, files: Any = None, **fields: str) -> httpx2.Response:
        return await self._http.post(
            path, headers=self.headers, data={"csrf": csrf_of(self.token), **fields}, files=files
        )


async def browser(here: Deployment, who: Member | None = None) -> Browser:
    signed_in = await here.services.sessions.sign_in_with_key((who or here.admin).key, Visitor("127.0.0.1", "test"))
    return Browser(here, signed_in.token)


async def running(here: Deployment, *drafts: Draft, **fields: object) -> tuple[Run, Fence]:
    """A run in its first step, after three events."""
    await here.start(**fields)
    run, fence = await here.claim()
    started = Draft(EventType.STEP_STARTED, {"text": run.steps[0].text, "isCommitable": True}, 1)
    update = StepUpdate(1, StepStatus.RUNNING, phase=Phase.ANALYSIS)
    await here.store.record(fence, [started, *drafts], here.clock.now(), step=update)
    return await now(here, run), fence


async def now(here: Deployment, run: Run) -> Run:
    return await here.store.get_run_seen(run.id, RunFilter(run.organization_id))


def said(text: str) -> Draft:
    return Draft(EventType.ENGINE_TEXT, {"text": text}, 1, Phase.ANALYSIS)


def items_of(html: str) -> list[int]:
    return [int(number) for number in re.findall(r'<li id="e(\d+)" class="item', html)]


# ---- who sees it


async def test_others_runs_are_not_there_for_a_member(here: Deployment) -> None:
    run, _ = await running(here)
    member = await browser(here, await here.member("eve@example.org"))
    manager = await browser(here, await here.member("max@example.org", Role.MANAGER))
    paths = ("", "/trace", "/search?q=a", "/stream", "/events/1", "/artifacts/a")
    assert [(await member.get(f"/runs/{run.id}{path}")).status_code for path in paths] == [404] * len(paths)
    for deed in ("kill", "resume", "again", "ban", "unban", "share", "share/1"):
        assert (await member.post(f"/runs/{run.id}/{deed}", prompt="x")).status_code == 404, deed
    assert (await manager.get(f"/runs/{run.id}")).status_code == 200
    assert (await now(here, run)).date_kill_requested is None


async def test_a_form_of_another_site_does_nothing(here: Deployment) -> None:
    run, _ = await running(here)
    admin = await browser(here)
    answer = await here.http.post(f"/runs/{run.id}/kill", headers=admin.headers)
    assert answer.status_code == 403
    assert (await now(here, run)).date_kill_requested is None


@pytest.mark.parametrize("path", [f"/runs/{10**30}", "/runs/0", "/runs/77", f"/runs/{10**12 + 5}", "/runs/77/events/1"])
async def test_what_is_not_there_is_not_found(here: Deployment, path: str) -> None:
    assert (await (await browser(here)).get(path)).status_code == 404


# ---- what it shows


async def test_it_shows_how_the_run_stands(here: Deployment) -> None:
    run, _ = await running(here, said("I look."), codeGuidelines="Be <i>kind</i>")
    page = (await (await browser(here)).get(f"/runs/{run.id}")).text
    assert "Write the tests" in page
    assert items_of(page) == [1, 2, 3, 4]
    assert f'src="/runs/{run.id}/stream" after="4"' in page
    assert 'action="/runs/1/kill"' in page
    assert "Run again" not in page
    assert here.admin.key not in page


async def test_a_run_that_waits_says_for_what(here: Deployment) -> None:
    await here.start()
    assert "Waits for the next free worker" in (await (await browser(here)).get("/runs/1")).text


async def test_a_failure_is_told_first_with_what_was_kept(here: Deployment) -> None:
    run, fence = await running(here)
    await here.store.finish(fence, RunStatus.FAILED, "The disk is <full>.", here.clock.now())
    page = (await (await browser(here)).get(f"/runs/{run.id}")).text
    assert page.index("The disk is &lt;full&gt;.") < page.index('id="trace-items"')
    assert "The run failed in step 1, analysis" in page
    assert 'href="#follow-up"' in page
    assert "live-stream" not in page


async def test_pages_of_a_trace_hold_every_item_once(here: Deployment) -> None:
    call: Any = {"id": "a", "tool": "Bash", "input": {"command": "sleep"}}
    between = [said(f"word {number}") for number in range(PAGE_EVENTS - 1)]
    drafts = [
        Draft(EventType.TOOL_STARTED, call, 1),  # 4
        *between,
        Draft(EventType.TOOL_FINISHED, {"id": "a", "output": "slept"}, 1),
        *[said(f"more {number}") for number in range(PAGE_EVENTS - 1)],
    ]
    run, _ = await running(here, *drafts)
    somebody = await browser(here)
    newest = (await somebody.get(f"/runs/{run.id}")).text
    assert items_of(newest) == [4, *range(run.last_event - PAGE_EVENTS + 2, run.last_event + 1)]
    assert newest.count("slept") == 1  # its call began on the page before
    earlier = (await somebody.get(f"/runs/{run.id}/trace?before={run.last_event - PAGE_EVENTS + 1}")).text
    assert items_of(earlier) == [*range(4, PAGE_EVENTS + 4)]
    assert earlier.count("slept") == 1
    first = (await somebody.get(f"/runs/{run.id}/trace?before=4")).text
    assert items_of(first) == [1, 2, 3]
    assert "data-earlier" not in first
    there = (await somebody.get(f"/runs/{run.id}?at=100")).text
    assert 100 in items_of(there)
    assert "data-older" in there


@given(
    last=st.integers(0, 1000),
    before=st.none() | st.integers(0, 2000),
    at=st.none() | st.integers(0, 2000),
)
def test_a_window_lies_within_the_run(last: int, before: int | None, at: int | None) -> None:
    run: Any = type("Events", (), {"last_event": last})()
    first, end = bounds(run, before=str(before) if before is not None else "", at=str(at) if at is not None else "")
    assert first >= 1
    assert 0 <= end <= last
    assert end - first < PAGE_EVENTS


async def test_a_search_finds_what_is_not_loaded(here: Deployment) -> None:
    words = [said("a <b>needle</b>, here" if number in {3, 300} else "hay text") for number in range(450)]
    run, _ = await running(here, *words)
    somebody = await browser(here)
    found = (await somebody.get(f"/runs/{run.id}/search?q=NEEDLE")).text
    assert re.findall(r'data-event="(\d+)"', found) == ["304", "7"]
    assert "<mark>needle</mark>" in found
    assert "<b>needle" not in found
    assert "Nothing found" in (await somebody.get(f"/runs/{run.id}/search?q=engine.text")).text
    whole = (await somebody.get(f"/runs/{run.id}?q=needle")).text  # without a script
    assert re.findall(r'data-event="(304|7)"', whole) == ["304", "7"]
    names = (await somebody.get(f"/runs/{run.id}/search?q=text")).text
    assert re.findall(r'data-event="(\d+)"', names)[:2] == ["453", "452"]  # the word, and not the field's name
    more = re.search(r'href="(/runs/1\?q=text&amp;found_before=\d+)"', names)
    assert more is not None
    assert (await somebody.get(more[1].replace("&amp;", "&"))).status_code == 200


async def test_an_event_is_plain_text_whatever_it_says(here: Deployment) -> None:
    run, _ = await running(here, said("<script>alert(1)</script>"))
    answer = await (await browser(here)).get(f"/runs/{run.id}/events/4")
    assert answer.text == "<script>alert(1)</script>"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    for number in (0, 5, 10**20):
        assert (await (await browser(here)).get(f"/runs/{run.id}/events/{number}")).status_code == 404


# ---- what is done through it


async def test_it_is_stopped(here: Deployment) -> None:
    run, fence = await running(here)
    somebody = await browser(here)
    answer = await somebody.post(f"/runs/{run.id}/kill")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/runs/{run.id}")
    assert (await now(here, run)).date_kill_requested is not None
    assert "stopping…" in (await somebody.get(f"/runs/{run.id}")).text
    await here.finish(fence, RunStatus.KILLED)
    assert (await somebody.post(f"/runs/{run.id}/kill")).status_code == 303  # it has ended meanwhile


async def test_it_is_resumed_with_images(here: Deployment) -> None:
    run, fence = await running(here)
    await here.finish(fence)
    somebody = await browser(here)
    answer = await somebody.post(
        f"/runs/{run.id}/resume", files=[("images", ("a.png", PNG, "image/png"))], prompt="And\r\nthen?"
    )
    assert answer.status_code == 303
    added = (await now(here, run)).steps[-1]
    assert (added.text, added.is_follow_up, len(added.file_ids)) == ("And\nthen?", True, 1)
    assert "Follow-up" in (await somebody.get(f"/runs/{run.id}")).text


async def test_a_follow_up_that_is_sent_twice_is_one_step(here: Deployment) -> None:
    run, _ = await running(here)
    somebody = await browser(here)
    found = re.search(r'name="token" value="([0-9a-f]{32})"', (await somebody.get(f"/runs/{run.id}")).text)
    assert found is not None
    for prompt, images, steps in (("Go on", [], 2), ("Go on", [], 2), ("And then?", [], 3), ("Go on", [PNG], 4)):
        files = [("images", ("a.png", image, "image/png")) for image in images]
        answer = await somebody.post(
            f"/runs/{run.id}/resume",
            files=files or [("images", ("", b"", "application/octet-stream"))],
            prompt=prompt,
            token=found[1],
        )
        assert answer.status_code == 303
        assert len((await now(here, run)).steps) == steps


@pytest.mark.parametrize(
    ("prompt", "images", "words"),
    [
        ("  ", [], "Must not be blank."),
        ("Go on", [("a.png", b"no image", "image/png")], "Image 1: Says that it is PNG"),
        ("Go on", [("a.html", b"<script>", "text/html")], "Must be a data URI of a PNG"),
        ("Go on", [("a.png", PNG, "image/png")] * 11, "Must be at most 10, not 11."),
    ],
)
async def test_a_follow_up_that_is_wrong_stays_to_be_mended(
    here: Deployment, prompt: str, images: Sequence[tuple[str, bytes, str]], words: str
) -> None:
    run, _ = await running(here)
    files = [("images", image) for image in images] or [("images", ("", b"", "application/octet-stream"))]
    answer = await (await browser(here)).post(f"/runs/{run.id}/resume", files=files, prompt=prompt)
    assert answer.status_code == 400
    assert words in answer.text
    assert prompt.strip() in answer.text
    assert len((await now(here, run)).steps) == 1


async def test_it_is_run_again_on_a_branch_of_its_own(here: Deployment) -> None:
    steps = [{"step": "Look", "isCommitableStep": False}, {"step": "Write it"}]
    run, fence = await running(here, steps=steps, codeGuidelines="Kindly", engine="Kimi")
    await here.finish(fence)
    somebody = await browser(here)
    await somebody.post(f"/runs/{run.id}/resume", prompt="More")
    answer = await somebody.post(f"/runs/{run.id}/again")
    assert answer.headers["location"] == "/runs/2"
    again = await here.store.get_run_by_id(2)
    assert again.branch_work == "treadle/2-look"
    assert [(step.text, step.is_commitable) for step in again.steps] == [("Look", False), ("Write it", True)]
    kept = ("git_url", "branch_source", "code_guidelines", "engine", "user_id")
    assert [getattr(again, name) for name in kept] == [getattr(run, name) for name in kept]


async def test_its_branch_is_flagged_and_free_again(here: Deployment) -> None:
    run, _ = await running(here)
    somebody = await browser(here)
    await somebody.post(f"/runs/{run.id}/ban")
    assert (await now(here, run)).date_kill_requested is not None
    assert "Unban the branch" in (await somebody.get(f"/runs/{run.id}")).text
    await somebody.post(f"/runs/{run.id}/unban")
    assert "Ban the branch" in (await somebody.get(f"/runs/{run.id}")).text


async def test_a_link_is_shown_once_and_can_be_revoked(here: Deployment) -> None:
    run, _ = await running(here)
    somebody = await browser(here)
    made = await somebody.post(f"/runs/{run.id}/share", days="3")
    token = re.search(r"/shared/([\w-]+)", made.text)
    assert token is not None
    assert (await here.services.sharing.open(token[1])).id == run.id
    page = (await somebody.get(f"/runs/{run.id}")).text
    assert token[1] not in page
    link = re.search(rf'action="(/runs/{run.id}/share/\d+)"', page)
    assert link is not None
    assert (await somebody.post(link[1])).status_code == 303
    assert (await somebody.post(link[1])).status_code == 404
    assert (await somebody.post(f"/runs/{run.id}/share", days="99")).status_code == 400


# ---- stages


def a_mark(number: int, type_: EventType, second: int, here: Deployment, phase: Phase | None = None) -> Mark:
    return Mark(number, type_, here.clock.now().replace(second=second), 1, phase)


async def test_stages_have_phases_with_times(here: Deployment) -> None:
    run, _ = await running(here)
    marks = [
        a_mark(3, EventType.STEP_STARTED, 0, here),
        a_mark(4, EventType.PHASE_STARTED, 1, here, Phase.ANALYSIS),
        a_mark(5, EventType.PHASE_FINISHED, 4, here, Phase.ANALYSIS),
        a_mark(6, EventType.PHASE_STARTED, 5, here, Phase.IMPLEMENTATION),
        a_mark(9, EventType.PHASE_STARTED, 8, here, Phase.IMPLEMENTATION),  # on another worker
    ]
    (stage,) = stages(run, marks)
    assert (stage.state, stage.number) == (State.RUNNING, 3)
    told = [(part.name, part.state, part.number, part.seconds) for part in stage.parts]
    assert told == [
        ("Analysis", State.DONE, 4, 3.0),
        ("Implementation", State.RUNNING, 6, None),
        ("Validation", State.WAITING, None, None),
        ("Commit", State.WAITING, None, None),
        ("Push", State.WAITING, None, None),
    ]
    failed = replace(run.steps[0], status=StepStatus.FAILED, date_completed=here.clock.now().replace(second=9))
    (stage,) = stages(replace(run, status=RunStatus.FAILED, steps=(failed,)), marks)
    assert [part.state for part in stage.parts][1:] == [State.FAILED, State.SKIPPED, State.SKIPPED, State.SKIPPED]


async def test_stages_do_without_events_that_are_gone(here: Deployment) -> None:
    run, _ = await running(here)
    step = run.steps[0]
    done = replace(step, status=StepStatus.SUCCESS, commit_sha="a" * 40, phase=Phase.VALIDATION)
    broken = replace(step, status=StepStatus.FAILED, phase=Phase.IMPLEMENTATION)
    never = replace(step, status=StepStatus.NOT_STARTED, phase=None)
    ended = replace(run, status=RunStatus.FAILED, steps=(done, broken, never))
    first, second, third = stages(ended, [])
    assert {part.state for part in first.parts} == {State.DONE}
    assert [part.state for part in second.parts][:3] == [State.DONE, State.FAILED, State.SKIPPED]
    assert third.state is State.SKIPPED


# ---- copies


@given(st.text(max_size=60).filter(lambda text: "\0" not in text))
@hypothesis_settings(max_examples=60)
def test_a_shell_reads_a_quoted_text_as_it_was(text: str) -> None:
    word = quoted(text)
    environment = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", f"printf %s {word}"], check=True, capture_output=True, env=environment)
    assert done.stdout.decode() == text
    assert all(character.isprintable() or character == "\n" for character in word)


NASTY = 'It\'s "quoted" $HOME `id` \\ \x1b[31m \u202e\n--flag'


async def test_copies_say_the_same_as_the_run(here: Deployment) -> None:
    steps = [{"step": NASTY, "isCommitableStep": True}, {"step": "Look", "isCommitableStep": False}]
    run, _ = await running(here, steps=steps, codeGuidelines="'; rm", generateDiffOnCompletion=True)
    assert not is_agent_run(run)
    by_name = {copy.name: copy.text for copy in copies(run, "https://treadle.example")}
    words = shlex.split(by_name["curl"].replace("\\\n", ""))
    body = json.loads(words[words.index("--data-raw") + 1])
    assert "https://treadle.example/code-generation/processes" in words
    assert "Authorization: Bearer $TREADLE_API_KEY" in words
    assert [step["step"] for step in body["steps"]] == [NASTY, "Look"]
    compile(by_name["SDK"], "copied", "exec")
    assert f"Step({NASTY!a})" in by_name["SDK"]
    assert "Step('Look', commitable=False)" in by_name["SDK"]
    assert f"--step={quoted(NASTY)}" in by_name["CLI"]
    assert "--analysis=Look" in by_name["CLI"]
    for text in by_name.values():
        assert "\x1b" not in text
        assert "\u202e" not in text


async def test_an_agent_run_is_copied_as_one(here: Deployment) -> None:
    run, _ = await running(here)
    agent = replace(run, repository_id=3, branch_work=f"treadle/{run.id}-x", model="claude-x")
    assert is_agent_run(agent)
    by_name = {copy.name: copy.text for copy in copies(agent, "https://treadle.example")}
    words = shlex.split(by_name["curl"].replace("\\\n", ""))
    assert f"https://treadle.example/v1/organizations/{run.organization_id}/agent/run" in words
    body = json.loads(words[words.index("--data-raw") + 1])
    assert body == {"prompt": "Write the tests", "repo_id": 3, "model": "claude-x"}
    compile(by_name["SDK"], "copied", "exec")
    assert by_name["CLI"].endswith("-- 'Write the tests'")
    assert copies(replace(run, purpose=RunPurpose.SETUP_COMMANDS), "https://x") == ()


# ---- its stream


class Stream:
    """A browser's end of it."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def next(self) -> tuple[str, str, str]:
        """Kind, id and HTML of the next change."""
        fields: dict[str, list[str]] = {}
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if line and not line.startswith(":"):
                    fields.setdefault(name, []).append(value)
                elif "data" in fields:
                    break
                else:
                    fields.clear()
            else:
                raise StopAsyncIteration
        data = "\n".join(fields["data"])
        return fields.get("event", ["message"])[0], fields.get("id", [""])[0], data

    async def until(self, number: int) -> str:
        """All changes up to that event."""
        html = ""
        while True:
            _, last, data = await self.next()
            html += data
            if int(last) >= number:
                return html


@asynccontextmanager
async def followed(here: Deployment, run: Run, query: str = "", *, who: Member | None = None) -> AsyncIterator[Stream]:
    somebody = await browser(here, who)
    async with (
        listening(here.app, "127.0.0.1", 0) as url,
        httpx2.AsyncClient(timeout=PATIENCE) as client,
        client.stream("GET", f"{url}/runs/{run.id}/stream{query}", headers=somebody.headers) as answer,
    ):
        assert answer.status_code == 200
        yield Stream(answer)


async def test_news_come_as_they_happen_to_the_end(here: Deployment) -> None:
    run, fence = await running(here)
    async with followed(here, run, "?after=3") as stream:
        first = await stream.next()
        assert first[1] == "3"
        for part in ("run-head", "run-failure", "run-stages", "run-usage", "run-actions"):
            assert f'id="{part}"' in first[2]
        start = Draft(EventType.TOOL_STARTED, {"id": "a", "tool": "Bash", "input": {"command": "ls"}}, 1)
        await here.store.record(fence, [said("I <look>."), start], here.clock.now())
        here.signals.notify(run.id)
        html = await stream.until(5)
        assert items_of(html) == [4, 5]
        assert "I &lt;look&gt;." in html
        assert "run-head" not in html  # nothing of it changed
        await here.store.record(
            fence, [Draft(EventType.TOOL_FINISHED, {"id": "a", "output": "seen"}, 1)], here.clock.now()
        )
        here.signals.notify(run.id)
        whole = await stream.until(6)
        assert items_of(whole) == [5]
        assert "seen" in whole
        await here.finish(fence, RunStatus.FAILED, "No more.")
        html, kind = "", ""
        while kind != "end":
            kind, last, data = await stream.next()
            html += data
        assert items_of(html) == [7, 8]
        assert last == "8"
        assert "The run failed in step 1" in html
        assert 'class="status status-failed"' in html


async def test_who_was_away_gets_what_was_missed_and_no_more(here: Deployment) -> None:
    run, _ = await running(here, *[said(f"word {number}") for number in range(450)])
    async with followed(here, run, "?after=5") as stream:
        assert items_of(await stream.until(run.last_event)) == list(range(6, run.last_event + 1))


async def test_who_was_away_for_long_gets_the_newest(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.web.pages.run.following.MAX_BEHIND", 100)
    run, _ = await running(here, *[said(f"word {number}") for number in range(450)])
    async with followed(here, run, "?after=5") as stream:
        html = await stream.until(run.last_event)
    assert '<ol id="trace-items"' in html
    assert items_of(html) == list(range(run.last_event - PAGE_EVENTS + 1, run.last_event + 1))


async def test_a_slow_reader_reads_the_store(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "MAX_KEPT", 1000)
    run, fence = await running(here)
    async with followed(here, run, "?after=3") as stream, followed(here, run, "?after=3") as other:
        await here.store.record(fence, [said(f"word {number}") for number in range(300)], here.clock.now())
        here.signals.notify(run.id)
        assert sorted(set(items_of(await stream.until(303)))) == list(range(4, 304))
        assert sorted(set(items_of(await other.until(303)))) == list(range(4, 304))


async def test_a_page_of_older_items_hears_only_how_the_run_stands(here: Deployment) -> None:
    run, fence = await running(here)
    async with followed(here, run, "?trace=no") as stream:
        await stream.next()
        await here.finish(fence)
        html, kind = "", ""
        while kind != "end":
            kind, _, data = await stream.next()
            html += data
        assert items_of(html) == []
        assert "status-success" in html


async def test_a_run_that_is_over_ends_its_stream(here: Deployment) -> None:
    run, fence = await running(here)
    await here.finish(fence)
    async with followed(here, run, "?after=3") as stream:
        kinds = []
        while "end" not in kinds:
            kinds.append((await stream.next())[0])


async def test_a_stream_ends_with_its_session(here: Deployment) -> None:
    run, fence = await running(here)
    async with followed(here, run) as stream:
        await stream.next()
        principal = await here.services.identity.authenticate(here.admin.key)
        await here.services.sessions.revoke_all(principal)
        await here.store.record(fence, [said("a secret")], here.clock.now())
        here.signals.notify(run.id)
        with pytest.raises((StopAsyncIteration, RuntimeError)):
            await stream.next()


async def test_a_stream_ends_when_its_reader_may_not_see_the_run_any_more(here: Deployment) -> None:
    run, fence = await running(here)
    manager = await here.member("manager@example.org", Role.MANAGER)
    async with followed(here, run, who=manager) as stream:
        await stream.next()
        await here.services.identity.set_role(1, manager.user.id, Role.MEMBER)
        here.services.sessions.forget()
        await here.store.record(fence, [said("a secret")], here.clock.now())
        here.signals.notify(run.id)
        with pytest.raises((StopAsyncIteration, RuntimeError)):
            await stream.next()


async def test_streams_end_with_the_process(here: Deployment) -> None:
    run, _ = await running(here)
    async with followed(here, run) as stream:
        await stream.next()
        here.app.state.streams.close()
        with pytest.raises((StopAsyncIteration, RuntimeError)):
            await stream.next()


# ---- a session elsewhere


async def test_a_local_session_shows_what_it_reported(here: Deployment) -> None:
    sessions = here.services.local_sessions
    principal = await here.services.identity.authenticate(here.admin.key)
    session = await sessions.open(principal, "my-session")
    lines: list[Any] = [
        {"type": "user", "message": {"content": "Do <b>it</b>\u202e"}},
        {"type": "assistant", "message": {"content": [{"type": "tool_use", "name": "Bash", "input": {"a": "l"}}]}},
        {"type": "user", "message": {"content": [{"type": "tool_result", "content": "seen", "is_error": True}]}},
        {"strange": [1, {"deep": None}]},
    ]  # fmt: skip
    for line in lines:
        await sessions.add_log(principal, "my-session", line)
    answer = await (await browser(here)).get(f"/runs/{session.id}")
    assert answer.status_code == 200
    for words in ("my-session", "Do &lt;b&gt;it&lt;/b&gt;", "Bash", "seen", "strange", "U+202E"):
        assert words in answer.text
    other = await browser(here, await here.member("eve@example.org"))
    assert (await other.get(f"/runs/{session.id}")).status_code == 404


async def test_what_diffs_are_kept_with_is_not_listed(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = await running(here)
    names = ("diff.json", "diff.patch", "diff.contents", "step-1.diff.contents", "partial-work-step-1.patch")

    async def artifacts(_: Run) -> list[Artifact]:
        return [Artifact(run.id, name, "text/plain", 1, "blob", here.clock.now()) for name in names]

    monkeypatch.setattr(here.services.runs, "artifacts_of", artifacts)
    site = Site(here.services, here.settings, Renderer(here.clock), None)  # type: ignore[arg-type]  # no door is needed
    assert [each.name for each in (await show(site, run)).artifacts] == ["partial-work-step-1.patch"]


# ---- what it may cost and connect to


async def test_it_shows_its_budget_and_its_policy(here: Deployment) -> None:
    policy = Draft(EventType.NETWORK_POLICY, {"policy": {"allow": ["pkg.test"]}, "isEnforced": True})
    run, fence = await running(here, policy, maxCostUsd=0.5, network={"allow": ["pkg.test", "a.example"]})
    usage = StepUpdate(1, usage=Usage(1000, 20, 0.0123))
    await here.store.record(fence, [], here.clock.now(), step=usage)
    page = (await (await browser(here)).get(f"/runs/{run.id}")).text
    assert "$0.0123 of $0.50" in page
    assert 'value="2.5" aria-label="Of the run\N{RIGHT SINGLE QUOTATION MARK}s budget"' in page
    assert "<dd>the model, pkg.test</dd>" in page  # what held, not what was asked for
    assert "not enforced" not in page
    assert '<span class="stage-cost number">$0.01</span>' in page


async def test_before_a_worker_has_it_its_own_policy_is_shown(here: Deployment) -> None:
    process = await here.start(network="full")
    page = (await (await browser(here)).get("/runs/1")).text
    assert process["id"]
    assert "<dd>the model, and the whole internet</dd>" in page


@pytest.mark.parametrize("policy", ["none", {"allow": ["<script>.example"]}, 7, None])
async def test_a_policy_that_is_not_enforced_is_marked(here: Deployment, policy: Any) -> None:
    run, _ = await running(here, Draft(EventType.NETWORK_POLICY, {"policy": policy, "isEnforced": False}))
    page = (await (await browser(here)).get(f"/runs/{run.id}")).text
    assert ('<span class="not-held">not enforced</span>' in page) is (policy == "none")
    assert "<script>.example" not in page


async def test_a_run_that_passed_its_budget_says_so_at_the_top(here: Deployment) -> None:
    passed = Draft(EventType.BUDGET_PASSED, {"of": "run", "limitUsd": 0.5, "spentUsd": 0.7}, 1, Phase.ANALYSIS)
    run, fence = await running(here, passed, maxCostUsd=0.5)
    usage = StepUpdate(1, status=StepStatus.FAILED, usage=Usage(cost_usd=0.7))
    await here.store.record(fence, [], here.clock.now(), step=usage)
    await here.finish(fence, RunStatus.FAILED, "The run has cost $0.70, and its budget is $0.50.")
    somebody = await browser(here)
    page = (await somebody.get(f"/runs/{run.id}")).text
    assert "The budget is used up: the run failed" in page
    assert "and a larger budget" in page
    assert "budget is-passed" in page
    for asked, told in (
        ("", "its budget is $0.50"),
        ("0.6", "Must be more than the $0.70"),
        ("x", "Must be an amount"),
    ):
        answer = await somebody.post(f"/runs/{run.id}/resume", prompt="Go on", max_cost=asked)
        assert answer.status_code == 400
        assert told in answer.text
        assert ('id="follow-up-max_cost-error"' in answer.text) is bool(asked)
        assert ">Go on</textarea>" in answer.text
    assert (await now(here, run)).max_cost_usd == 0.5
    await somebody.post(f"/runs/{run.id}/resume", prompt="Go on", max_cost="$2")
    assert (await now(here, run)).max_cost_usd == 2
    resumed, fence = await here.claim()
    await here.finish(fence, RunStatus.FAILED, "Something else.")
    assert resumed.id == run.id
    assert "The budget is used up" not in (await somebody.get(f"/runs/{run.id}")).text


async def test_a_member_raises_no_budget_above_the_default(here: Deployment) -> None:
    admin = await here.services.identity.authenticate(here.admin.key)
    await here.services.budgets.set(admin, BudgetChange(0.5, None))
    eve = await here.member("eve@example.org")
    await here.start(eve)
    run, fence = await here.claim()
    await here.finish(fence)
    somebody = await browser(here, eve)
    answer = await somebody.post(f"/runs/{run.id}/resume", prompt="Go on", max_cost="5")
    assert answer.status_code == 400
    assert "it takes MANAGER" in answer.text
    assert 'id="follow-up-max_cost-error"' in answer.text
    assert (await now(here, run)).max_cost_usd == 0.5


async def test_a_used_up_month_refuses_a_follow_up_beside_it(here: Deployment) -> None:
    run, fence = await running(here)
    await here.store.record(fence, [], here.clock.now(), step=StepUpdate(1, usage=Usage(cost_usd=0.7)))
    await here.finish(fence)
    admin = await here.services.identity.authenticate(here.admin.key)
    await here.services.budgets.set(admin, BudgetChange(None, 0.7))
    answer = await (await browser(here)).post(f"/runs/{run.id}/resume", prompt="Go on")
    assert answer.status_code == 400
    assert "have cost $0.70" in answer.text
    assert ">Go on</textarea>" in answer.text


async def test_again_and_copies_keep_what_it_may(here: Deployment) -> None:
    run, fence = await running(here, maxCostUsd=1234567.5 / 10, network={"allow": ["pkg.test", "*.a.example"]})
    await here.finish(fence)
    await (await browser(here)).post(f"/runs/{run.id}/again")
    made = await here.store.get_run_by_id(2)
    assert (made.max_cost_usd, made.network) == (run.max_cost_usd, run.network)
    by_name = {copy.name: copy.text for copy in copies(run, "https://treadle.example")}
    assert '"maxCostUsd": 123456.75' in by_name["curl"]
    assert "max_cost_usd=123456.75," in by_name["SDK"]
    assert "network={'allow': ['pkg.test', '*.a.example']}," in by_name["SDK"]
    assert "--max-cost=123456.75" in by_name["CLI"]
    assert "--network='allow:pkg.test,*.a.example'" in by_name["CLI"]
    plain = {copy.name: copy.text for copy in copies(replace(run, max_cost_usd=None, network=None), "https://x")}
    assert not any("cost" in text or "network" in text for text in plain.values())


async def test_a_run_that_only_says_so_is_part_of_no_batch(here: Deployment) -> None:
    admin, plan = await here.services.identity.authenticate(here.admin.key), Plan(steps=(StepSpec("Do it"),))
    url = "https://git.example/a/b"
    batch = await here.services.batches.start(admin, BatchRequest(plan, Reach([Target(url=url)]), {}))
    said: JsonObject = {"batch": batch.id, "position": 1}
    person, start, there = await browser(here), here.services.plan_runs.start, PlanTarget(url=url)
    liar = await start(admin, plan, there, metadata=said)
    assert "Part of the" not in (await person.get(f"/runs/{liar.id}")).text
    member = await start(admin, plan, there, metadata=said, uuid=run_uuid(batch.uuid, 1, batch.attempt))
    assert f'<a href="/automation/batches/{batch.id}">' in (await person.get(f"/runs/{member.id}")).text


async def test_what_came_of_validation_is_shown_by_its_tries(here: Deployment) -> None:
    run, fence = await running(here)
    results = (
        CommandResult("make <test>", 2, None, "no & no", 1500, 1),
        CommandResult("make <test>", None, "out of time", "", 10, 2),
    )
    update = StepUpdate(1, StepStatus.RUNNING, validation=results)
    await here.store.record(fence, [], here.clock.now(), step=update)
    page = (await (await browser(here)).get(f"/runs/{run.id}")).text
    part = page[page.index('<details class="checked') :]
    found = re.sub(r"<[^>]+>", " ", part[: part.index("</ol>")])
    said = " ".join(found.split())
    assert "Validation failed , 2 tries make &lt;test&gt; exit code 2 , 1.5 s, try 1 Output no &amp; no" in said
    assert said.endswith("ended: out of time , 10 ms, try 2")
