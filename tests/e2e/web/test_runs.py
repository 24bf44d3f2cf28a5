"""The list of runs in a browser: live, filtered, endless, and whatever a prompt holds is text."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.browser import DESKTOP, PHONE, Chromium, Person
from tests.support.cli import TREADLE
from tests.support.git_server import GitServer
from tests.support.service import Service, step, waits

HOSTILE = 'dummy: <script>alert(1)</script> <b>bold</b> \u202egnp.exe\u202c [{"say": "done"}]'


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "data", SLOTS="1") as running:
        yield running


@pytest.fixture
def person(service: Service, chromium: Chromium) -> Iterator[Person]:
    with chromium.person(service.url) as somebody:
        somebody.sign_in(service.key)
        yield somebody


def start(service: Service, git: GitServer, text: str, branch: str) -> str:
    return service.start(
        gitUrl=git.url("acme/demo"),
        gitHttpCredentials=HTTP_CREDENTIALS,
        branchSource="main",
        branchWork=branch,
        engine="Dummy",
        steps=[step(text)],
    )


def test_it_is_live_and_says_what_waits(service: Service, git: GitServer, person: Person) -> None:
    person.go("/runs")
    expect(person.page.get_by_text("No runs yet")).to_be_visible()
    person.check("runs-empty")
    first = start(service, git, f"dummy: Take your time\n{json.dumps([waits(), {'say': 'done'}])}", "work")
    row = person.page.locator(".run-row", has_text="Take your time")
    expect(row.get_by_text("Running")).to_be_visible()
    expect(person.page.get_by_text("No runs yet")).to_have_count(0)
    second = start(service, git, "dummy: Wait for it\n[]", "work")
    waiting = person.page.locator(".run-row", has_text="Wait for it")
    expect(waiting).to_contain_text("another run has its work branch")
    person.check("runs")
    service.let_go(first)
    service.wait(first, "Success")
    service.wait(second, "Success")
    expect(row.get_by_text("Success")).to_be_visible()
    expect(waiting.get_by_text("Success")).to_be_visible()
    expect(person.page.locator("#run-rows > li")).to_have_count(2)
    expect(person.page.locator("#run-rows > li").first).to_contain_text("dummy: Wait for it")


def test_filters_are_in_the_url(service: Service, git: GitServer, person: Person) -> None:
    for name in ("alder", "birch", "cedar"):
        service.wait(start(service, git, f'dummy: Plant a {name}\n[{{"say": "done"}}]', f"{name}-work"), "Success")
    service.wait(start(service, git, 'dummy: Broken\n[{"fail": 400}]', "broken"), "Failed")
    person.go("/runs")
    person.page.get_by_role("link", name="Failed 1").click()
    expect(person.page.locator("#run-rows > li")).to_have_count(1)
    expect(person.page).to_have_url(re.compile("status=Failed"))
    person.page.get_by_role("searchbox").fill("BIRCH plant")
    person.page.get_by_role("searchbox").press("Enter")
    expect(person.page.get_by_text("No run fits these filters.")).to_be_visible()
    person.go("/runs?q=BIRCH+plant")
    expect(person.page.locator("#run-rows > li")).to_have_count(1)
    person.page.locator("#run-rows > li a").click()
    expect(person.page).to_have_url(re.compile("/runs/2"))


def test_it_goes_on_as_one_scrolls(service: Service, git: GitServer, person: Person) -> None:
    for number in range(55):
        start(service, git, 'dummy: Many\n[{"say": "done"}]', f"work-{number}")
    person.go("/runs")
    expect(person.page.locator("#run-rows > li")).to_have_count(50)
    person.page.locator("#run-more").scroll_into_view_if_needed()
    expect(person.page.locator("#run-rows > li")).to_have_count(55)
    expect(person.page.locator("[data-more]")).to_have_count(0)


def test_what_is_hostile_is_text(service: Service, git: GitServer, person: Person) -> None:
    service.wait(start(service, git, HOSTILE, "work"))
    person.go("/runs")
    title = person.page.locator(".run-title")
    expect(title).to_contain_text("<script>alert(1)</script> <b>bold</b> U+202Egnp.exe")
    assert person.page.locator(".run-title b").count() == 0


def test_it_reads_without_javascript(service: Service, git: GitServer, chromium: Chromium) -> None:
    service.wait(start(service, git, 'dummy: Plain\n[{"say": "done"}]', "work"), "Success")
    with chromium.person(service.url, javascript=False) as person:
        person.sign_in(service.key)
        person.go("/runs")
        expect(person.page.locator("#run-rows > li")).to_contain_text("Success")


def test_a_member_sees_its_own(service: Service, git: GitServer, chromium: Chromium) -> None:
    service.wait(start(service, git, 'dummy: Of the admin\n[{"say": "done"}]', "work"), "Success")

    def admin(*arguments: str) -> str:
        command = [str(TREADLE), "admin", *arguments]
        done = subprocess.run(
            command, env=service.environment(), capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    admin("user", "add", "member@example.org", "--org", "1", "--role", "MEMBER")
    key = admin("key", "create", "--user", "member@example.org", "--org", "1").split()[0]
    with chromium.person(service.url) as person:
        person.sign_in(key)
        person.go("/runs")
        expect(person.page.get_by_text("No runs yet")).to_be_visible()
        expect(person.page.get_by_role("link", name="System")).to_have_count(0)


def test_a_row_of_many_steps_keeps_its_columns_apart(service: Service, git: GitServer, person: Person) -> None:
    texts = [f"dummy: Step {number}\n[]" for number in range(20)]
    service.start(
        gitUrl=git.url("acme/demo"),
        gitHttpCredentials=HTTP_CREDENTIALS,
        branchSource="main",
        branchWork="many",
        engine="Dummy",
        steps=[step(text) for text in texts],
    )
    expect(person.page.locator(".run-row", has_text="Step 0")).to_be_visible()
    for size in (DESKTOP, PHONE):
        person.page.set_viewport_size({"width": size[0], "height": size[1]})
        # In one look: the list is live, and another row may stand there at the next.
        bar, last, when = person.page.evaluate(
            """() => [".steps-bar", ".steps-bar i:last-of-type", ".run-when"].map(part => {
                const {left, right} = document.querySelector(`.run-row ${part}`).getBoundingClientRect();
                return {left, right};
            })"""
        )
        assert bar["right"] - bar["left"] > 40
        assert bar["right"] <= when["left"], size
        assert last["right"] <= bar["right"] + 1
