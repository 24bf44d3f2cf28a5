"""Batches, schedules, plans and validation in a browser at a real service."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import expect
from tests.support.browser import PATIENCE_MS, Chromium, Person
from tests.support.git_server import GitServer
from tests.support.many_repositories import MISSING, PLAN, VALIDATION, WELL, many
from tests.support.service import Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "data", SLOTS="2", SANDBOX="none", ALLOW_LOCAL_REPOSITORIES="1") as running:
        yield running


@pytest.fixture
def person(service: Service, chromium: Chromium) -> Iterator[Person]:
    with chromium.person(service.url) as somebody:
        somebody.sign_in(service.key)
        yield somebody


def test_a_batch_is_asked_for_watched_and_tried_again(service: Service, person: Person, tmp_path: Path) -> None:
    house, page = many(tmp_path / "many", 6, (MISSING, VALIDATION), every=3), person.page
    person.go("/automation")
    person.check("automation")
    page.get_by_role("link", name="Batches", exact=True).click()
    expect(page.get_by_role("heading", name="No batches yet")).to_be_visible()
    page.get_by_role("link", name="New batch").click()
    plan = page.get_by_label("Plan as YAML")
    # What is wrong is said beside the plan, with its line; and what is written stays.
    person.expect_console("status of 400")
    plan.fill("steps: []\nsteos: [x]\n")
    page.get_by_role("button", name="Check the plan").click()
    expect(page.locator("#batch-plan-error")).to_contain_text("steos: is not a key of a plan")
    expect(plan).to_have_value("steps: []\nsteos: [x]\n")
    person.check("batch-new-refused")
    plan.fill(yaml.safe_dump(PLAN, sort_keys=False))
    page.get_by_role("button", name="Check the plan").click()
    expect(page.get_by_role("status").first).to_contain_text("The plan is fine: 1 step, with the variables")
    page.get_by_label("Addresses or names").fill("\n".join(line_of(target) for target in house.targets))
    page.get_by_label("Runs at once").fill("2")
    page.get_by_label("Budget in US dollars").fill("5")
    person.check("batch-new")
    page.get_by_role("button", name="Start the batch").last.click()
    expect(page.get_by_text("The batch is started.")).to_be_visible()
    # It is live: nobody loads it again.
    state = page.locator("#batch-state")
    expect(state).to_contain_text("6 of 6 done", timeout=PATIENCE_MS)
    expect(state.get_by_text("Failed").first).to_be_visible()
    expect(page.locator("#item-3")).to_contain_text(MISSING.said)
    expect(page.locator("#item-6")).to_contain_text(VALIDATION.said)
    expect(page.locator("#item-1")).to_contain_text("1 commit")
    page.get_by_role("link", name=re.compile("^Failed")).click()
    expect(page.locator("#batch-items tbody tr")).to_have_count(2)
    page.get_by_role("link", name=re.compile("^All")).click()
    expect(page.locator("#batch-items tbody tr")).to_have_count(6)
    person.check("batch")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert (text.count("Success"), text.count("Failed")) == (4, 2)
    # Another try of the two, of which one is mended.
    house.mend()
    page.get_by_role("button", name="Try 2 again").click()
    expect(page.get_by_text("is tried again")).to_be_visible()
    expect(state).to_contain_text("5 succeeded", timeout=PATIENCE_MS)
    expect(page.get_by_role("button", name="Try 1 again")).to_be_visible(timeout=PATIENCE_MS)
    page.locator("#item-3").get_by_role("link", name=re.compile("^Run")).click()
    expect(page.get_by_text("Part of")).to_contain_text("batch Everywhere")
    person.go("/automation/batches")
    expect(page.locator("tbody tr")).to_have_count(1)
    person.check("batches")


def line_of(target: dict[str, object]) -> str:
    variables = target["variables"]
    assert isinstance(variables, dict)
    return " ".join([str(target["url"]), *(f"'{name}={value}'" for name, value in variables.items())])


def test_a_schedule_is_made_fired_and_switched_off(service: Service, person: Person, tmp_path: Path) -> None:
    house, page = many(tmp_path / "many", 1, ()), person.page
    person.go("/automation/schedules")
    page.get_by_role("link", name="New schedule").click()
    page.get_by_label("Name", exact=True).fill("Every night")
    page.get_by_label("Cron expression").fill("61 6 * * *")
    page.get_by_label("Time zone").fill("Europe/Paris")
    page.get_by_label("Plan as YAML").fill(f"engine: dummy\nbranch: nightly\nsteps:\n  - 'dummy: [{WELL}]'\n")
    page.get_by_label("Or at an address").fill(f"file://{house.path(1)}")
    person.expect_console("status of 400")
    page.get_by_role("button", name="Make the schedule").click()
    expect(page.locator("#schedule-cron-error")).to_contain_text("Is no cron expression")
    expect(page.get_by_label("Or at an address")).to_have_value(f"file://{house.path(1)}")
    person.check("schedule-new-refused")
    page.get_by_label("Cron expression").fill("30 6 * * MON-FRI")
    page.get_by_role("button", name="Make the schedule").click()
    expect(page.get_by_text("The schedule is made")).to_be_visible()
    expect(page.locator(".coming li")).to_have_count(5)
    page.get_by_role("button", name="Fire now").click()
    expect(page.get_by_text("It fires as soon as")).to_be_visible()
    started = page.locator("tbody").get_by_role("link", name=re.compile("^Run"))
    person.until_shown(started)
    person.check("schedule")
    page.get_by_role("button", name="Switch off").click()
    expect(page.get_by_text("It is off.")).to_be_visible()
    person.go("/automation/schedules")
    expect(page.locator("tbody tr")).to_contain_text("off")
    person.check("schedules")


CHECKED_PLAN = """
description: Write an answer
branch: answer
engine: dummy
variables: {answer: {description: What is written}}
steps: ['dummy: [{"write": ["answer.txt", "${{ answer }}\\n"]}, {"write": ["answer.txt", "42\\n"], "repair": 1}]']
"""


def test_a_repositorys_plan_is_started_with_its_validation(service: Service, person: Person, tmp_path: Path) -> None:
    with GitServer() as git:
        git.create("acme/shop", {"README.md": "# Shop\n", ".treadle/plans/answer.yaml": CHECKED_PLAN})
        git.commit("acme/shop", {".treadle/plans/broken.yaml": "steps: 3\n"})
        page = person.page
        person.go("/repositories/new")
        page.get_by_label("Address", exact=True).fill(git.url("acme/shop"))
        page.get_by_role("button", name="Register").click()
        page.get_by_label("What must pass").fill("grep -qx 42 answer.txt || { echo 'not 42'; exit 3; }")
        page.get_by_role("button", name="Save validation").click()
        expect(page.get_by_text("The validation commands are kept")).to_be_visible()
        page.get_by_role("link", name="Look up its plans").click()
        expect(page.get_by_text("steps: must be a list")).to_be_visible()
        person.check("repository-plans")
        page.get_by_role("link", name="Start the plan answer").click()
        page.get_by_label("answer", exact=True).fill("41")
        person.check("new-run-variables")
        page.get_by_role("button", name="Fill in the form").click()
        expect(page.get_by_text("The plan is filled in below.")).to_be_visible()
        expect(page.get_by_label("Work branch")).to_have_value("answer")
        person.check("new-run-planned")
        page.get_by_role("button", name="Start the run").last.click()
        page.wait_for_url(re.compile(r"/runs/\d+$"))
        expect(page.locator("#run-head .status")).to_have_text("Success", timeout=PATIENCE_MS)
        checked = page.locator("#validation-1")
        expect(checked).to_contain_text("Validation passed, 2 tries")
        checked.locator("summary").first.click()
        checked.locator("summary", has_text="Output").click()
        expect(checked.locator("pre")).to_have_text("not 42\n")
        expect(checked).to_contain_text("exit code 3")
        person.check("run-validation")


def test_a_batch_and_a_script_are_started_at_times(service: Service, person: Person, tmp_path: Path) -> None:
    house, page = many(tmp_path / "many", 2, ()), person.page
    person.go("/automation/schedules/new")
    kinds = page.get_by_role("navigation", name="What it starts")
    person.follow(kinds.get_by_role("link", name="A batch"))
    page.get_by_label("Name", exact=True).fill("Everywhere on leap days")
    page.get_by_label("Cron expression").fill("0 4 29 2 *")
    page.get_by_label("Plan as YAML").fill(yaml.safe_dump(PLAN, sort_keys=False))
    lines = "\n".join(line_of(target) for target in house.targets)
    page.get_by_label("Names or addresses").fill(f"acme/none\n{lines}")
    person.expect_console("status of 400")
    page.get_by_role("button", name="Make the schedule").click()
    expect(page.locator("#schedule-urls-error")).to_contain_text("Line 1")
    person.check("schedule-new-batch")
    page.get_by_label("Names or addresses").fill(lines)
    page.get_by_role("button", name="Make the schedule").click()
    expect(page.get_by_text("The schedule is made")).to_be_visible()
    page.get_by_role("button", name="Fire now").click()
    person.until_shown(page.locator("tbody").get_by_role("link", name=re.compile("^Batch")))
    person.check("schedule-batch")
    page.locator("tbody").get_by_role("link", name=re.compile("^Batch")).click()
    expect(page.locator("#batch-state")).to_contain_text("2 of 2 done", timeout=PATIENCE_MS)
    # A script of the service's own.
    person.go("/automation/scripts/new")
    page.get_by_label("Name", exact=True).fill("sweep")
    page.get_by_label("Source (Starlark)").fill('print("of " + inputs["schedule_date"] + inputs["what"])\n')
    person.follow(page.get_by_role("button", name="Save script"))
    page.get_by_label("Source (Starlark)").fill('print("of " + inputs["schedule_date"], inputs["what"])\n')
    person.follow(page.get_by_role("button", name="Save a version"))
    expect(page.get_by_text("The script is saved.")).to_be_visible()
    person.check("script-versions")
    page.get_by_text("Versions", exact=True).click()
    page.get_by_role("link", name="What version 2 changed").click()
    expect(page.locator(".small-diff .row-added")).to_have_count(1)
    person.check("script-changes")
    page.get_by_role("link", name="sweep", exact=True).click()
    page.get_by_role("link", name="Start it at times").click()
    expect(page.get_by_label("Script", exact=True)).to_have_value("sweep")
    page.get_by_label("Name", exact=True).fill("Sweep")
    page.get_by_label("Cron expression").fill("@yearly")
    page.get_by_label("Inputs").fill("what=dust")
    person.check("schedule-new-script")
    page.get_by_role("button", name="Make the schedule").click()
    page.get_by_role("button", name="Fire now").click()
    person.until_shown(page.locator("tbody").get_by_role("link", name=re.compile("^Script run")))
    page.locator("tbody").get_by_role("link", name=re.compile("^Script run")).click()
    expect(page.get_by_text(re.compile("of [0-9-]+ dust"))).to_be_visible(timeout=PATIENCE_MS)
    person.go("/automation/schedules")
    expect(page.locator("tbody tr")).to_have_count(2)
    person.check("schedules-of-kinds")
