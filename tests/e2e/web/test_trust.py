"""What a run may spend, reach and know, and who did what, in a browser at a real service."""

import json
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

SECRET = "canary-of-a-repository-secret"


@pytest.fixture
def service(tmp_path: Path, git: GitServer) -> Iterator[Service]:
    with Service(tmp_path / "data", SLOTS="2") as running:
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


def script(*actions: dict[str, object]) -> str:
    return f"dummy: Do it\n{json.dumps(actions)}"


def ask(page: Page, *actions: dict[str, object]) -> None:
    """On the form of a new run: what it does, with the Dummy engine."""
    page.get_by_label("What to do").fill(script(*actions))
    page.get_by_label("Engine", exact=True).select_option("Dummy")


def start(page: Page) -> None:
    page.get_by_role("button", name="Start the run").click()
    page.wait_for_url(re.compile(r"/runs/\d+$"))


def ends(page: Page, status: str) -> None:
    expect(page.locator("#run-head").get_by_text(status, exact=True)).to_be_visible()


def test_a_secret_reaches_the_run_and_no_page(person: Person, git: GitServer) -> None:
    page = person.page
    person.go("/repositories/1")
    page.get_by_text("Set a secret").click()
    page.get_by_label("Name", exact=True).fill("GIT_SSH_COMMAND")
    page.get_by_label("Value").fill(SECRET)
    person.expect_console("status of 400")
    page.get_by_role("button", name="Keep the secret").click()
    expect(page.get_by_text("Is reserved")).to_be_visible()
    expect(page.get_by_label("Value")).to_have_value("")
    assert page.get_by_label("Value").evaluate("field => getComputedStyle(field).webkitTextSecurity") == "disc"
    page.get_by_label("Name", exact=True).fill("PACKAGES_TOKEN")
    page.get_by_label("Value").fill(f"{SECRET}\nof two lines")
    person.check("repository-secret")
    page.get_by_role("button", name="Keep the secret").click()
    expect(page.get_by_text("The secret is kept")).to_be_visible()
    assert SECRET not in page.content()
    person.check("repository-secrets")

    page.get_by_role("link", name="New run here").click()
    ask(page, {"run": 'echo "it is <$PACKAGES_TOKEN>"; printf %s "$PACKAGES_TOKEN" | wc -c > size.txt'})
    start(page)
    ends(page, "Success")
    page.reload()
    assert SECRET not in page.content()
    expect(page.locator("#trace-items")).to_contain_text("it is <")
    branch = page.locator("#branch-work").inner_text()
    assert git.show("acme/demo", branch, "size.txt").strip() == str(len(SECRET) + len("\nof two lines")).encode()

    person.go("/repositories/1")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Remove the secret PACKAGES_TOKEN").click()
    expect(page.get_by_text(re.compile(r"set (just now|\d+ min ago)"))).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Remove the secret PACKAGES_TOKEN").click()
    expect(page.get_by_text("The secret is removed.")).to_be_visible()


def test_a_budget_ends_a_run_and_a_month_refuses_the_next(person: Person) -> None:
    page = person.page
    person.go("/settings")
    person.expect_console("status of 400")
    page.get_by_label("A run that names no budget").fill("half a dollar")
    page.get_by_role("button", name="Save budgets").click()
    expect(page.get_by_text("Must be an amount in US dollars")).to_be_visible()
    page.get_by_label("A run that names no budget").fill("0.50")
    page.get_by_label("All runs in a month").fill("$2")
    page.get_by_role("button", name="Save budgets").click()
    expect(page.get_by_text("The budgets are changed")).to_be_visible()
    person.check("settings-budgets")

    person.go("/runs/new")
    expect(page.get_by_text("Empty: $0.50. Left this month: $2.00.")).to_be_visible()
    ask(page, {"usage": {"input": 12_000, "output": 900, "cost": 0.7}}, {"write": ["a.txt", "a"]})
    start(page)
    ends(page, "Failed")
    expect(page.get_by_role("heading", name="The budget is used up")).to_be_visible()
    expect(page.locator("#run-head")).to_contain_text("$0.70 of $0.50")
    expect(page.locator("#trace-items")).to_contain_text("The run's budget is used up")
    person.check("run-budget")
    page.get_by_label("What is to be done").fill("Go on")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("alert")).to_contain_text("its budget is $0.50")
    page.get_by_label("Budget (US dollars").fill("0.6")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Must be more than the $0.70 that the run has cost.")).to_be_visible()
    page.get_by_label("Budget (US dollars").fill("1.50")
    page.get_by_role("button", name="Resume").click()
    ends(page, "Success")
    expect(page.locator("#run-head")).to_contain_text("$0.70 of $1.50")

    person.go("/settings")
    page.get_by_label("All runs in a month").fill("0.70")
    page.get_by_role("button", name="Save budgets").click()
    expect(page.get_by_text("The budgets are changed")).to_be_visible()
    person.go("/costs")
    expect(page.get_by_text("Nothing is left")).to_be_visible()
    person.check("usage-month-used-up")
    page.get_by_role("link", name="By month").click()
    expect(page.get_by_role("heading", name="Cost by the month")).to_be_visible()
    person.check("usage-by-month")
    person.go("/runs/new")
    ask(page, {"say": "no"})
    page.get_by_role("button", name="Start the run").click()
    expect(page.get_by_role("alert")).to_contain_text("The organization's runs have cost $0.70")


def test_a_run_has_the_policy_that_was_chosen(person: Person) -> None:
    page = person.page
    person.go("/repositories/1")
    expect(page.get_by_label("Hosts, one a line")).to_be_hidden()
    page.get_by_label("May connect to").select_option("allow")
    page.get_by_label("Hosts, one a line").fill("pkg.test\n*.example.net")
    person.check("repository-network")
    page.get_by_role("button", name="Save policy").click()
    expect(page.get_by_text("The network policy is changed")).to_be_visible()
    page.get_by_label("A step that would commit a key or a token fails").uncheck()
    page.get_by_role("button", name="Save switch").click()
    expect(page.get_by_text("The search for secrets in commits is changed")).to_be_visible()
    expect(page.get_by_label("A step that would commit a key or a token fails")).not_to_be_checked()

    person.go("/runs/new")
    expect(page.get_by_text("Usual here: the model, pkg.test, *.example.net.")).to_be_visible()
    page.get_by_label("Repository", exact=True).select_option("other")
    expect(page.get_by_text("Usual here: the model, and nothing else.")).to_be_visible()
    page.get_by_label("Repository", exact=True).select_option("1")
    key = "AKIA" + "IOSFODNN7" + "ABCDEFG"
    ask(page, {"say": "Hello"}, {"write": ["config/keys.env", f"AWS_ACCESS_KEY_ID={key}\n"]})
    page.get_by_label("May connect to").select_option("allow")
    page.get_by_label("Hosts, one a line").fill("127.0.0.1")
    person.expect_console("status of 400")
    page.get_by_role("button", name="Start the run").click()
    expect(page.get_by_text("is an address; name the host.")).to_be_visible()
    page.get_by_label("Hosts, one a line").fill("pkg.test")
    page.get_by_label("Budget in US dollars").fill("3")
    person.check("new-run-bounds")
    start(page)
    ends(page, "Success")
    expect(page.locator("#run-head")).to_contain_text("the model, pkg.test")
    expect(page.locator("#run-head").get_by_text("not enforced")).to_have_count(0)
    expect(page.locator("#trace-items")).to_contain_text("Committed all the same")
    expect(page.locator("#trace-items")).to_contain_text("config/keys.env:1")
    person.check("run-policy")
    page.get_by_role("link", name="Change and run again").click()
    expect(page.get_by_label("Hosts, one a line")).to_have_value("pkg.test")
    expect(page.get_by_label("Budget in US dollars")).to_have_value("3.00")


def test_an_admin_reads_the_audit_log_and_signs_others_out(
    service: Service, person: Person, chromium: Chromium
) -> None:
    page = person.page
    person.go("/settings/members")
    page.get_by_role("textbox", name="E-mail").fill("ada@treadle.test")
    page.get_by_role("button", name="Add member").click()
    key = page.locator("#new-key").inner_text()
    with chromium.person(service.url) as member:
        member.sign_in(key)
        member.go("/settings")
        expect(member.page.get_by_role("link", name="Audit log")).to_have_count(0)
        member.expect_console("status of 403")
        member.go("/settings/audit")
        expect(member.page.get_by_role("heading", name="Not allowed")).to_be_visible()
        person.go("/settings/members")
        person.check("members-sign-out")
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Sign out ada@treadle.test everywhere").click()
        expect(page.get_by_text("is signed out everywhere")).to_be_visible()
        member.go("/runs")
        expect(member.page).to_have_url(re.compile("/sign-in"))

    page.get_by_role("link", name="Audit log").click()
    expect(page.get_by_role("row").filter(has_text="session.revoked")).to_be_visible()
    person.check("audit")
    page.get_by_label("Action").select_option("member.")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile(r"action=member\."))
    expect(page.get_by_role("row").filter(has_text="member.added")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="session.revoked")).to_have_count(0)
    page.get_by_label("By", exact=True).select_option(label="ada@treadle.test")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("Nothing like that has happened.")).to_be_visible()
    person.check("audit-nothing")
    person.go("/settings/audit?since=2999-01-01")
    expect(page.get_by_text("Nothing like that has happened.")).to_be_visible()
    page.get_by_role("link", name="Everything").click()
    expect(page.get_by_role("row").filter(has_text="session.revoked")).to_be_visible()
