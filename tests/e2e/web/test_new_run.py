"""A run started at the page in a browser: steps, files, what is wrong, and on to its page, where it goes live."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.browser import Chromium, Person
from tests.support.cli import TREADLE
from tests.support.git_server import GitServer
from tests.support.service import Service

FIRST = 'dummy: Add a counter\n[{"sleep": 1}, {"write": ["src/count.py", "print(1)\\n"]}, {"say": "done"}]'
SECOND = 'dummy: Look at it\n[{"phase": "analysis", "say": "It is fine"}]'


@pytest.fixture
def service(tmp_path: Path, git: GitServer) -> Iterator[Service]:
    with Service(tmp_path / "data", SLOTS="2") as running:
        git.commit("acme/demo", {"a.txt": "a"}, branch="develop")
        secret = tmp_path / "credentials"
        secret.write_text(HTTP_CREDENTIALS)
        command = [
            *(str(TREADLE), "admin", "repo", "add", "--org", "1", "--url", git.url("acme/demo"), "--name", "acme/demo"),
            *("--http-credentials-file", str(secret)),
        ]
        subprocess.run(command, env=running.environment(), capture_output=True, text=True, timeout=60, check=True)
        yield running


@pytest.fixture
def person(service: Service, chromium: Chromium) -> Iterator[Person]:
    with chromium.person(service.url) as somebody:
        somebody.sign_in(service.key)
        yield somebody


def texts(page: Page) -> list[str]:
    page.wait_for_load_state()  # all of them
    return [each.input_value() for each in page.locator("#steps textarea").all()]


def test_a_run_with_files_goes_live_to_success(
    service: Service, git: GitServer, person: Person, tmp_path: Path
) -> None:
    page = person.page
    person.go("/runs")
    page.get_by_role("link", name="New run", exact=True).click()
    expect(page.get_by_label("Repository", exact=True)).to_have_value("1")
    expect(page.get_by_label("From branch")).to_have_value("main")
    expect(page.locator("#branches option")).to_have_count(2)
    expect(page.get_by_text("2 branches are offered.")).to_be_visible()
    expect(page.get_by_role("group", name="Another address")).to_be_hidden()
    page.get_by_label("What to do").fill(FIRST)
    page.get_by_role("button", name="Add a step").click()
    page.get_by_label("What to do").nth(1).fill(SECOND)
    page.get_by_label("Analysis only").nth(1).check()
    page.get_by_label("Engine", exact=True).select_option("Dummy")
    for name in ("notes.txt", "<b>hostile</b>.txt"):
        (tmp_path / name.replace("/", "_")).write_text("Read me")
    page.get_by_label("Files to show the engine").set_input_files(tmp_path / "notes.txt")
    page.get_by_label("Files to show the engine").set_input_files(tmp_path / "<b>hostile<_b>.txt")
    expect(page.get_by_role("list", name="Chosen files").get_by_role("listitem")).to_have_count(2)
    expect(page.get_by_text("<b>hostile<_b>.txt")).to_be_visible()
    person.check("new-run")
    page.get_by_role("button", name="Start the run").click()
    page.wait_for_url(re.compile(r"/runs/\d+$"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("Add a counter")
    expect(page.locator("#run-head").get_by_text("Success")).to_be_visible()
    run_id = page.url.rpartition("/")[2]
    branch = service.request("GET", "/code-generation/processes").json()[0]["branchWork"]
    assert branch.startswith(f"treadle/{run_id}-dummy-add-a-counter")
    assert len(git.log("acme/demo", branch)) == 2
    found = service.request("GET", "/code-generation/processes").json()
    assert len(found) == 1
    assert [step["isCommitableStep"] for step in found[0]["steps"]] == [True, False]
    assert len(found[0]["fileIds"]) == 2


def test_steps_are_moved_by_buttons_keys_and_the_pointer(person: Person) -> None:
    page = person.page
    person.go("/runs/new")
    for at, text in enumerate(("one", "two", "three")):
        if at:
            page.get_by_role("button", name="Add a step").click()
        page.get_by_label("What to do").nth(at).fill(text)
    page.get_by_label("Analysis only").nth(2).check()
    page.get_by_label("Structured answer").nth(1).check()
    page.get_by_role("button", name="Move step 3 up").click()
    assert texts(page) == ["one", "three", "two"]
    expect(page.get_by_label("Analysis only").nth(1)).to_be_checked()
    expect(page.get_by_label("Change and commit").nth(2)).to_be_checked()
    expect(page.get_by_label("Structured answer").nth(2)).to_be_checked()
    expect(page.get_by_role("button", name="Move step 2 up")).to_be_focused()
    page.get_by_label("What to do").nth(0).press("Alt+ArrowDown")
    assert texts(page) == ["three", "one", "two"]
    expect(page.get_by_label("What to do").nth(1)).to_be_focused()
    page.locator("[data-grip]").nth(2).drag_to(page.locator("[data-grip]").nth(0))
    assert texts(page) == ["two", "three", "one"]
    expect(page.get_by_label("Analysis only").nth(1)).to_be_checked()
    assert [each.get_attribute("name") for each in page.locator("#steps textarea").all()] == [
        "step-0",
        "step-1",
        "step-2",
    ]
    page.get_by_role("button", name="Remove step 2").click()
    assert texts(page) == ["two", "one"]
    expect(page.get_by_label("What to do").nth(1)).to_be_focused()
    for _ in range(2):
        page.get_by_role("button", name="Remove step 1").click()
    assert texts(page) == [""]


def test_with_the_keyboard_alone(service: Service, person: Person) -> None:
    page = person.page
    person.go("/runs/new")
    page.get_by_label("Repository", exact=True).focus()

    def to(label: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "(document.activeElement.labels?.[0]?.innerText ?? '') + '|' + (document.activeElement.ariaLabel ?? "
                "document.activeElement.innerText ?? '')"
            )
            if label in focused.split("|"):
                return
        raise AssertionError(f"{label} is out of reach")

    to("What to do")
    page.keyboard.type('dummy: Typed\n[{"say": "done"}]')
    to("Change and commit")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("Analysis only").first).to_be_checked()
    to("+ Add a step")
    page.keyboard.press("Enter")
    expect(page.get_by_label("What to do").nth(1)).to_be_focused()
    page.keyboard.type('dummy: Second\n[{"say": "done"}]')
    to("Engine")
    page.keyboard.type("D")  # of one letter: of more those that come late would begin another name
    to("Start the run")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/runs/\d+$"))
    expect(page.locator("#run-head").get_by_text("Success")).to_be_visible()
    assert len(service.request("GET", "/code-generation/processes").json()) == 1


def test_what_is_wrong_stands_beside_its_field(service: Service, person: Person) -> None:
    person.expect_console("400 \\(Bad Request\\)")
    page = person.page
    person.go("/runs/new")
    page.get_by_label("Repository", exact=True).select_option("other")
    page.get_by_label("Address", exact=True).fill("ext::sh")
    page.get_by_label("From branch").fill("a..b")
    page.get_by_label("What to do").fill("<script>alert(1)</script>")
    page.get_by_label("HTTP credentials").fill("ada:secret")
    page.get_by_label("Address", exact=True).press("Enter")  # as the start button
    expect(page.get_by_role("alert")).to_contain_text("Nothing has started yet")
    expect(page.get_by_label("Address", exact=True)).to_be_focused()
    expect(page.get_by_label("Address", exact=True)).to_have_accessible_description(re.compile("remote helper"))
    expect(page.get_by_label("From branch")).to_have_accessible_description(re.compile("holds no '..'"))
    expect(page.get_by_label("From branch")).to_have_value("a..b")
    expect(page.get_by_label("What to do")).to_have_value("<script>alert(1)</script>")
    expect(page.get_by_label("HTTP credentials")).to_have_value("")
    expect(page.get_by_text("never sent back to the page")).to_be_visible()
    person.check("new-run-faults")
    assert service.request("GET", "/code-generation/processes").json() == []


def test_a_plan_fills_in_the_form(person: Person, git: GitServer) -> None:
    page = person.page
    person.go("/runs/new")
    page.get_by_text("Paste a plan").click()
    page.get_by_label("Plan as YAML").fill(
        f"repo: {git.url('acme/demo')}\nbranch: feature/x\nengine: Dummy\nsteps:\n  - Add it\n  - analysis: Look\n"
    )
    page.get_by_role("button", name="Fill in the form").click()
    expect(page.get_by_text("The plan is filled in below.")).to_be_visible()
    assert texts(page) == ["Add it", "Look"]
    expect(page.get_by_label("Work branch")).to_have_value("feature/x")
    expect(page.get_by_label("Repository", exact=True)).to_have_value("1")
    person.check("new-run-plan")


def test_two_clicks_start_one_run(service: Service, person: Person) -> None:
    page = person.page
    person.go("/runs/new")
    page.get_by_label("What to do").fill('dummy: Once\n[{"say": "done"}]')
    page.get_by_label("Engine", exact=True).select_option("Dummy")
    page.get_by_role("button", name="Start the run").dblclick()
    page.wait_for_url(re.compile(r"/runs/\d+$"))
    assert len(service.request("GET", "/code-generation/processes").json()) == 1


def test_it_works_without_javascript(service: Service, chromium: Chromium, tmp_path: Path) -> None:
    with chromium.person(service.url, javascript=False) as person:
        person.sign_in(service.key)
        page = person.page
        person.go("/runs/new")
        page.get_by_label("What to do").fill('dummy: Plain\n[{"say": "done"}]')
        (tmp_path / "kept.txt").write_text("kept")
        page.get_by_label("Files to show the engine").set_input_files(tmp_path / "kept.txt")
        page.get_by_role("button", name="Add a step").click()
        page.get_by_label("What to do").nth(1).fill('dummy: Second\n[{"say": "done"}]')
        expect(page.get_by_label("kept.txt")).to_be_checked()
        page.get_by_role("button", name="Move step 2 up").click()
        expect(page.get_by_label("What to do").first).to_have_value(re.compile("^dummy: Second"))
        page.get_by_label("Engine", exact=True).select_option("Dummy")
        page.get_by_role("button", name="Start the run").click()
        page.wait_for_url(re.compile(r"/runs/\d+$"))
    found = service.request("GET", "/code-generation/processes").json()
    service.wait(found[0]["id"], "Success")
    assert [step["step"].split("\n")[0] for step in found[0]["steps"]] == ["dummy: Second", "dummy: Plain"]
    assert len(found[0]["fileIds"]) == 1
