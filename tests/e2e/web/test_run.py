"""The page of a run in a browser: live to its end, stopped, resumed, cut off and back, searched, moved through."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.browser import PHONE, Chromium, Person
from tests.support.cli import TREADLE
from tests.support.git_server import GitServer
from tests.support.service import Service, is_event, step, waits
from tests.support.tcp_proxy import TcpProxy


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "data") as running:
        yield running


@pytest.fixture
def person(service: Service, chromium: Chromium) -> Iterator[Person]:
    with chromium.person(service.url) as somebody:
        somebody.sign_in(service.key)
        yield somebody


def dummy(*actions: dict[str, Any], say: str = "") -> str:
    return f"dummy: {say}\n{json.dumps(actions)}" if say else f"dummy: {json.dumps(actions)}"


def start(service: Service, git: GitServer, *texts: str, branch: str = "work") -> str:
    return service.start(
        gitUrl=git.url("acme/demo"),
        gitHttpCredentials=HTTP_CREDENTIALS,
        branchSource="main",
        branchWork=branch,
        engine="Dummy",
        generateDiffOnCompletion=True,
        steps=[step(text) for text in texts],
    )


def register(service: Service, git: GitServer) -> None:
    """The repository, with its credentials: those of a run are erased when it ends."""
    arguments = ["--org", "1", "--url", git.url("acme/demo"), "--name", "acme/demo", "--default-branch", "main"]
    subprocess.run(
        [str(TREADLE), "admin", "repo", "add", *arguments, "--http-credentials-env", "GIT_CREDENTIALS"],
        check=True,
        env={**service.environment(), "GIT_CREDENTIALS": HTTP_CREDENTIALS},
        capture_output=True,
        timeout=60,
    )


def numbers(person: Person) -> list[int]:
    """Those of the items, in their order."""
    ids = person.page.locator("#trace-items > li").evaluate_all("items => items.map((item) => item.id)")
    return [int(each.removeprefix("e")) for each in ids]


def assert_whole(person: Person, events: list[dict[str, Any]]) -> None:
    """Every event is shown, once, in order; the end of a call with its start. How the run stands may be shown first."""
    expect(person.page.locator(f"#e{events[-1]['number']}")).to_be_attached()
    ends = [event["number"] for event in events if event["type"] == "tool.finished"]
    assert numbers(person) == [event["number"] for event in events if event["number"] not in ends]
    anchors = person.page.locator("#trace-items .call .anchor").evaluate_all("all => all.map((each) => each.id)")
    assert [int(each.removeprefix("e")) for each in anchors] == ends


SHOWY = (
    {"think": "The tests are missing. I look at what there is."},
    {"run": "ls -l && echo looked"},
    {"write": ["src/a.py", "def greet(name: str) -> str:\n    return f'hello {name}'\n"]},
    {"say": "## Done\nThere is a `greet` now:\n```py\ngreet('x')\n```"},
    {"usage": {"input": 1200, "output": 300, "cost": 0.42}},
)


def test_it_is_live_to_its_end(service: Service, git: GitServer, person: Person) -> None:
    process = start(
        service,
        git,
        dummy(*SHOWY, waits(), {"run": "exit 3"}, say="Add a greeting"),
        dummy({"say": "second"}, say="Then say so"),
    )
    service.wait_for(process, is_event("run.started"))
    person.go("/runs/1")
    page = person.page
    expect(page.locator("#run-head .status")).to_have_text("Running")
    expect(page.locator(".stage").first.locator(".part.is-running")).to_contain_text("Implementation")
    expect(page.locator("#trace-items")).to_contain_text("The tests are missing.")
    expect(page.locator("live-stream")).to_have_text("Live")
    expect(page.locator("#trace-items > li").last).to_contain_text(waits()["run"])  # and now nothing changes
    person.check("run-running")
    service.let_go(process)
    service.wait(process, "Success")
    expect(page.locator("#run-head .status")).to_have_text("Success")
    expect(page.locator(".stage.is-done")).to_have_count(2)
    expect(page.locator("#run-usage")).to_contain_text("$0.42")
    expect(page.locator("#run-head")).to_contain_text("Look at the diff")
    expect(page.get_by_role("button", name="Run again")).to_be_visible()
    expect(page.locator("#status-line")).to_have_text("Run 1: Success")
    expect(page.locator("#trace-items > li").last).to_contain_text("Done")
    assert_whole(person, service.events(process))
    page.locator(".call", has_text="greet").first.locator("summary").click()
    person.check("run-success")


#: Counts the news of a live page, and keeps the ids of what was taken from it.
WATCH = """
globalThis.news = 0;
globalThis.taken = [];
document.addEventListener("live-change", () => { globalThis.news += 1; });
new MutationObserver(changes => {
    for (const each of changes) for (const node of each.removedNodes) if (node.id) globalThis.taken.push(node.id);
}).observe(document, { childList: true, subtree: true });
"""


def test_what_has_not_changed_is_left_alone(service: Service, git: GitServer, person: Person) -> None:
    """Who presses a button as the page goes live presses one that stays."""
    process = start(service, git, dummy(waits(), say="Wait"))
    service.wait_for(process, is_event("tool.started"))
    page = person.page
    page.add_init_script(WATCH)
    for path, kept in (("/runs/1", "run-actions"), ("/runs", "run-counts")):
        person.go(path)
        page.wait_for_function("() => globalThis.news > 0")
        assert kept not in page.evaluate("globalThis.taken")
        expect(page.locator(f"#{kept}")).to_be_visible()
    service.let_go(process)
    service.wait(process, "Success")
    expect(page.locator("#run-1")).to_contain_text("Success")
    assert "run-counts" in page.evaluate("globalThis.taken")


def test_it_is_stopped_and_resumed(service: Service, git: GitServer, person: Person) -> None:
    register(service, git)
    process = start(service, git, dummy({"write": ["half.txt", "x\n"]}, {"say": "settled"}, {"hang": True}, say="Hang"))
    service.wait_for(process, is_event("engine.text", text="settled"))
    person.go("/runs/1")
    page = person.page
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#run-head .status")).to_have_text("Stopped")
    expect(page.locator("#run-failure")).to_contain_text("The run was stopped in step 1")
    expect(page.locator("#run-failure")).to_contain_text("Uncommitted work is kept")
    person.check("run-stopped")
    with page.expect_download() as downloading:
        page.locator("#run-failure a[href*=artifacts]").click()
    assert "half.txt" in downloading.value.path().read_text()

    page.locator("#follow-up-prompt").fill(dummy({"say": "I go on"}, say="Go on then"))
    page.locator("#follow-up-images").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": b"no image at all"}
    )
    person.expect_console("400")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#follow-up-images-error")).to_contain_text("no image")
    expect(page.locator("#follow-up-prompt")).to_have_value(re.compile("Go on then"))
    person.axe()
    page.get_by_role("button", name="Resume").click()
    page.wait_for_url("**/runs/1")
    expect(page.locator("#run-head .status")).to_have_text(re.compile("Success|Failed"))
    assert service.get(process)["status"] == "Success", service.get(process)["failureDetails"]
    expect(page.locator(".stage .kind")).to_have_text("Follow-up")
    assert_whole(person, service.events(process))


def test_a_failure_comes_first_and_it_is_run_again(service: Service, git: GitServer, person: Person) -> None:
    register(service, git)
    process = start(service, git, dummy({"write": ["a.txt", "1\n"]}, {"fail": 400}, say="Break"))
    service.wait(process, "Failed")
    person.go("/runs/1")
    page = person.page
    expect(page.locator("#failure-title")).to_contain_text("The run failed in step 1, implementation")
    expect(page.locator(".stage .part.is-failed")).to_contain_text("Implementation")
    person.check("run-failed")
    page.locator("#copies > summary").click()
    expect(page.locator("#copy-curl")).to_contain_text("$TREADLE_API_KEY")
    person.check("run-copies")
    page.locator("#share > summary").click()
    expect(page.locator("#copy-curl")).to_be_hidden()
    person.check("run-share")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Run again").click()
    page.wait_for_url("**/runs/2")
    expect(page.locator("#run-head .status")).to_have_text(re.compile("Queued|Running|Failed"))
    expect(page.locator("#branch-work")).to_contain_text("treadle/2-")


def test_nothing_is_lost_or_doubled_when_the_connection_is(
    service: Service, git: GitServer, chromium: Chromium
) -> None:
    port = int(service.url.rsplit(":", 1)[1])
    says = [{"say": f"word {number}"} for number in range(60)]
    slow = [action for say in says for action in (say, {"run": "echo tool"}, {"sleep": 0.15})]
    slow = [*slow[:12], waits("begin"), *slow[12:], waits("end")]
    process = start(service, git, dummy(*slow, say="Talk"))
    with TcpProxy(("127.0.0.1", port)) as link, chromium.person(f"http://127.0.0.1:{link.port}") as person:
        person.expect_console("ERR_|Failed to load resource")
        person.sign_in(service.key)
        person.go("/runs/1")
        page = person.page
        expect(page.locator("#trace-items")).to_contain_text("word 3")
        service.let_go(process, "begin")
        for heard in ("word 10", "word 25"):
            link.cut()
            expect(page.locator("live-stream")).to_have_attribute("data-state", "away")
            service.wait_for(process, is_event("engine.text", text=heard))
            link.heal()
            expect(page.locator("live-stream")).to_have_attribute("data-state", "live")
            expect(page.locator("#trace-items")).to_contain_text(heard)
        service.let_go(process, "end")
        service.wait(process, "Success")
        expect(page.locator("#run-head .status")).to_have_text("Success")
        assert_whole(person, service.events(process))


#: Where a pane stands once the wheel's scrolling has ended: the same in twenty frames, which stand still when it does.
SETTLED = """pane => new Promise(resolve => {
    let last = null, frames = 0;
    const look = () => {
        frames = pane.scrollTop === last ? frames + 1 : 0;
        last = pane.scrollTop;
        if (frames === 20) resolve(last);
        else requestAnimationFrame(look);
    };
    look();
})"""


def test_the_end_is_followed_until_somebody_scrolls_up(service: Service, git: GitServer, person: Person) -> None:
    says = [action for number in range(80) for action in ({"say": f"word {number}\n" * 4}, {"sleep": 0.1})]
    process = start(service, git, dummy(*says, say="Talk"))
    service.wait_for(process, lambda event: str(event["data"].get("text", "")).startswith("word 15"))
    person.go("/runs/1")
    page, at_end = person.page, "pane => pane.scrollHeight - pane.clientHeight - pane.scrollTop < 90"
    pane = page.locator("#trace-pane")
    expect(page.locator("#trace-items")).to_contain_text("word 25")
    page.wait_for_function(at_end, arg=pane.element_handle())
    pane.hover()
    page.mouse.wheel(0, -600)
    expect(page.locator("#to-end")).to_be_visible()
    top = pane.evaluate(SETTLED)
    expect(page.locator("#trace-items")).to_contain_text("word 40")
    assert abs(pane.evaluate("pane => pane.scrollTop") - top) < 5
    page.locator("#to-end").click()
    expect(page.locator("#to-end")).to_be_hidden()
    expect(page.locator("#trace-items")).to_contain_text("word 55")
    page.wait_for_function(at_end, arg=pane.element_handle())


#: As with the wheel: who scrolls up is not led back to the end.
TO_THE_TOP = """pane => {
    pane.dispatchEvent(new WheelEvent("wheel", { deltaY: -1, bubbles: true }));
    pane.scrollTop = 0;
}"""


def test_a_long_trace_is_loaded_searched_and_jumped_through(
    service: Service, git: GitServer, person: Person, chromium: Chromium
) -> None:
    says = [{"say": f"needle {number}" if number % 100 == 7 else f"hay {number}"} for number in range(450)]
    process = start(service, git, dummy(*says, say="Talk much"), dummy({"say": "short"}, say="Talk little"))
    service.wait(process, "Success")
    person.go("/runs/1")
    page = person.page
    assert len(numbers(person)) == 200
    said = page.locator("#trace-items > .is-text")
    expect(said.filter(has_text="needle")).to_have_count(2)  # 307 and 407
    page.keyboard.press("/")
    page.keyboard.type("NEEDLE")
    found = page.locator("#trace-found li")
    expect(found.filter(has_text=re.compile(r" needle \d+ *$"))).to_have_count(5)
    shown = page.locator("#trace-items > li:visible")
    assert all("needle" in text.lower() for text in shown.all_text_contents())
    person.check("run-search")
    found.filter(has_text=re.compile(r" needle 7 *$")).click()
    page.wait_for_url(re.compile(r"\?at=\d+#e\d+"))
    target = page.locator(":target")
    expect(target).to_contain_text("needle 7")
    expect(target).to_be_in_viewport()
    page.get_by_role("link", name="The newest").click()

    pane = page.locator("#trace-pane")
    expect(page.locator("#trace-items > li").last).to_be_in_viewport()
    for expected in (400, 600):
        pane.evaluate(TO_THE_TOP)
        first = page.locator("#trace-items > li").first
        before = first.get_attribute("id")
        page.locator("[data-earlier]").click()
        total = service.events(process)[-1]["number"]
        expect(page.locator("#trace-items > li")).to_have_count(min(expected, total))
        expect(page.locator(f"#{before}")).to_be_in_viewport()
    assert numbers(person) == sorted(set(numbers(person)))
    expect(page.locator("[data-earlier]")).to_have_count(0)

    page.locator(".stage").first.locator("a", has_text="Analysis").click()
    expect(page.locator("#trace-items > li.is-current")).to_contain_text("Analysis")
    page.keyboard.press("j")
    second = page.locator("#trace-items > li.is-current").get_attribute("id")
    page.keyboard.press("k")
    assert page.locator("#trace-items > li.is-current").get_attribute("id") != second
    page.keyboard.press("e")
    expect(page.locator("#trace-items > li.is-current details")).to_have_attribute("open", "")
    page.keyboard.press("g")
    expect(page.locator("#trace-items > li").last).to_be_in_viewport()

    with chromium.person(service.url, javascript=False) as reader:
        reader.sign_in(service.key)
        reader.go("/runs/1")
        assert len(numbers(reader)) == 200
        reader.page.get_by_role("link", name="Earlier").click()
        reader.page.wait_for_url("**/runs/1?before=*")
        assert max(numbers(reader)) < min(numbers(person)[-200:])
        reader.page.locator("#trace-q").fill("needle 207")
        reader.page.locator("#trace-q").press("Enter")
        hits = reader.page.locator("#trace-found li")
        expect(hits.filter(has_text=re.compile(r" needle 207 *$"))).to_have_count(1)


def test_hostile_text_is_text(service: Service, git: GitServer, person: Person) -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)> \u202egnp.exe\u2066 {{7*7}}"
    process = start(
        service,
        git,
        dummy(
            {"say": hostile},
            {"think": hostile},
            {"write": [f"{hostile[:8]}.html", hostile]},
            {"run": f"echo '{hostile}'"},
            {"line": 1_000_000},
            {"say": "long " + "x" * 100_000},
            say=hostile,
        ),
    )
    service.wait(process)
    person.go("/runs/1")
    page = person.page
    for fold in page.locator("details.call, details.fold").all():
        fold.evaluate("fold => { fold.open = true; }")
    assert page.locator("main script, main img").count() == 0
    assert "\u202e" not in page.locator("main").inner_text()
    expect(page.locator("#trace-items")).to_contain_text("<script>alert(1)</script>")
    person.check("run-hostile")
    whole = page.locator("a", has_text="characters more").first.get_attribute("href")
    answer = page.request.get(service.url + str(whole))
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_it_is_followed_on_a_phone(service: Service, git: GitServer, person: Person) -> None:
    process = start(service, git, dummy(*SHOWY, waits(), {"say": "the last word"}, say="Add a greeting"))
    person.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    service.wait_for(process, is_event("run.started"))
    person.go("/runs/1")
    page = person.page
    expect(page.locator("#run-head")).to_be_in_viewport()  # nobody is thrown to the end of a page
    expect(page.locator("#trace-items > li").last).to_contain_text(waits()["run"])
    expect(page.locator("#to-end")).to_be_visible()
    page.locator("#to-end").click()
    expect(page.locator("#to-end")).to_be_hidden()
    service.let_go(process)
    service.wait(process, "Success")
    expect(page.locator(f"#e{service.events(process)[-1]['number']}")).to_be_attached()
    expect(page.locator("#trace-items > li").last).to_be_in_viewport()
