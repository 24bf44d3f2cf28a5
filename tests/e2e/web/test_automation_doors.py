"""Triggers, webhooks and scripts in a browser at a real service."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import expect
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.browser import PATIENCE_MS, Chromium, Person
from tests.support.cli import Cli
from tests.support.forge_server import ForgeServer
from tests.support.git_server import GitServer
from tests.support.service import Service
from tests.support.webhooks import Receiver

from treadle.domain.repository import ForgeKind

NAME = "acme/demo"

PLAN = "source: main\nengine: Dummy\nsteps:\n  - 'dummy: Mend ${{ trigger.job }}'\n"

SCRIPT = """print("Hello, " + inputs["who"])
made = codegeneration.start(repository="acme/demo", branch_work="night", engine="Dummy", steps=[STEP])
ended = codegeneration.await(made.id)
output({"ended": ended.status})
"""


@pytest.fixture
def service(tmp_path: Path, git: GitServer) -> Iterator[Service]:
    """With a repository at a forge."""
    with (
        ForgeServer(ForgeKind.GITEA, git) as forge,
        Service(tmp_path / "data", SLOTS="2", SANDBOX="none", ALLOW_PRIVATE_HOSTS="1") as running,
    ):
        forge.add(NAME)
        cli = Cli(tmp_path / "admin")
        cli.environment.update(running.environment() | {"FORGE_TOKEN": forge.token, "GIT_LOGIN": HTTP_CREDENTIALS})
        cli.run(
            *("admin", "repo", "add", "--name", NAME, "--url", git.url(NAME), "--http-credentials-env", "GIT_LOGIN"),
            *("--forge", "gitea", "--forge-api-url", forge.api_url, "--forge-token-env", "FORGE_TOKEN"),
        )
        yield running


@pytest.fixture
def person(service: Service, chromium: Chromium) -> Iterator[Person]:
    with chromium.person(service.url) as somebody:
        somebody.sign_in(service.key)
        yield somebody


def test_a_trigger_url_is_made_called_and_looked_at(service: Service, person: Person) -> None:
    page = person.page
    person.go("/automation/triggers")
    person.check("triggers-none")
    page.get_by_role("link", name="Add the first").click()
    page.get_by_role("link", name=re.compile("^Trigger URL")).click()
    page.get_by_label("Name", exact=True).fill("Nightly build")
    page.get_by_label("Plan (YAML)").fill("steps: [")
    person.expect_console("status of 400")
    page.get_by_role("button", name="Add trigger").click()
    expect(page.get_by_text("Is not valid YAML")).to_be_visible()
    person.check("trigger-refused")
    page.get_by_label("Repository").select_option(label=NAME)
    page.get_by_label("Plan (YAML)").fill(PLAN)
    page.get_by_role("button", name="Add trigger").click()
    secret, address = page.locator("#hook-secret").inner_text(), page.locator("#hook-url").inner_text()
    with_token = page.locator("#hook-token-url").inner_text()
    person.check("trigger-secret")
    page.get_by_role("link", name="Done").click()
    expect(page.get_by_text("Nothing has arrived yet.")).to_be_visible()
    page.wait_for_load_state()
    assert secret not in page.content()
    called = httpx2.post(service.url + with_token, json={"job": "unit"}, timeout=PATIENCE_MS / 1000)
    assert (address in with_token, called.status_code) == (True, 202)
    row = page.get_by_role("row").filter(has_text=re.compile("started run"))
    person.until_shown(row)
    expect(row).to_contain_text("done")
    person.check("trigger")
    row.get_by_role("button", name=re.compile("^Work delivery")).click()
    expect(page.get_by_text("The delivery is worked off again.")).to_be_visible()
    page.get_by_role("button", name="Switch off").click()
    expect(page.get_by_role("heading", name="Nightly build off")).to_be_visible()
    page.get_by_role("link", name="Triggers", exact=True).first.click()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=re.compile("^New secret")).click()
    assert page.locator("#hook-secret").inner_text() != secret
    person.go("/automation/triggers/new?kind=issue")
    page.get_by_label("Name", exact=True).fill("Labelled")
    person.check("trigger-issue")
    page.get_by_role("button", name="Add trigger").click()
    expect(page.get_by_text("Settings, Webhooks, Add webhook")).to_be_visible()
    person.go("/automation/triggers")
    expect(page.get_by_text("an issue: label treadle")).to_be_visible()
    person.check("triggers")


def test_a_webhook_is_made_tested_and_its_dead_messages_sent_again(service: Service, person: Person) -> None:
    page = person.page
    with Receiver() as receiver:
        person.go("/automation/webhooks")
        page.get_by_role("link", name="New webhook").click()
        page.get_by_label("Name", exact=True).fill("Board")
        page.get_by_label("Address").fill(receiver.url)
        page.get_by_text("Only some of what happens").click()
        page.get_by_label("run.*").check()
        person.check("webhook-new")
        page.get_by_role("button", name="Add webhook").click()
        secret = page.locator("#webhook-secret").inner_text()
        person.check("webhook-secret")
        page.get_by_role("link", name="Done").click()
        page.get_by_role("button", name="Test", exact=True).click()
        expect(page.get_by_text("The test was taken, with 200.")).to_be_visible()
        assert secret not in page.content()
        plan = {"engine": "Dummy", "source": "main", "steps": ["dummy: Do it"]}
        assert service.request("POST", "/plans/start", json={"plan": plan, "repositoryId": 1}).is_success
        receiver.wait(lambda here: any(each.json["type"] == "run.finished" for each in here.accepted))
        person.go("/automation/webhooks/1?status=Delivered")
        # Delivered a moment after the receiver has it: when its answer is written down.
        person.until_shown(page.get_by_role("row").filter(has_text="run.finished"))
        person.check("webhook")
        receiver.answer = lambda _: 500
        page.get_by_role("button", name=re.compile("^Send message")).first.click()
        expect(page.get_by_text("The message is in line again.")).to_be_visible()
        page.get_by_text("Change it").click()
        person.check("webhook-change")
        page.get_by_role("button", name="Switch off").click()
        expect(page.get_by_role("heading", name="Board off")).to_be_visible()
        page.get_by_role("link", name="Webhooks", exact=True).first.click()
        person.check("webhooks")


def test_a_script_is_written_started_and_watched(person: Person, tmp_path: Path) -> None:
    page, go = person.page, tmp_path / "go"
    waits = [{"run": f"until [ -e {go} ]; do sleep 0.05; done"}, {"say": "done"}]
    step = f"dummy: Wait\n{json.dumps(waits)}"
    person.go("/automation/scripts")
    page.get_by_role("link", name="Write the first").click()
    page.get_by_label("Name", exact=True).fill("night")
    page.get_by_label("Source (Starlark)").fill("print(who\n")
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_role("status").filter(has_text="night:")).to_be_visible()
    person.check("script-checked")
    page.get_by_label("Source (Starlark)").fill(SCRIPT.replace("STEP", json.dumps(step)))
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("Nothing is wrong with it")).to_be_visible()
    page.get_by_role("button", name="Save script").click()
    expect(page.get_by_text("The script is saved.")).to_be_visible()
    page.get_by_label("Inputs").fill("who=Ada")
    person.check("script")
    page.get_by_role("button", name="Start version 1").click()
    # It is live: nobody loads it again.
    expect(page.locator("#script-log")).to_contain_text("Hello, Ada")
    expect(page.locator("#script-state")).to_contain_text("Waits for run 1, in codegeneration.await on line 3.")
    person.check("script-waits")
    go.touch()
    expect(page.locator("#script-state")).to_contain_text("Success")
    expect(page.locator("#script-outputs")).to_contain_text('"ended": "Success"')
    person.check("script-run")
    person.go("/automation/scripts")
    person.check("scripts")
